"""Settings of the API: where it listens, how long an answer may take, when a run counts as lost."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from store.network import is_loopback, is_origin
from store.reader import DEFAULT_RUN_TIMEOUT_S, DEFAULT_STATEMENT_TIMEOUT_MS
from store.settings import setting


class ApiSettings(BaseSettings):
    """Where questions are answered, and their limits."""

    model_config = SettingsConfigDict(env_prefix="XRAY_", frozen=True, extra="ignore")

    # Before host, whose check reads it.
    allow_anonymous: bool = setting(
        False,
        "Listen on other interfaces than loopback although nobody who sends or asks is checked.",
        accepted="true or false",
    )
    host: str = setting(
        "127.0.0.1",
        "Address that the servers listen on; anything but loopback needs XRAY_ALLOW_ANONYMOUS=true.",
        accepted="a loopback address (127.0.0.1, ::1, localhost), or any with XRAY_ALLOW_ANONYMOUS=true,",
        min_length=1,
    )
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
    cors_origins: Annotated[tuple[str, ...], NoDecode] = setting(
        (),
        "Origins of web pages that may send and ask, separated by commas; * = any.",
        accepted="origins like https://shop.example separated by commas, or *,",
    )

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return (
            tuple(part.strip() for part in value.split(",") if part.strip())
            if isinstance(value, str)
            else value
        )

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not all(map(is_origin, value)):
            raise ValueError("not an origin")
        return value

    @field_validator("host")
    @classmethod
    def _is_private(cls, value: str, info: ValidationInfo) -> str:
        if not is_loopback(value) and not info.data.get("allow_anonymous"):
            raise ValueError("not loopback")
        return value
