"""No alert is lost or doubled when the process that evaluates and delivers is killed at any moment."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from api.alerts.declared import rule
from api.alerts.upkeep import ending
from store.alerts import AlertShelf, StoredRule
from store.database import libpq_url
from tests.fixtures.alert_program import MOMENTS
from tests.fixtures.reading import Shelf, run_copy
from tests.fixtures.waiting import wait_until
from tests.fixtures.webhooks import Receiver, receiving

ROOT = Path(__file__).parents[2]
RULES = 6
KILLS = int(os.environ.get("XRAY_TEST_ALERT_KILLS", "4"))


class Program:
    """A process that is killed or ends itself, and is begun anew."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.fixtures.alert_program"]
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def begin(self, url: str, *moment: str) -> None:
        """Begin a life, there being none; at the moment, if one is named, it ends itself as by a crash."""
        assert self._ask("begin", libpq_url(url), *moment) == "done\n"

    def kill(self) -> None:
        """End it as a crash would."""
        assert self._ask("kill") == "done\n"

    def ended(self) -> bool:
        """Whether it has ended itself."""
        return self._ask("ended") == "yes\n"

    def close(self) -> None:
        """End the process that begins lives."""
        self._process.communicate(timeout=30.0)

    def _ask(self, *words: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\t".join(words) + "\n")
        return self._process.stdout.readline()


@pytest.fixture(scope="module")
def program() -> Iterator[Program]:
    """The process that begins lives; none is there before and after a test that passes."""
    with closing(Program()) as found:
        yield found


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


def test_killed_at_any_moment(shelf: Shelf, database_url: str, program: Program):
    """
    Every group fires once and is resolved once: each event arrives, none has two ids, and what
    arrives again has the id of the first time. The receiver refuses some of them as well.
    """
    draw = random.Random(3)
    with receiving() as receiver:
        receiver.answer = lambda: 503 if draw.random() < 0.3 else 204
        rules = AlertShelf(database_url)
        for number in range(RULES):
            stored(rules, number, receiver)
        for life in range(KILLS):
            if life == 1:
                shelf.put(*(run_copy(f"r{number}", pipeline=f"p{number}") for number in range(RULES)))
            program.begin(database_url)
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
        program.begin(database_url)
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


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_between_two_steps(shelf: Shelf, database_url: str, program: Program, moment: str):
    """
    Deciding, writing, committing, sending and noting: whichever came last, nothing is lost or doubled.

    What was sent and not noted arrives again, under its id, and it alone.
    """
    with receiving() as receiver:
        stored(AlertShelf(database_url), 0, receiver)
        shelf.put(run_copy("r0", pipeline="p0"))
        for events, kind in enumerate(("firing", "resolved"), start=1):
            if moment == "postponed":
                receiver.answer = hang_up
            program.begin(database_url, moment)
            wait_until(program.ended, timeout_s=60.0, what=f"the end when {kind} is {moment}")
            receiver.answer = lambda: 204
            assert delivered(database_url, events) == (moment == "noted")
            program.begin(database_url)
            wait_until(lambda e=events: delivered(database_url, e), timeout_s=60.0, what=kind)  # type: ignore[misc]
            program.kill()
            shelf.put(run_copy("r0", pipeline="p0", at=5, status="crashed"))
        again = 2 if moment in ("sent", "about to note", "postponed") else 1
        assert [request.event["type"] for request in receiver.requests] == ["firing"] * again + [
            "resolved"
        ] * again
        assert [request.event["type"] for request in once(receiver)] == ["firing", "resolved"]


def hang_up() -> int:
    """Answer nothing."""
    raise ConnectionAbortedError


def once(receiver: Receiver) -> list[Any]:
    """What a receiver keeps that drops repeats by their id."""
    by_id = {request.event["event_id"]: request for request in reversed(receiver.requests)}
    return [request for request in receiver.requests if by_id[request.event["event_id"]] is request]


def delivered(url: str, events: int = RULES) -> bool:
    """Whether so many events are there, and all of them delivered."""
    with psycopg.connect(libpq_url(url)) as connection:
        row = connection.execute("SELECT count(*), count(delivered_at) FROM alert_outbox").fetchone()
    return row == (events, events)
