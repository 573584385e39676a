"""
How far retention has come: what is of a day below the floor of its kind has expired.

A floor is committed before anything below it is dropped. From then on no writer makes partitions
there again nor stores anything there, whatever its own memory says (decision 0035).
"""

from __future__ import annotations

from datetime import date
from typing import Any, NamedTuple

import psycopg

EXPIRED = "its run, or this part of it, has expired (XRAY_RETENTION_*)"
"""Why a row is refused that is of a day below a floor."""

KIND_OF = {"decisions": "decisions", "artifacts": "artifacts", "artifact_blobs": "artifacts"}
"""Kind of data by table; all other partitioned tables live as long as the runs."""


class Floors(NamedTuple):
    """By kind, the first day of which something may still be kept; always a Monday, or the first of days."""

    runs: date = date.min
    decisions: date = date.min
    artifacts: date = date.min
    rollups: date = date.min

    def of(self, table: str) -> date:
        """The floor of a partitioned table: evidence never outlives its run."""
        kind = KIND_OF.get(table)
        return self.runs if kind is None else max(self.runs, getattr(self, kind))


def read_floors(connection: psycopg.Connection[Any]) -> Floors:
    """Return the floors as they are committed."""
    return Floors(**dict(connection.execute("SELECT kind, first_day FROM retention_floors").fetchall()))
