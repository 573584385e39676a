"""
The same runs and the same answers without client, collector, database and sockets: for tuning.

Takes a sixth of the time. What the client would record is made here from the outcome of each step, then
X-Ray's own functions are called. Differs from the real thing in that no run that is asked about is ever
in the baseline of another, and in which decisions a sample holds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from api.explain.audit import JUDGES
from api.explain.culprits import Looked, rank_steps
from api.explain.usual import Usual
from benchmarks.faults import visibility
from benchmarks.faults.answers import Reply
from benchmarks.faults.driving import Result
from benchmarks.faults.pipeline import Executed, Pipeline, draw, execute, planted
from benchmarks.faults.plants import PLANTS
from benchmarks.faults.steps import Outcome, Row, Step
from benchmarks.faults.trials import Trial
from store.decisions import VERDICTS, DecisionColumns
from store.queries.evidence import Decided, of_run
from store.queries.figures import Figures, Recorded, figures
from store.queries.habits import EVIDENCE_ITEMS, EVIDENCE_RUNS
from xray_otel import MISSING
from xray_otel._statistics import summarize, summarize_fields

SAMPLE = 50
"""Decisions of each verdict and reason that a sample surely holds."""
_LETTERS = {word: letter for letter, word in VERDICTS.items()}
_PASSING = ("kept", "scored", "selected")


class Offline:
    """Answers about runs of one pipeline."""

    def __init__(self, pipeline: Pipeline, baseline: int, seed: str) -> None:
        self._pipeline = pipeline
        self._habits = visibility.usual(pipeline, seed)
        known: list[dict[str, Figures]] = []
        left = EVIDENCE_ITEMS
        for number in reversed(range(baseline)):
            executed = execute(pipeline.steps, *draw(pipeline, f"{seed}-baseline-{number}"))
            left -= sum(len(outcome.rows) for outcome in executed.outcomes)
            opened = len(known) < EVIDENCE_RUNS and left >= 0
            known.append(recorded(pipeline.steps, executed.outcomes, opened=opened))
        self._usual = Usual(known)

    def ask(self, trial: Trial) -> Result:
        """Make one run and answer about it."""
        pipeline, query_and_items = self._pipeline, draw(self._pipeline, trial.seed, trial.conditions)
        at = None if trial.step is None else pipeline.step_at(trial.step)
        faulty = pipeline
        if at is not None and trial.fault is not None:
            step = PLANTS[trial.fault](pipeline.steps[at], trial.intensity)
            assert step is not None  # the plan holds only what fits
            faulty = planted(pipeline, at, step)
        executed = execute(faulty.steps, *query_and_items)
        sampled = trial.confounder == "sampled"
        own = recorded(faulty.steps, executed.outcomes, opened=True, sampled=sampled)
        usual = Usual([]) if trial.confounder == "new_version" else self._usual
        ranked = rank_steps(_looked(faulty.steps, executed.outcomes), own, usual)
        names = tuple(culprit.step for culprit in ranked.culprits)
        sure = ranked.culprits[0].confidence if ranked.culprits else None
        suspicion = tuple(culprit.suspicion for culprit in ranked.culprits)
        reply = Reply(ranked.conclusion, names, sure, suspicion=suspicion)
        if at is None:
            return Result(trial, None, reply)
        twin: Executed = execute(pipeline.steps, *query_and_items)
        return Result(trial, visibility.seen(at, executed.outcomes, twin.outcomes, self._habits), reply)


def answer_all(
    trials: Sequence[Trial], pipelines: Mapping[str, Pipeline], baseline: int, seed: str
) -> Iterator[Result]:
    """One result for each trial, pipeline by pipeline."""
    for name, pipeline in pipelines.items():
        offline = Offline(pipeline, baseline, seed)
        yield from (offline.ask(trial) for trial in trials if trial.pipeline == name)


def recorded(
    steps: Sequence[Step], outcomes: Sequence[Outcome], *, opened: bool, sampled: bool = False
) -> dict[str, Figures]:
    """The figures of a run; opened: whether its decisions are looked at."""
    told = of_run([
        Decided(step.name, [_columns(outcome.rows, sampled)])
        for step, outcome in zip(steps, outcomes, strict=True)
    ]) if opened else [{} for _ in steps]  # fmt: skip
    found = {}
    for step, outcome, evidence in zip(steps, outcomes, told, strict=True):
        made = figures(_recorded(outcome))
        made.values.update(evidence)
        found[step.name] = made
    return found


def _recorded(outcome: Outcome) -> Recorded:
    verdicts = Counter(row.verdict for row in outcome.rows)
    score = summarize([row.score for row in outcome.rows if row.score is not None])
    fields, sources = summarize_fields(outcome.out, outcome.fields, "source") if outcome.fields else ([], {})
    return Recorded(
        candidates_in=outcome.taken_in,
        candidates_out=sum(verdicts[word] for word in _PASSING),
        counts=verdicts,
        reasons=Counter(row.reason for row in outcome.rows if row.reason is not None),
        score={} if score is None else score._asdict(),
        fields={one.name: dict(zip(one._fields[1:], one[1:], strict=True)) for one in fields},
        sources=sources,
        metrics=outcome.metrics,
    )


def _columns(rows: Sequence[Row], sampled: bool) -> DecisionColumns:
    cut = sampled and max(Counter((row.verdict, row.reason) for row in rows).values(), default=0) > SAMPLE
    return DecisionColumns(
        count=len(rows),
        item=[row.item_id for row in rows],
        verdict="".join(_LETTERS[row.verdict] for row in rows),
        score=[row.score for row in rows],
        value=[None if row.value is MISSING else row.value for row in rows],
        threshold=[row.threshold for row in rows],
        missing=[place for place, row in enumerate(rows) if row.value is MISSING],
        probability=0.5 if cut else None,
    )


def _looked(steps: Sequence[Step], outcomes: Sequence[Outcome]) -> list[Looked]:
    """With the signs that the audit would find: errors, gaps within a step and between two."""
    handed_over = [None, *(len(one.out) for one, _ in pairwise(outcomes))]
    found = []
    for step, outcome, handed in zip(steps, outcomes, handed_over, strict=True):
        taken_in, failed = outcome.taken_in, outcome.error is not None
        gap = (
            taken_in is not None and step.step_type in JUDGES and not failed and taken_in != len(outcome.rows)
        )
        between = taken_in is not None and handed is not None and taken_in != handed
        found.append(Looked(step.name, step.name, taken_in is None, [0] * (failed or gap or between), failed))
    return found
