"""Settings of the API: where it listens, how long an answer may take, when a run counts as lost."""

from __future__ import annotations

from store.access.settings import ListenSettings
from store.reader import DEFAULT_RUN_TIMEOUT_S, DEFAULT_STATEMENT_TIMEOUT_MS
from store.settings import setting


class ApiSettings(ListenSettings):
    """Where questions are answered, and their limits."""

    api_port: int = setting(
        8000, "Port of the REST API.", accepted="a port from 1 to 65535 (0 = any free port)", ge=0, le=65535
    )
    run_timeout_s: float = setting(
        DEFAULT_RUN_TIMEOUT_S,
        "Seconds of silence after which a run that names no timeout itself counts as incomplete.",
        accepted="a number of seconds above 0 and up to 31536000",
        gt=0,
        le=31_536_000,
    )
    statement_timeout_ms: int = setting(
        DEFAULT_STATEMENT_TIMEOUT_MS,
        "Milliseconds that one statement of an answer may take in the database.",
        accepted="a number of milliseconds from 10 to 600000",
        ge=10,
        le=600_000,
    )
