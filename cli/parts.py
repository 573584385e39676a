"""
The parts of a server, and where they answer.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import Flag, auto


class Parts(Flag):
    """Which parts this process runs; the database comes with either."""

    COLLECTOR = auto()
    API = auto()


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the parts answer; None for a part that this process does not run."""

    database: str
    """Without its password."""
    otlp_grpc: str | None = None
    otlp_http: str | None = None
    api: str | None = None

    def as_dict(self) -> dict[str, str | None]:
        """For ``--json``."""
        return asdict(self)
