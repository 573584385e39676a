"""Bodies of requests: what decompression takes and what it refuses."""

from __future__ import annotations

import gzip

import pytest

from collector.body import MAX_GZIP_MEMBERS, MAX_JSON_CONTAINERS, MAX_JSON_VALUES, check_json, decompressed
from collector.errors import ReceptionFull, TooLarge, Undecodable
from collector.reception import Claim, Room

LIMIT = 1 << 20


def test_members_are_joined():
    """A gzip body of several members is their contents one after the other."""
    members = [gzip.compress(bytes([number])) for number in range(MAX_GZIP_MEMBERS)]
    assert decompressed(b"".join(members), "gzip", LIMIT, Claim(Room(LIMIT))) == bytes(
        range(MAX_GZIP_MEMBERS)
    )


def test_a_flood_of_members_is_refused():
    """A body of countless empty members, each of which costs a copy of the rest, is refused early."""
    with pytest.raises(Undecodable, match="members"):
        decompressed(gzip.compress(b"") * (MAX_GZIP_MEMBERS + 1), "gzip", LIMIT, Claim(Room(LIMIT)))


@pytest.mark.parametrize("size", [0, 1, 4 * LIMIT - 1, 4 * LIMIT, 4 * LIMIT + 1, 9 * LIMIT])
def test_any_size_comes_out_whole(size: int):
    """Bodies are decompressed in pieces, and end where they should."""
    content = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    assert decompressed(gzip.compress(content, 1), "gzip", size, Claim(Room(LIMIT))) == content
    if size:
        with pytest.raises(TooLarge):
            decompressed(gzip.compress(content, 1), "gzip", size - 1, Claim(Room(LIMIT)))


def test_what_decompression_makes_is_counted():
    """A bomb finds no room beside others long before it has all that its limit allows."""
    room = Room(10 * LIMIT)
    with Claim(room) as other, Claim(room) as claim:
        other.add(1)
        with pytest.raises(ReceptionFull):
            decompressed(gzip.compress(bytes(100 * LIMIT)), "gzip", 200 * LIMIT, claim)
        assert room.bytes_under_way <= 10 * LIMIT


def test_json_of_countless_objects_is_refused():
    """Such a body would become gigabytes of objects; it is refused by counting its brackets."""
    check_json(b"{}" * MAX_JSON_CONTAINERS)
    with pytest.raises(Undecodable, match="objects and arrays"):
        check_json(b"{}" * MAX_JSON_CONTAINERS + b"[]")


@pytest.mark.parametrize("value", [b'""', b'"\\""', b"1", b"null"])
def test_json_of_countless_values_is_refused(value: bytes):
    """As many texts or numbers are gigabytes of objects, too."""
    check_json(b"[" + (value + b",") * (MAX_JSON_VALUES - 1) + value + b"]")
    with pytest.raises(Undecodable, match="values"):
        check_json(b"[" + (value + b",") * (MAX_JSON_VALUES + 1) + value + b"]")


def test_commas_within_texts_do_not_count():
    """The decisions of a step are one text, which says "," more often than most."""
    within = b'\\"B01\\",' * (MAX_JSON_VALUES + 1)
    check_json(b'{"stringValue":"[' + within + b']"}')


@pytest.mark.parametrize("escaped", [b'\\"', b"\\\\", b"\\"])
def test_a_text_without_an_end_is_read_once(escaped: bytes):
    """Each of its quotes could begin another; trying them all would take hours."""
    check_json(b'["' + b"," * (MAX_JSON_VALUES + 1) + escaped * MAX_JSON_VALUES)
    with pytest.raises(Undecodable, match="values"):
        check_json(b"," * (MAX_JSON_VALUES + 1) + b'["' + escaped * MAX_JSON_VALUES)
