"""
Bodies of HTTP requests: bounded while they are read and while they are decompressed.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import AsyncIterable
from typing import Protocol

from collector.errors import TooLarge, Undecodable

_GZIP_WINDOW = 16 + zlib.MAX_WBITS
"""``zlib`` manual, ``inflateInit2``: 16 more for a gzip header and trailer."""
MAX_GZIP_MEMBERS = 64
"""More than any sender makes; each costs a copy of all that follows it."""
MAX_JSON_CONTAINERS = 1_000_000
"""20,000 spans with 20 attributes have as many; exporters send 512 at a time."""
MAX_JSON_VALUES = 4_000_000
"""Those spans have half as many commas and twice as many texts; a decision of the doors has five values."""
_TEXT = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
"""A JSON text, or all that is left where it has no end: looking again for each quote would be quadratic."""
_PIECE_BYTES = 4 * 1024 * 1024
"""Decompressed at a time; each piece costs a copy of what is left of the input."""


class Counter(Protocol):
    """Is told of bytes before they take memory, and may raise (``reception.Claim``)."""

    def add(self, size_bytes: int) -> None:
        """Count bytes."""
        ...


async def read(stream: AsyncIterable[bytes], limit_bytes: int, counter: Counter) -> bytes:
    """Return the whole body; chunked bodies say no length before. Raises ``TooLarge``."""
    body = bytearray()
    async for chunk in stream:
        if len(body) + len(chunk) > limit_bytes:
            raise TooLarge(limit_bytes)
        counter.add(len(chunk))
        body += chunk
    return bytes(body)


def decompressed(body: bytes, content_encoding: str, limit_bytes: int, counter: Counter) -> bytes:
    """
    Return the body without its content encoding.

    Stops as soon as the result would exceed limit_bytes, so that a small body cannot fill the
    memory. Raises ``TooLarge``, and ``Undecodable`` for bytes that are not gzip or end early.
    """
    if content_encoding in ("", "identity", "none"):
        return body
    parts: list[bytes] = []
    size = members = 0
    # A gzip body may be several members, one after the other (RFC 1952, section 2.2).
    while body:
        if members == MAX_GZIP_MEMBERS:
            raise Undecodable(f"the gzip body has more than {MAX_GZIP_MEMBERS} members")
        members += 1
        member = zlib.decompressobj(_GZIP_WINDOW)
        while not member.eof:
            try:
                part = member.decompress(body, min(_PIECE_BYTES, limit_bytes - size + 1))
            except zlib.error:
                raise Undecodable("the body is not gzip, as Content-Encoding says") from None
            size += len(part)
            if size > limit_bytes:
                raise TooLarge(limit_bytes)
            if not part and not member.eof:
                raise Undecodable("the gzip body ends early")
            counter.add(len(part))
            parts.append(part)
            body = member.unconsumed_tail
        body = member.unused_data
    return parts[0] if len(parts) == 1 else b"".join(parts)


def check_json(body: bytes) -> None:
    """
    Raise ``Undecodable`` for a JSON body of so many values that reading it would not end soon.

    64 MiB of ``{}`` are 2 GB of Python objects and half a minute in which nobody else is read;
    64 MiB of short texts are 1.5 GB.
    """
    if body.count(b"{") + body.count(b"[") > MAX_JSON_CONTAINERS:
        raise Undecodable(
            f"the JSON body has more than {MAX_JSON_CONTAINERS} objects and arrays; send smaller batches"
        )
    # Nearly every body ends here; decisions are texts that are full of commas themselves.
    if body.count(b",") <= MAX_JSON_VALUES:
        return
    texts = (body.count(b'"') - body.count(b'\\"')) // 2
    if texts > MAX_JSON_VALUES or _TEXT.sub(b"", body).count(b",") > MAX_JSON_VALUES:
        raise Undecodable(f"the JSON body has more than {MAX_JSON_VALUES} values; send smaller batches")


def is_supported(content_encoding: str) -> bool:
    """Tell whether a content encoding is one that OTLP asks servers for."""
    return content_encoding in ("", "identity", "none", "gzip")
