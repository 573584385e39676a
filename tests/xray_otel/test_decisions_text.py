"""The parts below the calls: chunks, sampling, statistics, the buffer's order of shedding."""

from __future__ import annotations

import json
import statistics
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.resources import Resource

from xray_otel._buffer import Buffer, Event, Priority
from xray_otel._capture import sample
from xray_otel._columns import Columns
from xray_otel._decisions import CHUNK_BYTES, encode
from xray_otel._encode import MISSING, json_text
from xray_otel._statistics import summarize
from xray_otel._text import NAME_BYTES


def columns(count: int, **given: Any) -> Columns:
    return Columns([f"i{number}" for number in range(count)], "E" * count, **given)


@given(
    st.lists(
        st.tuples(
            st.none() | st.text(max_size=5),
            st.none() | st.floats(allow_nan=False, allow_infinity=False),
            st.none()
            | st.integers(-(2**63), 2**63 - 1)
            | st.text(max_size=5)
            | st.booleans()
            | st.just(MISSING),
        ),
        min_size=1,
        max_size=30,
    )
)
def test_columns_come_back(rows):
    """What goes into a chunk can be read out of it row by row, whatever columns were collapsed."""
    reasons, scores, values = (list(column) for column in zip(*rows, strict=True))
    [chunk] = encode(
        columns(len(rows), reasons=reasons, scores=scores, values=values, thresholds=[50] * len(rows))
    )
    payload = json.loads(chunk.text)
    count = payload["n"]

    def column(name: str) -> list[object]:
        found = payload.get(name)
        return found if isinstance(found, list) else [found] * count

    codes = payload.get("reasons", [])
    clean = [None if r is None else r.replace("\x00", "") for r in reasons]
    assert [None if at is None else codes[at] for at in column("reason")] == clean
    assert column("score") == scores
    missing = payload.get("missing", [])
    assert missing == [at for at, value in enumerate(values) if value is MISSING]
    expected = [None if v is MISSING else v.replace("\x00", "") if isinstance(v, str) else v for v in values]
    assert column("value") == expected
    assert payload["threshold"] == 50


def test_chunks_keep_to_their_bound():
    """Rows of long texts are spread over chunks that keep order and bound."""
    count = 3000
    chunks = encode(columns(count, texts=[f"{number} " + "ü" * 400 for number in range(count)]))
    assert all(len(chunk.text.encode("utf-8")) <= CHUNK_BYTES for chunk in chunks)
    assert [item for chunk in chunks for item in json.loads(chunk.text)["item"]] == [
        f"i{n}" for n in range(count)
    ]


_PIECES = st.sampled_from(["a", "ü", "€", '"', '","', '],"verdict"', '"item":', "\\", "\n"])


@given(st.lists(st.tuples(_PIECES, st.integers(0, 700)), min_size=1, max_size=40))
def test_no_item_id_is_longer_than_its_bound(pieces):
    """Ids of any length and of what looks like the text around them: long ones are cut, others stay."""
    items = [piece * times for piece, times in pieces]
    sent = [
        item
        for chunk in encode(Columns(list(items), "K" * len(items)))
        for item in json.loads(chunk.text)["item"]
    ]
    for item, came in zip(items, sent, strict=True):
        if len(item.encode()) <= NAME_BYTES:
            assert came == item
        else:
            assert came.endswith("…")
            assert len(came.encode()) <= NAME_BYTES


@given(st.integers(1, 400), st.integers(1, 50), st.text(max_size=3))
def test_a_sample_is_repeatable_and_honest(count, sample_size, seed):
    """Sampling keeps first and last of each pair, small pairs whole, and says with which probability."""
    reasons = ["rare" if number % 97 == 5 else "often" for number in range(count)]
    first, second = (sample(columns(count, reasons=list(reasons)), sample_size, seed) for _ in range(2))
    assert (first.items, first.probabilities) == (second.items, second.probabilities)
    assert first.probabilities is not None
    assert first.reasons is not None
    assert len(first.probabilities) == len(first.items)
    assert first.items[0] == "i0"
    assert first.items[-1] == f"i{count - 1}"
    assert all(0 < p <= 1 for p in first.probabilities)
    if reasons.count("rare") <= sample_size:
        assert first.reasons.count("rare") == reasons.count("rare")


def test_the_same_items_are_sampled_in_every_step_of_a_run():
    """Two steps of a run that judge the same items keep the same ones; another run keeps others."""
    one, two = (set(sample(columns(2000), 50, "run-1").items) for _ in range(2))
    other = set(sample(columns(2000), 50, "run-2").items)
    assert one == two != other
    assert 20 <= len(one) <= 100


@given(st.lists(st.floats(-1e100, 1e100), min_size=2, max_size=60))
def test_score_statistics_are_exact(values):
    """Mean, deviation and percentiles agree with the statistics module."""
    found = summarize(values)
    assert found is not None
    assert (found.min, found.max) == (min(values), max(values))
    assert found.mean == pytest.approx(statistics.fmean(values), rel=1e-9, abs=1e-90)
    # Beside the relative error, a product of the smallest floats may round to zero.
    scale = max(*(abs(value) for value in values), 1e-290)
    assert found.std == pytest.approx(statistics.pstdev(values), rel=1e-6, abs=1e-9 * scale)
    assert found.p50 == pytest.approx(statistics.median(values), rel=1e-9, abs=1e-12 * scale)


def test_numbers_that_are_none_do_not_enter_the_statistics():
    """NaN and infinities are left out; of nothing there is no summary."""
    found = summarize([float("nan"), 1.0, float("inf"), 3.0])
    assert found is not None
    assert found[:3] == (1.0, 3.0, 2.0)
    assert summarize([float("nan")]) is None


def event(name: str) -> Event:
    return Event(name, 0, {}, Resource.get_empty())


@given(st.lists(st.tuples(st.sampled_from(Priority), st.integers(1, 40)), max_size=60))
def test_the_budget_sheds_the_lowest_class_and_the_newest_of_it(offers):
    """The budget holds; more important classes lose nothing to others; of each class a beginning survives."""
    buffer = Buffer(100)
    with buffer.changed:
        for number, (priority, size_bytes) in enumerate(offers):
            buffer.offer(priority, size_bytes, event(str(number)))
            assert buffer.size_bytes <= 100
        kept = {int(item.content.name) for item in buffer.take(list(Priority), 10_000)}
    assert len(kept) + sum(buffer.losses.values()) == len(offers)
    for priority in Priority:
        important = sum(size for p, size in offers if p <= priority)
        if important <= 100:
            assert {n for n, (p, _) in enumerate(offers) if p <= priority} <= kept


def test_what_is_put_back_comes_first_again():
    """Items whose delivery failed keep their place in front of newer ones."""
    buffer = Buffer(1000)
    with buffer.changed:
        for name in "abc":
            buffer.offer(Priority.STEP, 10, event(name))
        taken = buffer.take([Priority.STEP], 25)
        buffer.offer(Priority.STEP, 10, event("d"))
    buffer.put_back(taken)
    with buffer.changed:
        assert [item.content.name for item in buffer.take([Priority.STEP], 1000)] == ["a", "b", "c", "d"]
        assert buffer.open_count == 4


def test_a_deep_and_wide_value_is_cut_inside():
    """What does not fit is cut in its lists and strings, so the text stays JSON with its outer shape."""
    text = json_text({"items": [{"id": number, "text": "x" * 500} for number in range(10_000)], "n": 1}, 2048)
    found = json.loads(text)
    assert found["items"][0]["id"] == 0
    assert "more" in found["items"][-1]
