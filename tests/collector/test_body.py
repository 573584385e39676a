"""Bodies of requests: what decompression takes and what it refuses."""

from __future__ import annotations

import gzip

import pytest

from collector.body import MAX_GZIP_MEMBERS, decompressed
from collector.errors import Undecodable

LIMIT = 1 << 20


def test_members_are_joined():
    """A gzip body of several members is their contents one after the other."""
    members = [gzip.compress(bytes([number])) for number in range(MAX_GZIP_MEMBERS)]
    assert decompressed(b"".join(members), "gzip", LIMIT) == bytes(range(MAX_GZIP_MEMBERS))


def test_a_flood_of_members_is_refused():
    """A body of countless empty members, each of which costs a copy of the rest, is refused early."""
    with pytest.raises(Undecodable, match="members"):
        decompressed(gzip.compress(b"") * (MAX_GZIP_MEMBERS + 1), "gzip", LIMIT)
