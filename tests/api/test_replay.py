"""Replay, contrast and near misses over HTTP, on records whose every answer is known."""

from __future__ import annotations

import math
from fractions import Fraction
from random import Random
from typing import Any

import httpx
import pytest

from tests.fixtures.reading import Shelf, chunk, run_copy, step_copy

RUN = "/api/v1/runs/r"
JUDGES = {"evaluation": "single", "item_independent": True}
SINGLE = JUDGES | {"comparators": {"dear": "<="}}


def put_chain(shelf: Shelf, rules: dict[str, Any] | None = SINGLE, **price: Any) -> None:
    """Five found, filtered by price 50, the best two of the rest ranked; ``e`` has no price."""
    decided: dict[str, Any] = {
        "value": [10, 50, 60.0, 75, None],
        "threshold": 50,
        "reasons": ["dear"],
        "reason": [None, None, 0, 0, 0],
        "missing": [4],
    } | price
    common = {"candidates_in": 5, "decisions_recorded": 5, "decisions_chunks": 1}
    shelf.put(
        run_copy("r", pipeline="shop"),
        step_copy("r", "search", 0, step_type="search", candidates_out=5, decisions_recorded=5,
                  decisions_chunks=1),
        chunk("r", "search", list("abcde"), "KKKKK"),
        step_copy("r", "price", 1, candidates_out=2, reason_codes=["dear"], reason_counts=[3], **common),
        chunk("r", "price", list("abcde"), "KKEEE", rules=rules, **decided),
        step_copy("r", "best", 2, step_type="select", candidates_in=2, candidates_out=1, decisions_recorded=2,
                  decisions_chunks=1),
        chunk("r", "best", ["b", "a"], "WN", score=[0.9, 0.4], rules=SINGLE),
    )  # fmt: skip


def replayed(rest: httpx.Client, *changes: dict[str, Any], **body: Any) -> Any:
    response = rest.post(f"{RUN}/replay", json={"changes": list(changes), **body})
    assert response.status_code == 200, response.text
    return response.json()


def fates(answer: Any) -> dict[str, tuple[str, str]]:
    return {item["item_id"]: (item["now"], item["certainty"]) for item in answer["items"]}


def test_a_lower_threshold(shelf: Shelf, rest: httpx.Client) -> None:
    """The item at the new limit is out for certain, and the next by score wins."""
    put_chain(shelf)
    answer = replayed(rest, {"step": "price", "reason": "dear", "threshold": 40}, items=list("abcde"))
    assert fates(answer) == {
        "a": ("selected", "certain"),
        "b": ("eliminated", "certain"),
        "c": ("eliminated", "certain"),
        "d": ("eliminated", "certain"),
        "e": ("eliminated", "certain"),
    }
    assert answer["changed"] == 2
    assert answer["changes"][0]["comparator"] == "<="
    assert answer["completeness"]["state"] == "exact"
    cited = next(i for i in answer["items"] if i["item_id"] == "b")["because"][0]
    assert (cited["step"], cited["value"], cited["threshold"]) == ("price", 50, 50)


def test_a_higher_threshold(shelf: Shelf, rest: httpx.Client) -> None:
    """What newly passes was never scored, so it may win: nobody's place is known."""
    put_chain(shelf)
    answer = replayed(rest, {"step": "price", "threshold": 60})
    step = answer["steps"][0]
    assert (step["was"], step["low"], step["high"]) == (2, 3, 4)
    assert step["unknown"] == {"missing_value": 1}
    found = replayed(rest, {"step": "price", "threshold": 60}, items=list("cd"))
    assert fates(found) == {"c": ("unknown", "unknown"), "d": ("eliminated", "certain")}
    assert answer["completeness"]["state"] == "partial"
    assert "never_judged" in {cause["cause"] for cause in answer["completeness"]["unknown"]}


def test_rules_that_nobody_declared(shelf: Shelf, rest: httpx.Client) -> None:
    """Without a declaration the step may have a rule that rejected nobody: assumed, not certain."""
    put_chain(shelf, rules=None)
    step = replayed(rest, {"step": "price", "threshold": 60})["steps"][0]
    assert (step["low"], step["high"], step["unknown"]) == (0, 5, {"not_declared": 5})
    answer = replayed(rest, {"step": "price", "threshold": 40}, items=["b"])
    assert fates(answer) == {"b": ("eliminated", "assumed")}


@pytest.mark.parametrize(
    ("price", "cause"),
    [
        ({"value": [10, 50, 60, 20, 70], "missing": None}, "contradiction"),
        ({"threshold": [50, 50, 50, 40, 50]}, "own_thresholds"),
        ({"value": [50, 50, 60, 75, 80], "missing": None}, "no_comparator"),
    ],
)
def test_what_the_record_does_not_show(
    shelf: Shelf, rest: httpx.Client, price: dict[str, Any], cause: str
) -> None:
    """Verdicts that follow from no comparison, limits of the candidates' own, one side only."""
    put_chain(shelf, JUDGES, **price)
    assert cause in replayed(rest, {"step": "price", "threshold": 45})["steps"][0]["unknown"]


