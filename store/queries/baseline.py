"""
What a run is held against: the latest completed runs of the same pipeline and version.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, and_, not_, select, type_coerce
from sqlalchemy.types import NULLTYPE

from store.engine import BINARY
from store.ids import run_key
from store.queries.outcome_terms import marked
from store.schema import runs, steps

BASELINE_RUNS = 200
"""Enough for medians that hold still, few enough to read in a few milliseconds."""


@dataclass(frozen=True, slots=True)
class Spread:
    """A median and how far values usually lie from it."""

    n: int
    median: float
    deviation: float
    """Median of the absolute distances from the median."""


@dataclass(frozen=True, slots=True)
class StepBaseline:
    """One step, by its name, in the runs of the baseline."""

    name: str
    n: int
    """Executions that ended without error."""
    drop_ratio: Spread | None
    """None when no execution has one."""
    reasons: Mapping[str, int]
    """Candidates per reason over all executions; a reason that was declared and never given stands with 0."""
    reasons_n: int
    """Executions that sent a reason histogram."""
    judged: int
    """Candidates that came in over the executions with a histogram."""
    missing: Mapping[str, Spread]
    """Field name to the share of items, 0 to 1, that left the step without a value for it."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """Empty (``runs`` 0) for the first run of a pipeline and version."""

    pipeline: str | None
    pipeline_version: str | None
    runs: int
    steps: Mapping[str, StepBaseline] = field(default_factory=dict)


class StepRow(NamedTuple):
    """The columns of a step that the baseline is made of."""

    name: str
    candidates_in: int | None
    drop_ratio: float | None
    reason_codes: Sequence[str] | None
    reason_counts: Sequence[int] | None
    fields: Mapping[str, Mapping[str, float | None]] | None


def baseline(
    connection: Connection,
    pipeline: str | None,
    pipeline_version: str | None,
    *,
    without: str,
    limit: int = BASELINE_RUNS,
    bad: Collection[str] = (),
) -> Baseline:
    """
    Summarise the latest ``limit`` completed runs of a pipeline and version, except the run ``without``.

    bad: names of late outcomes that mark a run as none to compare with (``outcome_terms.marked``).

    A pipeline without a name has no baseline. Two statements: the runs come from
    ``ix_runs_pipeline_started`` read backwards, their steps by primary key.
    """
    if pipeline is None:
        return Baseline(None, pipeline_version, 0)
    found = connection.execute(runs_of_the_kind(pipeline, pipeline_version, without, limit, bad)).all()
    if not found:
        return Baseline(pipeline, pipeline_version, 0)
    statement = select(*(as_sent(steps.c[name]) for name in StepRow._fields)).where(
        and_(
            steps.c.run_key.in_([row.run_key for row in found]),
            # Names the partitions: without it every week would be searched.
            steps.c.run_day.in_(sorted({row.run_day for row in found})),
            steps.c.status == "ok",
        )
    )
    rows = map(StepRow._make, connection.execute(statement, execution_options=BINARY).all())
    return Baseline(pipeline, pipeline_version, len(found), summarise(rows))


def as_sent(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """The column as the driver reads it, which is as it is wanted: of thousands of rows half the time."""
    return type_coerce(column, NULLTYPE).label(column.key)


def runs_of_the_kind(
    pipeline: str, pipeline_version: str | None, without: str, limit: int, bad: Collection[str] = ()
) -> Select[Any]:
    """Key and day of the latest completed runs of a pipeline and version, except one and those marked bad."""
    return (
        select(runs.c.run_key, runs.c.run_day)
        .where(
            runs.c.pipeline == pipeline,
            runs.c.pipeline_version.is_not_distinct_from(pipeline_version),
            runs.c.terminal_status == "completed",
            runs.c.run_key != run_key(without),
            *([not_(marked(bad))] if bad else []),
        )
        .order_by(runs.c.started_at.desc(), runs.c.run_key.desc())
        .limit(limit)
    )


def summarise(rows: Iterable[StepRow]) -> Mapping[str, StepBaseline]:
    """Step name to its baseline, over any number of runs and in any order of the rows."""
    by_name: dict[str, list[StepRow]] = defaultdict(list)
    for row in rows:
        by_name[row.name].append(row)
    return {name: _step(name, of_name) for name, of_name in sorted(by_name.items())}


def spread(values: Sequence[float]) -> Spread | None:
    """Median and median distance from it; None without values."""
    if not values:
        return None
    middle = median(values)
    return Spread(len(values), middle, median(abs(value - middle) for value in values))


def _step(name: str, rows: Sequence[StepRow]) -> StepBaseline:
    reasons: Counter[str] = Counter()
    with_histogram = [row for row in rows if row.reason_codes and row.reason_counts]
    for row in with_histogram:
        for code, count in zip(row.reason_codes or (), row.reason_counts or (), strict=False):
            reasons[code] += count
    shares: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        for field_name, statistics in (row.fields or {}).items():
            share: Any = statistics.get("missing")
            if share is not None:
                shares[field_name].append(share)
    return StepBaseline(
        name=name,
        n=len(rows),
        drop_ratio=spread([row.drop_ratio for row in rows if row.drop_ratio is not None]),
        reasons=dict(reasons),
        reasons_n=len(with_histogram),
        judged=sum(row.candidates_in or 0 for row in with_histogram),
        missing={
            field_name: made
            for field_name, values in sorted(shares.items())
            if (made := spread(values)) is not None
        },
    )
