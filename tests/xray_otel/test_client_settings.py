from __future__ import annotations

import dataclasses
import inspect
import logging
import re
from pathlib import Path

import pytest

import xray_otel as xray
from xray_otel._unknown import OTHERS
from xray_otel.settings import _FORMS, Settings


def test_defaults():
    """Without any setting the client sends to this machine, by HTTP, everything, and raises nothing."""
    settings = Settings.from_env({})
    assert (settings.endpoint, settings.protocol) == ("http://127.0.0.1:4318", "http/protobuf")
    assert (settings.capture, settings.mode, settings.disabled) == ("full", "best_effort", False)
    assert Settings.from_env({"XRAY_PROTOCOL": "grpc"}).endpoint == "http://127.0.0.1:4317"


def test_arguments_win_over_the_environment():
    """A value given in the program wins over the variable; None leaves it to the variable."""
    environ = {"XRAY_CAPTURE": "sampled", "XRAY_MODE": "strict"}
    settings = Settings.from_env(environ, capture="metrics_only", mode=None)
    assert (settings.capture, settings.mode) == ("metrics_only", "strict")


@pytest.mark.parametrize(
    ("variable", "value", "accepted"),
    [
        ("XRAY_ENDPOINT", "localhost:4318", "a URL such as http://127.0.0.1:4318"),
        ("XRAY_ENDPOINT", "http://host:99999", "a URL such as http://127.0.0.1:4318"),
        ("XRAY_ENDPOINT", "http://host/?a=b", "a URL such as http://127.0.0.1:4318"),
        ("XRAY_CAPTURE", "all", "metrics_only, sampled or full"),
        ("XRAY_MODE", "STRICT", "best_effort or strict"),
        ("XRAY_PROTOCOL", "http/json", "http/protobuf or grpc"),
        ("XRAY_BUFFER_BYTES", "64MB", "a number of bytes, at least 65536,"),
        ("XRAY_EXIT_TIMEOUT_S", "nan", "a number of seconds above 0, at most 600,"),
        ("XRAY_DISABLED", "yes", "true or false"),
    ],
)
def test_a_bad_value_names_variable_value_and_accepted_form(variable, value, accepted):
    """A bad setting raises an error that says which variable, which value, and what is accepted."""
    with pytest.raises(xray.SettingsError) as caught:
        Settings.from_env({variable: value})
    assert str(caught.value) == f"{variable}={value!r}: {accepted} is accepted"
    assert (caught.value.variable, caught.value.value) == (variable, value)


def test_a_bad_key_is_not_shown():
    """The message about a bad API key, or an endpoint with a password in it, does not contain it."""
    for variable, value in (("XRAY_API_KEY", "sécret"), ("XRAY_ENDPOINT", "http://me:secret@host:4318")):
        with pytest.raises(xray.SettingsError) as caught:
            Settings.from_env({variable: value})
        assert "cret" not in str(caught.value)


def test_any_object_is_refused_in_words():
    """A value that raises when it is looked at is refused as any other."""

    class Hostile:
        def __str__(self) -> str:
            raise RuntimeError("no text")

        __repr__ = __str__

    xray.configure(endpoint=Hostile(), buffer_bytes=Hostile(), disabled=True)  # type: ignore[arg-type]
    xray.configure(artifact_bytes=10**5000, disabled=True)  # Python refuses to write it
    with pytest.raises(xray.SettingsError, match="a URL such as"):
        Settings.from_env({}, endpoint=Hostile())


def test_a_bad_value_does_not_break_the_host(monkeypatch, caplog):
    """In best effort a bad setting is logged once, and the default used."""
    monkeypatch.setenv("XRAY_CAPTURE", "all")
    with caplog.at_level(logging.WARNING, "xray_otel"):
        xray.configure(disabled=True)
    [line] = [record.getMessage() for record in caplog.records]
    assert line.startswith("xray_otel configure: XRAY_CAPTURE='all': ")
    assert line.endswith("metrics_only, sampled or full is accepted; the default is used")


def test_a_mistyped_variable_is_told_once(monkeypatch, caplog):
    """What nothing reads is named once, with what was probably meant; the server's names are not."""
    of_kubernetes = (
        "XRAY_SERVICE_HOST",
        "XRAY_API_SERVICE_PORT_HTTP",
        "XRAY_PORT",
        "XRAY_PORT_4318_TCP_ADDR",
    )
    others = ("XRAY_HTTP_PORT", "XRAY_TEST_THIS", "OTHER", *of_kubernetes)
    for name in ("XRAY_ENDPONT", "XRAY_APIKEY", "XRAY_WHATEVER", *others):
        monkeypatch.setenv(name, "secret")
    with caplog.at_level(logging.WARNING, "xray_otel"):
        xray.configure(disabled=True)
        xray.configure(disabled=True)
    [line] = [record.getMessage() for record in caplog.records]
    assert line == (
        "xray_otel configure: XRAY_APIKEY is no setting (did you mean XRAY_API_KEY?); "
        "XRAY_ENDPONT is no setting (did you mean XRAY_ENDPOINT?); XRAY_WHATEVER is no setting"
    )


def test_the_names_of_others_are_those_of_the_table():
    """The client does not load the server, so the names that it lets pass are compared here."""
    text = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text(encoding="utf-8")
    servers, clients = text.split("## Client (`xray_otel`)")
    others, ours = (set(re.findall(r"^\| `XRAY_(\w+)`", part, re.MULTILINE)) for part in (servers, clients))
    assert others - ours | {"PYTHON", "VENV"} == OTHERS


def test_strict_mode_raises_on_a_bad_value():
    """In strict mode configure() raises."""
    with pytest.raises(xray.SettingsError):
        xray.configure(mode="strict", capture="all")  # type: ignore[arg-type]  # the point of the test
    with pytest.raises(xray.UsageError):
        xray.configure(mode="strict", tracer_provider="mine")  # type: ignore[arg-type]  # likewise


def test_otel_disabled_is_honoured():
    """OTEL_SDK_DISABLED switches X-Ray off too."""
    assert Settings.from_env({"OTEL_SDK_DISABLED": "true"}).disabled


def test_every_setting_has_a_form():
    """Each field can be given by the environment, and by configure()."""
    names = {field.name for field in dataclasses.fields(Settings)}
    assert names == set(_FORMS)
    assert names < set(inspect.signature(xray.configure).parameters)
