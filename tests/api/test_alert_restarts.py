"""No alert is lost or doubled when the process that evaluates and delivers is killed at any moment."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg

from api.alerts.declared import rule
from api.alerts.upkeep import ending
from store.alerts import AlertShelf, StoredRule
from store.database import libpq_url
from tests.fixtures.reading import Shelf, run_copy
from tests.fixtures.waiting import wait_until
from tests.fixtures.webhooks import Receiver, receiving

ROOT = Path(__file__).parents[2]
RULES = 6
KILLS = int(os.environ.get("XRAY_TEST_ALERT_KILLS", "4"))


class Program:
    """A process that is killed, and begun anew."""

    def __init__(self, url: str) -> None:
        command = [sys.executable, "-m", "tests.fixtures.alert_program", libpq_url(url)]
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def begin(self) -> None:
        """Begin a life; there is none."""
        assert self._ask() == "begun\n"

    def kill(self) -> None:
        """End it as a crash would."""
        assert self._ask() == "killed\n"

    def close(self) -> None:
        """End the process that begins lives."""
        self._process.communicate(timeout=30.0)

    def _ask(self) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("next\n")
        return self._process.stdout.readline()


def stored(shelf: AlertShelf, number: int, receiver: Receiver) -> None:
    """Put a rule that fires while a run of its pipeline is completed."""
    document: dict[str, Any] = {
        "runs": {"where": f'pipeline = "p{number}" and status = "completed"'},
        "at_least": 1,
        "window": "100000d",
        "every": "1m",
        "for": "3m",
    }
    at = datetime.now(UTC)
    declared = rule(document, f"rule-{number}")
    told = StoredRule(f"rule-{number}", document, [f"{receiver.url}/hook"], "s" * 32, at, at, None, None)
    shelf.put(told, ending(declared, at, "replaced"))


def test_killed_at_any_moment(shelf: Shelf, database_url: str):
    """
    Every group fires once and is resolved once: each event arrives, none has two ids, and what
    arrives again has the id of the first time. The receiver refuses some of them as well.
    """
    draw = random.Random(3)
    with receiving() as receiver, closing(Program(database_url)) as program:
        receiver.answer = lambda: 503 if draw.random() < 0.3 else 204
        rules = AlertShelf(database_url)
        for number in range(RULES):
            stored(rules, number, receiver)
        for life in range(KILLS):
            if life == 1:
                shelf.put(*(run_copy(f"r{number}", pipeline=f"p{number}") for number in range(RULES)))
            program.begin()
            # Somewhere within a step: of evaluating, of sending, or between the two.
            before = len(receiver.requests)
            if life > 1:
                enough = draw.randint(0, 3)
                wait_until(
                    lambda before=before, enough=enough: (  # type: ignore[misc]
                        len(receiver.requests) - before >= enough or delivered(database_url)
                    ),
                    timeout_s=60.0,
                    what="some requests",
                    every_s=0.001,
                )
            program.kill()
        receiver.answer = lambda: 204
        program.begin()
        wait_until(lambda: delivered(database_url), timeout_s=60.0, what="everything delivered")
        ended = [run_copy(f"r{n}", pipeline=f"p{n}", at=5, status="crashed") for n in range(RULES)]
        shelf.put(*ended)
        wait_until(lambda: delivered(database_url, 2 * RULES), timeout_s=60.0, what="everything resolved")
        program.kill()
        told = [request.event for request in once(receiver)]
        seen = Counter(f"{event['rule_id']} {event['type']}" for event in told)
        assert seen == {f"rule-{n} {kind}": 1 for n in range(RULES) for kind in ("firing", "resolved")}
        # A receiver that drops repeats sees each change once, the firing before what ends it.
        for number in range(RULES):
            order = [event["type"] for event in told if event["rule_id"] == f"rule-{number}"]
            assert order == ["firing", "resolved"]


def once(receiver: Receiver) -> list[Any]:
    """What a receiver keeps that drops repeats by their id."""
    by_id = {request.event["event_id"]: request for request in reversed(receiver.requests)}
    return [request for request in receiver.requests if by_id[request.event["event_id"]] is request]


def delivered(url: str, events: int = RULES) -> bool:
    """Whether so many events are there, and all of them delivered."""
    with psycopg.connect(libpq_url(url)) as connection:
        row = connection.execute("SELECT count(*), count(delivered_at) FROM alert_outbox").fetchone()
    return row == (events, events)
