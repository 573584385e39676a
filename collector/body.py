"""
Bodies of HTTP requests: bounded while they are read and while they are decompressed.
"""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterable

from collector.errors import TooLarge, Undecodable

_GZIP_WINDOW = 16 + zlib.MAX_WBITS
"""``zlib`` manual, ``inflateInit2``: 16 more for a gzip header and trailer."""
MAX_GZIP_MEMBERS = 64
"""More than any sender makes; each costs a copy of all that follows it."""


async def read(stream: AsyncIterable[bytes], limit_bytes: int) -> bytes:
    """Return the whole body; chunked bodies say no length before. Raises ``TooLarge``."""
    body = bytearray()
    async for chunk in stream:
        body += chunk
        if len(body) > limit_bytes:
            raise TooLarge(limit_bytes)
    return bytes(body)


def decompressed(body: bytes, content_encoding: str, limit_bytes: int) -> bytes:
    """
    Return the body without its content encoding.

    Stops as soon as the result would exceed limit_bytes, so that a small body cannot fill the
    memory. Raises ``TooLarge``, and ``Undecodable`` for bytes that are not gzip or end early.
    """
    if content_encoding in ("", "identity", "none"):
        return body
    parts: list[bytes] = []
    size = 0
    # A gzip body may be several members, one after the other (RFC 1952, section 2.2).
    while body:
        if len(parts) == MAX_GZIP_MEMBERS:
            raise Undecodable(f"the gzip body has more than {MAX_GZIP_MEMBERS} members")
        member = zlib.decompressobj(_GZIP_WINDOW)
        try:
            part = member.decompress(body, limit_bytes - size + 1)
        except zlib.error:
            raise Undecodable("the body is not gzip, as Content-Encoding says") from None
        size += len(part)
        if size > limit_bytes:
            raise TooLarge(limit_bytes)
        if not member.eof:
            raise Undecodable("the gzip body ends early")
        parts.append(part)
        body = member.unused_data
    return b"".join(parts)


def is_supported(content_encoding: str) -> bool:
    """Tell whether a content encoding is one that OTLP asks servers for."""
    return content_encoding in ("", "identity", "none", "gzip")
