"""Spans to rows: what a span is, its fields, and every flag that a copy can carry."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest

from collector.extract.classify import Kind, kind_of, marks_of
from collector.extract.extraction import Extraction
from collector.extract.flags import MAX_FLAGS
from collector.extract.spans import extract_spans
from collector.extract.vocabulary import OURS
from collector.records import Resource, SpanRecord
from store.rows import Flag, StepCopy

NOW_NS = 1_790_000_000_000_000_000
TRACE, SPAN = b"T" * 16, b"S" * 8
HASH = -5
STEP = {"xray.span.kind": "step", "xray.run.id": "run-1"}


def record(attributes: Mapping[str, Any], **changes: Any) -> SpanRecord:
    """A span that ended just now."""
    fields: dict[str, Any] = {
        "trace_id": TRACE,
        "span_id": SPAN,
        "parent_span_id": b"",
        "name": "span name",
        "start_ns": NOW_NS - 2_000_000,
        "end_ns": NOW_NS - 1_000_000,
        "readings": OURS.read(attributes),
        "status_code": 0,
        "status_message": "",
        "dropped_attributes": 0,
        "resource": Resource({"service.name": "shop"}),
        "sent_hash": HASH,
    }
    return SpanRecord(**(fields | changes))


def extract(*records: SpanRecord) -> Extraction:
    """What these spans come to, received now."""
    extraction = Extraction(NOW_NS)
    extract_spans(records, extraction)
    return extraction


def step(attributes: Mapping[str, Any], **changes: Any) -> StepCopy:
    """The step that a span with these attributes is."""
    (copy,) = extract(record({**STEP, **attributes}, **changes)).steps
    return copy


@pytest.mark.parametrize(
    ("attributes", "kind"),
    [
        ({"xray.span.kind": "run"}, Kind.RUN),
        ({"xray.span.kind": "step"}, Kind.STEP),
        ({"xray.span.kind": "run", "xray.step.type": "filter"}, Kind.RUN),
        ({"xray.step.type": "filter"}, Kind.STEP),
        ({"xray.step.type": "filter", "xray.pipeline.name": "p"}, Kind.STEP),
        ({"xray.candidates.eliminated": 4}, Kind.STEP),
        ({"xray.pipeline.name": "p"}, Kind.RUN),
        ({"xray.run.id": "r", "xray.run.entity": "e"}, Kind.RUN),
        ({"xray.run.tag.market": "US"}, Kind.RUN),
        ({"xray.run.id": "r", "xray.pipeline.name": "p", "xray.step.id": "s"}, Kind.MEMBER),
        ({"xray.run.id": "r"}, Kind.MEMBER),
        ({"xray.span.kind": "nonsense", "xray.run.id": "r"}, Kind.MEMBER),
        ({"xray.metric.x": 1}, Kind.FOREIGN),
        ({"http.method": "GET", "note": "xray.run.id"}, Kind.FOREIGN),
    ],
)
def test_what_a_span_is(attributes: dict[str, Any], kind: Kind):
    """The table of the contract decides what a span is to us."""
    marks = 0
    for attribute in attributes:
        marks |= marks_of(attribute)
    assert kind_of(attributes.get("xray.span.kind"), marks) is kind
    extraction = extract(record(attributes))
    assert extraction.records == {kind.value: 1}
    assert (len(extraction.runs), len(extraction.steps)) == (kind is Kind.RUN, kind is Kind.STEP)


def test_a_step_with_everything():
    """Every attribute of a step lands in its field, typed, without a flag."""
    copy = step(
        {
            "xray.pipeline.name": "matching",
            "xray.pipeline.version": 3,
            "xray.step.id": "by-price",
            "xray.step.attempt": 2,
            "xray.step.index": 4,
            "xray.step.type": "filter",
            "xray.step.name": "filter by price",
            "xray.step.why": "too dear is no competitor",
            "xray.step.input": '{"reference": "P1"}',
            "xray.step.reasoning": {"max_price": 50},
            "xray.step.parents": ["search-1", "search-2"],
            "xray.step.top_k": 10,
            "xray.candidates.in": 100,
            "xray.candidates.out": 30.0,
            "xray.candidates.kept": 30,
            "xray.candidates.eliminated": 70,
            "xray.reasons.codes": ["price", "stock"],
            "xray.reasons.counts": [70, 0],
            "xray.score.min": 0,
            "xray.score.p90": 0.9,
            "xray.metric.recall": 1,
            "xray.fields.names": ["price", "type"],
            "xray.fields.missing": [0.0, 0.5],
            "xray.fields.mean": [12.5, math.nan],
            "xray.sources.names": ["index-1"],
            "xray.sources.counts": [400],
            "xray.selected.id": "P7",
            "xray.config.fingerprint": "abc",
            "xray.capture.level": "full",
            "xray.decisions.recorded": 100,
            "xray.decisions.chunks": 1,
            "gen_ai.request.model": "m",
            "gen_ai.request.temperature": 0.2,
            "nobody.knows": "this",
        },
        parent_span_id=b"P" * 8,
        dropped_attributes=3,
    )
    assert copy == StepCopy(
        run_id="run-1",
        step_id="by-price",
        attempt_key="2",
        terminal=True,
        name="filter by price",
        attempt=2,
        step_type="filter",
        status="ok",
        start_ns=NOW_NS - 2_000_000,
        end_ns=NOW_NS - 1_000_000,
        start_sent_ns=NOW_NS - 2_000_000,
        end_sent_ns=NOW_NS - 1_000_000,
        trace_id=TRACE,
        span_id=SPAN,
        parent_span_id=b"P" * 8,
        step_index=4,
        pipeline="matching",
        pipeline_version="3",
        service_name="shop",
        candidates_in=100,
        candidates_out=30,
        kept=30,
        eliminated=70,
        reason_codes=("price", "stock"),
        reason_counts=(70, 0),
        score=(0.0, None, None, None, None, None, 0.9),
        selected_id="P7",
        why="too dear is no competitor",
        metrics={"recall": 1.0},
        fields={
            "price": {"missing": 0.0, "mean": 12.5, "std": None, "p50": None},
            "type": {"missing": 0.5, "mean": None, "std": None, "p50": None},
        },
        sources={"index-1": 400},
        input={"reference": "P1"},
        reasoning={"max_price": 50},
        model="m",
        temperature=0.2,
        top_k=10,
        parents=("search-1", "search-2"),
        config_fingerprint="abc",
        capture_level="full",
        decisions_recorded=100,
        decisions_chunks=1,
        dropped_attributes=3,
        sent_hash=HASH,
    )


def test_identity_of_a_plain_span():
    """Without ids of ours the run is the trace, the step the span, and the span id stands for the attempt."""
    (copy,) = extract(record({"xray.step.type": "filter"})).steps
    assert (copy.run_id, copy.step_id, copy.attempt_key, copy.attempt, copy.name) == (
        TRACE.hex(),
        SPAN.hex(),
        SPAN.hex(),
        None,
        "span name",
    )


def test_resource_is_a_default():
    """A pipeline name on the resource holds where a span says none, and makes no span a run's."""
    resource = Resource({"xray.pipeline.name": "shared", "deployment.environment": "test"})
    extraction = extract(
        record({"xray.run.id": "r"}, resource=resource),
        record(STEP, resource=resource),
        record({**STEP, "xray.pipeline.name": "own"}, resource=resource),
    )
    assert not extraction.runs
    assert [(copy.pipeline, copy.environment) for copy in extraction.steps] == [
        ("shared", "test"),
        ("own", "test"),
    ]


