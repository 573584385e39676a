"""What a replay is asked for: the body of the request, checked against the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from api.replay.comparing import is_number
from api.replay.facts import Change, StepFacts
from api.replay.gather import Told
from api.replay.rules import NoSuchRule, find_rule
from store.queries.conditions import shown
from store.queries.errors import InvalidParameter

MAX_CHANGES = 20
MAX_ITEMS = 1000
DEFAULT_LIMIT = 50
_ACTIONS = ("threshold", "scale", "remove_check", "top_k")
_ACCEPTED = (
    "a change is {step, reason or check (not needed where the step has one rule), and one of threshold (a "
    "number), scale (a factor on each candidate's threshold), remove_check (true), top_k (a whole number)}"
)


class Question(NamedTuple):
    """What is asked."""

    changes: Sequence[Change]
    items: Sequence[str]
    """Items to answer for; empty: those that change."""
    limit: int


def understood(body: Any, told: Told) -> Question:
    """Return the question. Raises ``InvalidParameter``."""
    if not isinstance(body, dict):
        raise InvalidParameter("body", "the body must be a JSON object with changes")
    for name in body:
        if name not in ("changes", "items", "limit"):
            raise InvalidParameter(name, f"{shown(name)} is no field of the body: changes, items, limit")
    sent = body.get("changes")
    if not isinstance(sent, list) or not 1 <= len(sent) <= MAX_CHANGES:
        raise InvalidParameter("changes", f"changes must be an array of 1 to {MAX_CHANGES}; {_ACCEPTED}")
    changes = [_change(one, f"changes[{place}]", told) for place, one in enumerate(sent)]
    if len({(change.step_id, change.rule, change.top_k is None) for change in changes}) < len(changes):
        raise InvalidParameter("changes", "changes name one rule of one step twice")
    items = body.get("items", [])
    if not isinstance(items, list) or len(items) > MAX_ITEMS or not all(isinstance(i, str) for i in items):
        raise InvalidParameter("items", f"items must be an array of at most {MAX_ITEMS} texts")
    limit = body.get("limit", DEFAULT_LIMIT)
    if type(limit) is not int or not 1 <= limit <= MAX_ITEMS:
        raise InvalidParameter("limit", f"limit must be 1 to {MAX_ITEMS}, got {shown(str(limit))}")
    return Question(changes, items, limit)


def one_step(told: Told, name: Any, parameter: str) -> StepFacts:
    """Return the step of this id, or the only one of this name. Raises ``InvalidParameter``."""
    if not isinstance(name, str):
        raise InvalidParameter(parameter, f"{parameter} must be the id or name of a step")
    found = told.named(name)
    if len(found) == 1:
        return found[0]
    if found:
        ids = ", ".join(step.step_id for step in found)
        raise InvalidParameter(parameter, f"several steps are named {shown(name)}; give an id: {ids}")
    names = ", ".join(dict.fromkeys(step.name for step in told.steps)) or "none"
    raise InvalidParameter(parameter, f"no step {shown(name)} of the run judged candidates; it has {names}")


def _change(sent: Any, place: str, told: Told) -> Change:
    if not isinstance(sent, Mapping):
        raise InvalidParameter(place, f"{place}: {_ACCEPTED}")
    for name in sent:
        if name == "weights":
            raise InvalidParameter(
                place,
                f"{place}: weights cannot be replayed, because decisions record a score without its parts",
            )
        if name not in ("step", "reason", "check", *_ACTIONS):
            raise InvalidParameter(place, f"{place}: {shown(str(name))} is not known; {_ACCEPTED}")
    step = one_step(told, sent.get("step"), f"{place}.step")
    given = [name for name in _ACTIONS if sent.get(name) is not None]
    if len(given) != 1 or {"reason", "check"} <= set(sent):
        raise InvalidParameter(place, f"{place}: {_ACCEPTED}")
    rule = sent.get("check", sent.get("reason"))
    if rule is not None and not isinstance(rule, str):
        raise InvalidParameter(place, f"{place}: reason and check are texts")
    change = _action(step, rule, given[0], sent[given[0]], place)
    if change.top_k is None:
        try:
            named = find_rule(step, rule, assume=True).name
        except NoSuchRule as exc:
            raise InvalidParameter(place, f"{place}: {exc}") from None
        return Change(step.step_id, named, change.threshold, change.scale, change.remove)
    return change


def _action(step: StepFacts, rule: str | None, action: str, value: Any, place: str) -> Change:
    if action == "remove_check":
        if value is True:
            return Change(step.step_id, rule, remove=True)
    elif action == "top_k":
        if type(value) is int and value >= 0 and rule is None:
            if not step.cuts:
                raise InvalidParameter(
                    place, f"{place}: step {step.name} does not keep a number of candidates"
                )
            return Change(step.step_id, top_k=value)
    elif is_number(value):
        if action == "threshold":
            return Change(step.step_id, rule, threshold=value)
        return Change(step.step_id, rule, scale=float(value))
    raise InvalidParameter(place, f"{place}: {action} is {shown(str(value))}; {_ACCEPTED}")
