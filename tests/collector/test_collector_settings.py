"""Settings of the collector: a wrong one stops the start with its name, value and accepted form."""

from __future__ import annotations

import pytest

from collector.settings import CollectorSettings
from store.errors import SettingsError
from store.settings import load


def test_defaults():
    """Without any variable the collector listens on loopback at OTLP's ports with OTLP's limit."""
    settings = load(CollectorSettings, {})
    assert (settings.host, settings.grpc_port, settings.http_port) == ("127.0.0.1", 4317, 4318)
    assert (settings.max_request_bytes, settings.cors_origins) == (64 * 1024 * 1024, ())


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("XRAY_GRPC_PORT", "abc"),
        ("XRAY_HTTP_PORT", "70000"),
        ("XRAY_MAX_REQUEST_BYTES", "10"),
        ("XRAY_INTAKE_MAX_BYTES", "lots"),
        ("XRAY_WRITE_TIMEOUT_S", "0"),
        ("XRAY_CORS_ORIGINS", "shop.example"),
        ("XRAY_ALLOW_ANONYMOUS", "perhaps"),
    ],
)
def test_a_wrong_setting_is_named(variable: str, value: str):
    """The error says which variable, what it held and what is accepted."""
    with pytest.raises(SettingsError) as caught:
        load(CollectorSettings, {variable: value})
    assert caught.value.variable == variable
    assert value in str(caught.value)
    assert caught.value.accepted


def test_origins_are_a_list():
    """Origins are separated by commas."""
    settings = load(CollectorSettings, {"XRAY_CORS_ORIGINS": "https://a.example, https://b.example"})
    assert settings.cors_origins == ("https://a.example", "https://b.example")
