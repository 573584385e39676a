"""A contrast in sentences, each about a decision that the answer cites."""

from __future__ import annotations

from collections.abc import Iterator

from api.replay.causes import WORDS
from api.replay.contrast import Contrast, Side
from api.replay.flip import Flip

_NO_FLIP = {
    "several_rules": "it failed several rules, so no single change turns that",
    "no_rule": "no rule with value and threshold was recorded for it",
    "same_fate": "no step told them apart",
    "unknown": "where their ways part is not known",
    "not_judged": "the step did not judge it",
}


def why_not(cause: str) -> str:
    """A cause in words."""
    return _NO_FLIP.get(cause) or WORDS.get(cause, cause)


def sentences(found: Contrast, item: str, over: str) -> list[str]:
    """The contrast in sentences."""
    return list(_sentences(found, item, over))


def _sentences(found: Contrast, item: str, over: str) -> Iterator[str]:
    step = found.step
    name = "no step" if step is None else step.name
    if found.kind == "never_entered":
        absent = [one for one in (item, over) if found.fates[one] is None]
        sources = ", ".join(source.name for source in found.sources) or "any source"
        yield f"{' and '.join(absent)} never entered: not among what {sources} gave."
        return
    if found.kind == "unknown":
        yield f"Their ways may part at {name}, which recorded only some of its decisions: not known."
    elif found.kind == "same_fate":
        what = "both go on to the end" if step is None else f"both were lost at {name}"
        yield f"No step told {item} and {over} apart: {what}."
    else:
        yield f"{item} and {over} part at {name}."
    for side in (found.item, found.over):
        if side is not None:
            yield _told(side, name)
    if found.score_difference is not None:
        yield f"Their scores differ by {found.score_difference:.6g}."
    if found.kind != "parted":
        return
    for flip in found.flips:
        yield _flipped(flip)
    if not found.flips and found.no_flip is not None:
        yield f"No single change is known that turns it: {why_not(found.no_flip)}."


def _told(side: Side, step: str) -> str:
    if not side.said:
        where = "was not at" if side.presence == "absent" else "is not in the record of"
        return f"{side.item_id} {where} {step}."
    said = side.said[-1]
    text = f"{side.item_id} was {said.verdict.replace('_', ' ')}"
    if said.reason is not None:
        text += f" ({said.reason})"
    for margin in side.margins:
        sign = f" {margin.comparator}" if margin.comparator else " against"
        text += f"; {margin.rule or 'value'}: {_shown(margin.value)}{sign} {_shown(margin.threshold)}"
        if margin.relative is not None:
            text += f", {abs(margin.relative):.2%} {'inside' if margin.passed else 'beyond'}"
    if side.position is not None:
        text += f"; position {side.position}"
    if said.score is not None:
        text += f"; score {said.score:.6g}"
    return text + "."


def _flipped(flip: Flip) -> str:
    what = "top_k" if flip.change.top_k is not None else flip.rule or "the threshold"
    if flip.change.scale is not None:
        what = f"each threshold of {what}, times"
    size = "" if flip.relative is None else f", {flip.relative:.2%}"
    effect = "goes on" if flip.passes else "does not go on"
    change = f"{what} {_shown(flip.before)} to {_shown(flip.after)}{size}"
    text = f"Smallest change: {change}; then {flip.item_id} {effect} from {flip.step} ({flip.certainty})"
    if flip.outcome != "unknown":
        return f"{text}, in the end {flip.outcome.replace('_', ' ')} ({flip.outcome_certainty})."
    return f"{text}; what becomes of it in the end is not known."


def _shown(value: object) -> str:
    return repr(value) if isinstance(value, float) else str(value)
