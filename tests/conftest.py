"""Registers the shared fixtures and removes the settings of whoever runs the tests."""

from __future__ import annotations

import os

import hypothesis

# Before any fixture or test module is imported: some read the environment at import.
for _name in list(os.environ):
    if _name.startswith(("XRAY_", "OTEL_")) and not _name.startswith("XRAY_TEST_"):
        del os.environ[_name]

# A busy machine is no failure. With CI set, Hypothesis takes its own profile, which is reproducible.
hypothesis.settings.register_profile("unhurried", deadline=None)
if "CI" not in os.environ:
    hypothesis.settings.load_profile("unhurried")

pytest_plugins = [
    "tests.fixtures.api_keys",
    "tests.fixtures.certificates",
    "tests.fixtures.collector_service",
    "tests.fixtures.otlp_receiver",
    "tests.fixtures.postgres",
    "tests.fixtures.reading",
    "tests.fixtures.javascript",
    "tests.fixtures.services",
    "tests.fixtures.small_disk",
    "tests.fixtures.agent",
    "tests.fixtures.json_exporter",
]
