"""Registers the shared fixtures and removes the settings of whoever runs the tests."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import hypothesis
import pytest

# Before any fixture or test module is imported: some read the environment at import.
for _name in list(os.environ):
    if _name.startswith(("XRAY_", "OTEL_")) and not _name.startswith("XRAY_TEST_"):
        del os.environ[_name]

# A busy machine is no failure. With CI set, Hypothesis takes its own profile, which is reproducible.
hypothesis.settings.register_profile("unhurried", deadline=None)
if "CI" not in os.environ:
    hypothesis.settings.load_profile("unhurried")

_numbers = itertools.count()

pytest_plugins = [
    "tests.fixtures.api_keys",
    "tests.fixtures.certificates",
    "tests.fixtures.collector_service",
    "tests.fixtures.engines",
    "tests.fixtures.otlp_receiver",
    "tests.fixtures.postgres",
    "tests.fixtures.reading",
    "tests.fixtures.javascript",
    "tests.fixtures.object_stores",
    "tests.fixtures.services",
    "tests.fixtures.small_disk",
    "tests.fixtures.statements",
    "tests.fixtures.agent",
    "tests.fixtures.json_exporter",
]


@pytest.fixture(autouse=True, scope="session")
def spools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keeps what clients store on disk out of the home folder of whoever runs the tests."""
    folder = tmp_path_factory.mktemp("spools")
    os.environ["XRAY_SPOOL_DIR"] = str(folder)
    return folder


@pytest.fixture(autouse=True)
def spool_dir(spools: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the test's own, not made yet: ports are used again, and with them endpoints."""
    folder = spools / f"{next(_numbers)}"
    monkeypatch.setenv("XRAY_SPOOL_DIR", str(folder))
    return folder
