"""Replays of pipelines that really ran, held against running them again."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

import xray_otel as xray
from benchmarks.replay.kinds import INDEPENDENT
from benchmarks.replay.trials import Tally, recorded, told_of, try_changes, try_contrasts, try_flips
from store.reader import Reader
from tests.fixtures.services import ServiceProcess

CHANGES = int(os.environ.get("XRAY_TEST_REPLAY_CHANGES", "240"))
RUNS = max(12, CHANGES // 100)


@pytest.fixture(scope="module")
def tally(module_xray_up: ServiceProcess) -> Iterator[Tally]:
    """What came of random changes of runs that went through client, collector and Postgres."""
    xray.configure(endpoint=module_xray_up.otlp_http, sample_size=4, mode="strict")
    runs = recorded([f"test-{number}" for number in range(RUNS)])
    reader, found = Reader.open(module_xray_up.database_url), Tally()
    for run in runs:
        told = told_of(reader, run)
        try_changes(run, told, CHANGES // RUNS, found)
        try_flips(run, told, 4, found)
        try_contrasts(run, told, 4, found)
    reader.close()
    yield found
    xray.shutdown()


def test_nothing_certain_is_wrong(tally: Tally) -> None:
    """Each certain fate and bound holds when the pipeline runs again; flips turn, and none is smaller."""
    assert tally.wrong == []
    assert tally.changes > CHANGES // 2
    assert tally.answers["certain"] > 1000
    assert tally.flips["certain"] > 0


def test_most_is_certain_where_steps_say_what_they_do(tally: Tally) -> None:
    """Of filters that are recorded as the documentation advises; of others less is."""
    advised, found = (tally.share(how, *INDEPENDENT) for how in ("advised", "found"))
    assert advised.verdicts["certain"] > 0.8 * advised.verdicts.total()
    assert found.verdicts["certain"] < found.verdicts.total()


def test_what_cannot_be_told_is_unknown(tally: Tally) -> None:
    """Traps that the record does not show are not answered as if it did."""
    assert tally.answers["unknown"] > 0
    assert tally.whole[False] > 0
