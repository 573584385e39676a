"""Records that look as if they told more than they do: what follows from them is never said to be certain."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.fixtures.reading import Shelf, chunk, run_copy, run_start, step_copy
from tests.fixtures.replaying import SINGLE, made, put_step, sure

ALL = {"evaluation": "all", "item_independent": True, "comparators": {"price": "<=", "size": ">="}}


def test_a_check_that_was_made_twice(shelf: Shelf, rest: httpx.Client) -> None:
    """Of two prices of one candidate one was too high: a higher limit may let it pass."""
    checks = [[made("price", 10, 50, True)], [made("price", 20, 50, True), made("price", 60, 50, False)]]
    put_step(shelf, "KE", rules=ALL, checks=checks)
    assert sure(rest, "ab", check="price", threshold=70) == {"a": "kept"}
    assert sure(rest, "ab", check="price", threshold=49) == {"a": "kept"}


def test_two_checks_that_change_and_were_made_twice(shelf: Shelf, rest: httpx.Client) -> None:
    """Neither may lean on the other."""
    twice = [made(n, v, 50, v < 50) for n in ("price", "size") for v in (20, 60)]
    once = [made("price", 10, 50, True), made("size", 10, 50, True)]
    put_step(shelf, "KE", rules=ALL | {"comparators": {}}, checks=[once, twice])
    changes = [{"step": "judge", "check": name, "threshold": 70} for name in ("price", "size")]
    answer = rest.post("/api/v1/runs/r/replay", json={"changes": changes, "items": ["b"]}).json()
    assert answer["items"][0]["certainty"] == "unknown"


def test_a_reason_and_a_check_that_change_at_once(shelf: Shelf, rest: httpx.Client) -> None:
    """A rejection by the check goes by another reason, and does not stand for that."""
    checks = [
        [made("price", p, 50, p <= 50), made("size", s, 5, s >= 5), made("rating", 4, r, r <= 4)]
        for p, s, r in ((10, 9, 1), (60, 9, 1), (10, 1, 1), (10, 9, 9))
    ]
    put_step(
        shelf, "KEEE", rules=ALL, checks=checks, reasons=["dear", "bad"], reason=[None, 0, 1, 1]
    )  # fmt: skip
    body = {
        "changes": [
            {"step": "judge", "check": "price", "threshold": 70},
            {"step": "judge", "reason": "bad", "remove_check": True},
        ],
        "items": ["b"],
    }
    answer = rest.post("/api/v1/runs/r/replay", json=body).json()
    assert answer["items"][0]["certainty"] != "certain"


def test_a_rejection_without_its_checks(shelf: Shelf, rest: httpx.Client) -> None:
    """It names the rule as its reason alone."""
    put_step(
        shelf,
        "KE",
        rules=ALL,
        checks=[[made("price", 10, 50, True), made("size", 3, 1, True)], None],
        reasons=["price"],
        reason=[None, 0],
    )
    assert sure(rest, "ab", check="price", threshold=70) == {"a": "kept"}


def test_a_check_whose_result_is_not_recorded(shelf: Shelf, rest: httpx.Client) -> None:
    """Who was rejected with no check that failed may have been rejected by this one."""
    checks = [[made("price", 10, 50, True)], [made("price", 60, 50, None)]]
    put_step(shelf, "KE", rules=ALL, checks=checks)
    assert sure(rest, "ab", check="price", threshold=70) == {"a": "kept"}


def test_what_was_merged_may_be_rejected(shelf: Shelf, rest: httpx.Client) -> None:
    """The rule passed it before it was merged, with a value that the record does not hold."""
    put_step(
        shelf, "KEM", rules=SINGLE, value=[10, 60, None], threshold=50, reasons=["dear", "same"],
        reason=[None, 0, 1],
    )  # fmt: skip
    assert "c" not in sure(rest, "abc", reason="dear", threshold=20)


def test_limits_of_their_own_that_are_not_recorded(shelf: Shelf, rest: httpx.Client) -> None:
    """One limit in the record is not the limit of candidates of which none was recorded."""
    put_step(
        shelf, "KKE", rules=SINGLE, value=[None, 80, 60], threshold=[None, None, 50], reasons=["dear"],
        reason=[None, None, 0],
    )  # fmt: skip
    assert sure(rest, "abc", reason="dear", threshold=70) == {"c": "kept"}


@pytest.mark.parametrize("own", ["unlimited", True])
def test_limits_that_are_no_numbers(shelf: Shelf, rest: httpx.Client, own: Any) -> None:
    """They are not those of the others."""
    put_step(
        shelf, "KE", rules=SINGLE, value=[None, 60], threshold=[own, 50], reasons=["dear"], reason=[None, 0]
    )
    assert "a" not in sure(rest, "ab", reason="dear", threshold=70)


def test_a_factor_that_leads_nowhere(shelf: Shelf, rest: httpx.Client) -> None:
    """A value that is recorded as missing may have been infinite, and meets an infinite limit."""
    rules = {**SINGLE, "comparators": {"price": "<="}, "missing": {"price": "fails"}}
    checks = [[made("price", 1, 9.0, True)], [made("price", None, 9.0, False)]]
    put_step(shelf, "KE", rules=rules, checks=checks)
    assert sure(rest, "ab", check="price", scale=2) == {"a": "kept", "b": "eliminated"}
    assert sure(rest, "ab", check="price", scale=1e308) == {"a": "kept"}


def test_one_rule_of_which_the_record_shows_two(shelf: Shelf, rest: httpx.Client) -> None:
    """Who was rejected as a duplicate was never checked for its price."""
    put_step(
        shelf,
        "KEE",
        rules=SINGLE | {"comparators": {}},
        checks=[[made("price", 10, 50, True)], [made("price", 60, 50, False)], None],
        reasons=["price", "duplicate"],
        reason=[None, 0, 1],
    )
    assert sure(rest, "c", reason="duplicate", remove_check=True) == {}


def test_one_rule_of_which_two_are_declared(shelf: Shelf, rest: httpx.Client) -> None:
    """The other may have rejected nobody."""
    rules = SINGLE | {"comparators": {"dear": "<=", "small": ">="}}
    put_step(shelf, "KE", rules=rules, value=[10, 60], threshold=50, reasons=["dear"], reason=[None, 0])
    assert sure(rest, "ab", reason="dear", threshold=70) == {}


@pytest.mark.parametrize("value", [2**53 + 1, 2**62 + 1])
def test_whole_numbers_beyond_doubles(shelf: Shelf, rest: httpx.Client, value: int) -> None:
    """They are compared as they are, with thresholds of either kind."""
    rules = SINGLE | {"comparators": {"dear": "=="}}
    put_step(shelf, "KE", rules=rules, value=[5, value], threshold=5, reasons=["dear"], reason=[None, 0])
    assert sure(rest, "b", reason="dear", threshold=value) == {"b": "kept"}
    assert sure(rest, "b", reason="dear", threshold=float(value)) == {"b": "eliminated"}


@pytest.mark.parametrize("sign", ["==", "!=", "<="])
def test_values_that_are_no_numbers(shelf: Shelf, rest: httpx.Client, sign: str) -> None:
    """True is 1 to one language and not to another; a text is compared otherwise."""
    rules = SINGLE | {"comparators": {"dear": sign}}
    put_step(
        shelf, "KKEE", rules=rules, value=[True, "9", False, "1"], threshold=5, reasons=["dear"],
        reason=[None, None, 0, 0],
    )  # fmt: skip
    turned = {} if sign != "<=" else {"c": "eliminated", "d": "eliminated"}
    assert sure(rest, "abcd", reason="dear", threshold=1) == turned


def test_declarations_that_differ(shelf: Shelf, rest: httpx.Client) -> None:
    """Chunks of one step that contradict each other declare nothing."""
    shelf.put(
        run_copy("r"),
        step_copy("r", "judge", candidates_in=2, decisions_recorded=2, decisions_chunks=2),
        chunk("r", "judge", ["a"], "K", total=2, value=10, threshold=50, rules=SINGLE),
        chunk("r", "judge", ["b"], "E", index=1, total=2, value=60, threshold=50, reasons=["dear"], reason=0,
              rules=SINGLE | {"comparators": {"dear": "<"}}),
    )  # fmt: skip
    assert sure(rest, "ab", reason="dear", threshold=70) == {}


@pytest.mark.parametrize("form", ["checks", "values"])
def test_a_tolerance_that_nobody_came_near(shelf: Shelf, rest: httpx.Client, form: str) -> None:
    """Within 10 of 75 looks like from 75 on: what holds between value and threshold must be declared."""
    values = {"value": [80, 78, 50], "threshold": 75}
    checks = [[made("far", value, 75, value > 75)] for value in (80, 78, 50)]
    put_step(
        shelf,
        "KKE",
        rules={"evaluation": "single", "item_independent": True},
        reasons=["far"],
        reason=[None, None, 0],
        **(values if form == "values" else {"checks": checks}),
    )
    assert sure(rest, "abc", reason="far", threshold=55) == {}


def test_a_declared_rule_that_rejected_nobody(shelf: Shelf, rest: httpx.Client) -> None:
    """It is a rule of the step all the same, by its name or as the only one."""
    put_step(shelf, "KK", rules=SINGLE, value=[10, 30], threshold=50)
    assert sure(rest, "ab", threshold=20) == {"a": "kept", "b": "eliminated"}
    assert sure(rest, "ab", reason="dear", threshold=20) == {"a": "kept", "b": "eliminated"}


def test_a_step_that_scores_those_that_pass(shelf: Shelf, rest: httpx.Client) -> None:
    """What newly passes gets the verdict of the others that do."""
    put_step(shelf, "SE", rules=SINGLE, value=[10, 60], threshold=50, reasons=["dear"], reason=[None, 0])
    assert sure(rest, "ab", reason="dear", threshold=70) == {"a": "scored", "b": "scored"}


@pytest.mark.parametrize(
    ("sign", "verdicts", "value", "limit", "after"),
    [
        ("<=", "KE", 2**53 + 1, 2**53 + 9, 2.0**53),
        ("<", "EK", 2**53 + 3, 5, 2.0**53 + 4),
        (">=", "KE", 2**53 + 3, 5, 2.0**53 + 4),
        (">", "EK", 2**53 + 1, 2**53 + 9, 2.0**53),
    ],
)
def test_the_double_next_to_a_whole_number(
    shelf: Shelf, rest: httpx.Client, sign: str, verdicts: str, value: int, limit: int, after: float
) -> None:
    """Beyond 2^53 whole numbers stand between doubles, and the nearest of these turns the verdict."""
    rules = SINGLE | {"comparators": {"dear": sign}}
    other = {"<=": 2**54, "<": 2, ">=": 2, ">": 2**54}[sign]
    put_step(
        shelf, verdicts, rules=rules, value=[value, other], threshold=limit, reasons=["dear"],
        reason=[None if verdict == "K" else 0 for verdict in verdicts],
    )  # fmt: skip
    flips = rest.get("/api/v1/runs/r/contrast", params={"item": "a", "over": "b"}).json()["flips"]
    assert after in [flip["after"] for flip in flips if flip["item_id"] == "a"]


def test_more_checks_than_a_client_records(shelf: Shelf, rest: httpx.Client) -> None:
    """It keeps 32 of a candidate's: one of the others may have failed, too."""
    rest_of_them = [made(f"check{number}", 1, 5, True) for number in range(31)]
    checks = [[made("price", price, 50, price <= 50), *rest_of_them] for price in (10, 60)]
    signs = {"price": "<="} | {check["name"]: "<=" for check in rest_of_them}
    put_step(shelf, "KE", rules=ALL | {"comparators": signs}, checks=checks)
    assert sure(rest, "ab", check="price", threshold=70) == {"a": "kept"}