def test_a_value_at_the_new_limit(shelf: Shelf, rest: httpx.Client) -> None:
    """Where no candidate stood at the old limit, nobody knows the side, and of the others it is assumed."""
    put_chain(shelf, JUDGES, value=[10, 45, 60, 75, 80], missing=None)
    answer = replayed(rest, {"step": "price", "threshold": 60}, items=list("cd"))
    assert fates(answer) == {"c": ("unknown", "unknown"), "d": ("eliminated", "assumed")}
    assert answer["steps"][0]["unknown"] == {"no_comparator": 5}


def test_a_declared_comparator(shelf: Shelf, rest: httpx.Client) -> None:
    """It says on which side the limit itself is."""
    put_chain(shelf, {**SINGLE, "comparators": {"dear": "<"}}, value=[10, 45, 60, 75, 80], missing=None)
    step = replayed(rest, {"step": "price", "threshold": 60})["steps"][0]
    assert (step["low"], step["high"]) == (2, 2)


def test_short_circuit(shelf: Shelf, rest: httpx.Client) -> None:
    """What an earlier rule rejected was never seen by the later one; a full list of checks tells."""

    def checks(price: int, size: int | None) -> list[dict[str, Any]]:
        made = [{"name": "price", "value": price, "threshold": 50, "passed": price <= 50}]
        if size is not None:
            made.append({"name": "size", "value": size, "threshold": 3, "passed": size >= 3})
        return made

    values = [checks(10, 5), checks(50, 3), checks(60, None), checks(70, 4), checks(80, 1)]
    declared = JUDGES | {"evaluation": "first_failure", "comparators": {"price": "<=", "size": ">="}}
    put_chain(shelf, declared, value=None, threshold=None, missing=None, checks=values)
    step = replayed(rest, {"step": "price", "check": "price", "threshold": 90})["steps"][0]
    assert step["unknown"] == {"short_circuit": 1}
    assert (step["low"], step["high"]) == (3, 4)


def test_a_missing_value_of_a_declared_rule(shelf: Shelf, rest: httpx.Client) -> None:
    """What the rule makes of it is said, so that no threshold turns it."""
    put_chain(shelf, {**SINGLE, "missing": "fails"})
    step = replayed(rest, {"step": "price", "threshold": 60})["steps"][0]
    assert (step["low"], step["high"], step["unknown"]) == (3, 3, {})


def test_a_rule_that_may_ask_for_one_value(shelf: Shelf, rest: httpx.Client) -> None:
    """Equality is never guessed from the record."""
    put_chain(shelf, JUDGES, value=[50, 50, 60.0, 75, None])
    assert replayed(rest, {"step": "price", "threshold": 60})["steps"][0]["unknown"] == {"no_comparator": 5}


def test_a_rule_that_asks_for_one_value(shelf: Shelf, rest: httpx.Client) -> None:
    """It is certain of each candidate where it is declared, and of what becomes of missing values."""
    rules = SINGLE | {"comparators": {"dear": "=="}, "missing": {"dear": "fails"}}
    put_chain(shelf, rules=rules, value=[50, 50, 60.0, 75, None])
    answer = replayed(rest, {"step": "price", "threshold": 60}, items=list("abce"))
    assert answer["changes"][0]["comparator"] == "=="
    assert (answer["steps"][0]["low"], answer["steps"][0]["high"]) == (1, 1)
    assert [fates(answer)[item] for item in "abe"] == [("eliminated", "certain")] * 3
    flips = rest.get(f"{RUN}/contrast", params={"item": "c", "over": "a"}).json()["flips"]
    assert {"c": 60.0, "a": math.nextafter(50, math.inf)} == {
        flip["item_id"]: flip["after"] for flip in flips
    }


@pytest.mark.parametrize(
    ("missing", "value", "unknown"),
    [
        ({"size": "passes"}, {"value": None}, {}),
        ({"size": "fails"}, {"value": None}, {"missing_value": 1}),
        ({"size": "passes"}, {}, {"no_value": 1}),
        ("passes", {"value": None}, {"no_value": 1}),
        (None, {"value": None}, {"no_value": 1}),
    ],
    ids=["as declared", "against it", "not recorded", "not by name", "not declared"],
)
def test_a_check_of_a_missing_value(
    shelf: Shelf, rest: httpx.Client, missing: Any, value: dict[str, None], unknown: dict[str, int]
) -> None:
    """Null is a missing value where the step says by name what the check makes of one."""
    rules = SINGLE | {"evaluation": "all", "comparators": {"size": "<="}}
    checks: list[list[dict[str, Any]]] = [
        [{"name": "size", "value": 1, "threshold": 5, "passed": True}],
        [{"name": "size", **value, "threshold": 5, "passed": True}],
        *([{"name": "size", "value": size, "threshold": 5, "passed": False}] for size in (6, 7, 8)),
    ]
    put_chain(
        shelf,
        rules=rules if missing is None else rules | {"missing": missing},
        value=None, threshold=None, missing=None, checks=checks,
    )  # fmt: skip
    step = replayed(rest, {"step": "price", "threshold": 4})["steps"][0]
    assert step["unknown"] == unknown
    assert (step["low"], step["high"]) == ((2, 2) if not unknown else (1, 2))


