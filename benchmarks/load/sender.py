"""
A process that sends a load: ``python -m benchmarks.load.sender`` (``loader.Loader`` starts it).

It makes its requests, says ``ready``, and then runs one phase for each line on stdin: a JSON
object with the fields of ``Phase``; the answer is one line with those of ``Outcome``. The time
of its own work is kept small and reported, since it shares the machine with what it measures.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from benchmarks.load.payloads import LOADS, Template, templates
from benchmarks.load.transport import Connection, Failed, connect

_PATIENCE_S = 60.0
"""How long one template is sent again before the sender gives up."""


class Phase(NamedTuple):
    """What to send."""

    batches: int
    """Templates, repeated ones not counted."""
    repeat_every: int = 0
    """Every n-th is sent by two senders at about the same time; 0 = none."""
    until_refused: bool = False
    """End at the first request that fails, in place of sending it again."""


class Outcome(NamedTuple):
    """What came of a phase."""

    seconds: float
    """From the first request to the last answer."""
    cpu_seconds: float
    """Of this process."""
    acknowledged: list[int]
    """Serials whose requests were all acknowledged."""
    repeated: int
    """Templates that were acknowledged a second time."""
    retries: int
    latencies_ms: list[float]
    """Of each acknowledged request."""
    problem: str
    """Why a sender ended early; empty when none did."""


class Senders:
    """Threads with connections of their own, and what they have yet to send."""

    def __init__(self, made: Sequence[Template], connections: Sequence[Sequence[Connection]]) -> None:
        """connections: for each thread those that it uses in turn."""
        self._made = made
        self._connections = connections
        self._lock = threading.Lock()
        self._serial = 0
        self._left = 0
        self._again: deque[tuple[int, list[tuple[str, bytes]]]] = deque()
        self._repeated = self._retries = 0
        self._problem = ""

    def run(self, phase: Phase) -> Outcome:
        """Send it and wait for the last answer."""
        self._left = phase.batches
        self._repeated = self._retries = 0
        self._problem = ""
        outcome = Outcome(0.0, 0.0, [], 0, 0, [], "")
        threads = [
            threading.Thread(target=self._work, args=(phase, own, outcome)) for own in self._connections
        ]
        began, cpu_began = time.perf_counter(), time.process_time()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return outcome._replace(
            seconds=time.perf_counter() - began,
            cpu_seconds=time.process_time() - cpu_began,
            repeated=self._repeated,
            retries=self._retries,
            problem=self._problem,
        )

    def _work(self, phase: Phase, connections: Sequence[Connection], outcome: Outcome) -> None:
        turn = 0
        while (taken := self._take(phase)) is not None:
            serial, requests, again = taken
            try:
                for signal, body in requests:
                    turn += 1
                    self._send(connections[turn % len(connections)], signal, body, phase, outcome)
            except Failed as failure:
                self._problem = str(failure)
                return
            with self._lock:
                if again:
                    self._repeated += 1
                else:
                    outcome.acknowledged.append(serial)

    def _take(self, phase: Phase) -> tuple[int, list[tuple[str, bytes]], bool] | None:
        with self._lock:
            if self._problem:
                return None
            if self._again:
                return *self._again.popleft(), True
            if not self._left:
                return None
            self._left -= 1
            serial, self._serial = self._serial, self._serial + 1
            requests = self._made[serial % len(self._made)].fresh(serial, time.time_ns())
            if phase.repeat_every and serial % phase.repeat_every == 0:
                self._again.append((serial, requests))
            return serial, requests, False

    def _send(self, connection: Connection, signal: str, body: bytes, phase: Phase, outcome: Outcome) -> None:
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            began = time.perf_counter()
            try:
                connection.send(signal, body)
            except Failed as failure:
                if not failure.retryable or phase.until_refused or time.monotonic() > deadline:
                    raise
                self._retries += 1
                time.sleep(0.1)
            else:
                outcome.latencies_ms.append((time.perf_counter() - began) * 1000)
                return


def main() -> None:
    """Read the options, then serve phases until stdin ends."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--targets", nargs="+", required=True, help="host:port or http://host:port each")
    parser.add_argument("--load", choices=LOADS, required=True)
    parser.add_argument("--templates", type=int, default=16)
    parser.add_argument("--senders", type=int, default=4)
    parser.add_argument("--connections", type=int, default=1, help="for each sender, used in turn")
    parser.add_argument("--header", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"))
    options = parser.parse_args()
    made = templates(options.load, options.templates)
    headers = dict(options.header)
    targets = [target for target in options.targets for _ in range(options.connections)]
    # Each begins with another target, so that all are at work from the start.
    turns = [at % len(targets) for at in range(options.senders)]
    senders = Senders(
        made, [[connect(to, headers) for to in targets[turn:] + targets[:turn]] for turn in turns]
    )
    print(json.dumps(sum_of(made)), flush=True)
    for line in sys.stdin:
        print(json.dumps(senders.run(Phase(**json.loads(line)))._asdict()), flush=True)


def sum_of(made: Sequence[Template]) -> list[int]:
    """What one template holds; all of a load hold the same."""
    [counts] = {template.counts for template in made}
    return list(counts)


if __name__ == "__main__":
    main()
