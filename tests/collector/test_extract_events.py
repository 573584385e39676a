"""Log events to rows, by their name."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import orjson
import pytest

from collector.extract.events import extract_events
from collector.extract.extraction import Extraction, Limits
from collector.extract.vocabulary import OURS
from collector.records import LogRecord, Resource
from store.decisions import unpack
from store.losses import CAUSES, THINGS
from store.rows import Artifact, Flag, Loss, RunHeartbeat, RunWait
from xray_otel import semconv

NOW_NS = 1_790_000_000_000_000_000
AT_NS = NOW_NS - 5_000_000
TRACE, SPAN = b"T" * 16, b"S" * 8
RUN = {"xray.run.id": "run-1"}
STEP = {**RUN, "xray.step.id": "by-price", "xray.step.attempt": 1}
COLUMNS = {"v": 1, "n": 2, "item": ["a", "b"], "verdict": "KE", "reasons": ["dear"], "reason": [None, 0]}


def extract(
    name: str, attributes: Mapping[str, Any], limits: Limits | None = None, **changes: Any
) -> Extraction:
    """What one event comes to."""
    fields: dict[str, Any] = {
        "event_name": name,
        "time_ns": AT_NS,
        "trace_id": TRACE,
        "span_id": SPAN,
        "readings": OURS.read(attributes),
        "dropped_attributes": 0,
        "resource": Resource({"service.name": "shop"}),
        "sent_hash": 7,
    }
    extraction = Extraction(NOW_NS, limits or Limits())
    extract_events([LogRecord(**(fields | changes))], extraction)
    return extraction


def chunk(columns: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    """Attributes of a chunk of decisions."""
    data = orjson.dumps(columns).decode()
    attributes = {
        **STEP,
        "xray.decisions.data": data,
        "xray.chunk.index": 1,
        "xray.chunk.total": 2,
        "xray.chunk.count": columns.get("n"),
        "xray.chunk.checksum": f"{zlib.crc32(data.encode()):08x}",
    }
    return attributes | {f"xray.{name}": value for name, value in changes.items()}


def test_run_start():
    """A start event is a start copy of its run with the event's time."""
    (run,) = extract("xray.run.start", {**RUN, "xray.pipeline.name": "p", "xray.run.entity": "P1"}).runs
    assert (run.terminal, run.status, run.start_ns, run.end_ns) == (False, None, AT_NS, None)
    assert (run.pipeline, run.entity, run.service_name, run.trace_id) == ("p", "P1", "shop", TRACE)


@pytest.mark.parametrize(
    ("attributes", "status"),
    [
        ({}, "completed"),
        ({"error.type": "ValueError"}, "crashed"),
        ({"xray.run.status": "cancelled"}, "cancelled"),
    ],
)
def test_run_end(attributes: dict[str, Any], status: str):
    """An end event is a terminal copy of its run; its status is what it says, else follows the error."""
    (run,) = extract("xray.run.end", {**RUN, **attributes}).runs
    assert (run.terminal, run.status, run.end_ns, run.end_sent_ns) == (True, status, AT_NS, AT_NS)


def test_run_wait():
    """A wait event says since when and until when the run sleeps."""
    until = NOW_NS + 10**12
    sent = {**RUN, "xray.run.wait.until_unix_nano": until}
    assert extract("xray.run.wait", sent).waits == [RunWait("run-1", AT_NS, until, TRACE)]


@pytest.mark.parametrize(
    ("time_ns", "code", "sent"), [(0, "time_missing", None), (7, "time_out_of_range", 7)]
)
def test_a_wait_without_a_time(time_ns: int, code: str, sent: int | None):
    """A wait whose time cannot be believed is a flagged sign of life: its receipt must not order it."""
    extraction = extract("xray.run.wait", RUN, time_ns=time_ns)
    flag = Flag(code, "xray.run.wait.time_unix_nano", sent)
    assert not extraction.waits
    assert extraction.heartbeats == [RunHeartbeat("run-1", TRACE, (flag,))]


def test_the_end_of_a_wait_is_read_like_any_number():
    """A numeric text is taken and its run flagged; anything else leaves the wait without an end, flagged."""
    for sent, until, code in (("5", 5, "coerced"), ("soon", None, "wrong_type"), (-1, None, "negative")):
        extraction = extract("xray.run.wait", {**RUN, "xray.run.wait.until_unix_nano": sent})
        assert extraction.waits == [RunWait("run-1", AT_NS, until, TRACE)]
        assert [flag.code for flag in extraction.heartbeats[0].flags] == [code]
        assert extraction.flags() == {code: 1}


