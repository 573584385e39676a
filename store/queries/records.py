"""From rows of the read statements to the records that are answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple, Protocol

from store.queries.types import (
    ArtifactRecord,
    CountsByVerdict,
    Evidence,
    FlagRecord,
    Missing,
    RunCompleteness,
    RunRecord,
    ScoreStats,
    StepCompleteness,
    StepRecord,
)
from store.queries.types_losses import LossRecord
from store.queries.types_outcomes import OutcomeRecord

CHUNK_MISSING = "chunk_missing"
EXPIRED = "expired"
CHUNKS = "chunks"
"""What is missing when nobody says how many candidates were in it."""


class Row(Protocol):
    """A row by name of column: a mapping of SQLAlchemy's, or a dict."""

    def __getitem__(self, name: str, /) -> Any:
        """The value of a column."""
        ...


class Lost(NamedTuple):
    """The standing losses of one step or run."""

    chunks: int = 0
    """Chunks of decisions that are missing for a known cause."""
    entries: Sequence[Missing] = ()


NOTHING_LOST = Lost()

# Columns whose names and values are the record's own.
_RUN_AS_STORED = (
    "run_id",
    "pipeline",
    "pipeline_version",
    "entity",
    "started_at",
    "outcome",
    "outcome_reason",
    "input",
    "output",
    "service_name",
    "environment",
    "schema_id",
    "schema_version",
    "capture_level",
    "error_type",
    "error_message",
    "status",
    "ended_at",
    "duration_ms",
    "candidates_in",
    "candidates_out",
    "drop_ratio",
    "steps_count",
)
_STEP_AS_STORED = (
    "run_id",
    "step_id",
    "attempt_key",
    "attempt",
    "index",
    "name",
    "step_type",
    "step_type_original",
    "status",
    "pipeline",
    "pipeline_version",
    "service_name",
    "environment",
    "started_at",
    "ended_at",
    "duration_ms",
    "candidates_in",
    "candidates_out",
    "drop_ratio",
    "selected_id",
    "why",
    "input",
    "output",
    "reasoning",
    "model",
    "temperature",
    "top_k",
    "parents",
    "config_fingerprint",
    "capture_level",
    "decisions_recorded",
    "inferred",
    "error_type",
    "error_message",
)
_VERDICT_COLUMNS = ("kept", "eliminated", "scored", "selected", "not_selected", "deferred", "merged")
_SCORE_STATISTICS = ("min", "max", "mean", "std", "p10", "p50", "p90")
# Each in one call: a page is thousands of values.
_run_values, _step_values = itemgetter(*_RUN_AS_STORED), itemgetter(*_STEP_AS_STORED)
_counts, _scores = itemgetter(*_VERDICT_COLUMNS), itemgetter(*(f"score_{name}" for name in _SCORE_STATISTICS))


def run_record(row: Row, lost: Lost = NOTHING_LOST, outcomes: Sequence[OutcomeRecord] = ()) -> RunRecord:
    """row: the columns of ``store.queries.runs``."""
    return RunRecord(
        **dict(zip(_RUN_AS_STORED, _run_values(row), strict=True)),
        tags=row["tags"] or {},
        trace_ids=[trace_id.hex for trace_id in row["trace_ids"] or ()],
        flags=flag_records(row["flags"]),
        completeness=_run_completeness(row, lost),
        outcomes=outcomes,
    )


def _run_completeness(row: Row, lost: Lost) -> RunCompleteness:
    missing, evidence = _missing(row, lost), _evidence(row, lost)
    if row["status"] in ("running", "waiting"):
        return RunCompleteness("running", evidence, missing)
    if row["status"] == "incomplete":
        return RunCompleteness("incomplete", evidence, missing)
    return RunCompleteness("partial" if missing else "complete", evidence, missing)


