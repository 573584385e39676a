"""
How the server packages read their settings, and the store's own.

Each package has one frozen settings object. It is loaded once, in the composition root, and
passed on from there: nothing below reads the environment.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from store.errors import SettingsError

SettingsT = TypeVar("SettingsT", bound=BaseSettings)


def setting(
    default: Any, description: str, *, accepted: str, secret: bool = False, **constraints: Any
) -> Any:
    """
    Declare one field of a settings class.

    description: what it does, with its unit. accepted: a noun phrase for the error message
    ("a port from 1 to 65535 (0 = any free port)"). secret: messages show it ``without_password``.
    constraints: as for ``pydantic.Field``; a callable default is called for each object.
    """
    if callable(default):
        constraints["default_factory"] = default
    else:
        constraints["default"] = default
    return Field(
        description=description, json_schema_extra={"accepted": accepted, "secret": secret}, **constraints
    )


def load(cls: type[SettingsT], environ: Mapping[str, str] | None = None) -> SettingsT:
    """
    Return the settings that the environment asks for; an empty variable counts as unset.

    environ: in place of ``os.environ``. Raises ``SettingsError`` for the first value that is
    not accepted.
    """
    source = os.environ if environ is None else environ
    # Every field is passed, defaults too: BaseSettings would fill the missing ones from
    # os.environ even when another environment was handed in.
    values: dict[str, Any] = {
        name: field.get_default(call_default_factory=True, validated_data={})
        for name, field in cls.model_fields.items()
    }
    for name, variable in variables(cls).items():
        if source.get(variable):
            values[name] = source[variable]
    try:
        return cls(**values)
    except ValidationError as exc:
        raise _settings_error(cls, exc) from None


def variables(cls: type[BaseSettings]) -> dict[str, str]:
    """Return field name → environment variable, in the order of declaration."""
    prefix = cls.model_config.get("env_prefix", "")
    return {name: f"{prefix}{name}".upper() for name in cls.model_fields}


def _settings_error(cls: type[BaseSettings], exc: ValidationError) -> SettingsError:
    # include_url and the like off: only the location, the value and pydantic's words are used.
    first = exc.errors(include_url=False, include_context=False)[0]
    if not first["loc"]:
        return SettingsError(", ".join(variables(cls).values()), "(together)", first["msg"])
    name = str(first["loc"][0])
    extra = cls.model_fields[name].json_schema_extra if name in cls.model_fields else None
    extra = extra if isinstance(extra, dict) else {}
    accepted = str(extra.get("accepted") or first["msg"])
    # Unset shows as the empty variable that it equals.
    value = "" if first["input"] is None else first["input"]
    if extra.get("secret"):
        value = without_password(str(value))
    return SettingsError(variables(cls).get(name, name), value, accepted)


def without_password(url: str) -> str:
    """
    The URL as it may be shown, ``postgresql://user:***@host/db``; all of it hidden when it is no URL.

    Everything between the user and the last ``@`` counts as password, and a query may hold one.
    """
    scheme, mark, rest = url.partition("://")
    if not mark:
        return "***"
    account, at, place = rest.rpartition("@")
    user, colon, _ = account.partition(":")
    shown = f"{user}:***" if colon else user
    return f"{scheme}://{shown}{at}" + re.sub(r"(password=)[^&]*", r"\1***", place)


def default_data_dir() -> Path:
    """Return ``$XDG_DATA_HOME/xray``, or ``~/.local/share/xray`` (XDG Base Directory Specification)."""
    base = os.environ.get("XDG_DATA_HOME", "")
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".local" / "share") / "xray"


class StoreSettings(BaseSettings):
    """Where the rows live."""

    model_config = SettingsConfigDict(env_prefix="XRAY_", frozen=True, extra="ignore")

    database_url: str | None = setting(
        None,
        "A PostgreSQL server of your own, version 15 or newer; unset: an embedded server in the data folder.",
        accepted="a URL like postgresql://user:password@host:5432/database",
        secret=True,
    )
    data_dir: Path = setting(
        default_data_dir,
        "Folder of the embedded server's data; made when missing. "
        "Default: $XDG_DATA_HOME/xray, else ~/.local/share/xray.",
        accepted="a path of a folder",
    )
    pg_bin: Path | None = setting(
        None,
        "Folder of the PostgreSQL programs (initdb, postgres) to use for the embedded server; "
        "unset: those of the data folder's version, else the wheel's, else the system's.",
        accepted="a folder that holds initdb and postgres",
    )

    @field_validator("database_url")
    @classmethod
    def _is_postgres_url(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("postgresql://", "postgres://")):
            raise ValueError("not a PostgreSQL URL")
        return value

    @field_validator("data_dir")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @field_validator("pg_bin")
    @classmethod
    def _holds_programs(cls, value: Path | None) -> Path | None:
        if value is None:
            return None
        value = value.expanduser().absolute()
        if not all((value / program).is_file() for program in ("initdb", "postgres")):
            raise ValueError("no initdb and postgres in it")
        return value
