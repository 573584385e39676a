"""
The offline buffer: a bounded folder of segments, shared by the processes of one user and host.

What is stored survives any death of the process, but not of the machine: nothing is forced
to the disk. A segment that no living process holds is sent by the next one that delivers
to the same endpoint, or by ``python -m xray_otel sync``. Decision 0021.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, unquote

from xray_otel._buffer import Cause, Part
from xray_otel._segments import SUFFIX, Segment, encode_frame, is_supported
from xray_otel._transport import Payload
from xray_otel.settings import Settings

_SEGMENT_BYTES = 4 * 1024 * 1024
_SEGMENTS = 16
"""A small spool has at least so many segments, so that shedding one sheds little."""
_STALE_S = 60.0
"""An unnamed segment of this age belongs to a process that died while it made it."""
_MAX_NAME_BYTES = 200


class Stored(NamedTuple):
    """A segment in the folder."""

    path: Path
    lane: int
    size_bytes: int


def base_folder(settings: Settings) -> Path | None:
    """Where the spools of all endpoints lie; None when the user has no home folder."""
    state = os.environ.get("XDG_STATE_HOME", "")
    with contextlib.suppress(RuntimeError):
        if settings.spool_dir:
            return Path(settings.spool_dir).expanduser()
        # Relative paths are to be ignored (XDG Base Directory Specification).
        home = Path(state) if os.path.isabs(state) else Path.home() / ".local" / "state"
        return home / "xray_otel"
    return None


def folder_name(endpoint: str) -> str:
    """The name of an endpoint's spool; readable unless it is very long."""
    name = quote(endpoint, safe="")
    if len(name) <= _MAX_NAME_BYTES:
        return name
    return hashlib.sha256(endpoint.encode()).hexdigest()


def endpoint_of(folder: Path) -> str:
    """The endpoint of a spool, as far as its name tells."""
    return unquote(folder.name)


def open_spool(settings: Settings, lost: Callable[[Sequence[Part], str], None]) -> Spool | None:
    """The spool of these settings; None when they want none or the system cannot have one."""
    base = base_folder(settings)
    if settings.offline != "buffer" or base is None or not is_supported():
        return None
    return Spool(base / folder_name(settings.endpoint), settings.spool_bytes, lost)


class Spool:
    """
    One endpoint's spool. Safe from several threads and processes; raises OSError as the files do.

    ``lost`` is told of what had to be given up for something more important.
    """

    def __init__(self, folder: Path, max_bytes: int, lost: Callable[[Sequence[Part], str], None]) -> None:
        self.folder = folder
        self._max_bytes = max_bytes
        self._segment_bytes = min(_SEGMENT_BYTES, max_bytes // _SEGMENTS)
        self._lost = lost
        self._lock = threading.RLock()
        self._writing: dict[int, Segment] = {}

    def append(self, lane: int, payload: Payload, parts: Sequence[Part]) -> Path | None:
        """
        Stores a request, whose class is ``lane`` (0 is the most important).

        Returns the segment that has it now; None when there was no room for it, because the
        spool is full of nothing less important. Raises OSError when it cannot be written.
        """
        frame = encode_frame(payload, parts)
        given_up: list[Part] = []
        try:
            with self._lock:
                _make_private(self.folder)
                return self._write(lane, frame) if self._make_room(lane, len(frame), given_up) else None
        finally:
            # Without the lock: a signal handler may store while its thread holds locks of whoever is told.
            if given_up:
                self._lost(given_up, Cause.SPOOL_FULL)

    def _write(self, lane: int, frame: bytes) -> Path:
        segment = self._writing.get(lane)
        if segment is None:
            segment = self._writing[lane] = Segment.create(self.folder, lane)
        try:
            segment.append(frame)
        except OSError:
            self._seal(lane)
            raise
        if segment.size_bytes >= self._segment_bytes:
            self._seal(lane)
        return segment.path

    def _make_room(self, lane: int, size_bytes: int, given_up: list[Part]) -> bool:
        stored = self.stored()
        left_bytes = self._max_bytes - size_bytes - sum(one.size_bytes for one in stored)
        for one in reversed(stored):
            if left_bytes >= 0 or one.lane <= lane:
                break
            left_bytes += self._shed(one, given_up)
        return left_bytes >= 0

    def _shed(self, one: Stored, given_up: list[Part]) -> int:
        """Gives a segment up unless another process writes or sends it; returns the bytes that makes free."""
        self._seal_if_own(one)
        segment = None
        with contextlib.suppress(OSError):  # what cannot be opened makes no room
            segment = Segment.claim(one.path)
        if segment is None:
            return 0
        try:
            for frame in segment.frames():
                given_up += frame.parts
        finally:
            segment.remove()
        return one.size_bytes

    def stored(self) -> list[Stored]:
        """All segments, the most important and in each class the oldest first."""
        found = []
        with contextlib.suppress(FileNotFoundError):
            for entry in os.scandir(self.folder):
                if entry.name.endswith(SUFFIX):
                    with contextlib.suppress(FileNotFoundError):
                        size_bytes = entry.stat(follow_symlinks=False).st_size
                        if entry.name.startswith("."):
                            _remove_stale(Path(entry.path))
                        elif entry.name[0].isdigit():
                            found.append(Stored(Path(entry.path), int(entry.name[0]), size_bytes))
        return sorted(found, key=lambda one: one.path.name)

    def claim(self) -> Iterator[Segment]:
        """
        The segments that nobody else has, in the order of ``stored``, each to be closed or removed.

        Those that cannot be opened hold up no other: for them OSError is raised at the end.
        """
        failed: OSError | None = None
        for one in self.stored():
            # Not all at once: a failed attempt every few seconds would leave a trail of small files.
            self._seal_if_own(one)
            try:
                segment = Segment.claim(one.path)
            except OSError as error:
                failed = failed or error
            else:
                if segment is not None:
                    yield segment
        if failed is not None:
            raise failed

    def seal(self) -> None:
        """Lets go of what was written, so that any process may send it."""
        with self._lock:
            for lane in list(self._writing):
                self._seal(lane)

    def _seal_if_own(self, one: Stored) -> None:
        with self._lock:
            if one.lane in self._writing and self._writing[one.lane].path == one.path:
                self._seal(one.lane)

    def _seal(self, lane: int) -> None:
        self._writing.pop(lane).close()

    def reset_after_fork(self) -> None:
        """In the child: lets go of the parent's segments, which stay the parent's."""
        self._lock = threading.RLock()
        writing, self._writing = self._writing, {}
        for segment in writing.values():
            segment.leave()


def _make_private(folder: Path) -> None:
    """Makes the folder for this user alone; raises PermissionError when it is someone else's."""
    try:
        found = folder.lstat()
    except FileNotFoundError:
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise PermissionError(f"{folder} is not a folder of this user")
    if stat.S_IMODE(found.st_mode) & 0o077:
        folder.chmod(0o700)


def _remove_stale(path: Path) -> None:
    if time.time() - path.stat().st_mtime > _STALE_S:
        path.unlink()
