"""
What an explanation is made from and what it consists of.

Every sentence of an explanation belongs to a record that carries the numbers and ids it
was made from, so that a reader can check it against the store.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from store.queries.baseline import Baseline
from store.queries.habits import NO_HABITS, Habits
from store.queries.run_columns import NO_COLUMNS, RunColumns
from store.queries.types import RunCompleteness, RunDetail, RunRecord
from store.queries.types_decisions import DecisionRecord, Journey

FindingKind = Literal[
    "step_error",
    "count_gap",
    "handover_gap",
    "kept_without_value",
    "new_reason",
    "missing_field_rise",
    "drop_ratio_unusual",
    "all_eliminated",
]


Untold = Literal[
    "sampled",
    "evidence",
    "parallel",
    "repeated",
    "parent_unknown",
    "shared",
    "repeats",
    "passing_only",
    "expands",
    "other_ids",
    "silent",
    "failed",
    "run_open",
]

Conclusion = Literal["fault", "nothing_unusual", "outside_baseline", "no_baseline"]
"""
fault: a step stands out. outside_baseline: the run is so much larger or smaller than all others that they
say nothing about it. no_baseline: there are too few others to say what is unusual.
"""


@dataclass(frozen=True, slots=True)
class Material:
    """All that the analysis looks at."""

    detail: RunDetail
    baseline: Baseline
    winner: Journey | None
    runner_up: Journey | None
    rivals: Sequence[DecisionRecord] = ()
    """Decisions of the step that chose the winner; empty when there is no winner."""
    columns: RunColumns = NO_COLUMNS
    """The decisions of the steps' last attempts."""
    habits: Habits = NO_HABITS


@dataclass(frozen=True, slots=True)
class FunnelLine:
    """One step with its counts, beside what is usual."""

    step_id: str
    step: str
    """Name of the step."""
    step_type: str | None
    attempts: int
    """Executions of the step; the numbers are the last one's."""
    status: str
    candidates_in: int | None
    candidates_out: int | None
    drop_ratio: float | None
    baseline_drop_ratio: float | None
    """Median over the baseline; None when it has none."""
    baseline_n: int
    """Executions behind the median."""
    reasons: Mapping[str, int]
    why: str | None


@dataclass(frozen=True, slots=True)
class Items:
    """Items by name."""

    total: int
    items: Sequence[str]
    """The first 100 of them; ``/runs/{run_id}/audit`` gives all, page by page."""


@dataclass(frozen=True, slots=True)
class AuditLine:
    """Whether the counts of one step add up, and whether its candidates are those of the step before."""

    step_id: str
    step: str
    """Name of the step."""
    candidates_in: int | None
    counts: Mapping[str, int]
    """Candidates by verdict, as far as counted: in = all of them together and ``unaccounted``."""
    accounted: int | None
    """Sum over the verdicts; None when the step sent none."""
    unaccounted: int | None
    """In less accounted, for steps that judge what they take in; None when it cannot be said."""
    previous_step_ids: Sequence[str]
    """Steps whose output this one took; empty for a source, and where parallel steps leave it open."""
    handed_over: int | None
    """What those steps gave out, together; None when one of them did not count."""
    handover_difference: int | None
    """
    Handed over less taken in; 0 also where the items show that it is no loss (a join, a candidate that was
    judged several times), None where nothing shows it.
    """
    vanished: Items
    """Items that a step before let pass and that this one did not record."""
    reappeared: int
    """So many of those a later step names: they were there, and were not recorded here."""
    ghosts: Items
    """Items that this step took in though no step before let them pass."""
    untold: Sequence[Untold]
    """
    Why something cannot be told, which is no alarm. sampled, evidence: not every decision is recorded or can
    be read. parallel, repeated: it ran beside other steps or is one of several of its name, and declares no
    parents. parent_unknown: a declared parent did not arrive. shared: several steps took from the one
    before. repeats: candidates may have been judged several times. passing_only: only what passes was
    counted. expands: it may add candidates. other_ids: its items are named by another key. silent: a step
    that judges counted nothing. failed: a step ended in error. run_open: the run has not ended, or broke off.
    """


