"""
``xray steps``: steps across all runs and pipelines, by threshold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any

import typer

from cli import options, words
from cli.client import ApiClient
from cli.completeness import print_page
from cli.tables import Column


def _name(step: Mapping[str, Any]) -> str:
    """The step's name; what did not end well says so, because narrow terminals have no status column."""
    name = words.text(step["name"])
    return name if step["status"] == "ok" else f"{name} ({step['status']})"


_NAME = Column("STEP", _name)
_TYPE = Column("TYPE", lambda step: words.text(step["step_type"]), whole=True)
_IN = Column("IN", lambda step: words.count(step["candidates_in"]), "right", whole=True)
_OUT = Column("OUT", lambda step: words.count(step["candidates_out"]), "right", whole=True)
_DROP = Column("DROP", lambda step: words.percent(step["drop_ratio"]), "right", whole=True)
_TOOK = Column("TOOK", lambda step: words.duration(step["duration_ms"]), "right", whole=True, wide=True)
_TOP_REASON = Column(words.MOST_FREQUENT_REASON, lambda step: words.top_reason(step["reasons"]))

FUNNEL = (_NAME, _TYPE, _IN, _OUT, _DROP, _TOOK, _TOP_REASON)
"""The steps of one run, in order."""

_STEP_COLUMNS = (
    Column("RUN", lambda step: step["run_id"], whole=True),
    Column("PIPELINE", lambda step: words.text(step["pipeline"])),
    _NAME,
    replace(_TYPE, wide=True),
    replace(_IN, wide=True),
    replace(_OUT, wide=True),
    _DROP,
    _TOOK,
    Column("STARTED", lambda step: words.ago(step["started_at"]), "right", whole=True, wide=True),
    replace(_TOP_REASON, wide=True),
)


def steps(
    pipeline: options.Pipeline = None,
    name: Annotated[str | None, typer.Option(help="Only steps of this name.")] = None,
    step_type: Annotated[
        str | None, typer.Option("--type", "-t", help="search, filter, rank, select, llm or custom.")
    ] = None,
    status: Annotated[str | None, typer.Option(help="ok, error or running.")] = None,
    drop_ratio_gt: Annotated[
        float | None, typer.Option(max=1.0, help="Only steps that dropped more than this share, 0 to 1.")
    ] = None,
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
    List steps across all pipelines, newest first.

    Every filter that dropped more than 90 % of its candidates:
    `xray steps --where 'type = "filter" and drop_ratio > 0.9'`
    """
    parameters = options.present(
        pipeline=pipeline,
        name=name,
        step_type=step_type,
        status=status,
        drop_ratio_gt=drop_ratio_gt,
        started_after=started_after,
        started_before=started_before,
        q=where,
        limit=limit,
        cursor=cursor,
    )
    parameters += options.pairs("--filter", filters)
    with ApiClient(url) as api:
        page = api.get("steps", parameters=parameters)
    print_page(page, _STEP_COLUMNS, "No step matches.", as_json, started=(started_after, started_before))
