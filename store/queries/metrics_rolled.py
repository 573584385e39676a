"""
Steps and reasons in numbers, from the hourly roll-ups and from the steps of what they do not cover.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    FromClause,
    Integer,
    LargeBinary,
    Numeric,
    RowMapping,
    Select,
    Subquery,
    Text,
    cast,
    column,
    func,
    literal,
    literal_column,
    select,
    true,
    union_all,
)

from store.histograms import RELATIVE_ERROR, SHARE_ERROR, Histogram, histogram_sql
from store.queries.cursor import Cursors
from store.queries.filters import Filters, PageRequest
from store.queries.metrics_coverage import Coverage
from store.queries.metrics_groups import (
    BUCKETS,
    PERCENTILES,
    Grouping,
    completeness,
    page_of,
    step_fields,
    total,
)
from store.queries.types_metrics import Distribution, MetricsPage, Resolution, StepMetrics
from store.schema import steps
from store.schema_rollups import VALUES, step_hours

RESOLUTION = Resolution(SHARE_ERROR, RELATIVE_ERROR, RELATIVE_ERROR)

_SHARES = frozenset({"drop_ratio"})
_Place = tuple[Any, ...]


def _summed_histogram(histograms: ColumnElement[Any]) -> ColumnElement[Any]:
    # Its binary form: as text it would be all zeros behind the last bucket.
    return func.numeric_send(func.sum(histograms), type_=LargeBinary())


_MERGED: dict[str, Callable[[ColumnElement[Any]], ColumnElement[Any]]] = {
    "sum": func.sum,
    "min": func.min,
    "max": func.max,
    "histogram": _summed_histogram,
}
"""How the figures of a distribution are merged."""


def step_metrics(
    connection: Connection,
    cursors: Cursors,
    filters: Filters,
    grouping: Grouping,
    page: PageRequest,
    coverage: Coverage,
) -> MetricsPage[StepMetrics]:
    """As ``metrics.step_metrics``."""
    # Of many buckets, histograms are read of those on the page.
    at_once = grouping.bucket is None
    counted = _counted(grouping, coverage, histograms=at_once)
    question = filters.identity(repr(("step metrics", grouping)))
    rows, cursor = page_of(connection, cursors, question, counted, grouping.order(counted), page)
    with_histograms = {_place(row, grouping): row for row in rows}
    if rows and not at_once:
        whole = select(_counted(grouping, _of_page(coverage, grouping, rows), histograms=True))
        with_histograms = {_place(row, grouping): row for row in connection.execute(whole).mappings()}
    items = [
        StepMetrics(
            group=grouping.group(row),
            bucket_start=grouping.bucket_start(row),
            steps=int(row["steps"]),
            errors=int(row["errors"]),
            candidates_in=total(row["candidates_in"]),
            candidates_out=total(row["candidates_out"]),
            **{name: _distribution(with_histograms[_place(row, grouping)], name) for name in VALUES},
        )
        for row in rows
    ]
    return MetricsPage(items, cursor, completeness(rows), RESOLUTION)


def reasons(grouping: Grouping, coverage: Coverage) -> Select[Any]:
    """Rows of ``reason_metrics`` before they are shared out."""
    kept = _given(step_hours.c.reason_codes, step_hours.c.reason_counts, Numeric())
    running = _running(step_hours.c.status, step_hours.c.steps)
    parts = [
        select(
            *grouping.columns(_hour_fields(), step_hours.c.hour),
            kept.c.code.label("reason"),
            kept.c.times.label("times"),
            running.label("running"),
        )
        .select_from(step_hours.join(kept, true()))
        .where(*coverage.hours())
    ]
    if coverage.stretches:
        source, conditions = coverage.steps()
        given = _given(steps.c.reason_codes, steps.c.reason_counts, BigInteger())
        parts.append(
            select(
                *grouping.columns(step_fields(), steps.c.started_at),
                given.c.code,
                cast(given.c.times, Numeric),
                _running(steps.c.status, literal(1, BigInteger)),
            )
            .select_from(source.join(given, true()))
            .where(*conditions)
        )
    all_given = union_all(*parts).subquery()
    groups = [all_given.c[name] for name in (*grouping.names, "reason")]
    return select(
        *groups,
        func.sum(all_given.c.times, type_=Numeric()).label("times"),
        func.sum(all_given.c.running).label("running"),
    ).group_by(*groups)


def _given(codes: ColumnElement[Any], counts: ColumnElement[Any], type_: Any) -> FromClause:
    given = func.unnest(codes, counts).table_valued(
        column("code", Text), column("times", type_), name="given"
    )
    return given.render_derived()


def _running(status: ColumnElement[Any], count: ColumnElement[Any]) -> ColumnElement[Any]:
    return cast(status == "running", Integer) * count


def _hour_fields() -> dict[str, ColumnElement[Any]]:
    return {name: step_hours.c[name] for name in step_fields()}


def _counted(grouping: Grouping, coverage: Coverage, *, histograms: bool) -> Subquery:
    """Steps in numbers by group; without histograms no distribution at all."""
    sums = ("steps", "candidates_in", "candidates_out")
    figures = [f"{name}_{figure}" for name in VALUES for figure in _MERGED] if histograms else []
    parts = [
        select(
            *grouping.columns(_hour_fields(), step_hours.c.hour),
            step_hours.c.status.label("status"),
            *(cast(step_hours.c[name], Numeric).label(name) for name in sums),
            *(step_hours.c[name] for name in figures),
        ).where(*coverage.hours())
    ]
    if coverage.stretches:
        source, conditions = coverage.steps()
        parts.append(
            select(
                *grouping.columns(step_fields(), steps.c.started_at),
                steps.c.status,
                literal(1, Numeric),
                cast(steps.c.candidates_in, Numeric),
                cast(steps.c.candidates_out, Numeric),
                *(_of_step(*name.rsplit("_", 1)) for name in figures),
            )
            .select_from(source)
            .where(*conditions)
        )
    every = union_all(*parts).subquery()
    groups = [every.c[name] for name in grouping.names]
    return (
        select(
            *groups,
            func.sum(every.c.steps).label("steps"),
            func.coalesce(func.sum(every.c.steps).filter(every.c.status == "error"), 0).label("errors"),
            func.coalesce(func.sum(every.c.steps).filter(every.c.status == "running"), 0).label("running"),
            func.sum(every.c.candidates_in).label("candidates_in"),
            func.sum(every.c.candidates_out).label("candidates_out"),
            *(_MERGED[name.rsplit("_", 1)[1]](every.c[name]).label(name) for name in figures),
        )
        .group_by(*groups)
        # Without GROUP BY an empty selection still makes a row.
        .having(func.count() > 0)
        .subquery()
    )


def _of_step(name: str, figure: str) -> ColumnElement[Any]:
    """What a single step adds."""
    if figure == "histogram":
        return literal_column(histogram_sql(f"steps.{name}", share=name in _SHARES), Numeric())
    return cast(steps.c[name], step_hours.c[f"{name}_{figure}"].type)


def _of_page(coverage: Coverage, grouping: Grouping, rows: Sequence[RowMapping]) -> Coverage:
    """What is left to be read for the page: of many buckets, those that it shows."""
    if grouping.bucket is None or not rows:
        return coverage
    starts = [row["bucket_start"].astimezone(UTC) for row in rows]
    return coverage.within(min(starts), _after(max(starts), grouping.bucket))


def _after(start: datetime, bucket: str) -> datetime:
    try:
        return start + BUCKETS[bucket]
    except OverflowError:  # the last day that there is
        return datetime.max.replace(tzinfo=UTC)


def _place(row: RowMapping, grouping: Grouping) -> _Place:
    return tuple(row[name] for name in grouping.names)


def _distribution(row: RowMapping, name: str) -> Distribution:
    if row[f"{name}_histogram"] is None:
        return Distribution()
    histogram = Histogram.received(
        row[f"{name}_histogram"],
        share=name in _SHARES,
        smallest=row[f"{name}_min"],
        largest=row[f"{name}_max"],
    )
    mean = float(row[f"{name}_sum"] / histogram.size)
    return Distribution(mean, *histogram.percentiles(PERCENTILES))
