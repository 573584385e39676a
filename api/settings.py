"""Settings of the API: where it listens, how long an answer may take, when a run counts as lost."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import field_validator
from pydantic_settings import NoDecode

from store.access.settings import ListenSettings
from store.reader import (
    DEFAULT_BAD_OUTCOMES,
    DEFAULT_EXPORT_TIMEOUT_S,
    DEFAULT_RUN_TIMEOUT_S,
    DEFAULT_STATEMENT_TIMEOUT_MS,
)
from store.settings import setting

MAX_OUTCOME_NAME_BYTES = 512


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
    export_timeout_s: float = setting(
        DEFAULT_EXPORT_TIMEOUT_S,
        "Seconds that an export may take in all, however slowly it is fetched; each of its statements has "
        "XRAY_STATEMENT_TIMEOUT_MS.",
        accepted="a number of seconds from 1 to 86400",
        ge=1,
        le=86_400,
    )
    bad_outcomes: Annotated[tuple[str, ...], NoDecode] = setting(
        DEFAULT_BAD_OUTCOMES,
        "Names of late outcomes, separated by commas, that keep a run out of what other runs are compared "
        "with, unless their value is false or 0; none = no name does.",
        accepted="names of at most 512 bytes separated by commas, or none,",
    )
    alert_private_addresses: bool = setting(
        False,
        "Whether webhooks of alert rules may lead to addresses that are not public: this machine, private "
        "networks. Whoever may write rules can then have the server send requests there.",
        accepted="true or false",
    )

    @field_validator("bad_outcomes", mode="before")
    @classmethod
    def _names(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return () if value == "none" else tuple(name.strip() for name in value.split(","))

    @field_validator("bad_outcomes")
    @classmethod
    def _can_be_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not all(0 < len(name.encode("utf-8", "replace")) <= MAX_OUTCOME_NAME_BYTES for name in value):
            raise ValueError("not names")
        return value
