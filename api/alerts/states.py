"""
Where a group of a rule stands: ok, pending, firing, resolved. Pure.

    ok ──true──▶ pending ──true for long enough──▶ firing ──false──▶ resolved ──true──▶ pending …

What cannot be told (no data, too few, within the resolution of a percentile) neither fires nor resolves:
a firing group stays, and a pending one begins anew, because it was not true all the time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

State = Literal["ok", "pending", "firing", "resolved"]
Change = Literal["firing", "resolved"]


@dataclass(frozen=True, slots=True)
class Standing:
    """The state of a group, and since when."""

    state: State
    since: datetime
    firing_since: datetime | None = None
    """When it last began to fire; what names its events."""


def advance(
    known: Standing | None, holds: bool | None, now: datetime, lasting: timedelta
) -> tuple[Standing, Change | None]:
    """
    Return where the group stands now, and what is to be told.

    holds: whether the rule's comparison is true; None when it cannot be told. lasting: for how long it
    must be true before it fires.
    """
    standing = known or Standing("ok", now)
    if holds is None:
        if standing.state == "pending":
            return replace(standing, state="ok", since=now), None
        return standing, None
    if not holds:
        if standing.state == "firing":
            return replace(standing, state="resolved", since=now), "resolved"
        return (standing if standing.state != "pending" else replace(standing, state="ok", since=now)), None
    if standing.state == "firing":
        return standing, None
    if standing.state != "pending":
        standing = replace(standing, state="pending", since=now)
    if now - standing.since >= lasting:
        return Standing("firing", now, now), "firing"
    return standing, None
