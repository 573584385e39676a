"""
Options that several commands share, each explained once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from cli.client import Parameters
from cli.errors import UsageError

Url = Annotated[
    str,
    typer.Option("--url", envvar="XRAY_API_URL", help="Where the API answers.", metavar="URL"),
]
DEFAULT_URL = "http://127.0.0.1:8000"

Json = Annotated[bool, typer.Option("--json", help="Print the API's answer as JSON instead of a table.")]

Where = Annotated[
    str | None,
    typer.Option(
        "--where",
        "-w",
        metavar="EXPRESSION",
        help="""Only where this is true: -w 'drop_ratio > 0.9 and tag.market = "US"' (docs/filters.md).""",
    ),
]

Filter = Annotated[
    list[str] | None,
    typer.Option(
        "--filter",
        "-f",
        metavar="FILTER=VALUE",
        help="Any filter of the REST API, repeatable: -f candidates_in_gte=100 -f tag.market=US. "
        "Several combine with AND; a name the API does not know is refused, never ignored.",
    ),
]

Limit = Annotated[int, typer.Option("--limit", "-n", help="Rows on this page, 1 to 1000.")]

Cursor = Annotated[
    str | None, typer.Option("--cursor", help="Go on where the page before ended (its next_cursor).")
]

Pipeline = Annotated[str | None, typer.Option("--pipeline", "-p", help="Only of this pipeline.")]

RunId = Annotated[str, typer.Argument(metavar="RUN_ID", help="The run's id, as in `xray runs`.")]

PipelineArgument = Annotated[
    str | None, typer.Argument(metavar="PIPELINE", help="Only of this pipeline; -p says the same.")
]

_AGO = re.compile(r"([1-9][0-9]{0,4})([dhm])")
_UNITS = {"d": "days", "h": "hours", "m": "minutes"}
TIMES = "7d, 12h or 30m (ago), today, yesterday (UTC) or an RFC 3339 time"


def moment(given: str | None) -> str | None:
    """
    A time as a person says it, as RFC 3339; what is no such word is left to the server to judge.

    From the beginning of this minute on: whole minutes are what a person can read and type again.
    """
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    if given in ("today", "yesterday"):
        at = now.replace(hour=0, minute=0) - timedelta(days=given == "yesterday")
    elif given is not None and (found := _AGO.fullmatch(given)):
        at = now - timedelta(**{_UNITS[found[2]]: int(found[1])})
    else:
        return given
    return at.isoformat(timespec="seconds").replace("+00:00", "Z")


After = Annotated[
    str | None,
    typer.Option(
        "--started-after", metavar="TIME", help=f"Started at or after this time: {TIMES}.", callback=moment
    ),
]

Before = Annotated[
    str | None,
    typer.Option(
        "--started-before", metavar="TIME", help=f"Started before this time: {TIMES}.", callback=moment
    ),
]


def one_pipeline(argument: str | None, option: str | None) -> str | None:
    """The pipeline that is meant, said either way; raises ``UsageError`` when both name another."""
    if None not in (argument, option) and argument != option:
        raise UsageError(f"two pipelines are named, {argument} and --pipeline {option}: one is accepted")
    return option if argument is None else argument


def pairs(option: str, given: Iterable[str] | None) -> Parameters:
    """Split ``name=value`` words; raises ``UsageError`` naming the option and the word."""
    found: Parameters = []
    for word in given or ():
        name, sign, value = word.partition("=")
        if not sign or not name:
            raise UsageError(f"{option} {word!r}: NAME=VALUE is accepted")
        found.append((name, value))
    return found


def present(**named: str | int | float | None) -> Parameters:
    """The parameters that were given, as query parameters."""
    return [(name, str(value)) for name, value in named.items() if value is not None]
