"""Ids for step engines: the published vectors, and what the recipe promises."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import xray_otel as xray
from xray_otel._ids import is_run_id, new_run_id
from xray_otel._resume_ids import IDS_VERSION, time_in

VECTORS = json.loads((Path(__file__).parents[2] / "semconv" / "derived_ids.json").read_text(encoding="utf-8"))
TEXTS = st.text(st.characters(), max_size=200)


def test_version():
    """The vectors are of the recipe that is in use."""
    assert VECTORS["version"] == IDS_VERSION


@pytest.mark.parametrize("vector", VECTORS["vectors"], ids=lambda vector: repr(vector["given"])[:60])
def test_vectors(vector):
    """The ids that runs under way have, and that other languages make."""
    assert xray.derive_ids(**vector["given"])._asdict() == vector["ids"]


@given(TEXTS, TEXTS, st.integers(1, 1000))
def test_ids_are_valid_whatever_the_engine_calls_things(run_id, key, attempt):
    """Any text gives ids that the server takes as they are."""
    ids = xray.derive_ids(run_id, key, attempt)
    assert is_run_id(ids.run_id)
    assert 0 < len(ids.step_id.encode()) <= 128
    assert [len(bytes.fromhex(text)) for text in (ids.trace_id, ids.root_span_id, ids.span_id)] == [16, 8, 8]


@given(st.lists(st.tuples(TEXTS, TEXTS, st.integers(1, 3)), min_size=2, max_size=2, unique=True))
def test_different_executions_have_different_spans(executions):
    """Parts cannot run into each other: run a, key bc is not run ab, key c."""
    one, other = (xray.derive_ids(*execution).span_id for execution in executions)
    assert one != other


def test_time_in_run_ids():
    """A ULID and a UUIDv7 tell when the run began; other ids, and those of other ages, do not."""
    assert time_in("01JD5X6Z7Q8R9S0T1V2W3X4Y5Z") == 1_732_143_971_575_000_000
    now_ns = time_in(new_run_id())
    assert now_ns is not None
    assert now_ns > 1_732_143_971_575_000_000
    for other in (
        "",
        "order-17",
        "a" * 26,
        "7ZZZZZZZZZ0000000000000000",
        "00000000-0000-4000-8000-000000000000",
    ):
        assert time_in(other) is None
