"""
What the collector counts about itself, in one table.

=====================  ==============  ====================================================
counter                label           meaning
=====================  ==============  ====================================================
``requests``           outcome         requests answered, by outcome (``responses.Outcome``)
``records``            what            spans and events by what they are to us
``refused``            reason          records not stored, by reason
``flags``              code            flags raised on stored rows
``bytes``              transport       bytes of requests after decompression
=====================  ==============  ====================================================

Reasons of ``refused``: ``bad_id``, ``undecodable``, ``no_run_id``, ``no_step_id``,
``unsupported_event``, ``decisions_unreadable``, ``capture_limit``, ``artifact`` and ``database``.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping


class Telemetry:
    """Counters; every method may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counters: dict[str, Counter[str]] = {
            name: Counter() for name in ("requests", "records", "refused", "flags", "bytes")
        }

    def add(self, counter: str, label: str, amount: int = 1) -> None:
        """Count something."""
        with self._lock:
            self._counters[counter][label] += amount

    def add_all(self, counter: str, amounts: Mapping[str, int]) -> None:
        """Count several labels of one counter."""
        if amounts:
            with self._lock:
                self._counters[counter].update(amounts)

    def read(self) -> dict[str, dict[str, int]]:
        """Return counter → label → value, as of now."""
        with self._lock:
            return {name: dict(counter) for name, counter in self._counters.items()}
