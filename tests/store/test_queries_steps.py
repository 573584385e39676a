"""What is derived when read: order and numbers of steps, the funnel of a run, completeness, the journey."""

from __future__ import annotations

import random
from typing import Any

import pytest

from store.queries.filters import PageRequest, parse
from store.queries.types import Missing, RunRecord, StepRecord
from store.queries.vocabulary import STEPS
from store.reader import Reader
from store.rows import Artifact, DecisionChunk, Flag
from tests.fixtures.reading import Shelf, chunk, run_copy, run_start, step_copy

FULL: dict[str, Any] = {"capture_level": "full"}


def _steps(reader: Reader) -> list[StepRecord]:
    detail = reader.run_detail("r")
    assert detail is not None
    return list(detail.steps)


def _run(reader: Reader) -> RunRecord:
    run = reader.run("r")
    assert run is not None
    return run


def test_order_as_sent(shelf: Shelf, reader: Reader) -> None:
    """When every step says its index, that is the order, whatever the starts."""
    shelf.put(*(step_copy("r", name, at, step_index=index) for name, at, index in [("a", 1, 7), ("b", 2, 3)]))
    assert [(step.step_id, step.index) for step in _steps(reader)] == [("b", 3), ("a", 7)]


def test_order_by_start(shelf: Shelf, reader: Reader) -> None:
    """When one step does not say its index, all are ordered by start and numbered from 0."""
    shelf.put(step_copy("r", "late", 2, step_index=0), step_copy("r", "early", 1))
    assert [(step.step_id, step.index) for step in _steps(reader)] == [("early", 0), ("late", 1)]


def test_order_of_equal_starts(shelf: Shelf, reader: Reader) -> None:
    """Steps that a coarse clock started at once are ordered by end, a running one last; in pages too."""
    millisecond = 1_000_000
    for name, took in [("a", 3), ("c", 1), ("b", 2)]:
        start = step_copy("r", name).start_ns
        assert start is not None
        shelf.put(step_copy("r", name, end_ns=start + took * millisecond))
    shelf.put(step_copy("r", "0", terminal=False, status=None, end_ns=None))
    assert [step.step_id for step in _steps(reader)] == ["c", "b", "a", "0"]
    paged: list[str] = []
    cursor = None
    while not paged or cursor is not None:
        page = reader.run_steps("r", PageRequest(1, cursor))
        assert page is not None
        paged += [step.step_id for step in page.items]
        cursor = page.next_cursor
    assert paged == ["c", "b", "a", "0"]


def test_attempts_not_sent_are_numbered_by_start(shelf: Shelf, reader: Reader) -> None:
    """Attempts keyed by span id count from 1 in the order they began; one that was sent keeps its number."""
    for key, at in [("ffffffffffffffff", 1), ("0000000000000001", 3), ("aaaaaaaaaaaaaaaa", 2)]:
        shelf.put(step_copy("r", "s", at, attempt_key=key, attempt=None))
    shelf.put(step_copy("r", "other", 9, attempt_key="4", attempt=4))
    seen = [(step.attempt_key[0], step.attempt) for step in _steps(reader)]
    assert seen == [("f", 1), ("a", 2), ("0", 3), ("4", 4)]


def test_lists_number_steps_as_their_run_does(shelf: Shelf, reader: Reader) -> None:
    """Index and attempt in /steps are those of the run, whatever the filters leave out."""
    shelf.put(*(step_copy("r", f"s{i}", i, step_type="rank" if i % 2 else "filter") for i in range(6)))
    shelf.put(step_copy("r", "s5", 9, attempt_key="ab" * 8, attempt=None))
    of_run = {(step.step_id, step.attempt_key): step for step in _steps(reader)}
    found = reader.steps(*parse(STEPS, [("step_type", "rank")])).items
    assert len(found) == 3
    assert all(step == of_run[step.step_id, step.attempt_key] for step in found)
    second = reader.steps(*parse(STEPS, [("attempt_gt", "1")])).items
    assert [(step.step_id, step.attempt, step.index) for step in second] == [("s5", 2, 6)]


