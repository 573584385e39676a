"""What the decisions of a run say about its steps."""

from __future__ import annotations

import math
from typing import Any

import pytest

from store.decisions import DecisionColumns
from store.queries.evidence import Decided, of_run

ITEMS = [f"item-{number}" for number in range(40)]


def decided(step: str, verdict: str = "K", items: list[str] | None = None, **columns: Any) -> Decided:
    """One chunk of a step's decisions; verdict: of all, or one letter each."""
    items = ITEMS if items is None else items
    verdicts = verdict * len(items) if len(verdict) == 1 else verdict
    return Decided(step, [DecisionColumns(count=len(items), item=items, verdict=verdicts, **columns)])


def test_sampled_decisions_give_no_figures() -> None:
    """A sample prefers what is rare or close to a limit: it is not like the whole."""
    whole = decided("a", "KE", ["a", "b"], value=[1.0, 2.0])
    sampled = decided("a", "KE", ["a", "b"], value=[1.0, 2.0], probability=[1.0, 0.5])
    assert of_run([whole])[0]["level:value mean"] == 1.5
    assert of_run([sampled]) == [{}]
    assert of_run([Decided("a", ())]) == [{}]


def test_a_comparison_the_wrong_way_round_shows_at_the_first_candidate() -> None:
    """Of the values above the limit all were refused but one; text is held against text, and flags count."""
    found = of_run([decided("a", "KKEEK", list("abcde"), value=[1, 5, 7, 8, 9], threshold=5)])[0]
    assert found["part:judged both ways above the limit"] == pytest.approx(1 / 5)
    assert found["part:judged both ways at the limit"] == 0
    assert found["part:judged both ways below the limit"] == 0
    words = of_run([decided("a", "KEE", list("abc"), value=["x", "x", "y"], threshold="x")])[0]
    assert words["part:judged both ways at the limit"] == pytest.approx(1 / 3)
    assert words["part:judged both ways off the limit"] == 0
    flags = of_run([decided("a", "KE", list("ab"), value=[True, False], threshold=1.0)])[0]
    assert flags["part:judged both ways below the limit"] == 0
    mixed = of_run([decided("a", "KE", list("ab"), value=["x", 1], threshold=[2, None])])[0]
    assert "part:judged both ways at the limit" not in mixed


def test_a_number_is_looked_for_in_earlier_steps() -> None:
    """The share of candidates that are judged by the number that an earlier step gave them."""
    scores = [number / 40 for number in range(40)]
    model = decided("model", "S", score=scores)
    right = decided("best", "K", score=scores)
    stale = decided("best", "K", score=[0.5, *scores[1:30], *[2.0] * 10])
    assert "part:score as before" not in of_run([model])[0]
    assert of_run([model, right])[1]["part:score as before"] == 1
    assert of_run([model, stale])[1]["part:score as before"] == pytest.approx(29 / 40)


def test_after_what_is_not_all_there_nothing_is_said_about_earlier_steps() -> None:
    """What was said before may be what is missing."""
    scores = [number / 40 for number in range(40)]
    model = decided("model", "S", score=scores, probability=0.5)
    assert "part:score as before" not in of_run([model, decided("best", score=scores)])[1]
    missing = Decided("model", ())
    assert (
        "part:score as before" not in of_run([missing, decided("a", value=1.5), decided("b", value=1.5)])[2]
    )


def test_what_goes_with_what_is_told() -> None:
    """The correlation of a step's numbers with those of an earlier one, over the items that both judged."""
    prices = [float(number) for number in range(40)]
    lookup = decided("lookup", value=prices)
    same = of_run([lookup, decided("model", "S", score=[3 * price + 1 for price in prices])])[1]
    assert same["level:goes with lookup"] == pytest.approx(math.atanh(0.995))
    against = of_run([lookup, decided("model", "S", score=[-price for price in prices])])[1]
    assert against["level:goes with lookup"] == pytest.approx(-math.atanh(0.995))
    few = of_run([lookup, decided("model", "S", ITEMS[:5], score=[0.3, 0.1, 0.4, 0.1, 0.5])])[1]
    assert "level:goes with lookup" not in few
    alike = of_run([lookup, decided("model", "S", score=0.7)])[1]
    assert "level:goes with lookup" not in alike


def test_extreme_numbers_do_no_harm() -> None:
    """Numbers that no sum holds are left out, large ones give no correlation."""
    huge = of_run([decided("a", value=1e300), decided("b", value=[1e90 * n for n in range(40)])])
    assert "level:value mean" not in huge[0]
    both = of_run([
        decided("a", value=[1e99 * (n % 7) for n in range(40)]),
        decided("b", value=[1e99 * (n % 5) for n in range(40)]),
    ])  # fmt: skip
    assert "level:goes with a" not in both[1]