@pytest.mark.parametrize(
    ("name", "attributes"),
    [
        ("xray.run.wait", {}),
        ("xray.run.heartbeat", {}),
        ("xray.step.decisions", STEP),
        ("xray.artifact", {"xray.artifact.data": "x"}),
    ],
)
def test_an_event_without_flags_of_its_own_flags_its_run(name: str, attributes: dict[str, Any]):
    """An invalid run id is told to the run of the trace, also by events that have no flags themselves."""
    extraction = extract(name, {**attributes, "xray.run.id": "no good"})
    (heartbeat,) = extraction.heartbeats
    assert heartbeat.run_id == TRACE.hex()
    assert [flag.code for flag in heartbeat.flags] == ["invalid_run_id"]


def test_a_heartbeat():
    """A heartbeat is a sign of life of its run."""
    assert extract("xray.run.heartbeat", RUN).heartbeats == [RunHeartbeat("run-1", TRACE)]


def test_member_and_foreign_records():
    """A record that only bears the run id, and a foreign one, are counted and make no row."""
    for name, attributes, counted in (
        ("", RUN, "member"),
        ("http.request", {}, "foreign"),
    ):
        extraction = extract(name, attributes)
        assert extraction.is_empty()
        assert extraction.records == {counted: 1}
        assert not extraction.refused


def test_step_event():
    """A step whose span was sampled out is the same row as its span would have been."""
    (step,) = extract(
        "xray.step",
        {
            **STEP,
            "xray.step.type": "filter",
            "xray.step.name": "by price",
            "xray.candidates.in": 5,
            "xray.step.status": "error",
            "xray.step.start_unix_nano": AT_NS - 1_000,
            "xray.step.error_message": "no price",
        },
    ).steps
    assert (step.terminal, step.status, step.error_message) == (True, "error", "no price")
    assert (step.start_ns, step.end_ns) == (AT_NS - 1_000, AT_NS)
    assert (step.step_id, step.attempt_key, step.name, step.candidates_in) == ("by-price", "1", "by price", 5)
    assert (step.trace_id, step.span_id, step.flags) == (TRACE, SPAN, ())


def test_event_name_as_an_attribute():
    """Senders from before the field put the event's name into an attribute."""
    assert extract("", {**RUN, "event.name": "xray.run.start"}).runs


@pytest.mark.parametrize("name", ["xray.someday", "xray.of.the.future"])
def test_events_that_this_version_does_not_store(name: str):
    """An event of ours without a place to go is refused by name, never dropped in silence."""
    (refusal,) = extract(name, RUN).refused
    assert refusal.reason == "unsupported_event"
    assert name in refusal.message


def test_an_event_of_nobody():
    """An event with neither a valid run id nor a trace id is refused; a trace id of zeroes is none."""
    assert (
        extract("xray.run.start", {"xray.run.id": "no good"}, trace_id=bytes(16)).refused[0].reason
        == "no_run_id"
    )
    (run,) = extract("xray.run.start", {"xray.run.id": "no good"}).runs
    assert (run.run_id, run.flags[0].code) == (TRACE.hex(), "invalid_run_id")


def test_decisions():
    """A readable chunk is packed under its step's key with its place among the chunks."""
    (row,) = extract("xray.step.decisions", chunk(COLUMNS)).decisions
    assert row[:6] == ("run-1", "by-price", "1", 1, 2, 2)
    assert row.error is None
    assert row.data is not None
    assert list(unpack(row.data).item) == ["a", "b"]


@pytest.mark.parametrize(
    ("columns", "changes", "reason"),
    [
        (COLUMNS, {"chunk.checksum": "00000000"}, "checksum"),
        (COLUMNS, {"chunk.count": 3}, "xray.chunk.count is 3"),
        (COLUMNS, {"decisions.data": '{"v":1,', "chunk.checksum": None}, "not JSON"),
        (COLUMNS, {"decisions.data": 7}, "no text"),
        ({**COLUMNS, "v": 2}, {}, "version 2"),
    ],
)
def test_unreadable_decisions(columns: dict[str, Any], changes: dict[str, Any], reason: str):
    """A chunk that cannot be read is refused by name and leaves a mark from which its step is flagged."""
    extraction = extract("xray.step.decisions", chunk(columns, **changes))
    (row,) = extraction.decisions
    assert (row.step_id, row.chunk_index, row.data) == ("by-price", 1, None)
    assert reason in (row.error or "")
    assert [refusal.reason for refusal in extraction.refused] == ["decisions_unreadable"]


