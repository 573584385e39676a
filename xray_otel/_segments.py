"""
Segment files of the spool: encoded requests in frames, written by one process, sent by one at a time.

Whoever holds the lock (``flock``) of a segment may write or send it; the system lets go of
it when that process dies, however it dies. A file starts with 8 bytes of magic and the
offset of the first frame that is not acknowledged. A frame is checksum, signal, length of
the manifest and of the payload, time; then the manifest (JSON, what is lost with the frame)
and the payload (zlib). Numbers are little-endian. Decision 0021.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import struct
import time
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Self

from xray_otel._buffer import Part, Priority
from xray_otel._halves import exact_parts
from xray_otel._ids import random_bits
from xray_otel._transport import Payload, Signal

try:
    import fcntl
except ImportError:  # Windows: without these locks there is no spool
    fcntl = None  # type: ignore[assignment]

SUFFIX = ".spool1"
"""With the version of the format: files of another one are left alone."""

_MAGIC = b"XRAYSPL1"
_HEAD = struct.Struct("<8sQ")
_FRAME = struct.Struct("<IBIIQ")
_CHECKSUM_BYTES = 4
_MAX_PAYLOAD_BYTES = 64 * 1024 * 1024
_ZLIB_LEVEL = 1
_MANIFEST = re.compile(rb"\[[\[\]]")
"""How a manifest begins, by which the next frame is found after a damaged one."""
_LANE_CLASSES = (Priority.STEP, Priority.DECISIONS, Priority.ARTIFACT)
"""What most of a lane is, where no manifest says it."""


class Frame(NamedTuple):
    """One request as it was stored."""

    payload: Payload
    parts: tuple[Part, ...]
    time_s: float
    """When it was stored, seconds since the Unix epoch."""
    end: int
    """Offset of the next frame."""
    is_damaged: bool = False
    """Whether it cannot be read, and ``parts`` are what is known of it."""


def encode_frame(payload: Payload, parts: Sequence[Part]) -> bytes:
    """The bytes of a frame stored now."""
    # Without the kind: older clients would take the frame for one that is not whole, and all after it.
    manifest = json.dumps([part[:4] for part in parts], separators=(",", ":")).encode()
    packed = zlib.compress(payload.data, _ZLIB_LEVEL)
    head = _FRAME.pack(0, payload.signal, len(manifest), len(packed), time.time_ns())
    rest = b"".join((head[_CHECKSUM_BYTES:], manifest, packed))
    return struct.pack("<I", zlib.crc32(rest)) + rest


def is_supported() -> bool:
    """Whether this system has the locks that a spool needs."""
    return fcntl is not None


class Segment:
    """A segment file of which this process holds the lock. Raises OSError as the files do."""

    def __init__(self, path: Path, descriptor: int, size_bytes: int) -> None:
        self.path = path
        self.size_bytes = size_bytes
        self._descriptor = descriptor

    @classmethod
    def create(cls, folder: Path, lane: int) -> Self:
        """A new, empty one. It gets its name when it is locked, so nobody takes it for a dead process's."""
        name = f"{lane}-{time.time_ns():020d}-{os.getpid()}-{random_bits(32):08x}{SUFFIX}"
        hidden, path = folder / f".{name}", folder / name
        descriptor = os.open(hidden, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.pwrite(descriptor, _HEAD.pack(_MAGIC, _HEAD.size), 0)
            hidden.rename(path)
        except BaseException:
            os.close(descriptor)
            with contextlib.suppress(OSError):
                hidden.unlink()
            raise
        return cls(path, descriptor, _HEAD.size)

    @classmethod
    def claim(cls, path: Path) -> Self | None:
        """The existing one; None when another process has it, or has finished it."""
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            status = os.fstat(descriptor)
            if status.st_nlink:
                return cls(path, descriptor, status.st_size)
        except BlockingIOError:
            pass
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        return None

    def append(self, frame: bytes) -> None:
        """Writes a frame; after an error (a full disk) the segment is as it was before."""
        written = 0
        try:
            while written < len(frame):
                written += os.pwrite(self._descriptor, frame[written:], self.size_bytes + written)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, self.size_bytes)
            raise
        self.size_bytes += len(frame)

    def frames(self) -> Iterator[Frame]:
        """
        What is not acknowledged yet, oldest first.

        Ends at a frame that is not whole: the process died while it wrote it. One that is
        followed by others is damaged.
        """
        data = os.pread(self._descriptor, self.size_bytes, 0)
        if len(data) < _HEAD.size:
            return
        magic, start = _HEAD.unpack_from(data)
        if magic != _MAGIC or start < _HEAD.size:  # damaged: what was acknowledged is sent again
            start = _HEAD.size
        lane = int(self.path.name[0])
        while frame := _read_frame(data, start) or _damaged_frame(data, start, lane):
            yield frame
            start = frame.end

    def acknowledge(self, frame: Frame) -> None:
        """Notes that the frame and all before it need not be sent again."""
        os.pwrite(self._descriptor, _HEAD.pack(_MAGIC, frame.end), 0)

    def remove(self) -> None:
        """Deletes the file and lets go of it."""
        try:
            with contextlib.suppress(FileNotFoundError):
                self.path.unlink()
        finally:
            self.close()

    def close(self) -> None:
        """Lets go of it, so that any process may send it."""
        if self._descriptor >= 0:
            # Not by closing alone: a child that was forked while the file was being opened has it, too.
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        self.leave()

    def leave(self) -> None:
        """In a forked child: the parent keeps its hold."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def _damaged_frame(data: bytes, start: int, lane: int) -> Frame | None:
    """What stands in for bytes that are no frame, up to the next one; None for a torn tail."""
    body = start + _FRAME.size
    if body > len(data):
        return None
    _, _, manifest_bytes, packed_bytes, time_ns = _FRAME.unpack_from(data, start)
    said_end = body + manifest_bytes + packed_bytes
    ends = (found.start() - _FRAME.size for found in _MANIFEST.finditer(data, body + 1))
    end = said_end if said_end == len(data) else next((at for at in ends if _read_frame(data, at)), None)
    if end is None:
        return None
    parts = None
    if end == said_end:  # its head is whole, and mostly the manifest
        with contextlib.suppress(ValueError, TypeError):
            parts = _parts(data[body : body + manifest_bytes])
    if parts is None:
        parts = (Part("", _LANE_CLASSES[min(lane, len(_LANE_CLASSES) - 1)], 1, 1),)
    return Frame(Payload(Signal.LOGS, b""), parts, time_ns / 1e9, end, is_damaged=True)


def _parts(manifest: bytes) -> tuple[Part, ...]:
    return tuple(Part(run, Priority(priority), *counts) for run, priority, *counts in json.loads(manifest))


def _read_frame(data: bytes, start: int) -> Frame | None:
    body = start + _FRAME.size
    if body > len(data):
        return None
    checksum, signal, manifest_bytes, packed_bytes, time_ns = _FRAME.unpack_from(data, start)
    end = body + manifest_bytes + packed_bytes
    if end > len(data) or zlib.crc32(memoryview(data)[start + _CHECKSUM_BYTES : end]) != checksum:
        return None
    try:
        parts = _parts(data[body : body + manifest_bytes])
        unpacker = zlib.decompressobj()
        payload = Payload(
            Signal(signal), unpacker.decompress(data[body + manifest_bytes : end], _MAX_PAYLOAD_BYTES)
        )
    except (ValueError, TypeError, zlib.error):
        return None
    return Frame(payload, exact_parts(payload, parts), time_ns / 1e9, end)
