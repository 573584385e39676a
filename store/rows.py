"""
What the store takes in: the copies of runs, steps and evidence as they were sent.

A *copy* is one delivery's claim about a run or a step, typed and bounded but not yet
merged. The store keeps, per key, a winner among the copies (see ``store/merge.py``) and
derives from it whatever can be derived: drop ratio, duration, flags about missing values.
So a copy never carries a derived value, and the order in which copies arrive cannot show.

Times are integers of nanoseconds since the Unix epoch. ``*_ns`` is None when the sent
time was absent or out of range; ``*_sent_ns`` is what was sent, clamped to a signed
64-bit integer, and decides between copies: receipt times never do.

NamedTuples, not dataclasses: a step has some 40 fields, and a frozen dataclass pays
``object.__setattr__`` for each of them on the hot path of the collector.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple


class Flag(NamedTuple):
    """One thing that was wrong with what was sent; the row is stored all the same."""

    code: str
    """A word of the vocabulary in ``docs/glossary.md`` (``wrong_type``, ``truncated`` …)."""
    field: str
    """The attribute or field it concerns, by its name on the wire or in the JSON doors."""
    sent: str | int | float | bool | None = None
    """What was sent, cut to 200 characters; None when there is nothing to show."""


FINAL_END = 1 << 62
"""
From here on ``RunCopy.end_sent_ns`` is the place of an end that its sender calls final (decision 0030).

As a time it would be in the year 2116; the receivers let no other end be so late.
"""


class RunCopy(NamedTuple):
    """
    One claim about a run: its start event, its span, or its end event.

    ``terminal`` copies carry the status. Of several terminal copies the one that ended
    last wins; of several start copies the one that started first fills what the terminal
    copy left null. The order is (sent time, span id, content hash).
    """

    run_id: str
    terminal: bool
    status: str | None = None
    """completed, crashed or cancelled on a terminal copy; None on a start copy."""
    start_ns: int | None = None
    end_ns: int | None = None
    start_sent_ns: int | None = None
    end_sent_ns: int | None = None
    trace_id: bytes | None = None
    """16 bytes, or None (JSON doors)."""
    span_id: bytes | None = None
    """8 bytes, or None (events, JSON doors)."""
    pipeline: str | None = None
    pipeline_version: str | None = None
    service_name: str | None = None
    environment: str | None = None
    entity: str | None = None
    tags: Mapping[str, str] | None = None
    input: Any = None
    """Parsed JSON, bounded; a text that was cut stays a string and is flagged."""
    output: Any = None
    outcome: str | None = None
    outcome_reason: str | None = None
    error_type: str | None = None
    error_message: str | None = None
    schema_id: str | None = None
    schema_version: str | None = None
    capture_level: str | None = None
    timeout_s: float | None = None
    flags: tuple[Flag, ...] = ()
    sent_hash: int | None = None
    """
    Signed 64-bit hash of the record as it was sent, with its resource; stands for the copy in the
    order of copies. None: the store takes the hash of the fields (``store/copies.py``).
    """


class RunWait(NamedTuple):
    """``xray.run.wait``: the run sleeps. Of several, the latest (at, until) holds."""

    run_id: str
    at_ns: int
    until_ns: int | None = None
    trace_id: bytes | None = None


class RunHeartbeat(NamedTuple):
    """``xray.run.heartbeat``: the run is alive. Says nothing else, but what was wrong with an event."""

    run_id: str
    trace_id: bytes | None = None
    flags: tuple[Flag, ...] = ()


class StepCopy(NamedTuple):
    """
    One claim about a step: its span or ``xray.step`` event (terminal), or a start.

    Key: (run_id, step_id, attempt_key). Of several terminal copies the one that ended
    first wins; of several start copies the smallest (start, hash) fills what the terminal
    copy left null.
    """

    run_id: str
    step_id: str
    attempt_key: str
    """Decimal attempt when it was sent, else the span id in hex (``contract``: Step key)."""
    terminal: bool
    name: str | None = None
    """None when this copy does not say; the step id stands in while no copy does."""
    attempt: int | None = None
    step_type: str | None = None
    """A word of the closed vocabulary; None when this copy does not say: custom while no copy does."""
    step_type_original: str | None = None
    """The sent word when it was an alias or unknown."""
    status: str | None = None
    """ok or error on a terminal copy; None on a start copy (shown as running)."""
    start_ns: int | None = None
    end_ns: int | None = None
    start_sent_ns: int | None = None
    end_sent_ns: int | None = None
    trace_id: bytes | None = None
    span_id: bytes | None = None
    parent_span_id: bytes | None = None
    step_index: int | None = None
    pipeline: str | None = None
    pipeline_version: str | None = None
    service_name: str | None = None
    environment: str | None = None
    candidates_in: int | None = None
    candidates_out: int | None = None
    kept: int | None = None
    eliminated: int | None = None
    scored: int | None = None
    selected: int | None = None
    not_selected: int | None = None
    deferred: int | None = None
    merged: int | None = None
    reason_codes: tuple[str, ...] | None = None
    reason_counts: tuple[int, ...] | None = None
    score: tuple[float | None, ...] | None = None
    """min, max, mean, std, p10, p50, p90, in this order."""
    selected_id: str | None = None
    why: str | None = None
    metrics: Mapping[str, float] | None = None
    fields: Mapping[str, Mapping[str, float | None]] | None = None
    """Field name to ``{missing, mean, std, p50}`` of the items as they leave the step."""
    sources: Mapping[str, int] | None = None
    input: Any = None
    output: Any = None
    reasoning: Any = None
    model: str | None = None
    temperature: float | None = None
    top_k: int | None = None
    parents: tuple[str, ...] | None = None
    config_fingerprint: str | None = None
    capture_level: str | None = None
    decisions_recorded: int | None = None
    decisions_chunks: int | None = None
    error_type: str | None = None
    error_message: str | None = None
    inferred: bool = False
    dropped_attributes: int | None = None
    """Attributes that the sender's own limit removed before sending (OTLP)."""
    flags: tuple[Flag, ...] = ()
    run_flags: tuple[Flag, ...] = ()
    """What this step says is wrong with its run (``invalid_run_id``)."""
    sent_hash: int | None = None
    """As for ``RunCopy``."""


