"""Registers the shared fixtures and removes the settings of whoever runs the tests."""

from __future__ import annotations

import os

import hypothesis

# Before any fixture or test module is imported: some read the environment at import.
XRAY_TEST_DATABASE_URL = os.environ.get("XRAY_TEST_DATABASE_URL")
for _name in [name for name in os.environ if name.startswith(("XRAY_", "OTEL_"))]:
    del os.environ[_name]
if XRAY_TEST_DATABASE_URL:
    os.environ["XRAY_TEST_DATABASE_URL"] = XRAY_TEST_DATABASE_URL

# A busy machine is no failure. With CI set, Hypothesis takes its own profile, which is reproducible.
hypothesis.settings.register_profile("unhurried", deadline=None)
if "CI" not in os.environ:
    hypothesis.settings.load_profile("unhurried")

pytest_plugins = [
    "tests.fixtures.collector_service",
    "tests.fixtures.otlp_receiver",
    "tests.fixtures.postgres",
    "tests.fixtures.reading",
    "tests.fixtures.javascript",
    "tests.fixtures.services",
    "tests.fixtures.agent",
    "tests.fixtures.json_exporter",
]
