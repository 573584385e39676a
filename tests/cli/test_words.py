"""Values as people read them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from cli import words


@pytest.mark.parametrize(
    ("milliseconds", "shown"),
    [
        (None, "–"),
        (0.34, "340 µs"),
        (12.0, "12 ms"),
        (999.9, "1 s"),
        (3_456.0, "3.46 s"),
        (65_000.0, "1 min 5 s"),
        (7_500_000.0, "2 h 5 min"),
        (180_000_000.0, "2 d 2 h"),
    ],
)
def test_duration_is_in_a_unit_of_its_size(milliseconds: float | None, shown: str) -> None:
    """A duration is shown in the largest unit that leaves a small number."""
    assert words.duration(milliseconds) == shown


@pytest.mark.parametrize(
    ("ratio", "shown"),
    [
        (None, "–"),
        (0.0, "0.0 %"),
        (1.0, "100.0 %"),
        (0.9996, ">99.9 %"),
        (0.0004, "<0.1 %"),
        (0.994, "99.4 %"),
    ],
)
def test_percent_never_rounds_to_all_or_nothing(ratio: float | None, shown: str) -> None:
    """Nearly all is not shown as all, and nearly none not as none."""
    assert words.percent(ratio) == shown


def test_null_differs_from_zero() -> None:
    """What nobody said is a dash; a zero that was said is a zero."""
    assert (words.count(None), words.count(0)) == ("–", "0")


@pytest.mark.parametrize(
    ("instant", "shown"),
    [
        ("2026-01-01T11:59:30Z", "30 s ago"),
        ("2026-01-01T11:00:00Z", "1 h ago"),
        ("2025-12-29T11:00:00Z", "3 d ago"),
        ("2026-01-01T12:00:05Z", "in future"),
    ],
)
def test_ago(instant: str, shown: str) -> None:
    """An instant is shown as its distance from now, in one unit."""
    assert words.ago(instant, datetime(2026, 1, 1, 12, tzinfo=UTC)) == shown


@pytest.mark.parametrize(
    ("instant", "shown"),
    [
        ("2026-01-01T12:00:05Z", "due in 5 s"),
        ("2026-01-01T12:05:00Z", "due in 5 min 0 s"),
        ("2026-01-01T11:59:30Z", "due now"),
        ("2026-01-01T11:55:00Z", "due 5 min ago"),
    ],
)
def test_due(instant: str, shown: str) -> None:
    """What nobody does though it is due shows for how long."""
    assert words.due(instant, datetime(2026, 1, 1, 12, tzinfo=UTC)) == shown


def test_top_reason_leaves_out_reasons_that_did_not_occur() -> None:
    """A declared reason with count 0 is never the top reason."""
    assert words.top_reason({"too_dear": 4, "wrong_type": 0}) == "too_dear 4"
    assert words.top_reason({"wrong_type": 0}) == "–"


def test_error_is_said_as_far_as_it_is_known() -> None:
    """Type and message, either alone, or a dash."""
    assert words.error("KeyError", "'price'") == "KeyError: 'price'"
    assert words.error("KeyError", None) == "KeyError"
    assert words.error(None, None) == "–"


def test_counted_has_a_singular() -> None:
    """One thing is not several."""
    assert (words.counted(1, "run"), words.counted(5000, "run")) == ("1 run", "5,000 runs")
