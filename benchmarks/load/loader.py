"""The sending process, from the side of a benchmark."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks.load.payloads import Counts
from benchmarks.load.sender import Outcome, Phase

_ROOT = Path(__file__).parents[2]


class Plan(NamedTuple):
    """Which load, how it is sent."""

    load: str
    senders: int = 4
    connections: int = 1
    """Of each sender and target, used in turn."""
    templates: int = 16
    headers: Mapping[str, str] = {}


class Loader:
    """A process that has made its requests and waits for a phase."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.counts = Counts(*json.loads(self._line()))
        """What one template holds."""

    def run(self, phase: Phase) -> Outcome:
        """Send and wait for the end. A problem that is not asked for ends the benchmark."""
        self.begin(phase)
        outcome = self.end()
        if outcome.problem:
            raise SystemExit(f"a sender gave up: {outcome.problem}")
        return outcome

    def begin(self, phase: Phase) -> None:
        """Start a phase; ``end`` waits for it."""
        assert self._process.stdin is not None  # a pipe
        self._process.stdin.write(json.dumps(phase._asdict()) + "\n")
        self._process.stdin.flush()

    def end(self) -> Outcome:
        """Wait for the end of the phase."""
        return Outcome(**json.loads(self._line()))

    def _line(self) -> str:
        assert self._process.stdout is not None  # a pipe
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("the sending process ended; what it said stands above")
        return line


@contextmanager
def loader(targets: Sequence[str], plan: Plan) -> Iterator[Loader]:
    """A process that sends to the targets; it ends with the block."""
    options = ["--load", plan.load, "--templates", str(plan.templates)]
    options += ["--senders", str(plan.senders), "--connections", str(plan.connections)]
    for header in plan.headers.items():
        options += ["--header", *header]
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.load.sender", "--targets", *targets, *options],
        cwd=_ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Loader(process)
    finally:
        assert process.stdin is not None  # a pipe
        process.stdin.close()
        try:
            process.wait(10.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        assert process.stdout is not None  # a pipe
        process.stdout.close()
