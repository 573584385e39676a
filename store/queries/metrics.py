"""
Steps and reasons in numbers, grouped and in time buckets.

Answers are exact at any moment: what the hourly roll-ups do not know or do not know yet is read from
the steps. Percentiles that come from roll-ups are within a resolution, which the answer states.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Connection, Double, Numeric, Select, Text, cast, column, func, select, true

from store.queries import metrics_exact, metrics_rolled
from store.queries.cursor import Cursors, SortKey
from store.queries.derived import of_run
from store.queries.filters import Filters, PageRequest
from store.queries.metrics_coverage import coverage
from store.queries.metrics_groups import (
    BUCKETS,
    GROUP_BY,
    Grouping,
    completeness,
    page_of,
    parse_grouped,
    step_fields,
    total,
)
from store.queries.types_metrics import MetricsPage, ReasonMetrics, StepMetrics
from store.schema import runs, steps

__all__ = ["BUCKETS", "GROUP_BY", "Grouping", "parse_grouped", "reason_metrics", "step_metrics"]


def step_metrics(
    connection: Connection, cursors: Cursors, filters: Filters, grouping: Grouping, page: PageRequest
) -> MetricsPage[StepMetrics]:
    """
    Return counts and percentiles of the steps that satisfy all filters.

    Order: newest bucket first, then by group. Attempts count as steps of their own.
    """
    covered = coverage(connection, filters, grouping)
    if covered is None:
        return metrics_exact.step_metrics(connection, cursors, filters, grouping, page)
    return metrics_rolled.step_metrics(connection, cursors, filters, grouping, page, covered)


def reason_metrics(
    connection: Connection, cursors: Cursors, filters: Filters, grouping: Grouping, page: PageRequest
) -> MetricsPage[ReasonMetrics]:
    """
    Return how often each reason was given in the steps that satisfy all filters.

    Order: newest bucket first, then by group, most frequent first. Reasons that steps declared and
    never gave stand with 0.
    """
    covered = coverage(connection, filters, grouping)
    given = _reasons(filters, grouping) if covered is None else metrics_rolled.reasons(grouping, covered)
    summed = given.subquery()
    group = [summed.c[name] for name in grouping.names]
    whole = func.nullif(func.sum(summed.c.times).over(partition_by=group or None), 0)
    shared = select(summed, (cast(summed.c.times, Double) / cast(whole, Double)).label("share")).subquery()
    order = [
        *grouping.order(shared),
        SortKey(shared.c.times, descending=True),
        SortKey(shared.c.reason),
    ]
    question = filters.identity(repr(("reason metrics", grouping)))
    rows, cursor = page_of(connection, cursors, question, shared, order, page)
    items = [
        ReasonMetrics(
            grouping.group(row),
            grouping.bucket_start(row),
            row["reason"],
            total(row["times"]) or 0,
            row["share"],
        )
        for row in rows
    ]
    return MetricsPage(items, cursor, completeness(rows))


def _reasons(filters: Filters, grouping: Grouping) -> Select[Any]:
    """The sums, from the steps alone."""
    given = func.unnest(steps.c.reason_codes, steps.c.reason_counts).table_valued(
        column("code", Text), column("times", BigInteger), name="given"
    )
    given = given.render_derived()
    groups = grouping.columns(step_fields(), steps.c.started_at)
    return (
        select(
            *groups,
            given.c.code.label("reason"),
            func.sum(given.c.times, type_=Numeric()).label("times"),
            func.count().filter(steps.c.status == "running").label("running"),
        )
        .select_from(steps.join(runs, of_run(steps, runs)).join(given, true()))
        .where(*filters.clauses())
        .group_by(*groups, given.c.code)
    )
