"""
How the background thread shares the interpreter with the host's threads.

Whoever waits for the interpreter waits until its holder lets go, or for Python's switch
interval of 5 ms. So the background thread lets go by itself, between pieces of work that are
well below that. Decision 0046.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

PATIENT_FILL = 0.25
"""Share of the buffer below which there is time for everything."""
_STRETCHES_S = ((PATIENT_FILL, 0.00125), (0.75, 0.00175))
"""
Share of the buffer, and for how long the interpreter is held while less is full. Above the last it
is not let go: if the host is busy each time costs 5 ms, and records would be lost.
"""
_NAP_S = 200e-6
"""
Long enough for a thread to wake up and take the interpreter. If this one were back before, the other
would begin to wait anew: it asks the holder to let go only when that has held on for 5 ms.
"""


def hurry() -> None:
    """In place of ``Pace.rest`` where nobody should be waited for, as at the process's end."""


class Pace:
    """For one thread that works in the background."""

    def __init__(self, fill: Callable[[], float]) -> None:
        """fill: how much of the buffer is full, 0 to 1."""
        self._fill = fill
        self._began_s = 0.0

    def rest(self) -> None:
        """To be called between pieces of work of less than 0.5 ms; lets others go first when it is time."""
        if time.perf_counter() - self._began_s >= self._stretch_s():
            time.sleep(_NAP_S)
            self._began_s = time.perf_counter()

    def _stretch_s(self) -> float:
        full = self._fill()
        return next((stretch_s for fill, stretch_s in _STRETCHES_S if full < fill), math.inf)
