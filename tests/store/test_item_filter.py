"""The filter of a chunk: never misses an item, seldom finds one that is not there, stays the same."""

from __future__ import annotations

import random
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.item_filter import FINGERPRINT_BYTES, build, fingerprint

items = st.text(st.characters(codec="utf-8"), max_size=20)


@given(st.lists(items, max_size=20))
def test_every_named_item_is_found(named: list[str]):
    """No item of a chunk is missed, at its own place."""
    found = build(named)
    size = FINGERPRINT_BYTES
    assert [found[at : at + size] for at in range(0, len(found), size)] == [fingerprint(i) for i in named]


def test_the_filter_is_the_same_everywhere():
    """The bytes are in stored rows: another version, process or machine must make the same ones."""
    assert build(["B0CXYZ1234", "", "Käse/1"]).hex() == "0dac590000005f95ef"
    assert fingerprint("B0CXYZ1234").hex() == "0dac59"


def _random_ids(source: random.Random, count: int) -> list[str]:
    return ["".join(source.choices(string.ascii_uppercase + string.digits, k=12)) for _ in range(count)]


@pytest.mark.parametrize(
    "ids",
    [
        pytest.param(_random_ids(random.Random(1), 25_000), id="random"),
        pytest.param([f"item-{n}" for n in range(25_000)], id="counted"),
        pytest.param([f"{n:010d}" for n in range(25_000)], id="digits"),
        pytest.param([f"https://shop.example/p/{n * 7}?v=1" for n in range(25_000)], id="urls"),
    ],
)
def test_few_chunks_are_opened_in_vain(ids: list[str]):
    """Of 20,000 items that a chunk of 5,000 does not name, some 0.1 % look as if it might."""
    found = build(ids[:5000])
    mistaken = sum(fingerprint(item) in found for item in ids[5000:])
    assert mistaken < 20_000 * 0.002


def test_an_item_that_cannot_be_stored_is_looked_for_in_peace():
    """Half a surrogate pair is in no filter, and asking for it is no error."""
    assert len(fingerprint("\ud800")) == FINGERPRINT_BYTES
    with pytest.raises(UnicodeEncodeError):
        build(["\ud800"])
    with pytest.raises(TypeError):
        build([7])  # type: ignore[list-item]  # what a careless caller might pass
