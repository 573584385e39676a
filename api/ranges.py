"""``Range`` and ``If-None-Match`` of a request for bytes (RFC 9110, sections 13 and 14)."""

from __future__ import annotations

import re
from typing import NamedTuple

_RANGE = re.compile(
    r"\s*bytes\s*=\s*(?:(\d{1,18})\s*-\s*(\d{1,18})?|-\s*(\d{1,18}))\s*", re.IGNORECASE | re.ASCII
)
_TAG = re.compile(r'(?:W/)?("[^"]*")')


class Part(NamedTuple):
    """Some of the bytes of something, at least one."""

    start: int
    end: int
    """Not included."""

    def content_range(self, size: int) -> str:
        """The header of its answer."""
        return f"bytes {self.start}-{self.end - 1}/{size}"


class NotSatisfiable(Exception):
    """The range begins behind the end, or is empty."""


def asked_part(header: str | None, size: int) -> Part | None:
    """
    Return the part that a ``Range`` header asks for; None: all of it.

    A header that makes no sense, has another unit or several ranges is ignored, as section 14.2 lets a
    server do. Raises ``NotSatisfiable``.
    """
    asked = _RANGE.fullmatch(header or "")
    if asked is None:
        return None
    first, last, suffix = asked.groups()
    if suffix is not None:
        start, end = max(0, size - int(suffix)), size
    else:
        start = int(first)
        if last is not None and int(last) < start:
            return None
        end = size if last is None else min(size, int(last) + 1)
    if start >= end:
        raise NotSatisfiable
    return Part(start, end)


def has_tag(header: str | None, tag: str) -> bool:
    """Tell whether an ``If-None-Match`` header names this entity tag, or any."""
    return header is not None and (header.strip() == "*" or tag in _TAG.findall(header))