@dataclass(frozen=True, slots=True)
class Finding:
    """Something out of the ordinary, in words and with the numbers that show it."""

    kind: FindingKind
    """
    step_error: the step ended in error. count_gap: it gave verdicts on fewer or more candidates than it
    took in. handover_gap: it took in other candidates than the step before gave out. kept_without_value: the
    winner passed its check without a value to check. all_eliminated: it let no candidate pass. Against the
    baseline: new_reason, missing_field_rise, drop_ratio_unusual.
    """
    step_id: str
    step: str
    """Name of the step."""
    text: str
    """A sentence without its full stop."""
    evidence: Mapping[str, Any]
    """
    The numbers and ids that the text was made from, by kind. step_error: attempt, error_type,
    error_message. count_gap: in, accounted, unaccounted; handover_gap: in, handed_over, difference,
    previous_step_ids; both with items (the first 100 that vanished), items_total and reappeared, and with
    ghosts and ghosts_total, where the evidence tells. kept_without_value: item_id, attempt, verdict,
    reason, value_missing, threshold, reason_count, judged, usual (as often as the baseline does),
    baseline_reason_count, baseline_judged, baseline_n.
    all_eliminated: in, out, reasons. new_reason: reason, count, judged, baseline_count, baseline_judged,
    baseline_n. missing_field_rise: field, missing; drop_ratio_unusual: drop_ratio; both with
    baseline_median, baseline_deviation (median distance from it), baseline_n.
    """


@dataclass(frozen=True, slots=True)
class Suspect:
    """
    The step at fault: the first culprit where the conclusion is ``fault``, and by the rules of the findings
    where it is ``no_baseline``.
    """

    step_id: str
    step: str
    text: str
    findings: Sequence[int]
    """
    Positions in ``Explanation.findings``, the decisive one first; empty where only figures are unusual.
    """


@dataclass(frozen=True, slots=True)
class Evidence:
    """One figure of a step that is unlike the baseline."""

    figure: str
    kind: str
    """
    share: of the candidates or items. part: likewise, of the single decisions. level: on a scale of its own.
    amount: how many. runs: of the runs of a pool.
    """
    value: float
    usual: float
    """Median of the baseline."""
    deviations: float
    """How far from the median, in robust standard deviations of the baseline."""
    own_deviations: float
    """Those that do not follow from what earlier steps of the run were like."""
    baseline_runs: int
    """Of the baseline, those that the figure is known of."""


@dataclass(frozen=True, slots=True)
class Culprit:
    """A step that may be at fault."""

    step_id: str
    step: str
    """Name of the step."""
    confidence: float
    """That it is the step at fault, if one is; 0 to 1."""
    suspicion: float
    """Deviations that speak against it, less where an earlier step may be the origin."""
    evidence: Sequence[Evidence]
    """The farthest figures."""
    findings: Sequence[int]
    """Positions in ``Explanation.findings`` of what needs no baseline: errors, gaps in the counts."""


@dataclass(frozen=True, slots=True)
class Passage:
    """What one step decided about an item; ``verdict`` is None when the step does not name it."""

    step_id: str
    step: str
    presence: str
    verdict: str | None = None
    reason: str | None = None
    reason_text: str | None = None
    score: float | None = None
    value: int | float | str | bool | None = None
    value_missing: bool = False
    threshold: int | float | str | bool | None = None


@dataclass(frozen=True, slots=True)
class Winner:
    """The selected item and its way through the run."""

    item_id: str
    step_id: str
    """The step that selected it."""
    score: float | None
    journey: Sequence[Passage]


@dataclass(frozen=True, slots=True)
class RunnerUp:
    """The best of the items that the selecting step did not select."""

    item_id: str
    score: float | None
    margin: float | None
    """The winner's score less this one's."""
    threshold_distance: float | None
    """Its observed value less the threshold, where both are numbers."""
    journey: Sequence[Passage]


@dataclass(frozen=True, slots=True)
class Drop:
    """A step's drop ratio beside the baseline's."""

    step_id: str
    step: str
    drop_ratio: float
    baseline_drop_ratio: float | None
    """Median over the baseline; None when it has none."""
    difference: float | None
    """Drop ratio less the median."""
    baseline_n: int
    """Executions behind the median."""


@dataclass(frozen=True, slots=True)
class StepError:
    """An error as the step reported it."""

    step_id: str
    step: str
    attempt: int
    error_type: str | None
    error_message: str | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """The answer of ``GET /api/v1/runs/{id}/explain``."""

    run: RunRecord
    baseline_runs: int
    funnel: Sequence[FunnelLine]
    audit: Sequence[AuditLine]
    findings: Sequence[Finding]
    suspect: Suspect | None
    conclusion: Conclusion
    culprits: Sequence[Culprit]
    winner: Winner | None
    runner_up: RunnerUp | None
    largest_drop: Drop | None
    """Among steps that judge one by one: a rank or select step drops by its size, not by a rule."""
    largest_deviation: Drop | None
    first_error: StepError | None
    summary: Sequence[str]
    completeness: RunCompleteness


PARTS = (
    FunnelLine,
    Items,
    AuditLine,
    Finding,
    Suspect,
    Evidence,
    Culprit,
    Passage,
    Winner,
    RunnerUp,
    Drop,
    StepError,
)
"""What an explanation consists of, beside the run."""