FLAGGED = [
    ("xray.candidates.in", "12", "candidates_in", 12, "coerced"),
    ("xray.candidates.in", "many", "candidates_in", None, "wrong_type"),
    ("xray.candidates.in", 1.5, "candidates_in", None, "wrong_type"),
    ("xray.candidates.in", -1, "candidates_in", None, "negative"),
    ("xray.candidates.in", math.nan, "candidates_in", None, "not_finite"),
    ("xray.candidates.in", [1], "candidates_in", None, "wrong_type"),
    ("xray.candidates.in", True, "candidates_in", None, "wrong_type"),
    ("xray.metric.x", "0.5", "metrics", {"x": 0.5}, "coerced"),
    ("xray.metric.x", math.inf, "metrics", None, "not_finite"),
    ("xray.metric.x", "NaN", "metrics", None, "not_finite"),
    ("xray.metric.", 1.0, "metrics", None, "wrong_type"),
    ("xray.step.type", "magic", "step_type", "custom", "unknown_step_type"),
    ("xray.step.why", 7, "why", "7", "coerced"),
    ("xray.step.why", b"\x00", "why", None, "wrong_type"),
    ("xray.step.why", "a\0b", "why", "ab", "nul_removed"),
    ("xray.step.why", "a\ud800b", "why", "ab", "nul_removed"),
    ("xray.step.why", "ä" * 600_000, "why", "ä" * 1024, "truncated"),
    ("xray.step.name", "n" * 600, "name", "n" * 512, "truncated"),
    ("xray.step.input", '{"a": NaN}', "input", '{"a": NaN}', "not_finite"),
    ("xray.step.input", '{"a": "\\u0000b"}', "input", {"a": "b"}, "nul_removed"),
    ("xray.step.input", "plain words", "input", "plain words", "coerced"),
    ("xray.step.input", "[" * 65 + "]" * 65, "input", "[" * 65 + "]" * 65, "wrong_type"),
    ("xray.step.input", '"' + "x" * 20_000 + '"', "input", '"' + "x" * (16 * 1024 - 1), "truncated"),
    ("xray.step.input", {"a": math.nan}, "input", "{'a': nan}", "not_finite"),
    ("xray.capture.level", "everything", "capture_level", None, "wrong_type"),
    ("xray.step.attempt", "x", "attempt", None, "wrong_type"),
    ("xray.step.parents", "search-1", "parents", ("search-1",), "coerced"),
]


