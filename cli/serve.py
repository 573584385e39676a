"""
``xray up``, ``xray collector``, ``xray api``: run the server, whole or in parts.
"""

from __future__ import annotations

import gc
import os
import resource
import sys
from contextlib import suppress
from typing import Annotated

import orjson
import typer

from cli.errors import EXIT_FAILURE, Failure
from cli.parts import Addresses, Parts
from cli.progress import Say, as_log_events, on_stderr, silent
from cli.signals import StopSignals

AsJson = Annotated[
    bool,
    typer.Option(
        "--json",
        help="When all is ready, print one line of JSON with the addresses on stdout; no other output there.",
    ),
]
WithParent = Annotated[
    bool,
    typer.Option(
        "--with-parent", help="Stop too when the process that started this one ends, however it ends."
    ),
]
SharePorts = Annotated[
    bool,
    # For the processes of XRAY_PROCESSES, which their parent starts.
    typer.Option("--share-ports", hidden=True),
]


def up(as_json: AsJson = False, with_parent: WithParent = False) -> None:
    """
    Run everything on this machine: database, collector, API.

    Without settings: an embedded PostgreSQL in ~/.local/share/xray, OTLP/gRPC on 4317, OTLP/HTTP
    on 4318 and the REST API on 8000, all on loopback only. The schema is migrated at start.

    Ctrl-C, SIGTERM or a closed terminal stop it gracefully: new data is refused, what was taken
    in is written, then the database stops. The exit code is 0 when all of it was
    written, and 1 when not, or when the embedded database or collector processes ended by
    themselves; senders have no acknowledgement of what was not written, and send it again.

    **XRAY_DATA_DIR** names another folder, **XRAY_DATABASE_URL** a PostgreSQL server (≥ 15)
    of your own, **XRAY_GRPC_PORT**, **XRAY_HTTP_PORT** and **XRAY_API_PORT** other
    ports (0 = any free one), **XRAY_HOST** another interface, which asks for API keys
    (docs/security.md). All settings: docs/configuration.md.
    """
    _serve(Parts.COLLECTOR | Parts.API, as_json, with_parent)


def collector(
    as_json: AsJson = False, with_parent: WithParent = False, share_ports: SharePorts = False
) -> None:
    """
    Run the OTLP receivers alone: gRPC on 4317, HTTP on 4318.

    Several collectors may write to one database at once. It is the one of
    **XRAY_DATABASE_URL**, else the embedded one of **XRAY_DATA_DIR**, shared with other
    X-Ray processes of this user.

    **XRAY_PROCESSES** runs several behind the same ports. The exit code is that of ``xray up``.
    """
    _serve(Parts.COLLECTOR, as_json, with_parent, share_ports)


def api(as_json: AsJson = False, with_parent: WithParent = False) -> None:
    """
    Run the REST API alone, on port 8000, with the JSON doors.

    It uses the database of **XRAY_DATABASE_URL**, else the embedded one of
    **XRAY_DATA_DIR**, shared with other X-Ray processes of this user.
    """
    _serve(Parts.API, as_json, with_parent)


def _serve(parts: Parts, as_json: bool, with_parent: bool, share_ports: bool = False) -> None:
    # Not at the top: this imports the whole server, and `xray runs` should not wait for that.
    # gRPC's library writes lines of its own to stderr; what matters in them we say ourselves.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from cli.settings import check_addresses, load_settings, unknown_variables
    from cli.stack import Stack
    from collector.memory import use_few_arenas

    use_few_arenas()
    # The parent of processes that share ports says it for all of them.
    say = _teller()
    if share_ports:
        say = silent
    for line in unknown_variables():
        say(f"xray: {line}")
    settings = load_settings()
    check_addresses(settings, parts)
    _allow_open_files()
    broken: str | None = None
    with StopSignals() as signals:
        stack = Stack(settings, parts, say, share_ports)
        addresses = stack.start()
        _collect_garbage_less_often()
        try:
            _announce(addresses, as_json, say)
            broken = signals.wait(with_parent, stack.broken)
            say(f"stopping   {broken or 'new data is refused, what was taken in is being written …'}")
        finally:
            complete = stack.stop()
    if broken is not None:
        raise Failure(f"{broken}; start again, nothing acknowledged is lost")
    if not complete:
        say("stopped    before everything was written; senders without an acknowledgement send again")
        raise typer.Exit(EXIT_FAILURE)
    say("stopped    everything taken in was written")


def _teller() -> Say:
    """Set up logging, and return what says how the start and the stop go on."""
    from cli.logs import LogSettings, configure
    from store.errors import SettingsError
    from store.settings import load

    try:
        logs = load(LogSettings)
    except SettingsError:  # which the other settings are about to raise again
        return on_stderr()
    configure(logs)
    return as_log_events() if logs.log_format == "json" else on_stderr()


def _allow_open_files() -> None:
    """Each connection is one: take as many as the system lets us have (getrlimit(2))."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _collect_garbage_less_often() -> None:
    """
    Keep Python's collector of reference cycles off what lives for good, and off rows on their way.

    Rows are containers by the thousand, none of them in a cycle; looking through them took 12 of
    57 µs of processor time a span (``benchmarks.ingest``, two pairs of runs).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)


def _announce(addresses: Addresses, as_json: bool, say: Say) -> None:
    if as_json:
        sys.stdout.write(orjson.dumps(addresses.as_dict()).decode() + "\n")
        sys.stdout.flush()
        return
    lines = {
        "OTLP/gRPC": addresses.otlp_grpc,
        "OTLP/HTTP": addresses.otlp_http,
        "REST API": addresses.api and f"{addresses.api}/api/v1   ({addresses.api}/openapi.json)",
    }
    for name, address in lines.items():
        if address:
            say(f"{name:<10} {address}")
    say("ready      Ctrl-C stops it")
