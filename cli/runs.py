"""
``xray runs`` and ``xray run``: which runs there are, and what one of them did.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.console import Console

from cli import options, words
from cli.client import ApiClient
from cli.completeness import print_completeness, print_page
from cli.outcomes import print_outcomes
from cli.steps import FUNNEL
from cli.tables import Column, console, print_json, print_line, print_pairs, print_table

_RUN_COLUMNS = (
    Column("RUN", lambda run: run["run_id"], whole=True),
    Column("PIPELINE", lambda run: words.text(run["pipeline"])),
    Column("VERSION", lambda run: words.text(run["pipeline_version"]), wide=True),
    Column("ENTITY", lambda run: words.text(run["entity"]), wide=True),
    Column("STATUS", lambda run: run["status"], whole=True),
    Column("STARTED", lambda run: words.ago(run["started_at"]), "right", whole=True),
    Column("TOOK", lambda run: words.duration(run["duration_ms"]), "right", wide=True, whole=True),
    Column("IN", lambda run: words.count(run["candidates_in"]), "right", wide=True, whole=True),
    Column("OUT", lambda run: words.count(run["candidates_out"]), "right", wide=True, whole=True),
    Column("DROP", lambda run: words.percent(run["drop_ratio"]), "right", whole=True),
    Column("OUTCOME", lambda run: words.text(run["outcome"]), wide=True),
)


def runs(
    pipeline: options.Pipeline = None,
    status: Annotated[
        str | None,
        typer.Option(help="running, completed, crashed, cancelled, waiting or incomplete."),
    ] = None,
    entity: Annotated[str | None, typer.Option(help="Only about this entity (a product, a query).")] = None,
    tag: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Only with this tag; repeatable.")
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
    List runs, newest first.

    Filters on steps mean that one step of the run satisfies all of them:
    `xray runs --where 'step.type = "filter" and step.drop_ratio > 0.9'`
    """
    parameters = options.present(
        pipeline=pipeline,
        status=status,
        entity=entity,
        started_after=started_after,
        started_before=started_before,
        q=where,
        limit=limit,
        cursor=cursor,
    )
    parameters += [(f"tag.{key}", value) for key, value in options.pairs("--tag", tag)]
    parameters += options.pairs("--filter", filters)
    with ApiClient(url) as api:
        page = api.get("runs", parameters=parameters)
    print_page(page, _RUN_COLUMNS, "No run matches.", as_json, started=(started_after, started_before))


def run(
    run_id: options.RunId,
    as_json: options.Json = False,
    url: options.Url = options.DEFAULT_URL,
) -> None:
    """Show one run: what it was about, and the funnel of its steps in order."""
    with ApiClient(url) as api:
        answer = api.get("runs", run_id)
    if as_json:
        print_json(answer)
        return
    out = console()
    print_pairs(_headline(answer), out)
    if answer["steps"]:
        out.print()
        print_table(FUNNEL, answer["steps"], out)
    _print_reasons_why(answer["steps"], out)
    print_outcomes(answer["outcomes"], out)
    print_completeness(answer, out)


def _headline(run: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the run is, without the lines that have nothing to say."""
    took = words.duration(run["duration_ms"])
    pipeline = words.text(run["pipeline"])
    if run["pipeline_version"]:
        pipeline += f" {run['pipeline_version']}"
    outcome = words.text(run["outcome"])
    if run["outcome_reason"]:
        outcome += f": {words.text(run['outcome_reason'])}"
    tags = "  ".join(f"{key}={value}" for key, value in sorted((run["tags"] or {}).items()))
    lines = [
        ("run", run["run_id"]),
        ("pipeline", pipeline),
        ("entity", words.text(run["entity"])),
        ("status", run["status"]),
        ("started", f"{words.instant(run['started_at'])}, took {took}"),
        ("error", words.error(run["error_type"], run["error_message"])),
        ("outcome", outcome),
        ("tags", tags or words.NULL),
        ("input", words.text(run["input"])),
        ("output", words.text(run["output"])),
        ("flags", ", ".join(sorted({flag["code"] for flag in run["flags"] or ()})) or words.NULL),
    ]
    return [(name, value) for name, value in lines if value != words.NULL]


def _print_reasons_why(steps: list[Mapping[str, Any]], out: Console) -> None:
    """The ``why`` of the steps that gave one, each under its step's number."""
    given = [step for step in steps if step["why"]]
    if given:
        out.print()
    for step in given:
        print_line(f"{step['name']}: {words.text(step['why'])}", out)
