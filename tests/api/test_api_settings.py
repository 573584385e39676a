"""Settings of the API."""

from __future__ import annotations

import httpx
import pytest

from api.app import create_app
from api.settings import ApiSettings
from store.errors import SettingsError
from store.reader import Reader
from store.settings import load
from tests.fixtures.reading import RestServer


def test_defaults_listen_on_loopback() -> None:
    """Without settings the API listens on loopback, port 8000, and lets no page of elsewhere ask."""
    settings = load(ApiSettings, {})
    assert (settings.host, settings.api_port, settings.cors_origins) == ("127.0.0.1", 8000, ())
    assert settings.run_timeout_s == 900.0


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("XRAY_API_PORT", "abc"),
        ("XRAY_API_PORT", "70000"),
        ("XRAY_RUN_TIMEOUT_S", "0"),
        ("XRAY_RUN_TIMEOUT_S", "nan"),
        ("XRAY_STATEMENT_TIMEOUT_MS", "1"),
        ("XRAY_CORS_ORIGINS", "shop.example"),
        ("XRAY_CORS_ORIGINS", "https://shop.example/"),
        ("XRAY_CORS_ORIGINS", "https://shop.example/page"),
    ],
)
def test_a_wrong_setting_is_named(variable: str, value: str) -> None:
    """A value that is not accepted is refused with its name, itself and the accepted form."""
    with pytest.raises(SettingsError) as refused:
        load(ApiSettings, {variable: value})
    assert refused.value.variable == variable
    assert str(refused.value).startswith(f"{variable}='{value}': ")
    assert str(refused.value).endswith("is accepted")


def test_origins_are_separated_by_commas() -> None:
    """Several origins stand in one variable."""
    sent = {"XRAY_CORS_ORIGINS": "https://a.example, http://b.example:3000"}
    assert load(ApiSettings, sent).cors_origins == ("https://a.example", "http://b.example:3000")


def test_pages_of_other_origins_may_ask_when_configured(reader: Reader) -> None:
    """A configured origin may read answers and failures; any other gets no permission."""
    settings = load(ApiSettings, {"XRAY_CORS_ORIGINS": "https://shop.example"})
    server = RestServer(create_app(settings, reader))
    with httpx.Client(base_url=server.url, trust_env=False) as client:
        for path in ("/api/v1/runs", "/api/v1/runs/unheard-of"):
            ours = client.get(path, headers={"Origin": "https://shop.example"})
            assert ours.headers["access-control-allow-origin"] == "https://shop.example"
            other = client.get(path, headers={"Origin": "https://evil.example"})
            assert "access-control-allow-origin" not in other.headers
    server.stop()
