"""
How much of one request is read, counted before it takes memory.

The smallest field of a message has two bytes and costs a hundred times as much as a Python
value, and gzip makes a thousand of them one. Nothing that a sender of spans makes comes near
these numbers; JSON bodies have a bound of their own (``collector/body.py``).
"""

from __future__ import annotations

from typing import Final

from collector.errors import Undecodable

MAX_FIELDS: Final = 1 << 20
"""Resources, scopes and records of a request; of 64 MiB of spans every one has then 64 bytes."""
MAX_OURS: Final = 1 << 18
"""Records that concern us: each becomes a row of a kilobyte."""
MAX_VALUES: Final = 1 << 21
"""Attributes, events, and elements of arrays and maps, of the records that concern us."""

FIELDS: Final = "resources, scopes and records"
_VALUES: Final = "attributes and values"
_SMALLEST_FIELD_BYTES: Final = 2
_VARINT, _LENGTH = 0, 2
_FIXED_BYTES: Final = {1: 8, 5: 4, 3: 0, 4: 0}
"""By wire type; beginning and end of a group have no content of their own."""


def too_many(limit: int, what: str) -> Undecodable:
    """Return the refusal of a whole request."""
    return Undecodable(f"the body has more than {limit} {what}; send smaller batches")


class Values:
    """How many more values of a request are read."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = MAX_VALUES

    def take(self, count: int) -> None:
        """Count values. Raises ``Undecodable``."""
        self.left -= count
        if self.left < 0:
            raise too_many(MAX_VALUES, _VALUES)

    def check(self, raw: bytes) -> None:
        """Raise ``Undecodable`` for a message of more fields than are left; call it before parsing one."""
        if len(raw) > self.left * _SMALLEST_FIELD_BYTES and not _has_at_most(raw, self.left, ()):
            raise too_many(MAX_VALUES, _VALUES)


def check_request(body: bytes) -> None:
    """Raise ``Undecodable`` for a request of too many resources, scopes and records."""
    # Field numbers: of a request its resources, of these their scopes; what those hold are records.
    if len(body) > MAX_FIELDS * _SMALLEST_FIELD_BYTES and not _has_at_most(body, MAX_FIELDS, (1, 2)):
        raise too_many(MAX_FIELDS, FIELDS)


def _has_at_most(raw: bytes, limit: int, path: tuple[int, ...]) -> bool:
    """
    Tell whether a message has so many fields, with those of the messages down the path.

    Of bytes that are no message those are counted which the parser would meet before it refuses.
    """
    # Ends of the messages that are open; the field that leads further down is path[len(open_) - 1].
    open_ = [len(raw)]
    at = count = 0
    try:
        while True:
            while at >= open_[-1]:
                open_.pop()
                if not open_:
                    return True
            count += 1
            if count > limit:
                return False
            key, at = _varint(raw, at)
            kind = key & 7
            if kind == _LENGTH:
                size, at = _varint(raw, at)
                if len(open_) <= len(path) and key >> 3 == path[len(open_) - 1]:
                    open_.append(at + size)
                else:
                    at += size
            elif kind == _VARINT:
                _, at = _varint(raw, at)
            elif kind in _FIXED_BYTES:
                at += _FIXED_BYTES[kind]
            else:
                return True
    except IndexError:
        return True


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    """Return the number there, and where it ends; of more than ten bytes no number is one."""
    number = 0
    for bits in range(0, 70, 7):
        byte = raw[at]
        at += 1
        number |= (byte & 127) << bits
        if byte < 128:
            return number, at
    raise IndexError