@pytest.mark.parametrize("fallback", [{}, {"candidates_out": 2}], ids=["told of nobody", "told a number"])
def test_another_way_that_was_not_recorded(
    shelf: Shelf, rest: httpx.Client, fallback: dict[str, int]
) -> None:
    """What one step no longer hands over may still come from one that did not name its candidates."""
    shelf.put(
        run_copy("r"),
        step_copy("r", "judge", 0, candidates_in=3, candidates_out=2, decisions_recorded=3,
                  decisions_chunks=1),
        chunk("r", "judge", list("abc"), "KKE", value=[30, 20, 60], threshold=50, rules=SINGLE,
              reasons=["dear"], reason=[None, None, 0]),
        step_copy("r", "fallback", 1, step_type="custom", **fallback),
        step_copy("r", "last", 2, candidates_in=2, decisions_recorded=2, decisions_chunks=1,
                  parents=["judge", "fallback"]),
        chunk("r", "last", list("ab"), "KK", rules={"item_independent": True}),
    )  # fmt: skip
    assert sure(rest, "ab", reason="dear", threshold=25) == {"b": "kept"}


@pytest.mark.parametrize("status", ["completed", "running"])
def test_steps_that_are_yet_to_come(shelf: Shelf, rest: httpx.Client, status: str) -> None:
    """What a step passed may still be lost, and the answer says that it is not about all."""
    shelf.put(
        run_copy("r") if status == "completed" else run_start("r"),
        step_copy("r", "judge", candidates_in=2, decisions_recorded=2, decisions_chunks=1),
        chunk("r", "judge", list("ab"), "KE", value=[10, 60], threshold=50, rules=SINGLE, reasons=["dear"],
              reason=[None, 0]),
    )  # fmt: skip
    body = {"changes": [{"step": "judge", "reason": "dear", "threshold": 70}]}
    found = rest.post("/api/v1/runs/r/replay", json=body).json()["completeness"]
    expected = ("exact", "complete") if status == "completed" else ("partial", "running")
    assert (found["state"], found["run"]) == expected


