"""Replays of pipelines that really ran, held against running them again."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

import xray_otel as xray
from benchmarks.replay.steps import INDEPENDENT
from benchmarks.replay.trials import Tally, recorded, told_of, try_changes, try_contrasts, try_flips
from store.reader import Reader
from tests.fixtures.services import ServiceProcess

CHANGES = int(os.environ.get("XRAY_TEST_REPLAY_CHANGES", "400"))
RUNS = max(8, CHANGES // 100)


@pytest.fixture(scope="module")
def tally(module_xray_up: ServiceProcess) -> Iterator[Tally]:
    """What came of random changes of runs that went through client, collector and Postgres."""
    xray.configure(endpoint=module_xray_up.otlp_http, sample_size=4, mode="strict")
    runs = recorded([f"test-{number}" for number in range(RUNS)])
    reader, found = Reader.open(module_xray_up.database_url), Tally()
    for run in runs:
        told = told_of(reader, run)
        try_changes(run, told, CHANGES // RUNS, found)
        try_flips(run, told, 8, found)
        try_contrasts(run, told, 8, found)
    reader.close()
    yield found
    xray.shutdown()


def test_nothing_certain_is_wrong(tally: Tally) -> None:
    """Each certain fate and bound holds when the pipeline runs again; flips turn, and none is smaller."""
    assert tally.wrong == []
    assert tally.changes > CHANGES // 2
    assert tally.answers["certain"] > 1000
    assert tally.flips["certain"] > 10


def test_most_is_certain(tally: Tally) -> None:
    """Of filters that judge candidates one by one and say so, most verdicts are certain."""
    _, verdicts = tally.share(*INDEPENDENT)
    assert verdicts > 0.5


def test_what_cannot_be_told_is_not(tally: Tally) -> None:
    """Traps that the record does not show are never certain as a whole."""
    traps = [kind for kind in ("quota", "diverse") if tally.by_kind[kind, "full", "open"]]
    assert traps
    assert tally.answers["unknown"] > 0