@pytest.mark.parametrize(("attribute", "sent", "field", "stored", "code"), FLAGGED)
def test_a_malformed_attribute_costs_itself_only(
    attribute: str, sent: Any, field: str, stored: Any, code: str
):
    """The step is there, its other fields are whole, and one flag says what was wrong with what."""
    copy = step({attribute: sent, "xray.candidates.out": 3})
    assert getattr(copy, field) == stored
    assert [(flag.code, flag.field) for flag in copy.flags] == [(code, attribute)]
    assert (copy.run_id, copy.candidates_out) == ("run-1", 3)
    assert len(str(copy.flags[0].sent)) <= 200


@pytest.mark.parametrize(
    ("word", "step_type"), [("ranking", "rank"), ("generate", "llm"), ("api", "custom"), ("Filter", "filter")]
)
def test_aliases_of_step_types(word: str, step_type: str):
    """A usual other word for a type is mapped without a flag, and the word is kept."""
    copy = step({"xray.step.type": word})
    assert (copy.step_type, copy.step_type_original, copy.flags) == (step_type, word, ())


def test_reasons_and_counts_of_different_lengths():
    """The pairs that there are make the histogram, and the rest is flagged."""
    copy = step({"xray.reasons.codes": ["a", "b", "c"], "xray.reasons.counts": [1, 2]})
    assert (copy.reason_codes, copy.reason_counts) == (("a", "b"), (1, 2))
    assert copy.flags == (Flag("reason_lengths_differ", "xray.reasons.codes", "3 codes, 2 counts"),)


@pytest.mark.parametrize("sent", ["has space", "", "x" * 129, 7, "nul\0", "line\n"])
def test_an_invalid_run_id_falls_back_to_the_trace(sent: Any):
    """The step belongs to the run of its trace, and the run is told why."""
    copy = step({"xray.run.id": sent})
    assert copy.run_id == TRACE.hex()
    assert [(flag.code, flag.field) for flag in copy.run_flags] == [("invalid_run_id", "xray.run.id")]


@pytest.mark.parametrize("sent", [1, 946_684_799 * 10**9, NOW_NS + 25 * 3600 * 10**9, (1 << 64) - 1])
def test_a_time_that_nobody_believes(sent: int):
    """A time out of range is left to the receipt time; what was sent orders copies and stands in the flag."""
    copy = step({}, end_ns=sent)
    assert (copy.end_ns, copy.end_sent_ns) == (None, min(sent, (1 << 63) - 1))
    assert [(flag.code, flag.field) for flag in copy.flags] == [("time_out_of_range", "end_time_unix_nano")]


def test_a_dropped_count_below_zero_is_none():
    """OTLP/JSON can say a negative count of dropped attributes, which says nothing."""
    assert step({}, dropped_attributes=-1).dropped_attributes is None


