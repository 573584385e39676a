"""How settings are read from an environment."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from store.errors import SettingsError
from store.settings import StoreSettings, default_data_dir, load, setting, variables, without_password


class PortSettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="XRAY_", frozen=True, extra="ignore")

    grpc_port: int = setting(
        4317, "Port.", accepted="a port from 1 to 65535 (0 = any free port)", ge=0, le=65535
    )
    allow_anonymous: bool = setting(False, "Anonymous.", accepted="true or false")


def test_defaults():
    """Without variables every setting has its default, whatever the process's own environment holds."""
    assert load(PortSettings, {}) == PortSettings(grpc_port=4317, allow_anonymous=False)
    assert load(StoreSettings, {}).data_dir == default_data_dir()


def test_environment_handed_in(monkeypatch):
    """An environment that is handed in replaces the process's own."""
    monkeypatch.setenv("XRAY_GRPC_PORT", "1")
    assert load(PortSettings, {}).grpc_port == 4317
    assert load(PortSettings).grpc_port == 1


def test_values_are_typed():
    """Texts become numbers, truth values and absolute paths; an empty text is as good as none."""
    assert load(PortSettings, {"XRAY_GRPC_PORT": "0", "XRAY_ALLOW_ANONYMOUS": "true"}) == PortSettings(
        grpc_port=0, allow_anonymous=True
    )
    assert load(PortSettings, {"XRAY_GRPC_PORT": ""}).grpc_port == 4317
    assert load(StoreSettings, {"XRAY_DATA_DIR": "here"}).data_dir == Path.cwd() / "here"


@pytest.mark.parametrize("value", ["abc", "-1", "65536", "4317.5", "４３１７ "])
def test_refused_value(value):
    """A value that is not accepted is refused with variable, value and accepted form."""
    with pytest.raises(SettingsError) as failure:
        load(PortSettings, {"XRAY_GRPC_PORT": value})
    assert str(failure.value) == (
        f"XRAY_GRPC_PORT={value!r}: a port from 1 to 65535 (0 = any free port) is accepted"
    )
    assert (failure.value.variable, failure.value.value) == ("XRAY_GRPC_PORT", value)


def test_no_password_in_the_message():
    """A secret setting is refused without showing its password."""
    with pytest.raises(SettingsError) as failure:
        load(StoreSettings, {"XRAY_DATABASE_URL": "mysql://user:hunter2@host/db"})
    assert "hunter2" not in str(failure.value)
    assert "XRAY_DATABASE_URL='mysql://user:***@host/db': a URL like postgresql://" in str(failure.value)


def test_folder_without_programs(tmp_path):
    """XRAY_PG_BIN must hold the programs that are started from it."""
    with pytest.raises(SettingsError, match="a folder that holds initdb and postgres"):
        load(StoreSettings, {"XRAY_PG_BIN": str(tmp_path)})


def test_frozen():
    """Settings do not change once loaded."""
    settings = load(PortSettings, {})
    with pytest.raises(ValidationError, match="frozen"):
        settings.grpc_port = 1


def test_variables():
    """Each field has one variable, named after it."""
    assert variables(StoreSettings) == {
        "database_url": "XRAY_DATABASE_URL",
        "data_dir": "XRAY_DATA_DIR",
        "pg_bin": "XRAY_PG_BIN",
    }


def test_data_folder_of_the_desktop(monkeypatch):
    """The default folder follows XDG_DATA_HOME when that is absolute."""
    monkeypatch.setenv("XDG_DATA_HOME", "/data/home")
    assert default_data_dir() == Path("/data/home/xray")
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    assert default_data_dir() == Path.home() / ".local/share/xray"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:a@b:c/d@h:5432/db", "postgresql://u:***@h:5432/db"),
        ("postgresql://h/db?user=u&password=hunter2&x=1", "postgresql://h/db?user=u&password=***&x=1"),
        ("postgresql:///xray?host=/dir&user=xray", "postgresql:///xray?host=/dir&user=xray"),
        ("u:hunter2@h/db", "***"),
    ],
)
def test_password_is_masked_wherever_it_stands(url, shown):
    """A password with @ or / in it, or in the query, does not show; what is no URL is hidden whole."""
    assert without_password(url) == shown
