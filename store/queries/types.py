"""
What the store answers with: frozen records, complete in themselves, that know nothing of SQL or HTTP.

Times are timezone-aware datetimes in UTC. Texts of JSON columns come parsed. Everything that is
derived when read (status of a run, order of steps, numbers of attempts, completeness) is filled in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, Literal, TypeVar

from store.queries.types_outcomes import OutcomeRecord

T_co = TypeVar("T_co", covariant=True)

RunStatus = Literal["running", "completed", "crashed", "incomplete", "cancelled", "waiting"]
StepStatus = Literal["running", "ok", "error"]
Evidence = Literal["full", "sampled", "partial", "none"]
"""
How much of the per-candidate record can be read: every candidate; a declared sample; not every candidate
(chunks missing or unreadable, or fewer decisions than candidates without a declared sample); nothing,
because none was recorded. Of a run, ``partial`` also when some steps recorded decisions and some did not.
"""


@dataclass(frozen=True, slots=True)
class FlagRecord:
    """One thing that was wrong with what was sent, or is wrong with what arrived."""

    code: str
    field: str
    sent: str | int | float | bool | None = None


@dataclass(frozen=True, slots=True)
class Missing:
    """What was recorded and cannot be read, for one cause."""

    cause: str
    """
    A cause of the loss ledger (``store.losses.CAUSES``); ``chunk_missing``: announced, and nobody says what
    became of it; ``expired``: retention has reached it; ``unreadable``: stored, and cannot be unpacked;
    ``not_read``: stored, and more than one answer reads.
    """
    what: str
    """runs, steps, decisions (counted in candidates), artifacts, texts, outcomes; chunks (of decisions)."""
    count: int
    """Of chunks, when nobody said how many there are, 1 stands for "at least one"."""


@dataclass(frozen=True, slots=True)
class StepCompleteness:
    """Whether the numbers of a step are final, and how much of its evidence can be read."""

    metrics: Literal["exact", "running"]
    """``running`` until the step's end has arrived."""
    evidence: Evidence
    decisions_recorded: int | None
    """Decisions that the sender says it recorded; None when it did not say."""
    decisions_stored: int
    """Decisions that can be read."""
    missing: Sequence[Missing] = ()


@dataclass(frozen=True, slots=True)
class RunCompleteness:
    """
    Whether all that was sent of a run is there.

    ``complete``: it ended and all that was recorded can be read; whether every candidate was recorded
    says ``evidence``. ``partial``: it ended, and evidence that was sent is missing. ``running``: more is
    to come. ``incomplete``: it fell silent without an end.
    """

    state: Literal["complete", "partial", "running", "incomplete"]
    evidence: Evidence
    missing: Sequence[Missing] = ()


@dataclass(frozen=True, slots=True)
class ListCompleteness:
    """
    Whether the listed rows are final.

    ``exact``: all matching rows are considered, and each is. ``partial``: all are considered, and some of
    those listed may still change or miss evidence; ``running`` and ``partial`` say how many.
    """

    state: Literal["exact", "partial"]
    running: int = 0
    """Rows (for metrics: steps counted in the listed rows) whose end has not arrived."""
    partial: int = 0
    """Rows of which evidence is missing."""


@dataclass(frozen=True, slots=True)
class Page(Generic[T_co]):
    """At most ``limit`` items in the query's order; ``next_cursor`` is None on the last page."""

    items: Sequence[T_co]
    next_cursor: str | None
    completeness: ListCompleteness


@dataclass(frozen=True, slots=True)
class ScoreStats:
    """Statistics of the scores of one step's candidates; None = not recorded."""

    min: float | None = None
    max: float | None = None
    mean: float | None = None
    std: float | None = None
    p10: float | None = None
    p50: float | None = None
    p90: float | None = None


@dataclass(frozen=True, slots=True)
class CountsByVerdict:
    """How many candidates got which verdict; None = not recorded."""

    kept: int | None = None
    eliminated: int | None = None
    scored: int | None = None
    selected: int | None = None
    not_selected: int | None = None
    deferred: int | None = None
    merged: int | None = None