def test_a_verdict_that_others_may_turn(shelf: Shelf, rest: httpx.Client) -> None:
    """A sum or a quota looks like a comparison; unless the step declares otherwise, nothing is certain."""
    put_chain(shelf, SINGLE | {"item_independent": None}, value=[10, 50, 60, 75, 80], missing=None)
    assert replayed(rest, {"step": "price", "threshold": 70})["steps"][0]["unknown"] == {"not_declared": 5}
    same = replayed(rest, {"step": "price", "threshold": 55})["steps"][0]
    assert (same["low"], same["high"]) == (2, 2)


def test_one_check_that_passes_may_be_enough(shelf: Shelf, rest: httpx.Client) -> None:
    """Checks that all agree do not show how they are joined: only who stays as he was is certain."""
    values = [
        [{"name": name, "value": v, "threshold": 50, "passed": v <= 50} for name in ("price", "size")]
        for v in (10, 50, 60, 70, 80)
    ]
    undeclared = {"item_independent": True, "comparators": {"price": "<=", "size": "<="}}
    put_chain(shelf, undeclared, value=None, threshold=None, missing=None, checks=values)
    step = replayed(rest, {"step": "price", "check": "price", "threshold": 40})["steps"][0]
    assert (step["low"], step["high"], step["unknown"]) == (1, 2, {"not_declared": 1})


def test_another_number_to_keep(shelf: Shelf, rest: httpx.Client) -> None:
    """The second by score is chosen, too."""
    put_chain(shelf)
    answer = replayed(rest, {"step": "best", "top_k": 2}, items=["a"])
    assert fates(answer) == {"a": ("selected", "certain")}


def test_a_sample_is_estimated(shelf: Shelf, rest: httpx.Client) -> None:
    """Counts of a sampled step have an interval; what it does not name may be anything."""
    shelf.put(
        run_copy("r"),
        step_copy("r", "price", 1, candidates_in=40, candidates_out=20, decisions_recorded=8,
                  decisions_chunks=1, capture_level="sampled"),
        chunk("r", "price", [f"i{n}" for n in range(8)], "KKKKEEEE", value=[1, 2, 3, 4, 6, 7, 8, 9],
              threshold=5, reasons=["r"], reason=[None] * 4 + [0] * 4, probability=0.2,
              rules=JUDGES | {"comparators": {"r": "<="}}),
    )  # fmt: skip
    answer = replayed(rest, {"step": "price", "threshold": 7.5})
    [step] = answer["steps"]
    assert step["high"] is None
    assert step["estimate"]["value"] == 30
    assert step["estimate"]["low"] < 30 < step["estimate"]["high"]
    assert answer["completeness"]["state"] == "estimated"


def test_why_one_and_not_the_other(shelf: Shelf, rest: httpx.Client) -> None:
    """The step where they part, the margins, and a change that turns it when replayed, the one below not."""
    put_chain(shelf)
    answer = rest.get(f"{RUN}/contrast", params={"item": "b", "over": "c"}).json()
    assert (answer["kind"], answer["step"]) == ("parted", "price")
    assert answer["over"]["margins"][0]["margin"] == -10
    assert answer["over"]["margins"][0]["relative"] == pytest.approx(-0.2)
    flip = next(one for one in answer["flips"] if one["item_id"] == "c")
    assert (flip["before"], flip["after"], flip["certainty"]) == (50, 60, "certain")
    assert flip["relative"] == pytest.approx(0.2)
    below = replayed(rest, {"step": "price", "threshold": math.nextafter(60, 0)}, items=["c"])
    assert fates(below) == {"c": ("eliminated", "certain")}
    drop = next(one for one in answer["flips"] if one["item_id"] == "b")
    assert drop["after"] == math.nextafter(50, 0)
    assert answer["flip"] == drop
    assert answer["summary"][0] == "b and c part at price."


