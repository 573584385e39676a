"""The answer of ``/pipelines/{pipeline}/culprits``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Literal

from pydantic import Field

import api.explain.answer  # noqa: F401 - gives the parts their descriptions in OpenAPI
from api import schemas
from api.explain import records
from api.explain.pool import Pooled, rank_pool
from api.explain.records import Culprit
from api.explain.words import counted, evidence_in_words
from store.queries.pools import MAX_RUNS, Pool, PoolQuestion, PoolRun

PoolConclusion = Literal["fault", "nothing_unusual", "outside_baseline", "no_baseline", "no_runs"]


class PoolSide(schemas.Answer):
    """The runs of one side."""

    runs: int = Field(description=f"Completed runs, the latest {MAX_RUNS} at most.")
    first_started_at: datetime | None = Field(description="Of the oldest of them; null without runs.")
    last_started_at: datetime | None


class PoolCulprit(schemas.Answer):
    """A step that may be at fault."""

    step: str = Field(description="Name of the step.")
    suspicion: float = Field(
        description="Deviations that speak against it, less where an earlier step may be the origin."
    )
    confidence: float | None = Field(
        description="Always null: what a suspicion is worth was fitted to single runs, and not to pools."
    )
    evidence: Sequence[records.Evidence] = Field(
        description="The farthest figures: value is the mean over the runs since, usual the median over "
        "groups of runs before, a deviation the spread of such groups."
    )
    run_ids: Sequence[str] = Field(description="Runs since in which the first figure is farthest.")


class PoolAnswer(schemas.Answer):
    """Which step the runs since a time are unlike those before in."""

    pipeline: str
    pipeline_version: str | None = Field(description="Of both sides; null: all versions.")
    since: datetime
    until: datetime | None
    pool: PoolSide = Field(description="The runs since.")
    baseline: PoolSide = Field(description="The runs before, as far as no bad outcome marks them.")
    conclusion: PoolConclusion = Field(
        description="As of explain, about the runs together. no_baseline: fewer than 20 runs before. "
        "no_runs: none since."
    )
    culprits: Sequence[PoolCulprit] = Field(
        description="Steps by how much speaks against them, whatever is concluded; the most suspicious first."
    )
    summary: Sequence[str] = Field(description="The same in sentences.")


def pool_answer(question: PoolQuestion, pool: Pool) -> PoolAnswer:
    """Hold the two sides against each other."""
    conclusion: PoolConclusion = "no_runs" if not pool.since else "no_baseline"
    culprits: list[PoolCulprit] = []
    if pool.since and pool.before:
        pooled = rank_pool([run.figures for run in pool.since], [run.figures for run in pool.before])
        conclusion = pooled.ranked.conclusion
        culprits = [_culprit(one, pooled, pool.since) for one in pooled.ranked.culprits]
    return PoolAnswer(
        pipeline=question.pipeline,
        pipeline_version=question.version,
        since=question.since,
        until=question.until,
        pool=_side(pool.since),
        baseline=_side(pool.before),
        conclusion=conclusion,
        culprits=culprits,
        summary=list(_summary(pool, conclusion, culprits)),
    )


def _side(runs: Sequence[PoolRun]) -> PoolSide:
    """runs: the latest first."""
    return PoolSide(
        runs=len(runs),
        first_started_at=runs[-1].started_at if runs else None,
        last_started_at=runs[0].started_at if runs else None,
    )


def _culprit(culprit: Culprit, pooled: Pooled, since: Sequence[PoolRun]) -> PoolCulprit:
    return PoolCulprit(
        step=culprit.step,
        suspicion=culprit.suspicion,
        confidence=None,
        evidence=culprit.evidence,
        run_ids=[since[place].run_id for place in pooled.farthest[culprit.step]],
    )


def _summary(pool: Pool, conclusion: PoolConclusion, culprits: Sequence[PoolCulprit]) -> Iterator[str]:
    yield (
        f"{counted(len(pool.since), 'run')} since, held together against "
        f"{counted(len(pool.before), 'run')} before."
    )
    if conclusion == "fault":
        first = culprits[0]
        said = "; ".join(evidence_in_words(one) for one in first.evidence)
        yield f"Step at fault: {first.step}, {first.suspicion:.1f} deviations off. {said}."
        yield "A confidence is not stated: it was fitted to single runs."
    else:
        yield _NO_FAULT[conclusion]


_NO_FAULT = {
    "nothing_unusual": "Nothing unusual was found.",
    "outside_baseline": "The runs since are so much larger or smaller that those before say nothing of them.",
    "no_baseline": "Too few runs before to say what is usual.",
    "no_runs": "No completed run since.",
}
