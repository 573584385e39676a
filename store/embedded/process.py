"""Runs PostgreSQL programs as an identity, with an environment of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO

ENTER = Path(__file__).with_name("enter.py")


def command(program: Path | str, arguments: Sequence[str], *, identity: str, tied_to: int = 0) -> list[str]:
    """Return the command line that runs the program as the identity; tied_to: pid of the parent, 0 = free."""
    return [sys.executable, "-I", "-S", str(ENTER), str(tied_to), identity, str(program), *arguments]


def environment() -> dict[str, str]:
    """
    Return our environment without what PostgreSQL would read on its own.

    ``PG*`` redirects its tools, and libpq looks for certificates below ``HOME``, which may be
    root's and closed to the identity that it runs as.
    """
    return {name: value for name, value in os.environ.items() if not name.startswith("PG") and name != "HOME"}


def run(
    program: Path | str, arguments: Sequence[str], *, identity: str, stdin: str = "", timeout_s: float = 60.0
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end; stdout and stderr come back together, in stdout."""
    return subprocess.run(
        command(program, arguments, identity=identity),
        input=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=environment(),
        cwd="/",
        timeout=timeout_s,
        check=False,
    )


def spawn(
    program: Path, arguments: Sequence[str], *, identity: str, log: IO[bytes]
) -> subprocess.Popen[bytes]:
    """
    Start a program that ends when the calling thread does; its output goes to log.

    In a session of its own: Ctrl-C in a terminal must reach us only, so that we can flush
    before the server stops.
    """
    return subprocess.Popen(
        command(program, arguments, identity=identity, tied_to=os.getpid()),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        env=environment(),
        cwd="/",
        start_new_session=True,
    )
