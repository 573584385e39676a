"""The status of runs, derived when read."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from store.queries.filters import parse
from store.queries.vocabulary import RUNS
from store.reader import Reader
from store.rows import RunWait
from tests.fixtures.reading import Clock, Shelf, ns, run_copy, run_start, seconds, step_copy


class Story(NamedTuple):
    """What arrived, when we look (seconds into the story), and what the run then is."""

    rows: tuple
    look_at: float
    status: str


def _wait(at: float, until: float | None = None) -> RunWait:
    return RunWait("r", ns(seconds(at)), None if until is None else ns(seconds(until)))


_END = run_copy("r")
_FINAL_END = run_copy("r")._replace(end_sent_ns=2**63 - 1 - ns(seconds(1)))
_LATE_END = run_copy("r", 100, status="crashed")

STORIES = {
    "a start": Story((run_start("r"),), 10, "running"),
    "a step without its run": Story((step_copy("r", "s"),), 10, "running"),
    "an end": Story((_END,), 10_000, "completed"),
    "a crash": Story((run_copy("r", status="crashed"),), 10_000, "crashed"),
    "a cancellation": Story((run_copy("r", status="cancelled"),), 10_000, "cancelled"),
    "resumed after a crash": Story((run_copy("r", status="crashed"), run_copy("r", 50)), 60, "completed"),
    "ends in any order": Story((_LATE_END, _END), 200, "crashed"),
    "just before the default timeout": Story((run_start("r"),), 900, "running"),
    "after the default timeout": Story((run_start("r"),), 901, "incomplete"),
    "before its own timeout": Story((run_start("r", timeout_s=5000.0),), 4000, "running"),
    "after its own timeout": Story((run_start("r", timeout_s=5.0),), 6, "incomplete"),
    "a timeout beyond every interval": Story((run_start("r", timeout_s=1e300),), 9e8, "running"),
    "asleep": Story((run_start("r"), _wait(5, 3600)), 2000, "waiting"),
    "asleep and past its time": Story((run_start("r"), _wait(5, 3600)), 4000, "waiting"),
    "never woken": Story((run_start("r"), _wait(5, 3600)), 3600 + 901, "incomplete"),
    "asleep for an event": Story((run_start("r"), _wait(5)), 500, "waiting"),
    "asleep for an event too long": Story((run_start("r"), _wait(5)), 2000, "incomplete"),
    "woken by a step": Story((run_start("r"), _wait(5, 3600), step_copy("r", "s", 50)), 60, "running"),
    "a step before the sleep": Story((_wait(5, 3600), step_copy("r", "s", 1)), 60, "waiting"),
    "asleep after an end": Story((_END, _wait(5, 3600)), 60, "waiting"),
    "told to sleep after a final end": Story((_FINAL_END, _wait(5, 3600)), 60, "completed"),
    "ended after a sleep": Story((_wait(5, 3600), _LATE_END), 60, "crashed"),
}


@pytest.mark.parametrize("story", STORIES.values(), ids=STORIES.keys())
def test_status_follows_from_events(shelf: Shelf, reader: Reader, clock: Clock, story: Story) -> None:
    """The same status is shown on the run, in the list, and by the filter, and by no other filter."""
    shelf.put(*story.rows)
    clock.now = seconds(story.look_at)
    run = reader.run("r")
    assert run is not None
    assert run.status == story.status
    assert (run.ended_at is None) == (story.status in ("running", "waiting", "incomplete"))
    words = next(field.words for field in RUNS.fields if field.name == "status")
    found = {word: [r.status for r in reader.runs(*parse(RUNS, [("status", word)])).items] for word in words}
    assert found == {word: [word] if word == story.status else [] for word in words}


def test_late_news_wakes_an_incomplete_run(shelf: Shelf, reader: Reader, clock: Clock) -> None:
    """A run that was counted as lost runs again with the next event, and a late end still wins."""
    shelf.put(run_start("r"))
    clock.now = seconds(2000)
    assert reader.run("r").status == "incomplete"  # type: ignore[union-attr]
    shelf.put(step_copy("r", "s", 1990), received=seconds(1995))
    assert reader.run("r").status == "running"  # type: ignore[union-attr]
    shelf.put(run_copy("r", 1996), received=seconds(1999))
    assert reader.run("r").status == "completed"  # type: ignore[union-attr]
