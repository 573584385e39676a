"""
What was found out about a baseline, kept for the questions that follow: of the same figures the same.

Half the price of an explanation is what does not depend on the run that is asked about.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import starmap
from operator import is_
from typing import NamedTuple

from api.explain.usual import Usual
from store.queries.figures import Figures

REMEMBERED_BYTES = 64 << 20
"""Of all that is kept; 200 runs of 20 steps take about 6 MB."""
REMEMBERED_S = 300.0
"""As of the figures of runs (``store.queries.habits``), which are other objects after that time."""

Run = Mapping[str, Figures]


class Usuals:
    """
    The latest baselines that were asked for, each as ``Usual``. Safe in several threads.

    A baseline is known by its runs being the very objects that it was made of, which nobody changes: what
    was read anew, of other runs or of changed ones, is another.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._known: list[_Kept] = []
        """The one asked for last stands last."""

    def of(self, baseline: Sequence[Run]) -> Usual:
        """What is usual over these runs; ``bound`` has to follow the questions that it answers."""
        now = self._clock()
        with self._lock:
            known = [kept for kept in self._known if now - kept.at <= REMEMBERED_S]
            found = next((kept for kept in known if _are_same(kept.baseline, baseline)), None)
            if found is None:
                # Not the caller's list, which may be changed.
                found = _Kept(now, tuple(baseline), Usual(tuple(baseline)))
            self._known = [*(kept for kept in known if kept is not found), found]
        return found.usual

    def bound(self) -> None:
        """Forget those not asked for the longest, and one that is too large alone."""
        with self._lock:
            self._known = _bounded(self._known)


class _Kept(NamedTuple):
    at: float
    baseline: Sequence[Run]
    usual: Usual


def _are_same(one: Sequence[Run], other: Sequence[Run]) -> bool:
    return len(one) == len(other) and all(starmap(is_, zip(one, other, strict=True)))


def _bounded(known: Sequence[_Kept]) -> list[_Kept]:
    """The last of them that are not too large together; those grow with the questions."""
    left = REMEMBERED_BYTES
    kept: list[_Kept] = []
    for one in reversed(known):
        size = one.usual.bytes()
        if size <= left:
            left -= size
            kept.append(one)
    return kept[::-1]
