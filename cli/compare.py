"""
``xray compare``: in what two groups of runs differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from cli import options, words
from cli.client import ApiClient
from cli.tables import Column, console, print_json, print_line, print_table


def _figure(item: Mapping[str, Any]) -> str:
    field = item["field"] if item["word"] is None else f"{item['field']} is {item['word']}"
    return f"{field} (by definition)" if item["defining"] else field


def _mean(item: Mapping[str, Any], group: str) -> str:
    mean = item[f"{group}_mean"]
    return words.number(mean) if item["scale"] == "level" else words.percent(mean)


_COLUMNS = (
    Column("PIPELINE", lambda item: words.text(item["pipeline"]), wide=True),
    Column("STEP", lambda item: words.text(item["step"])),
    Column("FIGURE", _figure),
    Column("BAD", lambda item: _mean(item, "bad"), "right", whole=True),
    Column("GOOD", lambda item: _mean(item, "good"), "right", whole=True),
    Column("N", lambda item: f"{item['bad_n']:,} / {item['good_n']:,}", "right", whole=True, wide=True),
    Column("EFFECT", lambda item: f"{item['effect']:+.2f}", "right", whole=True),
    Column("95 %", lambda item: f"{item['low']:+.2f} … {item['high']:+.2f}", whole=True, wide=True),
    Column("Q", lambda item: f"{item['q_value']:.2g}", "right", whole=True),
)


def compare(
    bad: Annotated[
        str, typer.Option("--bad", metavar="EXPRESSION", help="The runs asked about (docs/filters.md).")
    ],
    good: Annotated[
        str | None,
        typer.Option("--good", metavar="EXPRESSION", help="The runs beside them; else all that are not bad."),
    ] = None,
    named: options.PipelineArgument = None,
    pipeline: options.Pipeline = None,
    started_after: options.After = None,
    started_before: options.Before = None,
    where: options.Where = None,
    filters: options.Filter = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Also figures of which it is not certain that they differ.")
    ] = False,
    limit: options.Limit = 20,
    as_json: options.Json = False,
    url: options.Url = options.DEFAULT_URL,
) -> None:
    """
    Rank in what two groups of runs differ, corrected for the number of figures that are looked at.

    `xray compare --bad 'outcome = "no_match"' -p shop`, before and after a time:
    `--bad 'started >= "2026-01-02T00:00:00Z"'`
    """
    parameters = options.present(
        bad=bad,
        good=good,
        pipeline=options.one_pipeline(named, pipeline),
        started_after=started_after,
        started_before=started_before,
        q=where,
        limit=limit,
    )
    parameters += options.pairs("--filter", filters)
    with ApiClient(url) as api:
        answer = api.get("compare", parameters=parameters)
    if as_json:
        print_json(answer)
        return
    out = console()
    shown = [item for item in answer["items"] if everything or item["significant"]]
    # The sentences about single figures stand in the table.
    told = {item["text"] + "." for item in shown}
    for sentence in answer["summary"]:
        if sentence not in told:
            print_line(sentence, out)
    if shown:
        out.print()
        print_table(_COLUMNS, shown, out)
