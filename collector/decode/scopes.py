"""
A request's records, those that concern us apart from the others.

Nine of ten spans may be foreign, and what they cost is what it takes to pass over them. So the
bytes of the request are walked from length to length and searched where they lie; only records
of ours are taken out. A request of another form than senders write is left to the parser.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from itertools import repeat
from typing import Any, Final, NamedTuple

from collector.decode.bounds import FIELDS, MAX_FIELDS, MAX_OURS, check_request, too_many
from collector.decode.messages import MESSAGES

# Tags of fields with a length. Of a request: what each resource sent (1). Of that: the resource (1), scopes
# (2), a schema URL (3). Of a scope: its name and version (1), records (2), a schema URL (3).
_FIRST, _SECOND, _THIRD = 0x0A, 0x12, 0x1A
_ONE_BYTE: Final = 128
_LONGEST_LENGTH_BITS: Final = 28
_NEAR_BYTES: Final = 512


class Group(NamedTuple):
    """The records of one scope."""

    resource: bytes
    ours: list[bytes]
    """Those that hold a needle."""
    foreign: int


class _Unusual(Exception):
    """For the parser."""


def groups_of(body: bytes, needles: Sequence[bytes]) -> list[Group]:
    """
    Return the records of a request; a resource without any has one empty group.

    needles: at least one. Raises ``DecodeError``, and ``Undecodable`` for more than is read of one.
    """
    try:
        groups = list(_walked(body, needles))
    except (_Unusual, IndexError):
        check_request(body)
        groups = list(_parsed(body, needles))
    if sum(len(group.ours) for group in groups) > MAX_OURS:
        raise too_many(MAX_OURS, "records with names that are read")
    return groups


def _walked(body: bytes, needles: Sequence[bytes]) -> Iterator[Group]:
    search = _Search(body, needles)
    left = MAX_FIELDS
    for tag, start, stop in _fields(body, 0, len(body)):
        if tag != _FIRST:
            raise _Unusual
        left = _one_less(left)
        resource: bytes | None = None
        scopes: list[tuple[int, int]] = []
        for part, first, last in _fields(body, start, stop):
            left = _one_less(left)
            if part == _SECOND:
                scopes.append((first, last))
            elif part == _FIRST and resource is None:
                resource = body[first:last]
            elif part != _THIRD:
                raise _Unusual
        if not scopes:
            yield Group(resource or b"", [], 0)
        for first, last in scopes:
            ours, foreign, left = _split(body, first, last, search, left)
            yield Group(resource or b"", ours, foreign)


def _one_less(left: int) -> int:
    if left == 0:
        raise too_many(MAX_FIELDS, FIELDS)
    return left - 1


def _parsed(body: bytes, needles: Sequence[bytes]) -> Iterator[Group]:
    for resource_records in MESSAGES.export_request.FromString(body).resources:
        if not resource_records.scopes:
            yield Group(resource_records.resource, [], 0)
        for scope in resource_records.scopes:
            records = scope.records
            ours = [record for record in records if any(needle in record for needle in needles)]
            yield Group(resource_records.resource, ours, len(records) - len(ours))


def _fields(body: bytes, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield the tag of each field with the place of its content."""
    while at < end:
        tag = body[at]
        at += 1
        size = bits = 0
        while True:
            byte = body[at]
            at += 1
            size |= (byte & 127) << bits
            if byte < _ONE_BYTE:
                break
            bits += 7
            if bits > _LONGEST_LENGTH_BITS:
                raise _Unusual
        if tag not in (_FIRST, _SECOND, _THIRD) or size > end - at:
            raise _Unusual
        yield tag, at, at + size
        at += size


def _split(body: bytes, at: int, end: int, search: _Search, left: int) -> tuple[list[bytes], int, int]:
    """Return a scope's records of ours, the number of the others, and how many may follow."""
    ours: list[bytes] = []
    foreign = 0
    hit = search.next(at)
    for _ in repeat(None, left):
        if at >= end:
            break
        tag, size = body[at], body[at + 1]
        at += 2
        if size >= _ONE_BYTE:
            # Lengths of records have one byte to three; each but the last says that one more follows.
            size += (body[at] - 1) << 7
            at += 1
            if body[at - 1] >= _ONE_BYTE:
                size += (body[at] - 1) << 14
                at += 1
                if body[at - 1] >= _ONE_BYTE:
                    raise _Unusual
        stop = at + size
        if tag == _SECOND:
            if hit < at:
                # After one of ours comes another, mostly, and near its beginning it says so.
                hit = body.find(search.first, at, min(stop, at + _NEAR_BYTES))
                if hit < 0:
                    hit = search.next(at)
            if hit < stop:
                ours.append(body[at:stop])
            else:
                foreign += 1
        elif tag != _FIRST and tag != _THIRD:
            raise _Unusual
        at = stop
    if at != end:
        raise too_many(MAX_FIELDS, FIELDS) if at < end else _Unusual
    return ours, foreign, left - len(ours) - foreign


def _memmem() -> Any:
    try:
        function = ctypes.CDLL(None).memmem
    except (OSError, AttributeError, TypeError):
        # Windows has none.
        return None
    function.restype = ctypes.c_void_p
    function.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t)
    return function


_find = _memmem()


class _Search:
    """
    Finds needles in bytes, every part of which is searched once.

    With the C library: ``bytes.find`` takes four times as long where they are rare (decision 0012).
    """

    def __init__(self, body: bytes, needles: Sequence[bytes]) -> None:
        self._body = body
        self._address = ctypes.cast(ctypes.c_char_p(body), ctypes.c_void_p).value or 0
        self._needles = needles
        self.first = needles[0]
        # Where each needle is next, from where it was last looked for; past the end when nowhere.
        self._hits = [-1] * len(needles)

    def next(self, start: int) -> int:
        """Return where the next needle is, at start or behind it; past the end when there is none."""
        nearest = len(self._body)
        for index, hit in enumerate(self._hits):
            if hit < start:
                hit = self._hits[index] = self._find(self._needles[index], start)
            nearest = min(nearest, hit)
        return nearest

    def _find(self, needle: bytes, start: int) -> int:
        body = self._body
        if _find is None or start >= len(body):
            # Behind the end the rest would have a negative length, which is a huge one to the C library.
            hit = body.find(needle, start)
            return hit if hit >= 0 else len(body)
        found = _find(self._address + start, len(body) - start, needle, len(needle))
        return len(body) if found is None else int(found) - self._address
