"""
``xray demo``: servers of its own in a temporary folder, and the walk-through on them.
"""

from __future__ import annotations

import logging
import os
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from cli import options
from cli.demo import run_demo
from cli.demo_options import DemoOptions, Endpoints
from cli.errors import Failure
from cli.parts import Addresses, Parts
from cli.progress import Say, on_stderr
from cli.signals import StopSignals, interrupted_by_termination

_DEFAULTS = DemoOptions()


def demo(
    catalog: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            readable=True,
            metavar="FILE",
            help="Product listings (JSON) for the pipeline instead of the generated catalogue.",
        ),
    ] = None,
    runs: Annotated[
        int, typer.Option(min=1, max=1000, help="Runs of the competitor pipeline.")
    ] = _DEFAULTS.runs,
    seed: Annotated[
        int, typer.Option(help="Seed of the catalogue; the same seed gives the same story.")
    ] = _DEFAULTS.seed,
    keep: Annotated[
        bool,
        typer.Option("--keep", help="Leave the servers up afterwards, until Ctrl-C, to try the curl lines."),
    ] = False,
    as_json: options.Json = False,
) -> None:
    """
    Find out why a phone case was matched to a laptop stand.

    Starts PostgreSQL, collector and API on free loopback ports in a temporary folder, runs a
    real pipeline over thousands of products, then asks the REST API and prints what a developer
    would look at. Everything is removed at the end.
    """
    asked = DemoOptions(json_output=as_json, keep=keep, catalog=catalog, runs=runs, seed=seed)
    # Not at the top: this imports the whole server, and `xray runs` should not wait for that.
    from cli.settings import private_settings
    from cli.stack import Stack

    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    say = on_stderr()
    with interrupted_by_termination(), tempfile.TemporaryDirectory(prefix="xray-demo-") as folder:
        stack = Stack(private_settings(Path(folder)), Parts.COLLECTOR | Parts.API, say)
        try:
            addresses = stack.start()
            code = run_demo(_endpoints(addresses), asked)
            if keep:
                _keep(addresses, say)
            elif not as_json:
                say("The servers stop now; `xray demo --keep` leaves them up for the curl lines.")
        finally:
            stack.stop()
    if code:
        raise typer.Exit(code)


def _endpoints(addresses: Addresses) -> Endpoints:
    if addresses.otlp_http is None or addresses.otlp_grpc is None or addresses.api is None:
        raise Failure("the demo needs every part of the server")
    return Endpoints(otlp_http=addresses.otlp_http, otlp_grpc=addresses.otlp_grpc, api=addresses.api)


def _keep(addresses: Addresses, say: Say) -> None:
    """Leave the servers up until somebody stops them."""
    with StopSignals() as signals:
        say(f"The servers stay up: XRAY_API_URL={addresses.api} XRAY_ENDPOINT={addresses.otlp_http}")
        say(f"Ctrl-C stops them and removes their data; from elsewhere: kill {os.getpid()}")
        signals.wait()