@pytest.mark.parametrize("passes", ["slack", "band"])
@pytest.mark.parametrize("form", ["checks", "values"])
def test_what_holds_is_not_declared(shelf: Shelf, rest: httpx.Client, form: str, passes: str) -> None:
    """Up to 3 beyond 50 is let pass, or nobody who is 30 below; the verdicts look like a plain limit."""
    values, threshold, verdicts = (
        ([30, 54, 60], 51.5, "KEE") if passes == "slack" else ([30, 40, 60], 61, "KKE")
    )
    checks = [[made("dear", value, 50, value <= 50)] for value in values]
    put_step(
        shelf,
        verdicts,
        rules={"evaluation": "single", "item_independent": True},
        reasons=["dear"],
        reason=[None if verdict == "K" else 0 for verdict in verdicts],
        **({"value": values, "threshold": 50} if form == "values" else {"checks": checks}),
    )
    assert sure(rest, "abc", reason="dear", threshold=threshold) == {}


def test_a_run_that_ended_for_want_of_candidates(shelf: Shelf, rest: httpx.Client) -> None:
    """Which steps would have followed had somebody been left, nobody knows."""
    put_step(shelf, "EE", rules=SINGLE, value=[60, 80], threshold=50, reasons=["dear"], reason=[0, 0])
    assert sure(rest, "ab", reason="dear", threshold=70) == {"b": "eliminated"}


