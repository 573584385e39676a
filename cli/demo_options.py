"""What the walk-through is told: where the servers answer, and what was asked for."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Base URLs of running servers, without a trailing slash."""

    otlp_http: str
    """OTLP/HTTP receiver: ``http://127.0.0.1:4318``."""
    otlp_grpc: str
    """OTLP/gRPC receiver: ``http://127.0.0.1:4317``."""
    api: str
    """REST API without its prefix: ``http://127.0.0.1:8000``."""


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """The options of ``xray demo``."""

    json_output: bool = False
    """Print one JSON document instead of the walk-through."""
    keep: bool = False
    """The servers stay up afterwards: the printed ``curl`` lines can be tried."""
    catalog: Path | None = None
    """Real listings for the competitor pipeline instead of the generated catalogue."""
    runs: int = 24
    """Runs of the competitor pipeline; what is usual can be said from 20 others on."""
    seed: int = 7
    """Seed of the catalogue and of the choice of products."""
    started_s: float = field(default_factory=time.monotonic)
    """``time.monotonic()`` when the command began; the time to the first answer counts from here."""
