"""
``xray culprits``: the step at fault since a change, from all runs since together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from cli import options, words
from cli.client import ApiClient
from cli.errors import UsageError
from cli.tables import Column, console, print_json, print_line, print_table


def _evidence(culprit: Mapping[str, Any], name: str) -> str:
    first = culprit["evidence"][0]
    if first["kind"] in ("share", "part", "runs"):
        return words.percent(first[name])
    return words.number(first[name])


_COLUMNS = (
    Column("STEP", lambda culprit: words.text(culprit["step"])),
    Column("DEVIATIONS", lambda culprit: f"{culprit['suspicion']:.1f}", "right", whole=True),
    Column("FIGURE", lambda culprit: culprit["evidence"][0]["figure"]),
    Column("SINCE", lambda culprit: _evidence(culprit, "value"), "right", whole=True),
    Column("USUAL", lambda culprit: _evidence(culprit, "usual"), "right", whole=True),
    Column("RUNS", lambda culprit: ", ".join(culprit["run_ids"]), wide=True),
)
SHOWN = 5


def culprits(
    since: Annotated[
        str,
        typer.Option(metavar="TIME", help=f"When it changed: {options.TIMES}.", callback=options.moment),
    ],
    named: options.PipelineArgument = None,
    pipeline: options.Pipeline = None,
    until: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="End of the runs that are looked at, likewise.", callback=options.moment
        ),
    ] = None,
    version: Annotated[
        str | None, typer.Option(help="Only runs of this version of the pipeline; else of all.")
    ] = None,
    as_json: options.Json = False,
    url: options.Url = options.DEFAULT_URL,
) -> None:
    """
    Name the step that the runs since a change are unlike those before in, all of them together.

    Shows what is too faint for one run; of one run, ask `xray explain`.
    """
    asked = options.one_pipeline(named, pipeline)
    if asked is None:
        raise UsageError("one pipeline must be named: xray culprits PIPELINE --since TIME")
    parameters = options.present(since=since, until=until, version=version)
    with ApiClient(url) as api:
        answer = api.get("pipelines", asked, "culprits", parameters=parameters)
    if as_json:
        print_json(answer)
        return
    out = console()
    for sentence in answer["summary"]:
        print_line(sentence, out)
    if answer["culprits"]:
        out.print()
        print_table(_COLUMNS, answer["culprits"][:SHOWN], out)
