"""
All settings of the server in one object, loaded once per command.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from api.settings import ApiSettings
from cli.logs import LogSettings
from cli.parts import Parts
from collector.settings import CollectorSettings
from store.access.settings import HOST_FORM
from store.artifacts.settings import ArtifactSettings
from store.errors import SettingsError
from store.network import is_of_this_machine
from store.settings import StoreSettings, load, variables
from store.upkeep_settings import UpkeepSettings

_PREFIX = "XRAY_"
_CLIENT = frozenset(
    {
        "XRAY_ENDPOINT",
        "XRAY_PROTOCOL",
        "XRAY_API_KEY",
        "XRAY_SERVICE_NAME",
        "XRAY_ENVIRONMENT",
        "XRAY_CAPTURE",
        "XRAY_CAPTURE_RULES",
        "XRAY_MODE",
        "XRAY_OFFLINE",
        "XRAY_SPOOL_DIR",
        "XRAY_SPOOL_BYTES",
        "XRAY_SAMPLE_SIZE",
        "XRAY_BUFFER_BYTES",
        "XRAY_FLUSH_INTERVAL_MS",
        "XRAY_EXPORT_TIMEOUT_S",
        "XRAY_EXIT_TIMEOUT_S",
        "XRAY_FLUSH",
        "XRAY_HANDLE_SIGTERM",
        "XRAY_ARTIFACT_BYTES",
        "XRAY_BAGGAGE",
        "XRAY_MASK_KEYS",
        "XRAY_MASK_PATTERNS",
        "XRAY_HASH_ITEM_IDS",
        "XRAY_ITEM_ID_KEY",
        "XRAY_SCHEMA",
        "XRAY_SCHEMA_MODE",
        "XRAY_DISABLED",
    }
)
"""The client's settings, which share the environment. Listed here: the server does not load the client."""
_COMMANDS = frozenset({"XRAY_API_URL", "XRAY_VENV", "XRAY_PYTHON"})
_TESTS = "XRAY_TEST_"


@dataclass(frozen=True, slots=True)
class Settings:
    """What each package is given; nothing below the commands reads the environment."""

    store: StoreSettings
    collector: CollectorSettings
    api: ApiSettings
    logs: LogSettings
    upkeep: UpkeepSettings
    artifacts: ArtifactSettings


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Return the settings that the environment asks for. Raises ``store.errors.SettingsError``."""
    return Settings(
        store=load(StoreSettings, environ),
        collector=load(CollectorSettings, environ),
        api=load(ApiSettings, environ),
        logs=load(LogSettings, environ),
        upkeep=load(UpkeepSettings, environ),
        artifacts=load(ArtifactSettings, environ),
    )


def check_addresses(settings: Settings, parts: Parts) -> None:
    """
    Check what only a server of these parts needs: that it can listen here, on ports that differ.

    Raises ``store.errors.SettingsError``.
    """
    host = settings.collector.host
    if not is_of_this_machine(host):
        raise SettingsError("XRAY_HOST", host, HOST_FORM)
    opened: dict[int, str] = {}
    ports = []
    if Parts.COLLECTOR in parts:
        ports += [
            ("XRAY_GRPC_PORT", settings.collector.grpc_port),
            ("XRAY_HTTP_PORT", settings.collector.http_port),
        ]
    if Parts.API in parts:
        ports += [("XRAY_API_PORT", settings.api.api_port)]
    for variable, port in ports:
        other = opened.setdefault(port, variable) if port else variable
        if other != variable:
            raise SettingsError(variable, port, f"another port than that of {other} (0 = any free port)")


def private_settings(data_dir: Path) -> Settings:
    """
    Settings of servers for one command alone: their own data folder, any free loopback ports, open to it.

    Whatever else the environment sets still holds.
    """
    ours = {
        "XRAY_DATA_DIR": str(data_dir),
        "XRAY_DATABASE_URL": "",
        "XRAY_ARTIFACT_URL": "",
        "XRAY_HOST": "127.0.0.1",
        "XRAY_REQUIRE_KEYS": "",
        "XRAY_RATE_LIMIT": "",
        "XRAY_TLS_CERT": "",
        "XRAY_TLS_KEY": "",
        "XRAY_TLS_CLIENT_CA": "",
        "XRAY_GRPC_PORT": "0",
        "XRAY_HTTP_PORT": "0",
        "XRAY_API_PORT": "0",
    }
    return load_settings({**os.environ, **ours})


def unknown_variables(environ: Mapping[str, str] | None = None) -> Iterator[str]:
    """Yield a line for each variable of ours that is no setting, with the one that was probably meant."""
    known = _CLIENT | _COMMANDS
    for cls in (StoreSettings, CollectorSettings, ApiSettings, LogSettings, UpkeepSettings, ArtifactSettings):
        known |= set(variables(cls).values())
    for name in sorted(os.environ if environ is None else environ):
        if name.startswith(_PREFIX) and name not in known and not name.startswith(_TESTS):
            meant = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.8)
            yield f"{name} is no setting" + (f" (did you mean {meant[0]}?)" if meant else "")
