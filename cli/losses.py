"""
``xray losses``: what was recorded and is not stored.
"""

from __future__ import annotations

from typing import Annotated

import typer

from cli import options, words
from cli.client import ApiClient
from cli.completeness import print_page
from cli.tables import Column

_TOTALS = (
    Column("CAUSE", lambda total: total["cause"], whole=True),
    Column("WHAT", lambda total: total["what"], whole=True),
    Column("LOST", lambda total: words.count(total["count"]), "right", whole=True),
)
_LOSSES = (
    Column("KNOWN", lambda loss: words.ago(loss["received_at"]), "right", whole=True, wide=True),
    Column("RUN", lambda loss: words.text(loss["run_id"]), whole=True),
    Column("PIPELINE", lambda loss: words.text(loss["pipeline"]), wide=True),
    Column("SERVICE", lambda loss: words.text(loss["service_name"]), wide=True),
    Column("STEP", lambda loss: words.text(loss["step_id"])),
    *_TOTALS,
)


def losses(
    run_id: Annotated[
        str | None,
        typer.Option("--run", help="Only of this run, with its missing chunks of decisions."),
    ] = None,
    pipeline: options.Pipeline = None,
    cause: Annotated[
        str | None,
        typer.Option(
            help="client_queue, client_policy, shed, store_away, over_limit, refused, truncated, "
            "expired; with --run chunk_missing"
        ),
    ] = None,
    what: Annotated[str | None, typer.Option(help="runs, steps, decisions, artifacts or texts.")] = None,
    totals: Annotated[bool, typer.Option("--totals", help="Only the sums by cause.")] = False,
    started_after: options.After = None,
    started_before: options.Before = None,
    filters: options.Filter = None,
    limit: options.Limit = 50,
    cursor: options.Cursor = None,
    as_json: options.Json = False,
    url: options.Url = options.DEFAULT_URL,
) -> None:
    """
    List what was recorded and is not stored, by run and cause, the latest first.

    Decisions are counted in candidates. A loss without a run is one of which the sender could not tell.
    """
    parameters = options.present(
        run_id=run_id,
        pipeline=pipeline,
        cause=cause,
        what=what,
        started_after=started_after,
        started_before=started_before,
    )
    parameters += options.pairs("--filter", filters)
    with ApiClient(url) as api:
        if totals:
            answer = api.get("losses", "totals", parameters=parameters)
        else:
            page = options.present(limit=limit, cursor=cursor)
            answer = api.get("losses", parameters=parameters + page)
    since = answer.get("received_after")
    note = f"since {words.instant(since)}; `-f received_after=…` asks for more" if since else None
    print_page(
        answer,
        _TOTALS if totals else _LOSSES,
        "No loss matches.",
        as_json,
        note,
        started=(started_after, started_before),
    )
