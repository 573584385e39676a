"""Secrets and odd values through the whole stack: no secret in Postgres, no odd value refused."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
import zstandard

import xray_otel as xray
from tests.fixtures import secrets
from tests.fixtures.odd_values import ODD
from tests.fixtures.public_calls import PLACES, is_taken_apart, plant
from tests.fixtures.secrets import CARD_PATTERN, PATTERN, leaks
from tests.fixtures.services import ServiceProcess
from tests.fixtures.waiting import wait_until
from xray_otel import _setup

LARGE = 10_000
"""Odd lists and texts of more than this would only take time here."""


@pytest.fixture(autouse=True)
def over() -> Iterator[None]:
    yield
    xray.shutdown(1)


def stored(database_url: str) -> Iterator[bytes]:
    """Everything in all tables, decisions unpacked."""
    with psycopg.connect(database_url) as connection:
        tables = connection.execute(
            "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition"
            " AND relnamespace = 'public'::regnamespace"
        ).fetchall()
        for (table,) in tables:
            query = psycopg.sql.SQL("SELECT * FROM {}").format(psycopg.sql.Identifier(table))
            for value in itertools.chain.from_iterable(connection.execute(query)):
                yield value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")
        for (data,) in connection.execute("SELECT data FROM decisions WHERE data IS NOT NULL"):
            yield zstandard.ZstdDecompressor().decompress(data[1:], max_output_size=2**24)


def runs_stored(database_url: str) -> int:
    with psycopg.connect(database_url) as connection:
        row = connection.execute("SELECT count(*) FROM runs WHERE terminal_status IS NOT NULL").fetchone()
    return row[0] if row else 0


def test_no_secret_is_stored(module_xray_up: ServiceProcess):
    """A secret of each shape, each in some place, and some in each place: no fragment in any table or log."""
    url = module_xray_up.database_url
    before = runs_stored(url)
    xray.configure(
        endpoint=module_xray_up.otlp_http,
        flush_interval_ms=20,
        mask_patterns=[PATTERN, CARD_PATTERN],
        mask=secrets.callback,
    )
    planted = itertools.cycle(secrets.planted())
    chosen = [(place, *next(planted)) for place in PLACES for _ in range(3)]
    chosen = [(place, words, value) for place, words, value in chosen if not is_taken_apart(place, words)]
    for place, _, value in chosen:
        plant(place, value)
    assert xray.flush(60)
    wait_until(lambda: runs_stored(url) == before + len(chosen), timeout_s=60, what="all runs stored")
    assert not leaks([*stored(url), module_xray_up.stderr.encode()])


def test_no_odd_value_is_refused(module_xray_up: ServiceProcess):
    """The collector takes whatever the client makes of odd values, and every run is stored."""
    url = module_xray_up.database_url
    before = runs_stored(url)
    xray.configure(endpoint=module_xray_up.otlp_http, flush_interval_ms=20)
    odd: Iterator[Any] = itertools.cycle(value for value in ODD if not _is_large(value))
    for place in PLACES:
        plant(place, next(odd))
        plant(place, next(odd))
    assert xray.flush(60)
    wait_until(lambda: runs_stored(url) == before + 2 * len(PLACES), timeout_s=60, what="all runs stored")
    assert set(_setup.client().pipeline.losses) <= {("artifact", "too_large")}


def _is_large(value: Any) -> bool:
    try:
        return len(value) > LARGE
    except Exception:  # noqa: BLE001 - they are made to raise
        return False
