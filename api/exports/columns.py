"""
The columns of exports that are tables (CSV, Parquet): names and types are stable, new ones come last.

What is nested in JSON is spread where its keys are fixed (``kept``, ``score_p50``) and JSON text elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import Any, Literal, NamedTuple

from pydantic_core import to_json

Kind = Literal["text", "integer", "number", "boolean", "time", "json"]


class Column(NamedTuple):
    """One column of a table."""

    name: str
    kind: Kind
    read: Callable[[Any], Any]
    """From the store's record to the value; of kind json to its text. None: there is none."""


def _plain(kind: Kind, names: str, within: str = "") -> Iterable[Column]:
    for name in names.split():
        yield Column(name, kind, attrgetter(within + name))


def _nested(names: str) -> Iterable[Column]:
    for name in names.split():
        yield Column(name.rpartition(".")[2], "json", _json(attrgetter(name)))


def _json(read: Callable[[Any], Any]) -> Callable[[Any], str | None]:
    def text(record: Any) -> str | None:
        value = read(record)
        return None if value is None else to_json(value).decode()

    return text


def _number(name: str) -> Callable[[Any], float | None]:
    def number(record: Any) -> float | None:
        value = getattr(record, name)
        return float(value) if type(value) in (int, float) else None

    return number


def _words(name: str) -> Callable[[Any], str | None]:
    def words(record: Any) -> str | None:
        value = getattr(record, name)
        if isinstance(value, bool):
            return "true" if value else "false"
        return value if isinstance(value, str) else None

    return words


RUNS = (
    *_plain("text", "run_id pipeline pipeline_version entity status"),
    *_plain("time", "started_at ended_at"),
    *_plain("number", "duration_ms"),
    *_plain("text", "outcome outcome_reason"),
    *_nested("tags input output"),
    *_plain("text", "service_name environment"),
    *_nested("trace_ids"),
    *_plain("text", "schema_id schema_version capture_level"),
    *_plain("integer", "candidates_in candidates_out"),
    *_plain("number", "drop_ratio"),
    *_plain("integer", "steps_count"),
    *_plain("text", "error_type error_message"),
    *_nested("flags"),
    *_plain("text", "state evidence", "completeness."),
    *_nested("completeness.missing"),
    *_nested("outcomes"),
)
STEPS = (
    *_plain("text", "run_id step_id"),
    *_plain("integer", "attempt index"),
    *_plain("text", "name step_type step_type_original status pipeline pipeline_version"),
    *_plain("text", "service_name environment"),
    *_plain("time", "started_at ended_at"),
    *_plain("number", "duration_ms"),
    *_plain("integer", "candidates_in candidates_out"),
    *_plain("number", "drop_ratio"),
    *_plain("integer", "kept eliminated scored selected not_selected deferred merged", "counts."),
    *_nested("reasons"),
    *(
        Column(f"score_{name}", "number", attrgetter(f"score.{name}"))
        for name in ("min", "max", "mean", "std", "p10", "p50", "p90")
    ),
    *_plain("text", "selected_id why"),
    *_nested("metrics fields sources input output reasoning"),
    *_plain("text", "model"),
    *_plain("number", "temperature"),
    *_plain("integer", "top_k"),
    *_nested("parents"),
    *_plain("text", "config_fingerprint capture_level"),
    *_plain("integer", "decisions_recorded"),
    Column("decisions_stored", "integer", attrgetter("completeness.decisions_stored")),
    *_plain("boolean", "inferred"),
    *_plain("text", "error_type error_message trace_id span_id"),
    *_nested("flags"),
    *_plain("text", "evidence", "completeness."),
    *_nested("completeness.missing"),
)
DECISIONS = (
    *_plain("text", "run_id pipeline pipeline_version entity step_id name step_type"),
    *_plain("time", "started_at"),
    *_plain("integer", "attempt"),
    *_plain("text", "item_id verdict reason reason_text"),
    *_plain("number", "score"),
    # A value may be a number in one row and a word in the next: a column has one type.
    Column("value", "number", _number("value")),
    Column("value_text", "text", _words("value")),
    *_plain("boolean", "value_missing"),
    Column("threshold", "number", _number("threshold")),
    Column("threshold_text", "text", _words("threshold")),
    *_nested("checks"),
    *_plain("number", "probability"),
)