@pytest.mark.parametrize(("limit", "taken"), [(4, True), (3, False)])
def test_decisions_past_the_limit_of_a_step(limit: int, taken: bool):
    """A second chunk of two means four decisions: past the limit it is refused by the setting's name."""
    extraction = extract("xray.step.decisions", chunk(COLUMNS), Limits(max_decisions_per_step=limit))
    assert [bool(extraction.decisions), bool(extraction.refused)] == [taken, not taken]
    assert taken or f"XRAY_MAX_DECISIONS_PER_STEP={limit}" in extraction.refused[0].message


def test_artifacts():
    """An artifact is addressed by the hash of its payload, which is computed here."""
    sent = {
        **STEP,
        "xray.artifact.kind": "prompt",
        "xray.artifact.data": "Which one?",
        "xray.artifact.name": "n",
    }
    assert extract("xray.artifact", sent).artifacts == [
        Artifact(
            "run-1",
            "by-price",
            "1",
            "prompt",
            "text/plain",
            10,
            sha256(b"Which one?").digest(),
            b"Which one?",
            name="n",
        )
    ]


def test_an_artifact_behind_a_url():
    """An artifact that lies elsewhere keeps the size and hash that were sent."""
    digest = "ab" * 32
    sent = {**RUN, "xray.artifact.url": "s3://b/k", "xray.artifact.sha256": digest, "xray.artifact.size": 9}
    (artifact,) = extract("xray.artifact", sent).artifacts
    assert (artifact.step_id, artifact.url, artifact.sha256.hex(), artifact.size_bytes, artifact.data) == (
        None,
        "s3://b/k",
        digest,
        9,
        None,
    )


def test_an_artifact_whose_payload_stayed_with_the_sender():
    """A payload that was too large for the sender's own bound is described by its size and hash."""
    digest = sha256(b"elsewhere").hexdigest()
    sent = {**RUN, "xray.artifact.kind": "page", "xray.artifact.sha256": digest, "xray.artifact.size": 9}
    extraction = extract("xray.artifact", sent)
    assert [(a.kind, a.sha256.hex(), a.size_bytes, a.data, a.url) for a in extraction.artifacts] == [
        ("page", digest, 9, None, None)
    ]
    assert not extraction.refused


@pytest.mark.parametrize(
    "sent",
    [
        {},
        {"xray.artifact.data": 7},
        {"xray.artifact.data": "x" * 101},
        {"xray.artifact.data": "x", "xray.artifact.sha256": "ab" * 32},
        {"xray.artifact.data": "x", "xray.artifact.sha256": "short"},
        {"xray.artifact.url": "s3://b/k"},
    ],
)
def test_artifacts_that_are_refused(sent: dict[str, Any]):
    """No payload, too large a payload or a wrong hash refuses the artifact by name."""
    extraction = extract("xray.artifact", {**RUN, **sent}, Limits(max_artifact_bytes=100))
    assert not extraction.artifacts
    assert [refusal.reason for refusal in extraction.refused] == ["artifact"]


def losses(**changes: Any) -> dict[str, Any]:
    """Attributes of a report of losses."""
    attributes = {
        "xray.losses.report_id": "report-1",
        "xray.losses.causes": ["client_queue", "client_policy", "client_queue"],
        "xray.losses.what": ["decisions", "steps", "decisions"],
        "xray.losses.counts": [5000, 1, "7"],
    }
    return attributes | {f"xray.{name}": value for name, value in changes.items()}


def test_losses_of_a_run():
    """A report is one loss per cause and kind, under the report's id; doubled entries add up."""
    extraction = extract("xray.losses", {**RUN, **losses()})
    assert extraction.losses == [
        Loss("run-1", "client_queue", "decisions", "report-1", 5007, service_name="shop"),
        Loss("run-1", "client_policy", "steps", "report-1", 1, service_name="shop"),
    ]
    assert (extraction.refused, extraction.runs, extraction.heartbeats) == ([], [], [])


