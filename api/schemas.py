"""
The answers, field by field: what OpenAPI shows and what is sent.

Names and order as in the contract. Times are RFC 3339 in UTC; a number that does not exist is null.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema, computed_field

from api.missing import missing_in_words
from api.schemas_outcomes import Outcome

Count = int | None
Scalar = Annotated[Any, WithJsonSchema({"type": ["number", "string", "boolean", "null"]})]
"""A value of the sender, passed on with the type that it has in the store."""


class Answer(BaseModel):
    """Base: made from the store's records by attribute, never changed after."""

    model_config = ConfigDict(frozen=True, from_attributes=True)


class ErrorDetail(Answer):
    """What went wrong."""

    code: str = Field(description="A word for programs: invalid_parameter, not_found, unavailable …")
    message: str = Field(description="A sentence for people, naming what is accepted.")
    parameter: str | None = Field(description="The parameter or id that is at fault, as it was sent.")
    request_id: str = Field(description="Also in the header X-Request-Id, and in the server's log.")
    column: int | None = Field(
        default=None, description="Only of q: where in it, in characters from 1, something is not understood."
    )


class ErrorAnswer(Answer):
    """The one error object of every failure."""

    error: ErrorDetail


class Flag(Answer):
    """One thing that was wrong with what was sent; the row was stored all the same."""

    code: str = Field(description="A word such as wrong_type, truncated, decisions_missing.")
    field: str = Field(description="The attribute or field it concerns.")
    sent: Scalar = Field(description="What was sent, cut; null when there is nothing.")


LOSS_CAUSE = (
    "client_queue, client_policy: the sender dropped it; shed: the server gave it up to keep up with "
    "metrics; store_away: the object store was away; over_limit: beyond a limit of the server; "
    "refused: the database would not take it; truncated: a text was cut; "
    "chunk_missing: announced, and nobody says what became of it"
)
LOST_THING = (
    "runs, steps, decisions (counted in candidates), artifacts, texts, outcomes, or chunks of decisions."
)


class Missing(Answer):
    """What was recorded and cannot be read, for one cause."""

    cause: str = Field(
        description=f"{LOSS_CAUSE}; unreadable: stored, and cannot be unpacked; "
        "not_read: stored, and more than one answer reads."
    )
    what: str = Field(description=LOST_THING)
    count: int = Field(description="Of chunks, 1 also stands for at least one.")

    @computed_field(description="The same in words.")  # type: ignore[prop-decorator]
    @property
    def text(self) -> str:
        """The same in words."""
        return missing_in_words(self.cause, self.what, self.count)


_EVIDENCE = (
    "full: every candidate's decision can be read; sampled: a declared sample; partial: not every "
    "candidate's, because chunks were lost (see missing) or a step did not record all; none: no decisions "
    "were recorded."
)


class StepCompleteness(Answer):
    """Whether the numbers are final, and how much of the evidence can be read."""

    metrics: Literal["exact", "running"] = Field(description="running until the step's end has arrived.")
    evidence: Literal["full", "sampled", "partial", "none"] = Field(description=_EVIDENCE)
    decisions_recorded: int | None = Field(description="As the sender says; null when it does not say.")
    decisions_stored: int = Field(description="Decisions that can be read.")
    missing: list[Missing]


class RunCompleteness(Answer):
    """Whether the story of the run is all there."""

    state: Literal["complete", "partial", "running", "incomplete"] = Field(
        description="Of what was sent. complete: ended, and all of it can be read, which may be less than "
        "every candidate (see evidence); partial: ended, and evidence that was sent is missing; "
        "running: more is to come; incomplete: fell silent without an end."
    )
    evidence: Literal["full", "sampled", "partial", "none"] = Field(description=_EVIDENCE)
    missing: list[Missing]


class ListCompleteness(Answer):
    """Whether the listed rows are final; all matching rows are always considered."""

    state: Literal["exact", "partial"] = Field(description="partial: some listed rows may still change.")
    running: int = Field(description="Listed rows (in metrics: steps in them) whose end has not arrived.")
    partial: int = Field(description="Listed rows of which evidence is missing.")


class Schema(Answer):
    """The schema version that a run declared."""

    id: str | None
    version: str | None


class Score(Answer):
    """Statistics of the scores of a step's candidates; null = not recorded."""

    min: float | None
    max: float | None
    mean: float | None
    std: float | None
    p10: float | None
    p50: float | None
    p90: float | None


