"""What a step that keeps the best by score would have kept of other candidates, or with another number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

from api.replay.facts import PASSING, StepFacts, once
from api.replay.judging import Verdict, said
from api.replay.rules import is_single
from store.decisions import Decision

_UNKNOWN = said(None, "depends_on_others")


class Field(NamedTuple):
    """The candidates that compete, as far as it is known."""

    certain: Sequence[bool]
    """Per decision, whether the candidate certainly arrives."""
    possible: Sequence[bool]
    """Per decision, whether it may arrive."""
    newcomers: int | None
    """Candidates without a score that may arrive too; None: nobody knows how many."""
    is_same: bool
    """Whether they are those of the record, in the same order."""


def reorder(step: StepFacts, field: Field, top_k: int | None, assume: bool) -> list[Verdict]:
    """
    Return the verdicts, in the order of the decisions.

    top_k: the changed number; None: as before. A candidate is sure of its place where it would be
    among the best whoever else may arrive. Certain only of a step that declares that scores do not
    depend on the other candidates, and that the order is its single rule: else it may ask for a score, or for
    a distance to the next one, too. assume: also where the recorded order follows from the scores.
    """
    judged = step.decisions
    independent = step.declared.item_independent is True or (
        assume and step.declared.item_independent is not False and step.step_type in ("rank", "select")
    )
    losers = any(d.verdict == "not_selected" for d in judged)
    keeps = sum(d.verdict in PASSING for d in judged)
    if not independent or any(d.verdict not in PASSING and d.verdict != "not_selected" for d in judged):
        return [_UNKNOWN] * len(judged)
    if step.evidence != "full":
        return [said(None, "not_recorded")] * len(judged)
    if not assume and not is_single(step):
        return [said(None, "not_declared")] * len(judged)
    # Equal scores stand in the order in which they came, which may be another.
    groups = _groups(step, ties=assume or field.is_same, ends=assume)
    if groups is None:
        return [said(None, "no_scores")] * len(judged)
    one_of_all = step.step_type == "select" and keeps == 1
    if losers and step.top_k is None and not one_of_all and not assume:
        return [said(None, "not_declared")] * len(judged)  # a score below a limit looks the same
    if step.top_k is not None and (keeps > step.top_k or (losers and keeps < step.top_k)):
        return [said(None, "contradiction")] * len(judged)
    number = top_k if top_k is not None else keeps if losers else step.top_k
    if number is None:
        # Nobody lost, so it keeps at least as many as came: of fewer all, of others nobody knows.
        return [_UNKNOWN] * len(judged) if field.newcomers != 0 else [said(d.verdict) for d in judged]
    words = {d.verdict for d in judged if d.verdict in PASSING}
    word = next(iter(words)) if len(words) == 1 else "kept"
    return _verdicts(groups, field, number, word)


def positions(step: StepFacts) -> Mapping[int, int]:
    """Place of a decision to its position from 1, where the recorded order follows from the scores."""
    groups = _groups(step, ties=True, ends=True)
    if groups is None:
        return {}
    order = sorted(range(len(groups)), key=lambda place: groups[place])
    return {place: number for number, place in enumerate(order, 1)}


def _verdicts(groups: Sequence[int], field: Field, number: int, word: str) -> list[Verdict]:
    if isinstance(groups, range):
        return _of_line(field, number, word)
    places = sorted(range(len(groups)), key=lambda place: groups[place])
    found: list[Verdict] = [_UNKNOWN] * len(groups)
    certain_before = possible_before = 0
    for _, together in groupby(places, key=lambda place: groups[place]):
        equal = list(together)
        possible_here = sum(field.possible[place] for place in equal)
        for place in equal:
            if certain_before >= number:
                found[place] = said("not_selected")
            elif field.newcomers is not None:
                others = possible_before + possible_here - field.possible[place] + field.newcomers
                if others < number:
                    found[place] = said(word)
        certain_before += sum(field.certain[place] for place in equal)
        possible_before += possible_here
    return found


def _of_line(field: Field, number: int, word: str) -> list[Verdict]:
    """The same where no two are equal and the decisions stand in their order."""
    lost, won = said("not_selected"), said(word)
    newcomers = field.newcomers
    found: list[Verdict] = []
    certain_before = possible_before = 0
    for certain, possible in zip(field.certain, field.possible, strict=True):
        if certain_before >= number:
            found.append(lost)
        elif newcomers is not None and possible_before + newcomers < number:
            found.append(won)
        else:
            found.append(_UNKNOWN)
        certain_before += certain
        possible_before += possible
    return found


@once
def _groups(step: StepFacts, *, ties: bool, ends: bool) -> Sequence[int] | None:
    """
    Per decision its place in the order, equal where the record does not tell which comes first.

    The client records a ranking in its order. Where the decisions stand in another, the scores must part
    those that won from those that lost. ties: equal scores stand in the order of the record. ends: the order
    of the record shows which scores are the best also where nobody lost.
    """
    judged = step.decisions
    won = [d.verdict in PASSING for d in judged]
    if sorted(won, reverse=True) == won and (_runs_along(step, -1) or _runs_along(step, 1)):
        if not ends and all(won) and not _runs_along(step, -1):
            return [0] * len(judged)  # as they came, by chance: the lowest is rarely the best
        if ties or len({d.score for d in judged}) == len(judged):
            return range(len(judged))
        return [number for number, (_, equal) in enumerate(groupby(judged, _score)) for _ in equal]
    scores = [d.score for d in judged if d.score is not None]
    if len(scores) < len(judged):
        return None
    best = [d.score for d in judged if d.verdict in PASSING and d.score is not None]
    rest = [d.score for d in judged if d.verdict not in PASSING and d.score is not None]
    if not best or not rest:
        return None
    if min(best) > max(rest):
        ranked = sorted(set(scores), reverse=True)
    elif max(best) < min(rest):
        ranked = sorted(set(scores))
    else:
        return None
    place_of = {score: place for place, score in enumerate(ranked)}
    return [place_of[d.score] for d in judged if d.score is not None]


def _score(decision: Decision) -> float | None:
    return decision.score


def _runs_along(step: StepFacts, sign: int) -> bool:
    """Whether the scores never turn back in the recorded order, those without one last."""
    last: float | None = None
    ended = False
    for decision in step.decisions:
        if decision.score is None:
            ended = True
        elif ended or (last is not None and sign * decision.score < sign * last):
            return False
        else:
            last = decision.score
    return last is not None