def test_losses_of_no_run():
    """A report that names no run, or none that can be one, belongs to none: not to the trace around it."""
    for run_id in ({}, {"xray.run.id": "no good"}):
        assert {loss.run_id for loss in extract("xray.losses", {**run_id, **losses()}).losses} == {None}


def test_losses_without_an_id_are_known_by_what_they_say():
    """The same report twice is the same loss; another time, run or count makes another one."""
    anonymous = losses(**{"losses.report_id": None})
    (same,) = {loss.subject for _ in range(2) for loss in extract("xray.losses", anonymous).losses}
    others = [
        extract("xray.losses", {**RUN, **anonymous}),
        extract("xray.losses", anonymous, time_ns=AT_NS + 1),
        extract("xray.losses", {**anonymous, "xray.losses.counts": [1, 1, 1]}),
    ]
    assert len({same, *(loss.subject for other in others for loss in other.losses)}) == 4


@pytest.mark.parametrize(
    "odd",
    [
        {"losses.causes": ["client_queue", "shed", "client_queue"]},
        {"losses.causes": ["client_queue", ["client_policy"], "client_queue"]},
        {"losses.what": ["decisions", "everything", "decisions"]},
        {"losses.counts": [5000, -1, 7]},
        {"losses.counts": [5000, None, 7]},
    ],
)
def test_an_entry_that_cannot_be_understood_takes_no_other_with_it(odd: dict[str, Any]):
    """Words that are the server's own, unknown words and counts that are none are refused, once a report."""
    extraction = extract("xray.losses", {**RUN, **losses(**odd)})
    (refusal,) = extraction.refused
    assert (refusal.reason, "entry 1" in refusal.message) == ("losses", True)
    assert [loss.lost for loss in extraction.losses] == [5007]


@pytest.mark.parametrize("odd", [{"losses.counts": [5000]}, {"losses.what": 3}, {"losses.causes": []}])
def test_arrays_of_losses_that_are_not_parallel(odd: dict[str, Any]):
    """What pairs up is taken, and the sender is told of the rest."""
    extraction = extract("xray.losses", {**RUN, **losses(**odd)})
    assert "parallel" in extraction.refused[0].message
    assert [loss.lost for loss in extraction.losses] == ([5000] if "losses.counts" in odd else [])


def test_the_words_of_losses_are_those_of_the_store():
    """The store cannot import the conventions, so its words are compared with theirs here."""
    assert set(CAUSES) == semconv.LOSS_CAUSES
    assert set(THINGS) == semconv.LOST_THINGS


def test_what_is_refused_of_a_known_run_is_in_the_ledger():
    """Over a limit or unreadable: the batch that says so to the sender says so to the run."""
    small = Limits(max_decisions_per_step=3, max_artifact_bytes=3)
    broken = chunk(COLUMNS, **{"decisions.data": "{", "chunk.checksum": None})
    nobody = {name: value for name, value in broken.items() if name != "xray.step.id"}
    artifact = {**RUN, "xray.artifact.data": "long"}
    for name, attributes, limits, expected in (
        (
            "xray.step.decisions",
            chunk(COLUMNS),
            small,
            Loss("run-1", "over_limit", "decisions", "by-price/1/1", 2, "by-price", "1"),
        ),
        (
            "xray.step.decisions",
            broken,
            None,
            Loss("run-1", "refused", "decisions", "by-price/1/1", 2, "by-price", "1"),
        ),
        ("xray.artifact", artifact, small, Loss("run-1", "over_limit", "artifacts", "", 1)),
        (
            "xray.artifact",
            {**artifact, "xray.artifact.sha256": "ab" * 32},
            None,
            Loss("run-1", "refused", "artifacts", "", 1),
        ),
    ):
        extraction = extract(name, attributes, limits)
        (loss,) = extraction.batch(0).losses
        assert loss == (expected if expected.subject else expected._replace(subject=loss.subject))
        assert len(extraction.refused) == 1
    (loss,) = extract("xray.step.decisions", nobody, span_id=b"").losses
    assert (loss.run_id, loss.cause, loss.what, loss.lost) == ("run-1", "refused", "decisions", 2)
    (loss,) = extract("xray.step", RUN, span_id=b"").losses
    assert (loss.run_id, loss.cause, loss.what, loss.lost) == ("run-1", "refused", "steps", 1)