@pytest.mark.parametrize(
    ("counts", "funnel"),
    [
        ([(None, 5000), (5000, 30), (30, 1)], (5000, 1, 4999 / 5000)),
        ([(None, None), (100, 40), (None, None)], (100, 40, 0.6)),
        ([(0, 0)], (0, 0, None)),
        ([(10, 20)], (10, 20, None)),
        ([(10, None)], (10, None, None)),
        ([], (None, None, None)),
    ],
)
def test_funnel_of_a_run(shelf: Shelf, reader: Reader, counts: list, funnel: tuple) -> None:
    """In is what the first step with counts took (a source: gave), out is what the last one gave."""
    shelf.put(run_copy("r"))
    for i, (entering, leaving) in enumerate(counts):
        shelf.put(step_copy("r", f"s{i}", i, candidates_in=entering, candidates_out=leaving))
    run = _run(reader)
    assert (run.candidates_in, run.candidates_out, run.drop_ratio) == funnel
    assert run.steps_count == len(counts)


def test_what_was_sent_is_what_is_shown(shelf: Shelf, reader: Reader) -> None:
    """Values of a step come back as they were sent, absent ones as null or empty."""
    shelf.put(
        step_copy(
            "r",
            "s",
            step_type="rank",
            step_type_original="ranking",
            candidates_in=10,
            candidates_out=3,
            kept=3,
            reason_codes=("b", "a", "never"),
            reason_counts=(5, 2, 0),
            score=(0.0, 1.0, 0.5, None, 0.1, 0.5, 0.9),
            metrics={"recall": 0.9},
            fields={"price": {"missing": 0.5, "mean": None, "std": None, "p50": None}},
            sources={"i": 10},
            input={"q": [1, {"x": None}]},
            output=["cut"],
            reasoning="text that was cut",
            parents=("p",),
            why="ünï",
            span_id=b"\x01" * 8,
            trace_id=b"\x02" * 16,
            flags=(Flag("coerced", "xray.candidates.in", "10"),),
        )
    )
    (step,) = _steps(reader)
    assert step.drop_ratio == 0.7
    assert step.counts.kept == 3
    assert step.counts.eliminated is None
    assert list(step.reasons.items()) == [("b", 5), ("a", 2), ("never", 0)]
    assert (step.score.min, step.score.std, step.score.p90) == (0.0, None, 0.9)
    assert (step.metrics, step.sources, step.fields["price"]["missing"]) == ({"recall": 0.9}, {"i": 10}, 0.5)
    assert (step.input, step.output, step.reasoning) == (
        {"q": [1, {"x": None}]},
        ["cut"],
        "text that was cut",
    )
    assert (step.span_id, step.trace_id) == ("01" * 8, "02" * 16)
    assert (step.parents, step.why, step.model, step.temperature) == (["p"], "ünï", None, None)
    assert next((flag.code, flag.field, flag.sent) for flag in step.flags) == (
        "coerced",
        "xray.candidates.in",
        "10",
    )


def test_full_evidence(shelf: Shelf, reader: Reader) -> None:
    """All chunks there and every candidate named: full, nothing missing, run complete."""
    shelf.put(
        run_copy("r"),
        step_copy("r", "s", candidates_in=3, decisions_recorded=3, decisions_chunks=2, **FULL),
        chunk("r", "s", ["a", "b"], "KE", index=0, total=2),
        chunk("r", "s", ["c"], "K", index=1, total=2),
    )
    (step,) = _steps(reader)
    assert (step.completeness.evidence, step.completeness.decisions_stored) == ("full", 3)
    assert not step.completeness.missing
    run = _run(reader)
    assert (run.completeness.state, run.completeness.evidence) == ("complete", "full")
    assert reader.runs().completeness.state == "exact"


def test_missing_chunks_are_counted(shelf: Shelf, reader: Reader) -> None:
    """Chunks that did not arrive are counted and flagged, until they do."""
    shelf.put(
        run_copy("r"),
        step_copy("r", "s", candidates_in=3, decisions_recorded=3, decisions_chunks=3, **FULL),
        chunk("r", "s", ["b"], "E", index=1, total=3),
    )
    (step,) = _steps(reader)
    assert step.completeness.evidence == "partial"
    assert step.completeness.missing == [Missing("chunk_missing", "chunks", 2)]
    assert "decisions_missing" in [flag.code for flag in step.flags]
    run = _run(reader)
    missing = [Missing("chunk_missing", "chunks", 2)]
    assert (run.completeness.state, run.completeness.missing) == ("partial", missing)
    listed = reader.runs().completeness
    assert (listed.state, listed.partial) == ("partial", 1)
    shelf.put(chunk("r", "s", ["a"], "K", index=0, total=3), chunk("r", "s", ["c"], "K", index=2, total=3))
    (step,) = _steps(reader)
    assert (step.completeness.evidence, step.completeness.missing) == ("full", [])
    assert "decisions_missing" not in [flag.code for flag in step.flags]