def test_a_step_that_says_two_words(shelf: Shelf, rest: httpx.Client) -> None:
    """Of those that go on it scores some and keeps others."""
    put_step(shelf, "SKE", rules=SINGLE, value=[10, 20, 60], threshold=50, reasons=["dear"],
             reason=[None, None, 0])  # fmt: skip
    assert sure(rest, "abc", reason="dear", threshold=70) == {"a": "scored", "b": "kept"}


def test_copies_that_come_by_two_ways(shelf: Shelf, rest: httpx.Client) -> None:
    """Each branch let another copy pass: without one of them fewer come."""
    common = {"decisions_chunks": 1, "decisions_recorded": 2, "candidates_in": 2, "parents": ["found"]}
    shelf.put(
        run_copy("r"),
        step_copy("r", "found", 0, step_type="search", candidates_out=2, decisions_recorded=2,
                  decisions_chunks=1),
        chunk("r", "found", list("aa"), "KK", rules={"item_independent": True}),
        step_copy("r", "judge", 1, **common),
        chunk("r", "judge", list("aa"), "KE", value=[30, 60], threshold=50, rules=SINGLE, reasons=["dear"],
              reason=[None, 0]),
        step_copy("r", "other", 2, **common),
        chunk("r", "other", list("aa"), "EK", reasons=["bad"], reason=[0, None],
              rules={"item_independent": True}),
        step_copy("r", "both", 3, **common | {"parents": ["judge", "other"]}),
        chunk("r", "both", list("aa"), "KK", rules={"item_independent": True}),
    )  # fmt: skip
    body = {"changes": [{"step": "judge", "threshold": 25}]}
    steps = rest.post("/api/v1/runs/r/replay", json=body).json()["steps"]
    assert next(step["low"] for step in steps if step["step"] == "both") <= 1
