"""
``xray drift``: reasons that are given otherwise than before.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from cli import options, words
from cli.client import ApiClient
from cli.tables import Column, console, print_json, print_line, print_table


def _with(item: Mapping[str, Any]) -> str:
    return ", ".join(f"{one['field']} {one['value']}" for one in item["coincides_with"]) or words.NULL


_COLUMNS = (
    Column("PIPELINE", lambda item: words.text(item["pipeline"]), wide=True),
    Column("STEP", lambda item: words.text(item["step"])),
    Column("REASON", lambda item: words.text(item["reason"])),
    Column("", lambda item: item["kind"], whole=True),
    Column("BEFORE", lambda item: words.percent(item["share_before"]), "right", whole=True),
    Column("NOW", lambda item: words.percent(item["share_now"]), "right", whole=True),
    Column("P", lambda item: f"{item['p_adjusted']:.2g}", "right", whole=True, wide=True),
    Column("SINCE", lambda item: words.instant(item["since"]), whole=True),
    Column("CAME WITH", _with),
)


def drift(
    named: options.PipelineArgument = None,
    pipeline: options.Pipeline = None,
    window: Annotated[str, typer.Option(help="The latest time, which is looked at: 90m, 6h, 1d.")] = "1d",
    against: Annotated[str, typer.Option(help="The time before it, which it is held against.")] = "7d",
    until: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help=f"End of the window: {options.TIMES}; else now.", callback=options.moment
        ),
    ] = None,
    alarms_per_1000: Annotated[
        float, typer.Option(help="Of windows in which nothing changed, how many may show a drift.")
    ] = 10.0,
    limit: options.Limit = 50,
    as_json: options.Json = False,
    url: options.Url = options.DEFAULT_URL,
) -> None:
    """
    List reasons that steps give more or less often than before, new ones and vanished ones.

    With the version, configuration or model that came with it.
    """
    parameters = options.present(
        pipeline=options.one_pipeline(named, pipeline),
        window=window,
        against=against,
        until=until,
        alarms_per_1000=alarms_per_1000,
        limit=limit,
    )
    with ApiClient(url) as api:
        answer = api.get("drift", parameters=parameters)
    if as_json:
        print_json(answer)
        return
    out = console()
    if answer["items"]:
        print_table(_COLUMNS, answer["items"], out)
        out.print()
    tested, untested = answer["tested"], answer["completeness"]["untested"]
    said = "no reason could be looked at"
    if tested:
        said = f"{words.counted(answer['drifts'], 'drift')} in {words.counted(tested, 'reason')}"
    if untested:
        said += f"; {words.counted(untested, 'other')} with too few executions"
    print_line(said, out)