def test_recorded_decisions_of_which_none_came(shelf: Shelf, reader: Reader) -> None:
    """Without any chunk nobody knows how many there were: at least one is missing."""
    shelf.put(run_copy("r"), step_copy("r", "s", candidates_in=3, decisions_recorded=3, **FULL))
    (step,) = _steps(reader)
    assert step.completeness.missing == [Missing("chunk_missing", "chunks", 1)]


def test_unreadable_chunks_are_counted(shelf: Shelf, reader: Reader) -> None:
    """A chunk that could not be read counts as unreadable, not as missing, and says why."""
    shelf.put(
        run_copy("r"),
        step_copy("r", "s", candidates_in=1, decisions_recorded=1, decisions_chunks=1, **FULL),
        DecisionChunk("r", "s", "1", 0, 1, 0, None, "no JSON"),
    )
    (step,) = _steps(reader)
    assert step.completeness.missing == [Missing("unreadable", "chunks", 1)]
    assert [(f.code, f.sent) for f in step.flags if f.code.startswith("decisions")] == [
        ("decisions_unreadable", "no JSON")
    ]


@pytest.mark.parametrize(
    ("values", "items", "evidence"),
    [
        ({"capture_level": "metrics_only", "candidates_in": 9}, "", "none"),
        ({"capture_level": "sampled", "candidates_in": 9, "decisions_recorded": 2}, "ab", "sampled"),
        ({"capture_level": "full", "candidates_in": 9, "decisions_recorded": 2}, "ab", "partial"),
        ({"candidates_in": 2}, "ab", "full"),
        ({"candidates_out": 2}, "ab", "full"),
        ({}, "ab", "full"),
    ],
)
def test_grades_of_evidence(shelf: Shelf, reader: Reader, values: dict, items: str, evidence: str) -> None:
    """Evidence is full only when every candidate is named; a declared sample is a sample."""
    shelf.put(run_copy("r"), step_copy("r", "s", **values))
    if items:
        shelf.put(chunk("r", "s", list(items), "K" * len(items)))
    (step,) = _steps(reader)
    assert step.completeness.evidence == evidence
    assert _run(reader).completeness.evidence == evidence


def test_running_steps_are_not_exact(shelf: Shelf, reader: Reader) -> None:
    """A step that has only begun is running, and lists say how many such rows they show."""
    begun = step_copy("r", "s", terminal=False, status=None, end_ns=None)
    shelf.put(run_start("r"), begun, step_copy("r", "t", 1))
    first, second = _steps(reader)
    assert (first.status, first.completeness.metrics, first.ended_at) == ("running", "running", None)
    assert second.completeness.metrics == "exact"
    assert reader.steps().completeness.running == 1
    assert reader.step_metrics().completeness.running == 1
    assert reader.runs().completeness.running == 1


def test_equal_starts_follow_the_candidates(shelf: Shelf, reader: Reader) -> None:
    """Of steps that a coarse clock started at once, the source is first, then whoever took more in."""
    start = step_copy("r", "any").start_ns
    assert start is not None
    told = [("filter", 1, 200, 19), ("rank", 2, 19, 3), ("search", 3, None, 200)]
    for name, took_ms, went_in, came_out in told:
        ended = start + took_ms * 1_000_000
        shelf.put(step_copy("r", name, end_ns=ended, candidates_in=went_in, candidates_out=came_out))
    assert [step.step_id for step in _steps(reader)] == ["search", "filter", "rank"]