def test_the_winner_and_the_next(shelf: Shelf, rest: httpx.Client) -> None:
    """Lost on score: positions, the difference, and the number to keep that would do."""
    put_chain(shelf)
    answer = rest.get(f"{RUN}/contrast", params={"item": "b", "over": "a"}).json()
    assert (answer["step"], answer["item"]["position"], answer["over"]["position"]) == ("best", 1, 2)
    assert answer["score_difference"] == pytest.approx(0.5)
    flip = next(one for one in answer["flips"] if one["item_id"] == "a")
    assert (flip["kind"], flip["before"], flip["after"]) == ("top_k", 1, 2)


def test_the_same_fate_and_none(shelf: Shelf, rest: httpx.Client) -> None:
    """Both lost at one step; one that no source gave; two that nobody knows."""
    put_chain(shelf)
    same = rest.get(f"{RUN}/contrast", params={"item": "c", "over": "d"}).json()
    assert (same["kind"], same["step"], same["flip"]) == ("same_fate", "price", None)
    absent = rest.get(f"{RUN}/contrast", params={"item": "b", "over": "zz"}).json()
    assert (absent["kind"], absent["sources"]) == ("never_entered", ["search"])
    unknown = rest.get(f"{RUN}/contrast", params={"item": "yy", "over": "zz"})
    assert unknown.status_code == 404


def test_near_misses_against_brute_force(shelf: Shelf, rest: httpx.Client) -> None:
    """All within the share on both sides, exact at the edge, nearest first."""
    random = Random(7)
    values = [round(random.uniform(40, 60), 1) for _ in range(300)] + [47.5, 52.5, 52.50000000000001]
    items = [f"i{n}" for n in range(len(values))]
    shelf.put(
        run_copy("r"),
        step_copy("r", "price", candidates_in=len(items), decisions_recorded=len(items), decisions_chunks=1),
        chunk(
            "r",
            "price",
            items,
            "".join("K" if v <= 50 else "E" for v in values),
            value=values,
            threshold=50.0,
        ),
    )
    answer = rest.get(f"{RUN}/near-misses", params={"within": "0.05", "limit": 1000}).json()
    distances = {item: abs(Fraction(v) - 50) / 50 for item, v in zip(items, values, strict=True)}
    expected = sorted((d, items.index(i), i) for i, d in distances.items() if d <= Fraction("0.05"))
    assert [miss["item_id"] for miss in answer["items"]] == [item for _, _, item in expected]
    assert answer["count"] == len(expected)
    assert items[-1] not in {miss["item_id"] for miss in answer["items"]}


@pytest.mark.parametrize(
    ("body", "parameter"),
    [
        ([], "body"),
        ({"changes": []}, "changes"),
        ({"changes": [{"step": "nowhere", "threshold": 1}]}, "changes[0].step"),
        ({"changes": [{"step": "price"}]}, "changes[0]"),
        ({"changes": [{"step": "price", "threshold": "1"}]}, "changes[0]"),
        ({"changes": [{"step": "price", "threshold": True}]}, "changes[0]"),
        ({"changes": [{"step": "price", "reason": "cheap", "threshold": 1}]}, "changes[0]"),
        ({"changes": [{"step": "price", "top_k": 3}]}, "changes[0]"),
        ({"changes": [{"step": "price", "weights": {"a": 1}}]}, "changes[0]"),
        ({"changes": [{"step": "price", "threshold": 1}], "limit": 0}, "limit"),
        ({"changes": [{"step": "price", "threshold": 1}], "more": 0}, "more"),
    ],
)
def test_what_is_refused(shelf: Shelf, rest: httpx.Client, body: Any, parameter: str) -> None:
    """Nothing is ignored in silence, and the field is named."""
    put_chain(shelf)
    response = rest.post(f"{RUN}/replay", json=body)
    assert response.status_code == 422, response.text
    assert response.json()["error"]["parameter"] == parameter


@pytest.mark.parametrize(
    ("path", "parameter"),
    [
        ("contrast?item=a", "over"),
        ("contrast?item=a&over=a", "over"),
        ("contrast?item=a&over=b&x=1", "x"),
        ("near-misses?within=2", "within"),
        ("near-misses?within=nan", "within"),
        ("near-misses?within=1/3", "within"),
        ("near-misses?limit=0", "limit"),
        ("near-misses?step=nowhere", "step"),
    ],
)
def test_parameters_that_are_refused(shelf: Shelf, rest: httpx.Client, path: str, parameter: str) -> None:
    """As on every path."""
    put_chain(shelf)
    response = rest.get(f"{RUN}/{path}")
    assert response.status_code == 422, response.text
    assert response.json()["error"]["parameter"] == parameter


def test_an_unknown_run(rest: httpx.Client) -> None:
    """404, as everywhere."""
    assert rest.post("/api/v1/runs/none/replay", json={"changes": []}).status_code == 404
    assert rest.get("/api/v1/runs/none/contrast?item=a&over=b").status_code == 404
    assert rest.get("/api/v1/runs/none/near-misses").status_code == 404
