"""``docs/configuration.md`` says what the code says."""

from __future__ import annotations

from docs.generate_configuration import TARGET, generate


def test_configuration_is_fresh() -> None:
    """The file is what ``python -m docs.generate_configuration`` writes now."""
    assert TARGET.read_text(encoding="utf-8") == generate()


def test_required_settings_are_there() -> None:
    """The settings that the contract names are all in the table."""
    text = TARGET.read_text(encoding="utf-8")
    servers = ("DATABASE_URL", "DATA_DIR", "GRPC_PORT", "HTTP_PORT", "API_PORT", "RUN_TIMEOUT_S")
    clients = ("ENDPOINT", "API_KEY", "CAPTURE", "MODE", "OFFLINE")
    assert [name for name in servers + clients if f"| `XRAY_{name}` |" not in text] == []