def test_journey_of_an_item(shelf: Shelf, reader: Reader) -> None:
    """An item is followed through all steps; where it is not named, full evidence says absent."""
    shelf.put(
        run_copy("r"),
        step_copy("r", "search", 0, candidates_out=9),
        step_copy("r", "filter", 1, candidates_in=2, **FULL),
        chunk("r", "filter", ["x", "y"], "KE", score=[0.5, None], value=[1, None], missing=[1], threshold=5),
        step_copy("r", "other", 2, candidates_in=1, **FULL),
        chunk("r", "other", ["z"], "K"),
        step_copy("r", "select", 3, capture_level="sampled", candidates_in=9),
        chunk("r", "select", ["x", "x"], "NW", reasons=["far", "best"], reason=[0, 1], probability=0.5),
    )
    journey = reader.journey("r", "x")
    assert journey is not None
    assert [(s.step.step_id, s.presence) for s in journey.steps] == [
        ("search", "unknown"),
        ("filter", "recorded"),
        ("other", "absent"),
        ("select", "recorded"),
    ]
    assert [d.verdict for d in journey.steps[3].decisions] == ["not_selected", "selected"]
    assert [s.probability for s in journey.steps] == [None, None, None, None]
    assert (journey.final_verdict, journey.final_step_id) == ("selected", "select")
    lost = reader.journey("r", "y")
    assert lost is not None
    assert (lost.final_verdict, lost.final_step_id) == ("eliminated", "filter")
    assert lost.steps[1].decisions[0].value_missing
    assert (lost.steps[3].presence, lost.steps[3].probability) == ("unknown", 0.5)
    assert reader.journey("r", "unheard of") is None
    assert reader.journey("unheard of", "x") is None


def test_decisions_that_arrive_before_their_step(shelf: Shelf, reader: Reader) -> None:
    """Decisions whose step has not arrived can be read, and count as incomplete."""
    shelf.put(chunk("r", "s", ["a"], "K", attempt_key="ab" * 8))
    page = reader.decisions("r", "s")
    assert page is not None
    assert [(d.item_id, d.attempt) for d in page.items] == [("a", None)]
    assert page.completeness.evidence == "partial"
    assert reader.decisions("r", "t") is None


def test_artifacts_of_a_step(shelf: Shelf, reader: Reader) -> None:
    """A step lists its artifacts, and their ids give the bytes."""
    shelf.put(
        run_copy("r"),
        step_copy("r", "s"),
        step_copy("r", "t"),
        Artifact("r", "s", "1", "prompt", "text/plain", 5, b"\x01" * 32, b"hello", name="p"),
        Artifact("r", "s", None, "page", "text/html", 9, b"\x02" * 32, url="https://store.example/x"),
    )
    found = {step.step_id: step.artifacts for step in _steps(reader)}
    assert [(a.kind, a.name, a.size_bytes, a.url) for a in found["s"]] == [
        ("page", None, 9, "https://store.example/x"),
        ("prompt", "p", 5, None),
    ]
    assert found["t"] == []
    prompt = reader.artifact(found["s"][1].artifact_id)
    assert prompt is not None
    assert (prompt.data, prompt.record) == (b"hello", found["s"][1])
    elsewhere = reader.artifact(found["s"][0].artifact_id)
    assert elsewhere is not None
    assert elsewhere.data is None
    for unknown in ("", "zz", "0" * 64, "é" * 64):
        assert reader.artifact(unknown) is None


def test_percentiles_are_exact(shelf: Shelf, reader: Reader) -> None:
    """Metrics are what the definition of the continuous percentile gives over the same steps."""
    draw = random.Random(11)
    for run in range(30):
        entering = draw.randrange(1, 100)
        leaving = draw.randrange(entering + 1)
        shelf.put(step_copy(f"r{run}", "s", run, candidates_in=entering, candidates_out=leaving))
    ratios = sorted(step.drop_ratio for step in reader.steps().items if step.drop_ratio is not None)
    (metrics,) = reader.step_metrics().items

    def percentile(fraction: float) -> float:
        place = fraction * (len(ratios) - 1)
        below = int(place)
        above = min(below + 1, len(ratios) - 1)
        return ratios[below] + (place - below) * (ratios[above] - ratios[below])

    seen = metrics.drop_ratio
    assert (metrics.steps, metrics.errors) == (30, 0)
    assert seen.mean == pytest.approx(sum(ratios) / len(ratios))
    assert (seen.p50, seen.p90, seen.p95, seen.p99) == pytest.approx(
        [percentile(f) for f in (0.5, 0.9, 0.95, 0.99)]
    )
