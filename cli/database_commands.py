"""
``xray db``: what is known about the database, its URL, and its schema.

``cli.schema`` is imported in the commands, not at the top: it brings the migrations with it,
and ``xray runs`` should not wait for those.
"""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from cli import options
from cli.errors import EXIT_FAILURE, Failure, UsageError
from cli.tables import console, print_json, print_pairs

app = typer.Typer(help="The database: its state, its URL, its schema.", no_args_is_help=True)


@app.command()
def status(as_json: options.Json = False) -> None:
    """
    Say whether the database answers, what it holds, how it grows, and what retention will free.

    Ends with 1 when `xray db upgrade` is due. Sizes are exact, numbers of rows are estimates.
    """
    from cli import schema  # as above

    state = schema.state()
    found = schema.measured() if state.up_to_date else None
    if as_json:
        sizes = None if found is None else asdict(found)
        print_json({**asdict(state), "up_to_date": state.up_to_date, "sizes": sizes})
    else:
        advice = "up to date" if state.up_to_date else f"needs {state.revision_needed}: run `xray db upgrade`"
        lines = [("database", state.database), ("schema", f"{state.revision or 'empty'}, {advice}")]
        if state.data_dir is not None:
            lines.insert(1, ("data folder", state.data_dir))
        if state.payloads is not None:
            lines.append(("payloads", f"above {state.inline_bytes:,} bytes at {state.payloads}"))
        print_pairs(lines, console())
        if found is not None:
            from cli.sizes import print_sizes  # as above

            print_sizes(found, console())
    if not state.up_to_date:
        raise typer.Exit(EXIT_FAILURE)


@app.command()
def upgrade() -> None:
    """
    Bring the schema to the version this server needs; starts the embedded server if nobody runs it.

    `xray up` does it by itself. With several servers on one database, run it once before they start.
    """
    from cli import schema  # as above

    before, after = schema.upgrade()
    typer.echo(
        f"schema {after} " + ("(was there already)" if before == after else f"(was {before or 'empty'})")
    )


@app.command()
def erase(
    run: Annotated[str | None, typer.Option("--run", metavar="RUN_ID", help="Erase this run.")] = None,
    item: Annotated[str | None, typer.Option("--item", metavar="ITEM_ID", help="Erase this item.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before; for scripts.")] = False,
    as_json: options.Json = False,
) -> None:
    """
    Erase a run or an item everywhere, for good; counts stay, and what comes again stays out.

    Of a run the identity, texts and evidence go and the numbers of its steps stay. Of an item the id
    goes from decisions, selections and outcomes; free texts are not searched. What it means:
    docs/operations.md
    """
    from cli import schema  # as above

    if (run is None) == (item is None):
        raise UsageError("give --run RUN_ID or --item ITEM_ID")
    if not yes:
        named = f"run {run}" if run is not None else f"item {item}"
        _ask(f"Erase {named} from {schema.place()}, for good?")
    erased = schema.erase_run(run) if run is not None else schema.erase_item(item or "")
    counts = asdict(erased)
    if as_json:
        print_json(counts)
        return
    typer.echo("erased     " + ", ".join(f"{number} {what}" for what, number in counts.items()))


def _ask(question: str) -> None:
    """Return when the person agrees; what is printed for programs stays clean."""
    if not sys.stdin.isatty():
        raise UsageError("there is nobody to ask; --yes erases without asking")
    if not typer.confirm(question, err=True):
        raise Failure("nothing was erased")


@app.command()
def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What to write; must not be there yet.")],
) -> None:
    """
    Write the database as it is now into a file, in the custom format of pg_dump; others go on meanwhile.

    Payloads in an object store are not in it. docs/operations.md
    """
    from cli import schema  # as above

    schema.back_up(file)
    typer.echo(f"backup     {file}, {file.stat().st_size:,} bytes")


@app.command()
def restore(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="What `xray db backup` or pg_dump --format=custom wrote.")
    ],
) -> None:
    """
    Bring a backup into an empty database, and its schema to the version this server needs.

    Into the embedded one: with a new XRAY_DATA_DIR, before its first `xray up`. docs/operations.md
    """
    from cli import schema  # as above

    typer.echo(f"restored   {file}, of schema {schema.restore(file)}")


@app.command()
def distribute() -> None:
    """
    Distribute the tables over the nodes of Citus, by run; may be repeated, and goes on where it ended.

    Stop the collectors before. What does not work there: docs/operations.md
    """
    from cli import schema  # as above

    placed = schema.distribute()
    typer.echo(f"placed     {', '.join(placed.placed) or 'nothing'}")
    typer.echo(f"before     {', '.join(placed.before) or 'nothing'}")


@app.command()
def url() -> None:
    """
    Print the database's URL, for psql and others: `psql "$(xray db url)"`.

    The embedded server must be running (`xray up`); a password in XRAY_DATABASE_URL is printed too.
    """
    from cli import schema  # as above

    typer.echo(schema.url())


@app.command()
def grant_reader(
    role: Annotated[str, typer.Argument(metavar="ROLE", help="A role of the database that exists.")],
) -> None:
    """
    Let a role read the views of the schema `xray_public` with SQL, and nothing else.

    For Grafana, Metabase, dbt and notebooks: docs/sql-views.md
    """
    from cli import schema  # as above

    schema.grant_reader(role)
    typer.echo(f"{role} may read xray_public.runs, xray_public.steps and xray_public.reasons")
