"""Hypothesis strategies for copies of runs and steps that are likely to meet and to disagree."""

from __future__ import annotations

from zlib import crc32

from hypothesis import strategies as st

from store.rows import Batch, DecisionChunk, Flag, RunCopy, RunHeartbeat, RunWait, StepCopy

BASE_NS = 1_795_000_000_000_000_000
_RUN_IDS = ("run-a", "run-b")

# A few instants, some less than a microsecond apart: ties and rounding must happen.
times = st.none() | st.sampled_from([BASE_NS + n for n in (0, 1, 999, 1000, 5_000_000, 60_000_000_000)])
words = st.none() | st.sampled_from(["x", "y"])
counts = st.none() | st.integers(0, 5)
trace_ids = st.none() | st.sampled_from([bytes([n]) * 16 for n in range(1, 20)])
span_ids = st.none() | st.sampled_from([b"\x01" * 8, b"\x02" * 8])
flags = st.lists(
    st.builds(
        Flag,
        code=st.sampled_from(["coerced", "time_out_of_range"]),
        field=st.sampled_from(["start_time_unix_nano", "candidates_in"]),
        sent=st.sampled_from([None, 1, 1.5, True, "1", 1e22]),
    ),
    max_size=2,
).map(tuple)
json_values = st.sampled_from(
    [None, {"b": 1, "a": [1.5, None, True]}, [1e22, -3], "text", {"k": {"é": 2**60}}]
)
tags = st.none() | st.dictionaries(st.sampled_from(["k", "l"]), st.sampled_from(["1", "2"]), max_size=2)


@st.composite
def run_copies(draw) -> RunCopy:
    terminal = draw(st.booleans())
    start, end = draw(times), draw(times) if terminal else None
    return RunCopy(
        run_id=draw(st.sampled_from(_RUN_IDS)),
        terminal=terminal,
        status=draw(st.sampled_from(["completed", "crashed"])) if terminal else None,
        start_ns=start,
        end_ns=end,
        start_sent_ns=start,
        end_sent_ns=end,
        trace_id=draw(trace_ids),
        span_id=draw(span_ids),
        pipeline=draw(words),
        service_name=draw(words),
        entity=draw(words),
        tags=draw(tags),
        input=draw(json_values),
        output=draw(json_values),
        outcome=draw(words),
        timeout_s=draw(st.sampled_from([None, 5.0])),
        flags=draw(flags),
    )


@st.composite
def run_waits(draw) -> RunWait:
    return RunWait(
        run_id=draw(st.sampled_from(_RUN_IDS)),
        at_ns=draw(times.filter(lambda time: time is not None)),
        until_ns=draw(times),
        trace_id=draw(trace_ids),
    )


heartbeats = st.builds(RunHeartbeat, run_id=st.sampled_from(_RUN_IDS), trace_id=trace_ids, flags=flags)


@st.composite
def step_copies(draw) -> StepCopy:
    copy: StepCopy = draw(_step_copies())
    # The record as it was sent may have been hashed; equal records have equal hashes.
    return copy._replace(sent_hash=crc32(repr(copy).encode())) if draw(st.booleans()) else copy


@st.composite
def _step_copies(draw) -> StepCopy:
    terminal = draw(st.booleans())
    start, end = draw(times), draw(times) if terminal else None
    histogram = draw(st.sampled_from([None, (("a", "b"), (1, 0)), ((), ())]))
    return StepCopy(
        run_id=draw(st.sampled_from(_RUN_IDS)),
        step_id=draw(st.sampled_from(["s1", "s2"])),
        attempt_key="1",
        terminal=terminal,
        name=draw(st.sampled_from(["filter_by_price", "other", None])),
        attempt=draw(st.sampled_from([None, 1])),
        step_type=draw(st.sampled_from(["filter", "rank", "search", "llm", "custom", None])),
        step_type_original=draw(words),
        status=draw(st.sampled_from(["ok", "error", None])) if terminal else None,
        start_ns=start,
        end_ns=end,
        start_sent_ns=start,
        end_sent_ns=end,
        trace_id=draw(trace_ids),
        span_id=draw(span_ids),
        pipeline=draw(words),
        pipeline_version=draw(words),
        service_name=draw(words),
        candidates_in=draw(counts),
        candidates_out=draw(counts),
        kept=draw(counts),
        eliminated=draw(counts),
        selected=draw(counts),
        reason_codes=None if histogram is None else histogram[0],
        reason_counts=None if histogram is None else histogram[1],
        scored=draw(counts),
        model=draw(words),
        score=draw(st.sampled_from([None, (0.0, 1.0, 0.5, None, 0.1, 0.5, 0.9)])),
        metrics=draw(st.sampled_from([None, {"recall": 0.9}, {"n": 3}])),
        input=draw(json_values),
        reasoning=draw(json_values),
        parents=draw(st.sampled_from([None, (), ("s1",)])),
        inferred=draw(st.booleans()),
        flags=draw(flags),
        run_flags=draw(flags),
    )


chunks = st.builds(
    DecisionChunk,
    run_id=st.sampled_from(_RUN_IDS),
    step_id=st.sampled_from(["s1", "s2"]),
    attempt_key=st.just("1"),
    chunk_index=st.integers(0, 1),
    chunk_total=st.sampled_from([None, 2]),
    item_count=st.integers(0, 2),
    data=st.sampled_from([None, b"\x01a", b"\x01b"]),
    error=st.sampled_from([None, "no JSON"]),
)


@st.composite
def batches(draw, received_ns: int = BASE_NS) -> Batch:
    return Batch(
        received_ns,
        runs=draw(st.lists(run_copies(), max_size=3)),
        waits=draw(st.lists(run_waits(), max_size=2)),
        heartbeats=draw(st.lists(heartbeats, max_size=2)),
        steps=draw(st.lists(step_copies(), max_size=4)),
        decisions=draw(st.lists(chunks, max_size=3)),
    )
