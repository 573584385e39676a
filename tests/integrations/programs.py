"""Programs of the engines' environment, as processes of a test module."""

from __future__ import annotations

import contextlib
import socket
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx

from tests.fixtures.engines import ROOT
from tests.fixtures.services import environment
from tests.fixtures.waiting import wait_until

START_DEADLINE_S = 60.0


def free_port() -> int:
    """A loopback port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def serving(
    command: Sequence[str | Path], port: int, ready_path: str = "/", **environ: str
) -> Iterator[httpx.Client]:
    """The program, which serves HTTP on the port; gives a client of it and kills it at the end."""
    process = subprocess.Popen(
        list(map(str, command)), cwd=ROOT, env=environment({"PYTHONPATH": str(ROOT), **environ})
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60.0, trust_env=False) as client:

            def answers() -> bool:
                assert process.poll() is None, "the program has ended"
                with contextlib.suppress(httpx.TransportError):
                    client.get(ready_path)
                    return True
                return False

            wait_until(answers, timeout_s=START_DEADLINE_S, what=f"an answer of {command[1]}")
            yield client
    finally:
        process.kill()
        process.wait()
