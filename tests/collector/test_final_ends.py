"""Of the ends of a run: a final one before others, the first of those; else the last (decision 0030)."""

from __future__ import annotations

from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.extract.extraction import Extraction
from collector.extract.spans import extract_spans
from collector.extract.vocabulary import OURS
from collector.records import Resource, SpanRecord
from store.merge import RunState, merge_runs, run_state
from store.rows import FINAL_END
from xray_otel import semconv

NOW_NS = 1_790_000_000_000_000_000
ENDS = st.lists(
    st.tuples(st.integers(1, 50), st.booleans()), min_size=1, max_size=8, unique_by=lambda end: end[0]
)
"""(milliseconds ago, whether it is final)."""


def received(milliseconds_ago: int, is_final: bool, ended_ns: int | None = None) -> RunState:
    """What the span of an end comes to; ended_ns: another end than that many milliseconds ago."""
    said = {semconv.SPAN_KIND: "run", semconv.RUN_ID: "run-1"} | (
        {semconv.RUN_FINAL: True} if is_final else {}
    )
    end_ns = ended_ns or NOW_NS - milliseconds_ago * 1_000_000
    span = SpanRecord(
        trace_id=b"T" * 16,
        span_id=b"S" * 8,
        parent_span_id=b"",
        name="run",
        start_ns=NOW_NS - 10**9,
        end_ns=end_ns,
        readings=OURS.read(said),
        status_code=0,
        status_message="",
        dropped_attributes=0,
        resource=Resource({}),
        sent_hash=milliseconds_ago,
    )
    extraction = Extraction(NOW_NS)
    extract_spans([span], extraction)
    [copy] = extraction.runs
    return run_state(copy, NOW_NS // 1000)


@given(ENDS, st.randoms(use_true_random=False))
def test_which_end_holds(ends, chance):
    """In whatever order they come, and however often."""
    twice = ends * 2
    chance.shuffle(twice)
    merged = reduce(merge_runs, (received(*end) for end in twice))
    assert merged.terminal is not None
    final = [ago for ago, is_final in ends if is_final]
    expected = max(final) if final else min(ago for ago, _ in ends)
    assert merged.terminal.copy.end_ns == NOW_NS - expected * 1_000_000


@pytest.mark.parametrize("ended_ns", [2**62, 2**63 - 1, 2**64 - 1])
def test_no_other_end_comes_after_a_final_one(ended_ns):
    """An end that claims to be centuries away does not hold, nor does it count as final."""
    absurd = received(1, False, ended_ns)
    assert absurd.terminal is not None
    place = absurd.terminal.copy.end_sent_ns
    assert place is not None
    assert place < FINAL_END
    merged = merge_runs(absurd, received(2, True))
    assert merged.terminal is not None
    assert merged.terminal.copy.end_ns == NOW_NS - 2_000_000
