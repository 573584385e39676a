"""
The ``xray`` command of the server: its commands, and how each of them fails.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer

from cli import (
    alerts,
    audit,
    compare,
    contracts,
    contrast,
    culprits,
    database_commands,
    demo_command,
    diff,
    drift,
    explain,
    export,
    items,
    keys,
    losses,
    metrics_command,
    outcomes,
    replay,
    runs,
    serve,
    steps,
)
from cli.errors import EXIT_FAILURE, EXIT_USAGE, CliError
from cli.tables import print_line, warning_console
from collector.errors import CannotListen
from store.errors import EmbeddedError, SettingsError, Unavailable

app = typer.Typer(
    name="xray",
    help="X-Ray explains decisions: why a run decided as it did, and where decisions fail across runs.",
    epilog="From a checkout, `./xray test …` runs the tests; arguments go to pytest.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    # A stack with local variables could show captured payloads and passwords.
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(asked: bool) -> None:
    if asked:
        # Here, because the client's package loads OpenTelemetry, which no other command needs at once.
        from xray_otel._version import __version__

        typer.echo(f"xray {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and end."),
    ] = False,
) -> None:
    """X-Ray explains decisions: why a run decided as it did, and where decisions fail across runs."""


_SERVE = "Run"
_READ = "Ask (over REST)"
_CARE = "Look after"

app.command(rich_help_panel=_SERVE)(serve.up)
app.command(rich_help_panel=_SERVE)(serve.collector)
app.command(rich_help_panel=_SERVE)(serve.api)
app.command(rich_help_panel=_SERVE)(demo_command.demo)
app.command(rich_help_panel=_READ)(runs.runs)
app.command(rich_help_panel=_READ)(runs.run)
app.command(rich_help_panel=_READ)(explain.explain)
app.command(rich_help_panel=_READ)(culprits.culprits)
app.command(rich_help_panel=_READ)(audit.audit)
app.command(rich_help_panel=_READ)(diff.diff)
app.command(rich_help_panel=_READ)(compare.compare)
app.command(rich_help_panel=_READ)(drift.drift)
app.command(rich_help_panel=_READ)(steps.steps)
app.command(rich_help_panel=_READ)(items.item)
app.command(rich_help_panel=_READ)(items.items)
app.command(rich_help_panel=_READ)(contrast.why)
app.command(rich_help_panel=_READ)(contrast.near)
app.command(rich_help_panel=_READ)(replay.replay)
app.command(rich_help_panel=_READ)(metrics_command.metrics)
app.command(rich_help_panel=_READ)(losses.losses)
app.command(rich_help_panel=_READ)(outcomes.outcome)
app.add_typer(export.app, name="export", rich_help_panel=_READ)
app.add_typer(contracts.app, name="contracts", rich_help_panel=_READ)
app.add_typer(alerts.app, name="alerts", rich_help_panel=_READ)
app.add_typer(database_commands.app, name="db", rich_help_panel=_CARE)
app.add_typer(keys.app, name="keys", rich_help_panel=_CARE)


def main() -> None:
    """
    Run one command and end the process.

    Exit codes: 0 done; 1 it could not be done; 2 an option, argument or setting is wrong.
    """
    try:
        app(prog_name="xray")
    except SettingsError as error:
        _fail(str(error), EXIT_USAGE)
    except CliError as error:
        _fail(str(error), error.exit_code, error.more)
    except (EmbeddedError, Unavailable, CannotListen) as error:
        _fail(str(error), EXIT_FAILURE)


def _fail(line: str, code: int, more: Sequence[str] = ()) -> NoReturn:
    # Only a server writes logs; the other commands do not wait for what that imports.
    logs = sys.modules.get("cli.logs")
    if logs is not None and logs.writes_json():
        logging.getLogger("xray").error(line)
    else:
        for each in (f"xray: {line}", *more):
            print_line(each, warning_console())
    sys.exit(code)
