"""Rankings and choices that look as if they went by the score alone."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.fixtures.reading import Shelf, chunk, run_copy, step_copy
from tests.fixtures.replaying import SINGLE, put_step, sure


def test_a_ranking_that_nobody_lost(shelf: Shelf, rest: httpx.Client) -> None:
    """Candidates recorded as they came may run along their scores by chance."""
    step = {"step_type": "rank", "top_k": 5}
    put_step(shelf, "KK", step=step, rules={"item_independent": True}, score=[0.4, 0.9])
    assert sure(rest, "ab", top_k=1) == {}


def test_candidates_that_came_along_their_scores(shelf: Shelf, rest: httpx.Client) -> None:
    """Told by hand as they came, two always do; where nobody lost, which end is the best is not shown."""
    step = {"step_type": "rank", "top_k": 5}
    rules = {"item_independent": True, "evaluation": "single"}
    put_step(shelf, "KK", step=step, rules=rules, score=[0.4, 0.9])
    assert sure(rest, "ab", top_k=1) == {}


def test_a_score_below_a_limit(shelf: Shelf, rest: httpx.Client) -> None:
    """Not selected for its score is not always: because of better ones."""
    shelf.put(
        run_copy("r"),
        step_copy("r", "judge", 0, candidates_in=4, decisions_recorded=4, decisions_chunks=1),
        chunk("r", "judge", list("abcd"), "KKKE", value=[30, 20, 10, 60], threshold=50, rules=SINGLE,
              reasons=["dear"], reason=[None, None, None, 0]),
        step_copy("r", "good", 1, candidates_in=3, decisions_recorded=3, decisions_chunks=1),
        chunk("r", "good", list("abc"), "KKN", score=[0.9, 0.7, 0.2], rules={"item_independent": True}),
    )  # fmt: skip
    assert sure(rest, "abc", reason="dear", threshold=25) == {"a": "eliminated"}


def put_chosen(shelf: Shelf, verdicts: str, step: dict[str, Any], rules: dict[str, Any]) -> None:
    """A price filter that let ``a`` and ``b`` pass, and who was chosen of them by score."""
    shelf.put(
        run_copy("r"),
        step_copy("r", "judge", 0, candidates_in=3, decisions_recorded=3, decisions_chunks=1),
        chunk("r", "judge", list("abc"), "KKE", value=[30, 20, 60], threshold=50, rules=SINGLE,
              reasons=["dear"], reason=[None, None, 0]),
        step_copy("r", "best", 1, candidates_in=2, decisions_recorded=2, decisions_chunks=1, **step),
        chunk("r", "best", list("ab"), verdicts, score=[0.9, 0.3], rules=rules),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("verdicts", "step"),
    [("WN", {"step_type": "select"}), ("KN", {"step_type": "rank", "top_k": 1})],
    ids=["select", "rank"],
)
def test_a_choice_that_may_ask_for_a_score(
    shelf: Shelf, rest: httpx.Client, verdicts: str, step: dict[str, Any]
) -> None:
    """The second may be too bad to be chosen at all; that the order is all says ``single``."""
    put_chosen(shelf, verdicts, step, {"item_independent": True})
    assert sure(rest, "ab", reason="dear", threshold=25) == {"a": "eliminated"}


def test_a_choice_by_the_order_alone(shelf: Shelf, rest: httpx.Client) -> None:
    """It says so: the second takes the first's place."""
    rules = {"item_independent": True, "evaluation": "single"}
    put_chosen(shelf, "WN", {"step_type": "select"}, rules)
    assert sure(rest, "ab", reason="dear", threshold=25) == {"a": "eliminated", "b": "selected"}


def test_a_choice_of_nobody(shelf: Shelf, rest: httpx.Client) -> None:
    """The best may have been too bad, or too near to the next, which may be out now."""
    shelf.put(
        run_copy("r"),
        step_copy("r", "judge", 0, candidates_in=3, decisions_recorded=3, decisions_chunks=1),
        chunk("r", "judge", list("abc"), "KKE", value=[20, 30, 60], threshold=50, rules=SINGLE,
              reasons=["dear"], reason=[None, None, 0]),
        step_copy("r", "best", 1, candidates_in=2, decisions_recorded=2, decisions_chunks=1,
                  step_type="select"),
        chunk("r", "best", list("ab"), "NN", score=[0.5, 0.4], rules={"item_independent": True}),
    )  # fmt: skip
    assert sure(rest, "ab", reason="dear", threshold=25) == {"b": "eliminated"}


def test_equal_scores(shelf: Shelf, rest: httpx.Client) -> None:
    """They keep the order in which they came; without one branch they may come in another."""
    rules = {"item_independent": True, "evaluation": "single"}
    shelf.put(
        run_copy("r"),
        step_copy("r", "found", 0, step_type="search", candidates_out=3, decisions_recorded=3,
                  decisions_chunks=1),
        chunk("r", "found", list("abc"), "KKK", rules={"item_independent": True}),
        step_copy("r", "judge", 1, candidates_in=3, decisions_recorded=3, decisions_chunks=1,
                  parents=["found"]),
        chunk("r", "judge", list("abc"), "KEE", value=[30, 60, 60], threshold=50, rules=SINGLE,
              reasons=["dear"], reason=[None, 0, 0]),
        step_copy("r", "other", 2, candidates_in=3, decisions_recorded=3, decisions_chunks=1,
                  parents=["found"]),
        chunk("r", "other", list("bca"), "KKK", rules={"item_independent": True}),
        step_copy("r", "best", 3, step_type="rank", top_k=1, candidates_in=3, decisions_recorded=3,
                  decisions_chunks=1, parents=["judge", "other"]),
        chunk("r", "best", list("abc"), "KNN", score=[0.9, 0.9, 0.1], rules=rules),
    )  # fmt: skip
    # ``a`` still comes, and now behind ``b``.
    assert sure(rest, "abc", reason="dear", threshold=25) == {"c": "not_selected"}