@dataclass(frozen=True, slots=True)
class ArtifactRecord:
    """A bulky payload of a step or run, without its bytes."""

    artifact_id: str
    """Opaque; what ``Reader.artifact`` takes."""
    step_id: str | None
    kind: str
    name: str | None
    content_type: str
    size_bytes: int
    sha256: str
    """Lower-case hex."""
    url: str | None
    """Where the payload lies when it is not stored here."""


@dataclass(frozen=True, slots=True)
class ArtifactContent:
    """An artifact with its bytes."""

    record: ArtifactRecord
    data: bytes | None
    """None when they lie elsewhere: in the object store, or where ``record.url`` says."""
    object_path: str | None = None
    """In the object store."""


@dataclass(frozen=True, slots=True)
class StepRecord:
    """One attempt of one step of a run."""

    run_id: str
    step_id: str
    attempt_key: str
    """Key of the attempt in the store; ``attempt`` is the number to show."""
    attempt: int
    """As sent, else counted by start from 1 among the attempts of the step."""
    index: int
    """As sent when every step of the run carries one, else the position by start from 0."""
    name: str
    step_type: str | None
    """None only on a start that did not say."""
    step_type_original: str | None
    status: StepStatus
    pipeline: str | None
    pipeline_version: str | None
    service_name: str | None
    environment: str | None
    started_at: datetime
    ended_at: datetime | None
    duration_ms: float | None
    candidates_in: int | None
    candidates_out: int | None
    drop_ratio: float | None
    counts: CountsByVerdict
    reasons: Mapping[str, int]
    """Exact histogram in the order sent; a declared reason that did not occur stands with 0."""
    score: ScoreStats
    selected_id: str | None
    why: str | None
    metrics: Mapping[str, float]
    fields: Mapping[str, Mapping[str, float | None]]
    """Field name to ``{missing, mean, std, p50}`` of the items as they leave the step."""
    sources: Mapping[str, int]
    input: Any
    output: Any
    reasoning: Any
    model: str | None
    temperature: float | None
    top_k: int | None
    parents: Sequence[str] | None
    """Step ids this step takes its candidates from; None = the step before."""
    config_fingerprint: str | None
    capture_level: str | None
    decisions_recorded: int | None
    inferred: bool
    error_type: str | None
    error_message: str | None
    trace_id: str | None
    """Hex, as is ``span_id``."""
    span_id: str | None
    artifacts: Sequence[ArtifactRecord]
    flags: Sequence[FlagRecord]
    """As stored, then ``decisions_missing`` / ``decisions_unreadable`` as found when read."""
    completeness: StepCompleteness


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run of a pipeline."""

    run_id: str
    pipeline: str | None
    pipeline_version: str | None
    entity: str | None
    status: RunStatus
    started_at: datetime
    ended_at: datetime | None
    duration_ms: float | None
    outcome: str | None
    outcome_reason: str | None
    tags: Mapping[str, str]
    input: Any
    output: Any
    service_name: str | None
    environment: str | None
    trace_ids: Sequence[str]
    """Hex."""
    schema_id: str | None
    schema_version: str | None
    capture_level: str | None
    candidates_in: int | None
    """In of the first step with counts; out of it when it is a source."""
    candidates_out: int | None
    """Out of the last step that has one."""
    drop_ratio: float | None
    steps_count: int
    """Rows of steps: each attempt counts."""
    error_type: str | None
    error_message: str | None
    flags: Sequence[FlagRecord]
    completeness: RunCompleteness
    outcomes: Sequence[OutcomeRecord] = ()
    """Late ones, the first 100: its own by name, then those of its items."""


@dataclass(frozen=True, slots=True)
class RunDetail:
    """A run with its steps in order."""

    run: RunRecord
    steps: Sequence[StepRecord]
    """At most ``MAX_STEPS`` of ``store.queries.steps``; ``run.steps_count`` says how many there are."""