class DecisionChunk(NamedTuple):
    """One chunk of a step's decisions, already packed (``store/decisions.py``)."""

    run_id: str
    step_id: str
    attempt_key: str
    chunk_index: int
    chunk_total: int | None
    item_count: int
    data: bytes | None
    """Packed columns; None when the payload could not be read (the step is flagged)."""
    error: str | None = None
    """Why the payload could not be read, in words for the step's flag."""
    item_filter: bytes | None = None
    """Which items ``data`` names (``store/item_filter.py``); None: it is opened to find out."""


class Artifact(NamedTuple):
    """A bulky payload of a step or run, content-addressed by its SHA-256."""

    run_id: str
    step_id: str | None
    attempt_key: str | None
    kind: str
    content_type: str
    size_bytes: int
    sha256: bytes
    data: bytes | None = None
    """The payload, or None when it lies behind ``url`` or in the object store."""
    url: str | None = None
    name: str | None = None
    object_run_key: bytes | None = None
    """The payload is an object under this run's key (``store/artifacts/``), and not in ``data``."""


class Loss(NamedTuple):
    """
    Something that was recorded and is not stored: one entry of the loss ledger.

    Key: (run_id, cause, what, subject). An entry that comes again says the same and counts once; of
    two that differ the larger number stays. Made of a row by ``store.losses.loss_of``.
    """

    run_id: str | None
    """None when the sender could not tell: a queue that overflowed kept no names."""
    cause: str
    """A word of ``semconv.LOSS_CAUSES``, but chunk_missing, which is only ever found when reading."""
    what: str
    """What was lost: runs, steps, decisions (counted in candidates), artifacts or texts."""
    subject: str
    """What of the run it was (``store/losses.py``), or the id of a sender's report, which has no slash."""
    lost: int
    """How many."""
    step_id: str | None = None
    attempt_key: str | None = None
    pipeline: str | None = None
    """Of the sender; kept when ``run_id`` is None, as is ``service_name``."""
    service_name: str | None = None


class SchemaVersion(NamedTuple):
    """A version of a schema in its canonical form; made by ``store.schemas.schema_version``."""

    schema_id: str
    version: str
    sha256: bytes
    """Of the canonical text of the document."""
    document: Mapping[str, Any]


class Outcome(NamedTuple):
    """
    What became known of a run afterwards, or of an item in it: a late label (decision 0039).

    Key: (run_id, name, item_id). Of several copies the one that was observed last holds.
    """

    run_id: str
    name: str
    item_id: str | None
    """None: it is about the run."""
    value: bool | int | float | str | None
    """None: what was said before is withdrawn."""
    observed_ns: int | None
    """None: no usable time was sent; any copy with a time goes before it."""
    source: str | None = None


Row = RunCopy | RunWait | RunHeartbeat | StepCopy | DecisionChunk | Artifact | Loss | SchemaVersion | Outcome


@dataclass(frozen=True, slots=True)
class Batch:
    """What one request carried; the unit of acknowledgement."""

    received_ns: int
    runs: Sequence[RunCopy] = ()
    waits: Sequence[RunWait] = ()
    heartbeats: Sequence[RunHeartbeat] = ()
    steps: Sequence[StepCopy] = ()
    decisions: Sequence[DecisionChunk] = ()
    artifacts: Sequence[Artifact] = ()
    losses: Sequence[Loss] = ()
    schemas: Sequence[SchemaVersion] = ()
    outcomes: Sequence[Outcome] = ()
    size_bytes: int = 0
    """Bytes of the request after decompression; what the intake's bound counts."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A row that the database would not take; the rest of its batch is stored."""

    row: Row
    """The very object that the batch held."""
    reason: str
    cause: str = "refused"
    """refused, expired or erased."""


@dataclass(frozen=True, slots=True)
class WriteResult:
    """What became of a batch, after the commit."""

    stored: int
    """Copies taken in: new rows, and copies merged into a row that was there."""
    refused: Sequence[Refused] = ()
    created_runs: frozenset[str] = frozenset()
    """Run ids that had no row before this batch."""
