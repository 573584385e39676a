"""
``xray outcome``: what became known of a run, or of an item in it, afterwards.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Console

from cli import options, words
from cli.client import ApiClient
from cli.errors import Failure, UsageError
from cli.tables import Column, console, print_json, print_line, print_table

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_COLUMNS = (
    Column("OUTCOME", lambda outcome: words.text(outcome["name"])),
    Column("ITEM", lambda outcome: words.text(outcome["item_id"])),
    Column("VALUE", lambda outcome: words.number(outcome["value"])),
    Column("SOURCE", lambda outcome: words.text(outcome["source"])),
    Column("OBSERVED", lambda outcome: words.instant(outcome["observed_at"]), wide=True),
)


def outcome(
    run_id: options.RunId,
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="What it says something about, such as bad_match.")
    ],
    value: Annotated[
        str | None,
        typer.Argument(metavar="VALUE", help="true, false, a number or a text; not with --withdrawn."),
    ] = None,
    item: Annotated[str | None, typer.Option(help="The item it is about; without it, the run.")] = None,
    source: Annotated[str | None, typer.Option(help="Who or what says so.")] = None,
    observed_at: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help=f"When it was observed: {options.TIMES}; default now.",
            callback=options.moment,
        ),
    ] = None,
    withdrawn: Annotated[bool, typer.Option("--withdrawn", help="Take back what was said before.")] = False,
    as_text: Annotated[bool, typer.Option("--text", help="Take the value as text, whatever it is.")] = False,
    as_json: options.Json = False,
    url: options.Url = options.DEFAULT_URL,
) -> None:
    """
    Say what became known of a run afterwards: a bad match, a click, a refund, a verdict.

    Of several for one run, name and item the one observed last holds:
    `xray outcome RUN_ID bad_match true --item B07XJ8C8F5 --source support`
    """
    if (value is None) != withdrawn:
        raise UsageError("a value or --withdrawn is needed, and not both")
    sent: dict[str, Any] = {"name": name, "observed_at": observed_at or datetime.now(UTC).isoformat()}
    sent |= {"withdrawn": True} if value is None else {"value": value if as_text else _typed(value)}
    sent |= {key: given for key, given in (("item_id", item), ("source", source)) if given is not None}
    with ApiClient(url) as api:
        answer = api.send("POST", "runs", run_id, "outcomes", body={"outcomes": [sent]})
    if as_json:
        print_json(answer)
    if answer["refused"]:
        raise Failure(answer["refusals"][0]["message"])
    if not as_json:
        new = "; nothing else has arrived of this run yet" if answer["new_runs"] else ""
        print_line(f"stored{new}", console())


def print_outcomes(outcomes: Sequence[Mapping[str, Any]], out: Console) -> None:
    """Write what became known of a run or item, if anything did."""
    if outcomes:
        out.print()
        print_table(_COLUMNS, outcomes, out)


def _typed(value: str) -> bool | int | float | str:
    if value in ("true", "false"):
        return value == "true"
    if not _NUMBER.fullmatch(value):
        return value
    return int(value) if re.fullmatch(r"[+-]?\d{1,18}", value) else float(value)
