"""Times as people say them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from cli.options import moment


@pytest.mark.parametrize(
    ("given", "ago"),
    [("7d", timedelta(days=7)), ("12h", timedelta(hours=12)), ("90m", timedelta(minutes=90))],
)
def test_so_long_ago(given: str, ago: timedelta) -> None:
    """Counted from now, to the minute."""
    before = datetime.now(UTC).replace(second=0, microsecond=0)
    found = datetime.fromisoformat(str(moment(given)))
    assert before - ago <= found <= datetime.now(UTC) - ago


def test_days_by_name() -> None:
    """They begin at midnight in UTC."""
    before = datetime.now(UTC).date()
    today, yesterday = (datetime.fromisoformat(str(moment(word))) for word in ("today", "yesterday"))
    assert before <= today.date() <= datetime.now(UTC).date()
    assert (yesterday.hour, yesterday.minute, yesterday.second, yesterday.tzinfo) == (0, 0, 0, UTC)
    assert before - timedelta(days=1) <= yesterday.date() < datetime.now(UTC).date()


@pytest.mark.parametrize("given", [None, "", "7", "0d", "7w", "d", "-7d", "tomorrow", "2026-01-31T00:00:00Z"])
def test_what_is_no_such_word(given: str | None) -> None:
    """It goes to the server as it is, which says what it takes."""
    assert moment(given) == given
