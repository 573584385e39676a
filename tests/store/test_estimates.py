"""Totals and means over sampled decisions."""

from __future__ import annotations

import sys

import pytest

from store.estimates import Observed, estimate
from store.queries.filters import parse
from store.queries.vocabulary import DECISIONS
from store.reader import Reader
from tests.fixtures.reading import Shelf, chunk, run_copy, step_copy


def test_what_is_certain_is_exact():
    """Without sampling the figures are plain sums, and intervals are points."""
    found = estimate([Observed("a", 1.0, 2.0), Observed("a", 1.0, None), Observed("b", 1.0, 4.0)])
    assert tuple(found.number) == (2, 2, 2, True)
    assert tuple(found.total) == (6, 6, 6, True)
    assert found.mean is not None
    assert tuple(found.mean) == (3, 3, 3, True)


def test_nothing_has_no_mean():
    """Of no decisions the total is 0 and the mean unknown."""
    found = estimate([])
    assert (found.number.value, found.total.value) == (0, 0)
    assert found.mean is None


def test_a_stratified_sample_against_the_textbook():
    """
    Two strata, 10 of 100 and 5 of 20, and a certain decision: expansion estimate and variance with finite
    population correction, worked out by hand. The figures are symmetric, so the interval is, too.
    """
    first = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0]
    second = [10.0, 20.0, 30.0, 40.0, 50.0]
    found = estimate(
        [
            *(Observed("first", 0.1, figure) for figure in first),
            *(Observed("second", 0.25, figure) for figure in second),
            Observed("second", 1.0, 1000.0),
        ]
    )
    one, two = 100**2 * 0.9 * (55 / 6) / 10, 20**2 * 0.75 * 250 / 5
    freedom = (one + two) ** 2 / (one**2 / 9 + two**2 / 4)
    assert freedom == pytest.approx(8.47, abs=0.01)
    assert found.total.value == pytest.approx(550 + 600 + 1000)
    half = 2.284 * (one + two) ** 0.5  # Student's t of 8.47 degrees of freedom
    assert found.total.low == pytest.approx(found.total.value - half, rel=1e-3)
    assert found.total.high == pytest.approx(found.total.value + half, rel=1e-3)
    assert tuple(found.number) == (121, 121, 121, False)


def test_too_few_to_tell():
    """A mean of one sampled decision has no interval; of it nothing tells how others differ."""
    found = estimate([Observed("a", 0.1, 5.0), *(Observed("a", 0.1, None) for _ in range(9))])
    assert found.mean is not None
    assert (found.mean.value, found.mean.low, found.mean.exact) == (5.0, None, False)
    assert found.number.low == 1  # at least what was seen


def test_one_lone_decision_makes_no_interval_narrow():
    """A group of one measures no spread of its own: the other group's few are not taken for many."""
    few = [Observed("a", 0.1, 5.0), Observed("a", 0.1, 5.2), Observed("a", 0.1, 5.1)]
    found = estimate([*few, Observed("b", 0.1, 50.0)])
    assert found.mean is not None
    assert found.mean.high is not None
    assert found.mean.low is not None
    half = (found.mean.high - found.mean.low) / 2
    deviation = abs(50 - found.mean.value) * 0.9**0.5 / 4  # what the lone one adds to the standard error
    assert half > 3 * deviation


@pytest.mark.parametrize("probability", [1.0, 0.1, 1e-200, 5e-324])
@pytest.mark.parametrize("figure", [1e200, 1.7e308, 1e-200, 5e-324])
@pytest.mark.parametrize("signs", [(1, 1, 1, 1), (1, -1, 3, 1)])
def test_any_number_of_a_sender_has_an_estimate(probability: float, figure: float, signs: tuple[int, ...]):
    """Figures and probabilities at the ends of what a float can be: finite answers in order."""
    largest = 1.7e308
    kept = [
        Observed("a", probability, max(-largest, min(largest, sign * figure * (at + 1) / 4)))
        for at, sign in enumerate(signs)
    ]
    found = estimate(kept)
    assert found.mean is not None
    for guess in (found.number, found.total, found.mean):
        assert guess.low is not None
        assert guess.high is not None
        assert -sys.float_info.max <= guess.low <= guess.value <= guess.high <= sys.float_info.max


def test_estimates_of_a_step(shelf: Shelf, reader: Reader) -> None:
    """Estimates are over all stored decisions that satisfy the filters, with what they rest on."""
    shelf.put(
        run_copy("r"),
        step_copy(
            "r", "s", capture_level="sampled", candidates_in=102, decisions_recorded=12, decisions_chunks=1
        ),
        chunk(
            "r",
            "s",
            [f"i{at}" for at in range(12)],
            "K" + "E" * 11,
            value=[7.0, 50.0, *(float(at) for at in range(10))],
            probability=[1.0, 1.0, *[0.1] * 10],
        ),
    )
    found = reader.estimates("r", "s")
    assert found is not None
    assert found.decisions.value == 102
    assert found.value.total.value == pytest.approx(7 + 50 + 450)
    assert found.value.total.low is not None
    assert found.value.total.low < 507 < (found.value.total.high or 0)
    assert found.score.mean is None
    assert (found.decisions_read, found.completeness.evidence) == (12, "sampled")
    filters, _ = parse(DECISIONS, [("verdict", "eliminated"), ("value_lt", "5")])
    some = reader.estimates("r", "s", filters)
    assert some is not None
    assert some.decisions.value == pytest.approx(50)
    assert some.decisions_read == 5
    assert reader.estimates("r", "unheard of") is None


def test_skewed_figures_have_a_skewed_interval():
    """Where large figures are rare, what was not seen may be larger: the interval reaches further up."""
    found = estimate([Observed("a", 0.05, figure) for figure in (1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 4.0, 40.0)])
    assert found.total.low is not None
    assert found.total.high is not None
    assert found.total.high - found.total.value > 1.5 * (found.total.value - found.total.low)