def test_flags_are_bounded():
    """A step of a thousand bad values bears so many flags that a reader sees the kind of trouble, no more."""
    copy = step({f"xray.metric.m{number}": "bad" for number in range(1000)})
    assert len(copy.flags) == MAX_FLAGS


def test_a_missing_time_is_left_to_the_store():
    """A time that was not sent is None and carries no flag: only the store knows that no copy has it."""
    copy = step({}, end_ns=0)
    assert (copy.end_ns, copy.end_sent_ns, copy.flags) == (None, None, ())


@pytest.mark.parametrize(
    "changes",
    [
        {"trace_id": b""},
        {"trace_id": b"T" * 24},
        {"trace_id": bytes(16)},
        {"span_id": bytes(8)},
        {"span_id": b"S"},
        {"parent_span_id": b"P"},
    ],
)
def test_bad_ids_are_refused_alone(changes: dict[str, Any]):
    """A span whose ids have a wrong length or are all zero is refused; the others are stored."""
    extraction = extract(record(STEP), record(STEP, **changes), record(STEP))
    assert len(extraction.steps) == 2
    assert [refusal.reason for refusal in extraction.refused] == ["bad_id"]


def test_a_refused_span_of_a_known_run_is_in_the_ledger():
    """What is refused of a run is a loss of the run; of a span whose run nobody can tell, of none."""
    step, run = {**STEP, "xray.step.id": "s"}, {"xray.span.kind": "run", "xray.run.id": "run-1"}
    extraction = extract(
        record(step, span_id=b""),
        record(run, trace_id=b"T"),
        record({"xray.span.kind": "step"}, trace_id=b""),
        record({"xray.span.kind": "step"}, trace_id=b"x"),
    )
    assert [refusal.reason for refusal in extraction.refused] == ["bad_id"] * 4
    *of_runs, of_nobody = extraction.batch(0).losses
    assert [loss[:5] for loss in of_runs] == [
        ("run-1", "refused", "steps", "s/1/end", 1),
        ("run-1", "refused", "runs", "/end", 1),
    ]
    assert (of_nobody.run_id, of_nobody.cause, of_nobody.what, of_nobody.lost) == (
        None,
        "refused",
        "steps",
        2,
    )
    assert of_nobody in extraction.batch(0).losses, "the same each time"


def test_long_step_ids_stay_apart():
    """Two step ids that agree in their first kilobyte are two steps, and a parent's id is cut alike."""
    one, other = ("x" * 2000 + end for end in "ab")
    first, second = step({"xray.step.id": one}), step({"xray.step.id": other, "xray.step.parents": [one]})
    assert first.step_id != second.step_id
    assert second.parents == (first.step_id,)
    assert len(first.step_id.encode()) <= 512


def test_a_run_span():
    """A run's span is a terminal copy of the run; the status sent overrides that of the span."""
    (run,) = extract(
        record(
            {
                "xray.pipeline.name": "matching",
                "xray.run.entity": "P1",
                "xray.run.tag.market": "US",
                "xray.run.tag.size": 5,
                "xray.run.input": '{"q": 1}',
                "xray.run.outcome": "matched",
                "xray.run.timeout_s": 60,
                "xray.run.status": "cancelled",
                "xray.schema.version": 2,
            },
            status_code=2,
            status_message="stopped by hand",
        )
    ).runs
    assert (run.run_id, run.terminal, run.status, run.error_message) == (
        TRACE.hex(),
        True,
        "cancelled",
        "stopped by hand",
    )
    assert (run.entity, run.tags, run.input, run.timeout_s) == (
        "P1",
        {"market": "US", "size": "5"},
        {"q": 1},
        60.0,
    )
    assert (run.outcome, run.schema_version) == ("matched", "2")
    assert [(flag.code, flag.field) for flag in run.flags] == [("coerced", "xray.run.tag.size")]


@pytest.mark.parametrize(("code", "status"), [(0, "completed"), (1, "completed"), (2, "crashed")])
def test_a_run_has_the_status_of_its_span(code: int, status: str):
    """An unset or ok span completed its run, an error crashed it."""
    (run,) = extract(record({"xray.span.kind": "run"}, status_code=code)).runs
    assert run.status == status