def step_record(row: Row, lost: Lost = NOTHING_LOST) -> StepRecord:
    """row: the columns of ``store.queries.steps``."""
    return StepRecord(
        **dict(zip(_STEP_AS_STORED, _step_values(row), strict=True)),
        counts=CountsByVerdict(*_counts(row)),
        reasons=dict(zip(row["reason_codes"] or (), row["reason_counts"] or (), strict=False)),
        score=ScoreStats(*_scores(row)),
        metrics=row["metrics"] or {},
        fields=row["fields"] or {},
        sources=row["sources"] or {},
        trace_id=None if row["trace_id"] is None else row["trace_id"].hex,
        span_id=None if row["span_id"] is None else row["span_id"].hex(),
        artifacts=[artifact_record(artifact) for artifact in row["artifacts"] or ()],
        flags=_flags(row),
        completeness=step_completeness(row, lost),
    )


def step_completeness(row: Row, lost: Lost = NOTHING_LOST) -> StepCompleteness:
    """row: a step's status and decisions_recorded with the columns of ``chunks.evidence``."""
    return StepCompleteness(
        metrics="running" if row["status"] == "running" else "exact",
        evidence=_evidence(row, lost),
        decisions_recorded=row["decisions_recorded"],
        decisions_stored=row["decisions_stored"],
        missing=_missing(row, lost),
    )


def _missing(row: Row, lost: Lost) -> Sequence[Missing]:
    """What nobody explains, what cannot be unpacked, and what the ledger holds."""
    unexplained = int(row["chunks_missing"]) - lost.chunks
    cause = EXPIRED if row["decisions_expired"] else CHUNK_MISSING
    found = [] if unexplained <= 0 else [Missing(cause, CHUNKS, unexplained)]
    if row["chunks_unreadable"]:
        found.append(Missing("unreadable", CHUNKS, int(row["chunks_unreadable"])))
    return [*found, *lost.entries]


def _evidence(row: Row, lost: Lost) -> Evidence:
    # Without a number that was announced, the rows do not show what the ledger knows.
    evidence: Evidence = row["evidence"]
    if row["decisions_expired"] and evidence == "none":
        return evidence
    return "partial" if any(entry.what == "decisions" for entry in lost.entries) else evidence


def loss_record(row: Row) -> LossRecord:
    """row: the columns of ``store.queries.losses``."""
    return LossRecord(
        run_id=row["run_id"],
        pipeline=row["pipeline"],
        service_name=row["service_name"],
        cause=row["cause"],
        what=row["what"],
        count=row["lost"],
        step_id=row["step_id"],
        attempt=None if row["attempt_key"] is None else sent_number(row["attempt_key"]),
        received_at=row["received_at"],
    )


def sent_number(attempt_key: str) -> int | None:
    """Return the attempt as it was sent, from its key."""
    # A span id in hex has 16 digits, so it is never taken for a number that was sent.
    return int(attempt_key) if attempt_key.isdecimal() and len(attempt_key) < 10 else None


def _flags(row: Row) -> Sequence[FlagRecord]:
    """As stored, and what is not, because a chunk that arrives later would make it untrue."""
    flags = flag_records(row["flags"])
    if not (row["chunks_missing"] or row["chunks_unreadable"]):
        return flags
    known = {flag.code for flag in flags}
    if row["chunks_missing"] and "decisions_missing" not in known and not row["decisions_expired"]:
        flags.append(FlagRecord("decisions_missing", "decisions", row["decisions_recorded"]))
    if row["chunks_unreadable"] and "decisions_unreadable" not in known:
        flags.append(FlagRecord("decisions_unreadable", "decisions", row["chunk_error"]))
    return flags


def flag_records(flags: Sequence[Mapping[str, Any]] | None) -> list[FlagRecord]:
    """flags: as stored, a list of ``{code, field, sent}``, or None."""
    return [FlagRecord(flag["code"], flag.get("field", ""), flag.get("sent")) for flag in flags or ()]


def artifact_record(values: Mapping[str, Any]) -> ArtifactRecord:
    """values: the columns of ``store.queries.artifacts.described``."""
    return ArtifactRecord(**values)
