"""
The promises that the collector and the API rely on.

Implementations do not repeat them; ``tests`` prove them on a real server.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from store.rows import Batch, WriteResult


class Writer(Protocol):
    """Stores batches. One thread writes through one Writer at a time."""

    def write(self, batches: Sequence[Batch]) -> Sequence[WriteResult]:
        """
        Store the batches in one transaction and return one result per batch, in order.

        Returns only after the commit: what the result counts as stored survives the
        loss of this process and of the server. The final tables do not depend on the
        order, grouping or number of deliveries, nor on how many Writers there are
        (``store/merge.py``).

        Raises ``store.errors.Unavailable`` when the database cannot be reached or is
        shutting down: nothing of these batches is promised, and the same call may be
        made again. A row that the database refuses for its content does not raise: it
        is named in its batch's result and the rest is stored.
        """
        ...

    def close(self) -> None:
        """Release the connection; safe to call twice."""
        ...
