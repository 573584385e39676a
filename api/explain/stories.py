"""The winner's way through the run, and that of the item that came next."""

from __future__ import annotations

from collections.abc import Sequence

from api.explain.funnel import last_attempts
from api.explain.records import Material, Passage, RunnerUp, Winner
from store.decisions import VERDICTS, DecisionColumns
from store.queries.types import StepRecord
from store.queries.types_decisions import DecisionRecord, Journey, JourneyStep

PASSING = ("kept", "scored", "selected")
LOST = ("not_selected", "kept", "scored")
"""Verdicts of items that could have been selected instead."""
_LOST_LETTERS = frozenset(letter for letter, word in VERDICTS.items() if word in LOST)


def deciding_step(steps: Sequence[StepRecord]) -> StepRecord | None:
    """The last step that selected an item."""
    return next((step for step in reversed(last_attempts(steps)) if step.selected_id is not None), None)


def best_rival(decisions: Sequence[DecisionRecord], winner: str) -> DecisionRecord | None:
    """
    The best scored of the items that lost, ties in the order judged; without scores the first of them.

    Large scores are good, unless the winner's is below all others: then small ones are.
    """
    rivals = [decision for decision in decisions if decision.verdict in LOST and decision.item_id != winner]
    scored = [(decision.score, decision) for decision in rivals if decision.score is not None]
    if not scored:
        return rivals[0] if rivals else None
    own = [decision.score for decision in decisions if decision.item_id == winner]
    last = own[-1] if own else None
    small_wins = last is not None and all(last < score for score, _ in scored)
    best = min if small_wins else max
    return best(scored, key=lambda pair: pair[0])[1]


def rival_in(parts: Sequence[DecisionColumns], winner: str) -> str | None:
    """The id of ``best_rival`` of a step's decisions in columns."""
    lost: list[tuple[str, float | None]] = []
    own: float | None = None
    for part in parts:
        scores = part.score if isinstance(part.score, list) else [part.score] * part.count
        letters = part.verdict
        for item, letter, score in zip(part.item, letters, scores, strict=False):
            known = score if isinstance(score, int | float) and not isinstance(score, bool) else None
            if item == winner:
                own = known
            elif letter in _LOST_LETTERS:
                lost.append((item, known))
    scored = [(score, item) for item, score in lost if score is not None]
    if not scored:
        return lost[0][0] if lost else None
    small_wins = own is not None and all(own < score for score, _ in scored)
    best = min if small_wins else max
    return best(scored, key=lambda pair: pair[0])[1]


def winner(material: Material) -> Winner | None:
    """The selected item; None when no step selected one."""
    step = deciding_step(material.detail.steps)
    if step is None or step.selected_id is None:
        return None
    journey = _passages(material.winner)
    scores = [passage.score for passage in journey if passage.step_id == step.step_id]
    score = scores[-1] if scores else None
    return Winner(step.selected_id, step.step_id, score, journey)


def runner_up(material: Material, selected: Winner | None) -> RunnerUp | None:
    """The best rival of the winner; None without a winner or without the others' decisions."""
    rival = best_rival(material.rivals, selected.item_id) if selected is not None else None
    if selected is None or rival is None:
        return None
    margin = None
    if selected.score is not None and rival.score is not None:
        margin = selected.score - rival.score
    journey = material.runner_up
    own = journey if journey is not None and journey.item_id == rival.item_id else None
    return RunnerUp(rival.item_id, rival.score, margin, _distance(rival), _passages(own))


def _passages(journey: Journey | None) -> list[Passage]:
    if journey is None:
        return []
    # As the rest of the explanation: a step that was tried again is judged by its last attempt.
    counted = {id(step) for step in last_attempts([visit.step for visit in journey.steps])}
    visits = (visit for visit in journey.steps if id(visit.step) in counted)
    return [passage for visit in visits for passage in _step_passages(visit)]


def _step_passages(visit: JourneyStep) -> list[Passage]:
    if not visit.decisions:
        return [Passage(visit.step.step_id, visit.step.name, visit.presence)]
    return [
        Passage(
            step_id=visit.step.step_id,
            step=visit.step.name,
            presence=visit.presence,
            verdict=decision.verdict,
            reason=decision.reason,
            reason_text=decision.reason_text,
            score=decision.score,
            value=decision.value,
            value_missing=decision.value_missing,
            threshold=decision.threshold,
        )
        for decision in visit.decisions
    ]


def _distance(decision: DecisionRecord) -> float | None:
    value, limit = decision.value, decision.threshold
    if isinstance(value, bool) or isinstance(limit, bool):
        return None
    if isinstance(value, int | float) and isinstance(limit, int | float):
        return value - limit
    return None