class Counts(Answer):
    """Candidates per verdict; null = not recorded."""

    kept: Count
    eliminated: Count
    scored: Count
    selected: Count
    not_selected: Count = Field(description="Lost on rank, which is not eliminated.")
    deferred: Count
    merged: Count


class Artifact(Answer):
    """A bulky payload; its bytes are at /artifacts/{artifact_id}."""

    artifact_id: str
    step_id: str | None
    kind: str
    name: str | None
    content_type: str = Field(description="As the sender says.")
    size_bytes: int
    sha256: str
    url: str | None = Field(description="Where the payload lies when it is not stored here.")


class Run(Answer):
    """One run of a pipeline."""

    run_id: str
    pipeline: str | None
    pipeline_version: str | None
    entity: str | None = Field(description="What the run decided about.")
    status: Literal["running", "completed", "crashed", "incomplete", "cancelled", "waiting"]
    started_at: datetime
    ended_at: datetime | None = Field(description="null until the run has ended.")
    duration_ms: float | None
    outcome: str | None
    outcome_reason: str | None
    error_type: str | None
    error_message: str | None
    tags: dict[str, str]
    input: Any
    output: Any
    service_name: str | None
    environment: str | None
    trace_ids: list[str] = Field(description="OTel traces seen in the run, at most 16.")
    declared_schema: Schema | None = Field(serialization_alias="schema")
    candidates_in: Count = Field(description="In of the first step with counts; its out if it is a source.")
    candidates_out: Count = Field(description="Out of the last step that has one.")
    drop_ratio: float | None = Field(
        description="(in - out) / in; null when in is 0 or unknown, or out > in."
    )
    steps_count: int = Field(description="Rows of steps; each attempt counts.")
    outcomes: list[Outcome] = Field(description="Late ones, the first 100: its own, then those of items.")
    flags: list[Flag]
    completeness: RunCompleteness


class Step(Answer):
    """One attempt of one step."""

    run_id: str
    step_id: str
    attempt: int = Field(description="As sent, else counted by start from 1.")
    index: int = Field(description="As sent when every step of the run says it, else by start from 0.")
    name: str
    step_type: str | None = Field(description="search, filter, rank, select, llm or custom.")
    step_type_original: str | None = Field(description="The word sent, when it was mapped.")
    pipeline: str | None
    status: Literal["running", "ok", "error"]
    started_at: datetime
    ended_at: datetime | None
    duration_ms: float | None
    candidates_in: Count = Field(description="null for a source.")
    candidates_out: Count = Field(description="What goes on.")
    drop_ratio: float | None = Field(
        description="(in - out) / in; null when in is 0 or unknown, or out > in."
    )
    counts: Counts
    reasons: dict[str, int] = Field(description="Exact histogram, whatever the capture level.")
    score: Score
    selected_id: str | None
    why: str | None
    metrics: dict[str, float]
    fields: dict[str, dict[str, float | None]] = Field(
        description="Item field to missing (share), mean, std, p50 of the items as they leave the step."
    )
    sources: dict[str, int] = Field(description="Candidates per shard, index or supplier.")
    input: Any
    output: Any
    reasoning: Any
    model: str | None
    temperature: float | None
    top_k: int | None
    parents: list[str] | None = Field(description="Step ids the candidates come from; null: the step before.")
    config_fingerprint: str | None
    capture_level: str | None
    decisions_recorded: int | None
    inferred: bool = Field(description="Recognised from foreign attributes.")
    error_type: str | None
    error_message: str | None
    trace_id: str | None
    span_id: str | None
    artifacts: list[Artifact] = Field(description="By kind and name, the first 100.")
    flags: list[Flag]
    completeness: StepCompleteness


class RunWithSteps(Run):
    """One run with its steps in order, the first 1,000; the others are at /runs/{run_id}/steps."""

    steps: list[Step]


class RunList(Answer):
    """Runs, newest first."""

    items: list[Run]
    next_cursor: str | None = Field(description="null on the last page.")
    completeness: ListCompleteness


class StepList(Answer):
    """Steps; newest first across runs, in order within a run."""

    items: list[Step]
    next_cursor: str | None = Field(description="null on the last page.")
    completeness: ListCompleteness


class Alive(Answer):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Ready(Answer):
    """The database answers."""

    status: Literal["ready"] = "ready"
