"""
``xray metrics``: steps and reasons in numbers, over time and by group.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from cli import options, words
from cli.client import ApiClient, Parameters
from cli.completeness import print_page
from cli.tables import Column

By = Annotated[
    str,
    typer.Option(
        help="Of pipeline, name, step_type, pipeline_version, status, error_type; separated by commas."
    ),
]
Bucket = Annotated[str | None, typer.Option(help="Width of time buckets: 1m, 5m, 15m, 1h, 6h or 1d.")]


def _errors(row: Mapping[str, Any]) -> str:
    return words.percent(row["errors"] / row["steps"])


def _ratio(which: str) -> Column:
    return Column(f"DROP {which}", lambda row: words.percent(row["drop_ratio"][which]), "right", whole=True)


def _took(which: str) -> Column:
    return Column(f"TOOK {which}", lambda row: words.duration(row["duration_ms"][which]), "right", whole=True)


_STEPS = (
    Column("STEPS", lambda row: words.count(row["steps"]), "right", whole=True),
    Column("ERRORS", _errors, "right", whole=True),
    Column("IN", lambda row: words.count(row["candidates_in"]), "right", whole=True, wide=True),
    Column("OUT", lambda row: words.count(row["candidates_out"]), "right", whole=True, wide=True),
    _ratio("p50"),
    _ratio("p95"),
    _took("p50"),
    _took("p95"),
)
_REASONS = (
    Column("REASON", lambda row: row["reason"]),
    Column("CANDIDATES", lambda row: words.count(row["count"]), "right", whole=True),
    Column("SHARE", lambda row: words.percent(row["share"]), "right", whole=True),
)


def metrics(
    by: By = "pipeline,name",
    bucket: Bucket = None,
    reasons: Annotated[
        bool, typer.Option("--reasons", help="For which reasons, in place of how many and how long.")
    ] = False,
    pipeline: options.Pipeline = None,
    name: Annotated[str | None, typer.Option(help="Only steps of this name.")] = None,
    started_after: options.After = None,
    started_before: options.Before = None,
    where: options.Where = None,
    filters: options.Filter = None,
    limit: options.Limit = 50,
    cursor: options.Cursor = None,
    as_json: options.Json = False,
    url: options.Url = options.DEFAULT_URL,
) -> None:
    """
    Steps in numbers: how many, how often in error, how much dropped, how long; or with --reasons, why.

    Failures by type of step, day by day: `xray metrics --by step_type --bucket 1d`
    """
    parameters: Parameters = options.present(
        group_by=by or None,
        bucket=bucket,
        pipeline=pipeline,
        name=name,
        started_after=started_after,
        started_before=started_before,
        q=where,
        limit=limit,
        cursor=cursor,
    )
    parameters += options.pairs("--filter", filters)
    with ApiClient(url) as api:
        answer = api.get("metrics", "reasons" if reasons else "steps", parameters=parameters)
    columns = [*_grouped(by.split(",") if by else [], bucket), *(_REASONS if reasons else _STEPS)]
    print_page(
        answer,
        columns,
        "No step matches.",
        as_json,
        _note(answer.get("resolution")),
        started=(started_after, started_before),
    )


def _grouped(names: Sequence[str], bucket: str | None) -> list[Column]:
    columns = [Column("SINCE", lambda row: words.instant(row["bucket_start"]), whole=True)] if bucket else []
    return columns + [_column(name) for name in names]


def _column(name: str) -> Column:
    return Column(name.replace("_", " ").upper(), lambda row: words.text(row[name]))


def _note(resolution: Mapping[str, float] | None) -> str | None:
    if resolution is None:
        return None
    share, relative = resolution["drop_ratio"], resolution["duration_ms"]
    return f"percentiles of hourly roll-ups: DROP to {share:.1%}, TOOK to {relative:.1%} of the value"
