"""Bodies of requests: what decompression takes and what it refuses."""

from __future__ import annotations

import gzip

import pytest

from collector.body import MAX_GZIP_MEMBERS, MAX_JSON_CONTAINERS, check_json, decompressed
from collector.errors import ReceptionFull, TooLarge, Undecodable
from collector.reception import Reception

LIMIT = 1 << 20


def test_members_are_joined():
    """A gzip body of several members is their contents one after the other."""
    members = [gzip.compress(bytes([number])) for number in range(MAX_GZIP_MEMBERS)]
    assert decompressed(b"".join(members), "gzip", LIMIT) == bytes(range(MAX_GZIP_MEMBERS))


def test_a_flood_of_members_is_refused():
    """A body of countless empty members, each of which costs a copy of the rest, is refused early."""
    with pytest.raises(Undecodable, match="members"):
        decompressed(gzip.compress(b"") * (MAX_GZIP_MEMBERS + 1), "gzip", LIMIT)


@pytest.mark.parametrize("size", [0, 1, 4 * LIMIT - 1, 4 * LIMIT, 4 * LIMIT + 1, 9 * LIMIT])
def test_any_size_comes_out_whole(size: int):
    """Bodies are decompressed in pieces, and end where they should."""
    content = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    assert decompressed(gzip.compress(content, 1), "gzip", size) == content
    if size:
        with pytest.raises(TooLarge):
            decompressed(gzip.compress(content, 1), "gzip", size - 1)


def test_what_decompression_makes_is_counted():
    """A bomb finds no room beside others long before it has all that its limit allows."""
    reception = Reception(10 * LIMIT, timeout_s=60.0)
    with reception.claim() as other, reception.claim() as claim:
        other.add(1)
        with pytest.raises(ReceptionFull):
            decompressed(gzip.compress(bytes(100 * LIMIT)), "gzip", 200 * LIMIT, claim)
        assert reception.bytes_under_way <= 10 * LIMIT


def test_json_of_countless_objects_is_refused():
    """Such a body would become gigabytes of objects; it is refused by counting its brackets."""
    check_json(b"{}" * MAX_JSON_CONTAINERS)
    with pytest.raises(Undecodable, match="objects and arrays"):
        check_json(b"{}" * MAX_JSON_CONTAINERS + b"[]")
