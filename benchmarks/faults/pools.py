"""
The runs since a fault came up, together: how much fainter a fault shows than in one run.

Offline only (``offline.py``). The pool of a trial is the run of the trial and further ones under the same
conditions, with the same fault in the same step, each of a seed of its own. How visible a fault is, is told
of the first run, as without pools.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from api.explain.pool import rank_pool
from benchmarks.faults import visibility
from benchmarks.faults.answers import Reply
from benchmarks.faults.driving import Result
from benchmarks.faults.offline import recorded
from benchmarks.faults.pipeline import Pipeline, draw, execute, planted
from benchmarks.faults.plants import PLANTS
from benchmarks.faults.trials import Trial
from store.queries.figures import Figures


class Pools:
    """Answers about pools of one pipeline."""

    def __init__(self, pipeline: Pipeline, baseline: int, seed: str) -> None:
        self._pipeline = pipeline
        self._habits = visibility.usual(pipeline, seed)
        self._before: list[Mapping[str, Figures]] = []
        for number in range(baseline):
            executed = execute(pipeline.steps, *draw(pipeline, f"{seed}-baseline-{number}"))
            self._before.append(recorded(pipeline.steps, executed.outcomes, opened=True))

    def ask(self, trial: Trial, runs: int) -> Result:
        """Make the runs of a pool and answer about them."""
        seeds = [trial.seed, *(f"{trial.seed}-{number}" for number in range(1, runs))]
        ranked = rank_pool([self._run(trial, seed) for seed in seeds], self._before).ranked
        names = tuple(culprit.step for culprit in ranked.culprits)
        suspicion = tuple(culprit.suspicion for culprit in ranked.culprits)
        return Result(trial, self._seen(trial), Reply(ranked.conclusion, names, None, suspicion=suspicion))

    def _run(self, trial: Trial, seed: str) -> Mapping[str, Figures]:
        steps = self._faulty(trial).steps
        outcomes = execute(steps, *draw(self._pipeline, seed, trial.conditions)).outcomes
        made = recorded(steps, outcomes, opened=True, sampled=trial.confounder == "sampled")
        # As the store has it: nothing is compared of an execution that failed.
        failed = {step.name for step, one in zip(steps, outcomes, strict=True) if one.error is not None}
        return {name: figures for name, figures in made.items() if name not in failed}

    def _faulty(self, trial: Trial) -> Pipeline:
        if trial.step is None or trial.fault is None:
            return self._pipeline
        at = self._pipeline.step_at(trial.step)
        step = PLANTS[trial.fault](self._pipeline.steps[at], trial.intensity)
        assert step is not None  # the plan holds only what fits
        return planted(self._pipeline, at, step)

    def _seen(self, trial: Trial) -> visibility.Seen | None:
        if trial.step is None:
            return None
        drawn = draw(self._pipeline, trial.seed, trial.conditions)
        faulty, twin = (execute(one.steps, *drawn).outcomes for one in (self._faulty(trial), self._pipeline))
        return visibility.seen(self._pipeline.step_at(trial.step), faulty, twin, self._habits)


def answer_pools(
    trials: Sequence[Trial], pipelines: Mapping[str, Pipeline], baseline: int, seed: str, runs: int
) -> Iterator[Result]:
    """One result for each trial, pipeline by pipeline."""
    for name, pipeline in pipelines.items():
        pools = Pools(pipeline, baseline, seed)
        yield from (pools.ask(trial, runs) for trial in trials if trial.pipeline == name)
