"""
What can be filtered by: one table of fields, read by the parser, by OpenAPI and by the documentation.

A field has one name everywhere: as a parameter, as a key of the answer where there is one, and as a
column. Names that the sender chose (tags, metrics, reasons) come in families: ``metric.<name>``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import ARRAY, ColumnElement, Numeric, Table, Text, case, cast, func, literal
from sqlalchemy.dialects.postgresql import JSONB

from store.decisions import VERDICTS
from store.losses import CAUSES, THINGS
from store.queries.derived import RUN_FUNNEL, STEP_ATTEMPT, STEP_INDEX
from store.queries.outcome_terms import EXAMPLE, OutcomeTerm, about_item, about_run
from store.queries.status import RUN_DURATION_MS, RUN_STATUS, RUN_STATUSES, STEP_STATUSES
from store.schema import runs, steps

Kind = Literal["text", "number", "integer", "time", "outcome"]

STEP_TYPES = ("search", "filter", "rank", "select", "llm", "custom")
FIELD_STATISTICS = ("missing", "mean", "std", "p50")

SUFFIXES: Mapping[Kind, Mapping[str, str]] = {
    "text": {"": "eq"},
    "integer": {"": "eq"},
    "number": {"_gt": "gt", "_gte": "ge", "_lt": "lt", "_lte": "le"},
    "time": {"_after": "ge", "_before": "lt"},
    "outcome": {"": "eq", "_gt": "gt", "_gte": "ge", "_lt": "lt", "_lte": "le"},
}
"""How a parameter ends, per kind of field, and the name in ``operator`` of what it then does."""


@dataclass(frozen=True, slots=True)
class Field:
    """Something that every row has; null never matches."""

    name: str
    kind: Kind
    meaning: str
    expression: ColumnElement[Any] | None = None
    """In SQL; None for decisions, which are compared unpacked."""
    words: tuple[str, ...] = ()
    """The closed vocabulary, when there is one."""
    needs_funnel: bool = False
    """The expression reads ``RUN_FUNNEL``, which then has to be joined."""


@dataclass(frozen=True, slots=True)
class Family:
    """Fields that the sender named: ``<prefix>.<name>``."""

    prefix: str
    kind: Kind
    meaning: str
    example: str
    """A name that somebody might have sent."""
    expression: Callable[[str], ColumnElement[Any] | OutcomeTerm | None]
    """
    From the name after the prefix; raises ``ValueError`` with the accepted form. None for decisions, which
    are compared unpacked.
    """


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """All that one list can be filtered by."""

    rows: str
    """What the list holds, in the plural."""
    fields: tuple[Field, ...]
    families: tuple[Family, ...]
    step: Vocabulary | None = None
    """Fields behind the prefix ``step.``: one step of the run satisfies all of them."""
    language: bool = False
    """Whether ``q`` asks for rows in the filter language (``store/queries/language.py``)."""


def _json_number(value: ColumnElement[Any]) -> ColumnElement[Any]:
    # numeric, not double: JSON may hold 1e400, and the cast to double would fail the whole query.
    return case((func.jsonb_typeof(value) == "number", cast(cast(value, Text), Numeric)))


def _tag(name: str) -> ColumnElement[Any]:
    text: ColumnElement[Any] = runs.c.tags[name].astext
    return text


def _metric(name: str) -> ColumnElement[Any]:
    return _json_number(steps.c.metrics[name])


def _source(name: str) -> ColumnElement[Any]:
    return _json_number(steps.c.sources[name])


def _reason(code: str) -> ColumnElement[Any]:
    position = func.array_position(steps.c.reason_codes, literal(code, Text))
    count: ColumnElement[Any] = steps.c.reason_counts[position]
    return count


def _field_statistic(name: str) -> ColumnElement[Any]:
    field, _, statistic = name.rpartition(".")
    if not field or statistic not in FIELD_STATISTICS:
        raise ValueError(f"field.<name>. followed by one of {', '.join(FIELD_STATISTICS)}")
    return _json_number(steps.c.fields[field][statistic])


def _at(document: ColumnElement[Any]) -> Callable[[str], ColumnElement[Any]]:
    """Return what finds the number at a dotted path of a JSON column; a key with dots in it goes first."""

    def number(path: str) -> ColumnElement[Any]:
        nested = document.op("#>", return_type=JSONB())(cast(path.split("."), ARRAY(Text)))
        whole = document[path]
        return _json_number(func.coalesce(whole, nested) if "." in path else whole)

    return number


def _documents(table: Table, *names: str) -> tuple[Family, ...]:
    examples = {"reasoning": "max_price", "input": "limit", "output": "total"}
    return tuple(
        Family(name, "number", f"A number in {name}, by dotted path.", examples[name], _at(table.c[name]))
        for name in names
    )


_STEP_COUNTS = {
    "candidates_in": "Candidates that entered the step.",
    "candidates_out": "Candidates that went on.",
    "kept": "Candidates judged kept.",
    "eliminated": "Candidates judged eliminated.",
    "scored": "Candidates judged scored.",
    "selected": "Candidates judged selected.",
    "not_selected": "Candidates that lost on rank.",
    "deferred": "Candidates put off.",
    "merged": "Candidates merged into another.",
}
_STEP_NUMBERS = _STEP_COUNTS | {
    "drop_ratio": "(in - out) / in, from 0 to 1.",
    "duration_ms": "Milliseconds from start to end.",
    "score_min": "Smallest score.",
    "score_max": "Largest score.",
    "score_mean": "Mean score.",
    "score_std": "Standard deviation of the scores.",
    "score_p10": "10th percentile of the scores.",
    "score_p50": "Median score.",
    "score_p90": "90th percentile of the scores.",
    "temperature": "Temperature of the model request.",
    "top_k": "Requested size of the result.",
    "decisions_recorded": "Decisions that the sender recorded.",
}

_YES_NO = ("true", "false")

_STEP_FIELDS = (
    Field("pipeline", "text", "Name of the pipeline.", func.coalesce(steps.c.pipeline, runs.c.pipeline)),
    Field(
        "pipeline_version",
        "text",
        "Version of the pipeline.",
        func.coalesce(steps.c.pipeline_version, runs.c.pipeline_version),
    ),
    Field("name", "text", "Name of the step.", steps.c.name),
    Field("step_id", "text", "Id of the step in its run.", steps.c.step_id),
    Field("step_type", "text", "Type of the step.", steps.c.step_type, STEP_TYPES),
    Field("status", "text", "Status of the step.", steps.c.status, STEP_STATUSES),
    Field("model", "text", "Model that an llm step asked.", steps.c.model),
    Field("selected_id", "text", "Item that the step selected.", steps.c.selected_id),
    Field("error_type", "text", "Type of the error that ended the step.", steps.c.error_type),
    Field(
        "inferred",
        "text",
        "Recognised from foreign attributes.",
        cast(steps.c.inferred, Text),
        ("true", "false"),
    ),
    Field("started", "time", "Start of the step.", steps.c.started_at),
    *(Field(name, "number", meaning, steps.c[name]) for name, meaning in _STEP_NUMBERS.items()),
    Field("attempt", "number", "Number of the attempt, from 1.", STEP_ATTEMPT),
    Field("index", "number", "Place of the step in its run.", STEP_INDEX),
)
_STEP_FAMILIES = (
    Family("metric", "number", "A metric of the step.", "recall", _metric),
    Family("reason", "number", "Candidates that got the reason.", "price_too_high", _reason),
    Family("source", "number", "Candidates from the source.", "index-1", _source),
    Family(
        "field",
        "number",
        "A statistic of an item field as it leaves the step.",
        "price.missing",
        _field_statistic,
    ),
    *_documents(steps, "reasoning", "input", "output"),
)
_TAG = Family("tag", "text", "A tag of the run.", "market", _tag)
OUTCOME = "outcome"
"""Prefix of late outcomes; the field of this name is what the run itself declared."""


def _outcome(meaning: str, expression: Callable[[str], OutcomeTerm | None]) -> Family:
    return Family(OUTCOME, "outcome", meaning, EXAMPLE, expression)


_OUTCOME = _outcome("A late outcome of the run or of an item in it.", about_run)
_ENTITY = Field("entity", "text", "What the run decided about.", runs.c.entity)


def _funnel(name: str, meaning: str) -> Field:
    return Field(name, "number", meaning, RUN_FUNNEL.c[name], needs_funnel=True)


_STEP_OF_RUN = Vocabulary("steps", _STEP_FIELDS, _STEP_FAMILIES)

STEPS = Vocabulary(
    "steps",
    (
        *_STEP_FIELDS,
        Field("run_id", "text", "Id of the run.", runs.c.run_id),
        _ENTITY,
    ),
    (*_STEP_FAMILIES, _TAG, _OUTCOME),
    language=True,
)

RUNS = Vocabulary(
    "runs",
    (
        Field("pipeline", "text", "Name of the pipeline.", runs.c.pipeline),
        Field("pipeline_version", "text", "Version of the pipeline.", runs.c.pipeline_version),
        _ENTITY,
        Field("status", "text", "Status of the run.", RUN_STATUS, RUN_STATUSES),
        Field("outcome", "text", "Outcome that the run declared.", runs.c.outcome),
        Field("service_name", "text", "OTel service.name of the sender.", runs.c.service_name),
        Field("environment", "text", "OTel deployment.environment.name of the sender.", runs.c.environment),
        Field("started", "time", "Start of the run.", runs.c.started_at),
        Field("duration_ms", "number", "Milliseconds from start to end.", RUN_DURATION_MS),
        _funnel("candidates_in", "In of the first step."),
        _funnel("candidates_out", "Out of the last step."),
        _funnel("drop_ratio", "(in - out) / in, from 0 to 1."),
        _funnel("steps_count", "Rows of steps."),
    ),
    (_TAG, _OUTCOME, *_documents(runs, "input", "output")),
    step=_STEP_OF_RUN,
    language=True,
)

LOSSES = Vocabulary(
    "losses",
    (
        Field("run_id", "text", "Id of the run; lists its missing chunks (chunk_missing) too."),
        Field("pipeline", "text", "Name of the pipeline."),
        Field("service_name", "text", "OTel service.name of the sender."),
        Field("cause", "text", "Why it is not stored; chunk_missing needs run_id.", words=CAUSES),
        Field("what", "text", "What was lost.", words=(*THINGS, "chunks")),
        Field("step_id", "text", "Id of the step."),
        Field("started", "time", "Start of the run."),
        Field("received", "time", "When the loss was first known."),
    ),
    (),
)

_DECISION_FIELDS = (
    Field("item_id", "text", "Id of the candidate."),
    Field("verdict", "text", "What was decided.", words=tuple(VERDICTS.values())),
    Field("reason", "text", "Code of the reason."),
    Field("attempt", "integer", "Number of the attempt of the step, from 1; without it, all."),
    Field("score", "number", "Score of the candidate."),
    Field("value", "number", "Observed value, where it is a number."),
    Field("threshold", "number", "Threshold, where it is a number."),
    Field("probability", "number", "Inclusion probability when sampled."),
)

ITEM_HISTORY = Vocabulary(
    "decisions about an item",
    (
        *(field for field in _STEP_FIELDS if field.name in ("pipeline", "name", "step_type", "started")),
        *(field for field in _DECISION_FIELDS if field.name not in ("item_id", "attempt")),
    ),
    (_outcome("A late outcome of the item in the run.", about_item),),
)

DECISIONS = Vocabulary(
    "decisions",
    _DECISION_FIELDS,
    (_outcome("A late outcome of the candidate in the run.", lambda _: None),),
)

EXPORTED_DECISIONS = Vocabulary(
    "decisions",
    (*STEPS.fields, *(field for field in _DECISION_FIELDS if field.name != "attempt")),
    # reason is the decision's own here.
    tuple(family for family in STEPS.families if family.prefix != "reason"),
    language=True,
)
"""Decisions of all steps that satisfy what is asked of steps; ``q`` speaks of the steps."""
