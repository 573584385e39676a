"""
Which figures of a step speak against it, and which only tell what it was asked about.

What a source gives out is its traffic: that other things are asked for is no fault of it. So is what a
lookup tells of them, as long as it tells nothing new.
"""

from __future__ import annotations

from collections.abc import Sequence

from api.explain.unusual import Unusual

MORE = 2.0
"""
Deviations of a source that gives more, beyond those of all that is missing: then it is another mix, and no
source that gives less.
"""
NEVER_SEEN = 2.2
"""Deviations that a bound counts for which none of 40 runs reached: chance alone makes one in 41."""
ANSWERS = ("level:value least", "level:value most", "level:value kinds")
"""Bounds of single values, which chance moves too far to speak against a step."""
JUDGES = ("share:reason", "level:score")
RELATION = "level:goes with "


def telling(found: Sequence[Unusual], source: bool) -> list[Unusual]:
    """Of the figures of a step, those that speak against it, in their order."""
    if not source:
        kinds = _tells_known_kinds(found)
        told = [
            _bounded(one)
            for one in found
            if not one.figure.startswith("amount:from ") and not (kinds and _is_level(one))
        ]
        return sorted(told, key=lambda one: -abs(one.own))
    more = _is_another_mix(found)
    return [
        one
        for one in found
        if not one.figure.startswith(("level:", "amount:from "))
        # That one source gives less is a fault of it, unless others give more.
        and not (one.figure.startswith("share:from ") and (more or one.own > 0))
    ]


def unlike_usual(found: Sequence[Unusual], source: bool) -> float:
    """How far off the traffic is that a step tells of, in deviations."""
    if source:
        mix = _is_another_mix(found)
        distances = (
            abs(one.own)
            for one in found
            if one.figure.startswith("level:")
            or (one.figure.startswith("amount:from ") and one.own > 0)
            or (mix and one.figure.startswith("share:from "))
        )
    elif _tells_known_kinds(found):
        distances = (abs(one.own) for one in found if _is_level(one))
    else:
        return 0.0
    return max(distances, default=0.0)


def _bounded(one: Unusual) -> Unusual:
    """How far a bound of single values is from the usual says nothing, only that none was ever there."""
    if not one.figure.startswith(ANSWERS):
        return one
    most = 0.0 if one.seen else NEVER_SEEN
    return one._replace(own=max(-most, min(one.own, most)))


def _is_another_mix(found: Sequence[Unusual]) -> bool:
    """
    Whether a source gives more than ever, and that is less of a wonder than what all give together.

    When one only gives less, the others give as much as they did, and the sum is what is unusual. One that
    gives nothing and never did so is down, whatever others give in its place.
    """
    if any(one.figure.startswith("share:from ") and one.value == 0 and not one.seen for one in found):
        return False
    more = max((one.own for one in found if one.figure.startswith("amount:from ")), default=0.0)
    lacking = max((-one.own for one in found if one.figure == "amount:out"), default=0.0)
    return more > max(MORE, lacking)


def _tells_known_kinds(found: Sequence[Unusual]) -> bool:
    """
    Whether the step tells of which of a few kinds its items are, and all kinds are known.

    It passes all, gives neither reasons nor scores, and its values are within those of the baseline: that
    there are more of one kind is the traffic's.
    """
    bounds = [one for one in found if one.figure in ANSWERS]
    return (
        len(bounds) == len(ANSWERS)
        and all(one.seen for one in bounds)
        and any(one.figure == "share:out" and one.value == 1 for one in found)
        and not any(one.figure.startswith(JUDGES) for one in found)
    )


def _is_level(one: Unusual) -> bool:
    return one.figure.startswith("level:") and not one.figure.startswith(RELATION)
