"""Makes runs through the client and asks X-Ray about them, over real sockets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import httpx
import psycopg

import xray_otel as xray
from benchmarks.faults.answers import Reply, reply
from benchmarks.faults.pipeline import Pipeline, draw, execute, planted
from benchmarks.faults.plants import PLANTS
from benchmarks.faults.steps import Outcome, Step
from benchmarks.faults.trials import Trial
from benchmarks.faults.visibility import Seen, Usual, seen

_FLUSH_S = 120.0
_ASK_S = 60.0
_BATCH = 40
"""Runs that are sent before it is waited for them."""


class Result(NamedTuple):
    """What was true of a run and what was answered."""

    trial: Trial
    seen: Seen | None
    """None of a healthy run."""
    reply: Reply


class Addresses(NamedTuple):
    """Where X-Ray is."""

    otlp_http: str
    api: str
    database: str


def record_baseline(pipelines: Iterable[Pipeline], runs: int, seed: str) -> None:
    """Healthy runs of each pipeline under usual conditions."""
    for pipeline in pipelines:
        for number in range(runs):
            query, items = draw(pipeline, f"{seed}-baseline-{number}")
            with xray.run(pipeline.name, version="1"):
                execute(pipeline.steps, query, items, observe)
            if number % _BATCH == _BATCH - 1:
                _delivered()
    _delivered()


def ask_all(
    trials: Sequence[Trial],
    pipelines: Mapping[str, Pipeline],
    habits: Mapping[str, Sequence[Mapping[str, Usual]]],
    addresses: Addresses,
) -> Iterator[Result]:
    """
    Make each run, ask about it, and take it out of the baseline of the next.

    Else every second run that a run is held against would be a faulty one.
    """
    with (
        httpx.Client(base_url=f"{addresses.api}/api/v1", timeout=_ASK_S, trust_env=False) as api,
        psycopg.connect(addresses.database, autocommit=True) as database,
    ):
        for start in range(0, len(trials), _BATCH):
            batch = trials[start : start + _BATCH]
            made = [_make(trial, pipelines[trial.pipeline], habits[trial.pipeline]) for trial in batch]
            _delivered()
            # All are asked while the others of the batch are in their baselines: a few of very many.
            for trial, (run_id, visible) in zip(batch, made, strict=True):
                yield Result(trial, visible, _ask(api, run_id))
            database.execute("DELETE FROM runs WHERE run_id = ANY(%s)", ([run_id for run_id, _ in made],))


def _make(trial: Trial, pipeline: Pipeline, habits: Sequence[Mapping[str, Usual]]) -> tuple[str, Seen | None]:
    """Execute one trial; its run id, and how far it is from its twin."""
    query, items = draw(pipeline, trial.seed, trial.conditions)
    executed_pipeline = pipeline
    if trial.fault is not None and trial.step is not None:
        at = pipeline.step_at(trial.step)
        step = PLANTS[trial.fault](pipeline.steps[at], trial.intensity)
        assert step is not None  # the plan holds only what fits
        executed_pipeline = planted(pipeline, at, step)
    version = "2" if trial.confounder == "new_version" else "1"
    watch = partial(observe, capture="sampled" if trial.confounder == "sampled" else None)
    with xray.run(pipeline.name, version=version) as run:
        faulty = execute(executed_pipeline.steps, query, items, watch, trial.conditions.work_factor)
    if trial.step is None:
        return run.run_id, None
    twin = execute(pipeline.steps, query, items)
    return run.run_id, seen(pipeline.step_at(trial.step), faulty.outcomes, twin.outcomes, habits)


@contextmanager
def observe(step: Step, capture: Any = None) -> Iterator[Any]:
    """Record a step as a team would: verdicts by the column, fields of what it lets out, metrics."""
    try:
        with xray.step(step.name, type=step.step_type, capture=capture) as recorded:
            yield partial(_record, recorded)
    except ConnectionError:
        pass  # the pipeline goes on with what it has


def _record(recorded: xray.Step, outcome: Outcome) -> None:
    rows = outcome.rows
    recorded.record(
        [row.item_id for row in rows],
        [row.verdict for row in rows],
        reasons=[row.reason for row in rows],
        scores=[row.score for row in rows],
        values=[row.value for row in rows],
        thresholds=[row.threshold for row in rows],
    )
    if outcome.taken_in is not None and outcome.taken_in != len(rows):
        recorded.counts(in_=outcome.taken_in)
    if outcome.fields:
        recorded.fields(outcome.out, outcome.fields, source="source")
    for name, value in outcome.metrics.items():
        recorded.metric(name, value)
    if outcome.error is not None:
        raise ConnectionError(outcome.error)


def _delivered() -> None:
    if not xray.flush(_FLUSH_S):
        raise SystemExit(f"X-Ray did not take all runs within {_FLUSH_S:g} s")


def _ask(api: httpx.Client, run_id: str) -> Reply:
    response = api.get(f"/runs/{run_id}/explain")
    if response.status_code != httpx.codes.OK:
        raise SystemExit(f"explain of {run_id}: HTTP {response.status_code} {response.text}")
    answered = response.json()
    if answered["run"]["status"] != "completed" or answered["completeness"]["missing"]:
        raise SystemExit(f"run {run_id} is not whole in the store: {answered['completeness']}")
    return reply(answered)
