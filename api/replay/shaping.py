"""From what replay found to answers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain, islice
from typing import Any, Literal

from api import schemas_replay as answers
from api.replay.asking import Question
from api.replay.causes import WORDS
from api.replay.contrast import Contrast
from api.replay.facts import Change, StepFacts
from api.replay.flip import Flip
from api.replay.gather import Told
from api.replay.result import Answer, Certainty, Cited, ItemAnswer
from api.replay.rules import Rule
from api.replay.words import sentences

_MAX_THRESHOLDS = 10


def replay_answer(told: Told, question: Question, found: Answer) -> answers.Replay:
    """Return the answer to a replay."""
    changed = sum(items for fared, items in found.alike.items() if fared.changed)
    by_id = {step.step_id: step for step in told.steps}
    return answers.Replay(
        run_id=told.run.run_id,
        changes=[_applied(by_id[change.step_id], change, rule) for change, rule in found.rules],
        steps=[answers.ReplayedStep.model_validate(step) for step in found.steps],
        counts={certainty: dict(counts) for certainty, counts in found.counts.items()},
        changed=changed,
        items=[_item(item, found.because(item)) for item in _shown(question, found)],
        completeness=_completeness(told, found),
    )


def contrast_answer(told: Told, item: str, over: str, found: Contrast) -> answers.Contrast:
    """Return the answer to why one item and not another."""
    step = found.step
    flips = [flip_answer(flip) for flip in found.flips]
    return answers.Contrast(
        run_id=told.run.run_id,
        kind=found.kind,
        step_id=None if step is None else step.step_id,
        step=None if step is None else step.name,
        step_type=None if step is None else step.step_type,
        item=None if found.item is None else answers.ContrastSide.model_validate(found.item),
        over=None if found.over is None else answers.ContrastSide.model_validate(found.over),
        score_difference=found.score_difference,
        fates=[
            answers.ContrastFate(
                item_id=name,
                verdict=None if fate is None else fate.word,
                step_id=None if fate is None else fate.step_id,
            )
            for name, fate in found.fates.items()
        ],
        sources=[source.name for source in found.sources],
        flip=flips[0] if flips else None,
        flips=flips,
        no_flip=None if flips else found.no_flip,
        summary=sentences(found, item, over),
        completeness=evidence(told.steps),
    )


def flip_answer(flip: Flip) -> answers.FlipChange:
    """Return the change."""
    change = flip.change
    kind: Literal["threshold", "scale", "top_k"] = (
        "top_k" if change.top_k is not None else "scale" if change.scale is not None else "threshold"
    )
    return answers.FlipChange(
        kind=kind, **{name: getattr(flip, name) for name in answers.FlipChange.model_fields if name != "kind"}
    )


def evidence(steps: Sequence[StepFacts]) -> answers.ContrastCompleteness:
    """Return what is missing of the evidence of these steps."""
    sampled, incomplete = _blind(steps)
    return answers.ContrastCompleteness(
        state="partial" if sampled or incomplete else "exact",
        sampled_steps=sampled,
        incomplete_steps=incomplete,
    )


def _blind(steps: Sequence[StepFacts]) -> tuple[list[str], list[str]]:
    sampled = [step.step_id for step in steps if step.evidence == "sampled"]
    return sampled, [step.step_id for step in steps if step.evidence in ("partial", "none")]


def _shown(question: Question, found: Answer) -> list[ItemAnswer]:
    """The items that are asked about; else those that fare otherwise, for certain first, and the unknown."""
    if question.items:
        asked: Iterable[str] = (item for item in dict.fromkeys(question.items) if item in found.fared)
    else:
        known = {"certain": 0, "assumed": 1, "unknown": 2}
        asked = chain.from_iterable(
            (
                item
                for item, fared in found.fared.items()
                if known[fared.certainty] == turn and (fared.changed or turn == known["unknown"])
            )
            for turn in known.values()
        )
    return [ItemAnswer(item, *found.fared[item]) for item in islice(asked, question.limit)]


def _item(item: ItemAnswer, because: Sequence[Cited]) -> answers.ReplayedItem:
    return answers.ReplayedItem(
        cause_text=None if item.cause is None else WORDS[item.cause],
        because=[answers.CitedDecision.model_validate(cited) for cited in because],
        **{
            name: getattr(item, name)
            for name in ("item_id", "was", "was_at", "now", "now_at", "certainty", "cause")
        },
    )


def _applied(step: StepFacts, change: Change, rule: Rule | None) -> answers.AppliedChange:
    source: Any = None
    if rule is not None and rule.comparator.signs:
        source = "declared" if rule.comparator.declared else "recorded"
    return answers.AppliedChange(
        step_id=step.step_id,
        step=step.name,
        rule=change.rule,
        comparator=None if rule is None or source is None else rule.comparator.text,
        comparator_source=source,
        thresholds_before=[] if rule is None else sorted(rule.thresholds)[:_MAX_THRESHOLDS],
        threshold=change.threshold,
        scale=change.scale,
        remove=change.remove,
        top_k=change.top_k,
    )


def _completeness(told: Told, found: Answer) -> answers.ReplayCompleteness:
    of_answer = {line.step_id for line in found.steps}
    sampled, incomplete = _blind([step for step in told.steps if step.step_id in of_answer])
    counts = found.counts
    state: Literal["exact", "estimated", "partial"] = "exact"
    if counts["unknown"] or counts["assumed"] or incomplete or not told.is_whole:
        state = "partial"
    elif sampled:
        told_all = all(line.estimate is not None for line in found.steps if line.evidence == "sampled")
        state = "estimated" if told_all else "partial"
    return answers.ReplayCompleteness(
        state=state,
        run=told.run.completeness.state,
        unknown=_causes(found, "unknown"),
        assumed=_causes(found, "assumed"),
        sampled_steps=sampled,
        incomplete_steps=incomplete,
    )


def _causes(found: Answer, of: Certainty) -> list[answers.Cause]:
    return [
        answers.Cause(cause=cause, text=WORDS[cause], count=count)
        for (certainty, cause), count in found.causes.most_common()
        if certainty == of
    ]
