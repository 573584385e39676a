"""
The fixture ``xray_captured``, for who asks for it in their ``conftest.py``::

    pytest_plugins = ["xray_otel.pytest_plugin"]

No entry point does that: it would load OpenTelemetry into every session of pytest where the
client happens to be installed.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from xray_otel.testing import Captured, capture


@pytest.fixture
def xray_captured() -> Iterator[Captured]:
    """What the test records, instead of sending it; ``xray_otel.testing.capture()`` around the test."""
    with capture() as captured:
        yield captured
