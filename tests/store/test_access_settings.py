"""Settings of every port: who is asked for a key, and the files of TLS."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from api.settings import ApiSettings
from collector.settings import CollectorSettings
from store.access.settings import ListenSettings
from store.errors import SettingsError
from store.settings import load, variables
from tests.fixtures.certificates import Certificates


@pytest.mark.parametrize(
    ("environ", "asked"),
    [
        ({}, False),
        ({"HOST": "localhost"}, False),
        ({"HOST": "::1"}, False),
        ({"HOST": "127.0.0.9"}, False),
        ({"HOST": "0.0.0.0"}, True),
        ({"HOST": "::"}, True),
        ({"HOST": "shop.example"}, True),
        ({"HOST": "10.1.2.3", "ALLOW_ANONYMOUS": "true"}, False),
        ({"REQUIRE_KEYS": "true"}, True),
        ({"HOST": "0.0.0.0", "REQUIRE_KEYS": "true"}, True),
        ({"ALLOW_ANONYMOUS": "true"}, False),
    ],
)
def test_who_is_asked_for_a_key(environ: dict[str, str], asked: bool) -> None:
    """On loopback nobody unless told so; elsewhere everybody unless told so."""
    settings = load(ListenSettings, {f"XRAY_{name}": value for name, value in environ.items()})
    assert settings.asks_for_keys is asked


def test_all_servers_have_the_same() -> None:
    """Collector and API read the same variables for the same things."""
    shared = set(variables(ListenSettings))
    assert shared <= set(variables(CollectorSettings)) & set(variables(ApiSettings))


@pytest.mark.parametrize(
    ("variable", "environ"),
    [
        ("XRAY_ALLOW_ANONYMOUS", {"XRAY_ALLOW_ANONYMOUS": "perhaps"}),
        ("XRAY_REQUIRE_KEYS", {"XRAY_REQUIRE_KEYS": "true", "XRAY_ALLOW_ANONYMOUS": "true"}),
        ("XRAY_RATE_LIMIT", {"XRAY_RATE_LIMIT": "10"}),
        ("XRAY_RATE_LIMIT", {"XRAY_RATE_LIMIT": "-1", "XRAY_REQUIRE_KEYS": "true"}),
        ("XRAY_RATE_LIMIT", {"XRAY_RATE_LIMIT": "nan", "XRAY_REQUIRE_KEYS": "true"}),
        ("XRAY_RATE_LIMIT", {"XRAY_RATE_LIMIT": "10", "XRAY_HOST": "::", "XRAY_ALLOW_ANONYMOUS": "true"}),
    ],
)
def test_what_contradicts_itself(variable: str, environ: dict[str, str]) -> None:
    """A setting that could only be ignored stops the start."""
    with pytest.raises(SettingsError) as refused:
        load(ListenSettings, environ)
    assert refused.value.variable == variable
    assert str(refused.value).startswith(f"{variable}='{environ[variable]}': ")


def test_rate_where_keys_are_asked_for() -> None:
    """The limit is taken where it limits somebody."""
    assert load(ListenSettings, {"XRAY_RATE_LIMIT": "2.5", "XRAY_HOST": "::"}).rate_limit == 2.5


def test_files_of_tls(certificates: Certificates) -> None:
    """Certificate and key go together; the client's authority comes on top."""
    environ = {
        "XRAY_TLS_CERT": str(certificates.server.cert),
        "XRAY_TLS_KEY": str(certificates.server.key),
    }
    tls = load(ListenSettings, environ).tls
    assert tls is not None
    assert tls == (certificates.server.cert, certificates.server.key, None)
    tls = load(ListenSettings, {**environ, "XRAY_TLS_CLIENT_CA": str(certificates.authority.cert)}).tls
    assert tls is not None
    assert tls.client_ca == certificates.authority.cert
    assert load(ListenSettings, {}).tls is None


@pytest.mark.parametrize(
    ("variable", "changed"),
    [
        ("XRAY_TLS_CERT", {"XRAY_TLS_CERT": "missing.pem"}),
        ("XRAY_TLS_CERT", {"XRAY_TLS_CERT": "empty.pem"}),
        ("XRAY_TLS_CERT", {"XRAY_TLS_CERT": "server.key"}),
        ("XRAY_TLS_KEY", {"XRAY_TLS_KEY": ""}),
        ("XRAY_TLS_KEY", {"XRAY_TLS_KEY": "missing.pem"}),
        ("XRAY_TLS_KEY", {"XRAY_TLS_KEY": "client.key"}),
        ("XRAY_TLS_KEY", {"XRAY_TLS_KEY": "locked.key"}),
        ("XRAY_TLS_KEY", {"XRAY_TLS_CERT": ""}),
        ("XRAY_TLS_CLIENT_CA", {"XRAY_TLS_CLIENT_CA": "empty.pem"}),
        ("XRAY_TLS_CLIENT_CA", {"XRAY_TLS_CLIENT_CA": "folder"}),
        (
            "XRAY_TLS_CLIENT_CA",
            {"XRAY_TLS_CERT": "", "XRAY_TLS_KEY": "", "XRAY_TLS_CLIENT_CA": "authority.crt"},
        ),
    ],
)
def test_files_of_tls_that_cannot_work(
    certificates: Certificates, tmp_path: Path, variable: str, changed: dict[str, str]
) -> None:
    """A missing, empty, foreign or encrypted file stops the start, named with what is accepted."""
    folder = certificates.server.cert.parent
    for source in folder.iterdir():
        (tmp_path / source.name).write_bytes(source.read_bytes())
    (tmp_path / "empty.pem").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    lock = ["openssl", "ec", "-aes256", "-passout", "pass:secret"]
    lock += ["-in", str(tmp_path / "server.key"), "-out", str(tmp_path / "locked.key")]
    subprocess.run(lock, check=True, capture_output=True)
    names = {"XRAY_TLS_CERT": "server.crt", "XRAY_TLS_KEY": "server.key", **changed}
    environ = {name: str(tmp_path / value) if value else "" for name, value in names.items()}
    with pytest.raises(SettingsError) as refused:
        load(ListenSettings, environ)
    assert str(refused.value).startswith(f"{variable}='{environ[variable]}': ")
    assert "PEM file" in refused.value.accepted
