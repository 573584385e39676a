"""
``xray export``: all rows of a question as a file, without pages.
"""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, BinaryIO, Literal

import typer

from cli import options
from cli.client import ApiClient, Parameters
from cli.errors import Failure, UsageError

app = typer.Typer(
    help="All runs, steps or decisions of a question as NDJSON, CSV or Parquet.", no_args_is_help=True
)

_Format = Annotated[
    Literal["ndjson", "csv", "parquet"], typer.Option("--format", help="What the file is to be.")
]
_Output = Annotated[
    Path | None, typer.Option("--output", "-o", help="File to write; without it, stdout.", dir_okay=False)
]


@app.command()
def runs(
    pipeline: options.Pipeline = None,
    started_after: options.After = None,
    started_before: options.Before = None,
    where: options.Where = None,
    filters: options.Filter = None,
    file_format: _Format = "ndjson",
    output: _Output = None,
    url: options.Url = options.DEFAULT_URL,
) -> None:
    """Write all runs that satisfy the filters, newest first."""
    asked = options.present(
        pipeline=pipeline, started_after=started_after, started_before=started_before, q=where
    )
    _export("runs", [*asked, *options.pairs("--filter", filters)], file_format, output, url)


@app.command()
def steps(
    pipeline: options.Pipeline = None,
    started_after: options.After = None,
    started_before: options.Before = None,
    where: options.Where = None,
    filters: options.Filter = None,
    file_format: _Format = "ndjson",
    output: _Output = None,
    url: options.Url = options.DEFAULT_URL,
) -> None:
    """
    Write all steps that satisfy the filters, newest first.

    `xray export steps --format csv --where 'type = "filter" and drop_ratio > 0.9' > dropped.csv`
    """
    asked = options.present(
        pipeline=pipeline, started_after=started_after, started_before=started_before, q=where
    )
    _export("steps", [*asked, *options.pairs("--filter", filters)], file_format, output, url)


@app.command()
def decisions(
    pipeline: options.Pipeline = None,
    started_after: options.After = None,
    started_before: options.Before = None,
    where: options.Where = None,
    filters: options.Filter = None,
    file_format: _Format = "ndjson",
    output: _Output = None,
    url: options.Url = options.DEFAULT_URL,
) -> None:
    """
    Write all decisions of the steps that satisfy the filters, in the order judged.

    What is asked of a decision is a filter: `-f verdict=eliminated -f reason=too_dear`
    """
    asked = options.present(
        pipeline=pipeline, started_after=started_after, started_before=started_before, q=where
    )
    _export("decisions", [*asked, *options.pairs("--filter", filters)], file_format, output, url)


def _export(name: str, asked: Parameters, file_format: str, output: Path | None, url: str) -> None:
    if output is None and file_format == "parquet" and sys.stdout.isatty():
        raise UsageError("--format parquet: a terminal cannot show it; -o FILE or > FILE is accepted")
    with (
        ApiClient(url) as api,
        api.stream("export", name, parameters=[*asked, ("format", file_format)]) as parts,
        _opened(output) as file,
    ):
        for part in parts:
            file.write(part)
        file.flush()


def _opened(output: Path | None) -> nullcontext[BinaryIO] | BinaryIO:
    """The file, made only when the API has begun to answer."""
    if output is None:
        return nullcontext(sys.stdout.buffer)
    try:
        return output.open("wb")
    except OSError as error:
        raise Failure(f"--output {output}: {error.strerror}") from error
