"""
Steps and reasons in numbers, from the hourly roll-ups and from the steps of what they do not cover.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    FromClause,
    Integer,
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
    null,
    select,
    true,
    union_all,
)
from sqlalchemy.dialects.postgresql import aggregate_order_by

from store.histograms import RELATIVE_ERROR, SHARE_ERROR, Histogram, bucket_sql
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
from store.queries.types import Distribution, StepMetrics
from store.queries.types_metrics import MetricsPage, Resolution
from store.schema import steps
from store.schema_rollups import VALUES, step_hours

RESOLUTION = Resolution(SHARE_ERROR, RELATIVE_ERROR, RELATIVE_ERROR)

_SHARES = frozenset({"drop_ratio"})
_Place = tuple[Any, ...]


def step_metrics(
    connection: Connection,
    cursors: Cursors,
    filters: Filters,
    grouping: Grouping,
    page: PageRequest,
    coverage: Coverage,
) -> MetricsPage[StepMetrics]:
    """As ``metrics.step_metrics``."""
    counted = _counted(grouping, coverage)
    question = filters.identity(repr(("step metrics", grouping)))
    rows, cursor = page_of(connection, cursors, question, counted, grouping.order(counted), page)
    histograms = _histograms(connection, grouping, _of_page(coverage, grouping, rows), rows)
    items = [
        StepMetrics(
            group=grouping.group(row),
            bucket_start=grouping.bucket_start(row),
            steps=int(row["steps"]),
            errors=int(row["errors"]),
            candidates_in=total(row["candidates_in"]),
            candidates_out=total(row["candidates_out"]),
            **{
                name: _distribution(row, name, histograms.get((_place(row, grouping), name)))
                for name in VALUES
            },
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


def _counted(grouping: Grouping, coverage: Coverage) -> Subquery:
    """Everything of the answer but the percentiles, by group."""
    sums = ("steps", "candidates_in", "candidates_out")
    figures = [f"{name}_{figure}" for name in VALUES for figure in ("sum", "min", "max")]
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
                *(
                    cast(steps.c[name], step_hours.c[f"{name}_{figure}"].type)
                    for name in VALUES
                    for figure in ("sum", "min", "max")
                ),
            )
            .select_from(source)
            .where(*conditions)
        )
    every = union_all(*parts).subquery()
    groups = [every.c[name] for name in grouping.names]
    merged: dict[str, Any] = {"sum": func.sum, "min": func.min, "max": func.max}
    return (
        select(
            *groups,
            func.sum(every.c.steps).label("steps"),
            func.coalesce(func.sum(every.c.steps).filter(every.c.status == "error"), 0).label("errors"),
            func.coalesce(func.sum(every.c.steps).filter(every.c.status == "running"), 0).label("running"),
            func.sum(every.c.candidates_in).label("candidates_in"),
            func.sum(every.c.candidates_out).label("candidates_out"),
            *(merged[name.rpartition("_")[2]](every.c[name]).label(name) for name in figures),
        )
        .group_by(*groups)
        # Without GROUP BY an empty selection still makes a row.
        .having(func.count() > 0)
        .subquery()
    )


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


def _histograms(
    connection: Connection, grouping: Grouping, coverage: Coverage, rows: Sequence[RowMapping]
) -> dict[tuple[_Place, str], tuple[Sequence[int], Sequence[int]]]:
    """By group and value: the buckets that are not empty, ascending, and the steps in each."""
    if not rows:
        return {}
    kinds = [_bucketed(grouping, coverage, name) for name in VALUES]
    every = union_all(*(part for parts in kinds for part in parts)).subquery()
    groups = [every.c[name] for name in (*grouping.names, "value")]
    summed = (
        select(*groups, every.c.bucket, func.sum(every.c.n).label("n"))
        .group_by(*groups, every.c.bucket)
        .subquery()
    )
    groups = [summed.c[name] for name in (*grouping.names, "value")]
    statement = select(
        *groups,
        func.array_agg(aggregate_order_by(summed.c.bucket, summed.c.bucket)).label("buckets"),
        func.array_agg(aggregate_order_by(cast(summed.c.n, BigInteger), summed.c.bucket)).label("counts"),
    ).group_by(*groups)
    return {
        (_place(row, grouping), row["value"]): (row["buckets"], row["counts"])
        for row in connection.execute(statement).mappings()
    }


def _bucketed(grouping: Grouping, coverage: Coverage, name: str) -> list[Select[Any]]:
    value = literal(name, Text).label("value")
    buckets, counts = step_hours.c[f"{name}_buckets"], step_hours.c[f"{name}_counts"]
    parts = [
        select(
            *grouping.columns(_hour_fields(), step_hours.c.hour),
            value,
            func.unnest(buckets, type_=Integer()).label("bucket"),
            func.unnest(counts, type_=BigInteger()).label("n"),
        ).where(*coverage.hours())
    ]
    if coverage.stretches:
        source, conditions = coverage.steps()
        sent: Column[Any] = steps.c[name]
        bucket = literal_column(bucket_sql(f"steps.{name}", share=name in _SHARES), Integer())
        parts.append(
            select(
                *grouping.columns(step_fields(), steps.c.started_at),
                value,
                bucket.label("bucket"),
                literal(1, BigInteger),
            )
            .select_from(source)
            .where(*conditions, sent.is_not(null()))
        )
    return parts


def _distribution(
    row: RowMapping, name: str, found: tuple[Sequence[int], Sequence[int]] | None
) -> Distribution:
    if found is None:
        return Distribution()
    buckets, counts = found
    histogram = Histogram(name in _SHARES, row[f"{name}_min"], row[f"{name}_max"], buckets, counts)
    mean = float(row[f"{name}_sum"] / sum(counts))
    return Distribution(mean, *histogram.percentiles(PERCENTILES))
