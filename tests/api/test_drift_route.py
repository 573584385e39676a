"""``/drift`` and masked reasons over a real database and a real socket, and what the detection holds."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import product
from random import Random
from typing import Any

import httpx
import pytest

from api.drift.detect import Detected, detect
from api.drift.masked import masked_reasons
from api.drift.series import t_tail
from benchmarks.drift import delays, false_alarms
from store.decisions import Decision
from store.queries import drift
from tests.fixtures.reading import START, Shelf, chunk, run_copy, step_copy

HOUR = 3600.0
HISTORY_H, WINDOW_H = 72, 12


def put_runs(shelf: Shelf) -> None:
    """
    Four runs an hour for three days and a half. In the last half day version 2 comes up in every second
    run: it gives ``too_dear`` three times as often, ``sold_out`` for the first time, ``banned`` no longer.
    """
    random = Random(2)
    rows: list[Any] = []
    for number in range((HISTORY_H + WINDOW_H) * 4):
        at, new = number * HOUR / 4, number >= HISTORY_H * 4 and number % 2 == 0
        late = number >= HISTORY_H * 4
        counts = {
            "too_dear": random.randrange(5, 15) * (3 if new else 1),
            "no_stock": random.randrange(2, 8),
            "sold_out": random.randrange(1, 5) if new else 0,
            "banned": 0 if late else random.randrange(1, 4),
        }
        gone = sum(counts.values())
        run_id = f"run-{number}"
        rows.append(run_copy(run_id, at, pipeline="shop", pipeline_version="2" if new else "1"))
        rows.append(
            step_copy(
                run_id,
                "s1",
                at + 0.1,
                name="price",
                candidates_in=100,
                candidates_out=100 - gone,
                reason_codes=tuple(counts),
                reason_counts=tuple(counts.values()),
            )
        )
    shelf.put(*rows)


def asked(rest: httpx.Client, **parameters: Any) -> Any:
    until = START + timedelta(hours=HISTORY_H + WINDOW_H)
    given = {"window": f"{WINDOW_H}h", "against": f"{HISTORY_H}h", "until": until.isoformat()}
    response = rest.get("/api/v1/drift", params=given | parameters)
    assert response.status_code == 200, response.text
    return response.json()


def test_new_vanished_and_shifted_reasons(shelf, rest):
    """Each is named with its kind, about when it began, and the version that it came with."""
    put_runs(shelf)
    answer = asked(rest, pipeline="shop")
    found = {item["reason"]: item for item in answer["items"]}
    kinds = {reason: item["kind"] for reason, item in found.items()}
    assert kinds == {"too_dear": "shifted", "sold_out": "new", "banned": "vanished"}
    assert (answer["tested"], answer["completeness"]["state"]) == (4, "exact")
    dear = found["too_dear"]
    assert 0.08 < dear["share_before"] < 0.12
    assert 0.16 < dear["share_now"] < 0.24
    assert (dear["steps_before"], dear["steps_now"]) == (HISTORY_H * 4, WINDOW_H * 4)
    assert datetime.fromisoformat(dear["since"]) == START.astimezone(UTC) + timedelta(hours=HISTORY_H)
    (came_with,) = dear["coincides_with"]
    assert (came_with["field"], came_with["value"], came_with["steps"]) == ("pipeline_version", "2", 24)
    assert came_with["share_with"] > 2 * came_with["share_without"]
    assert asked(rest, pipeline="shop") == answer
    assert asked(rest, pipeline="other")["tested"] == 0


def test_a_quiet_window_is_quiet(shelf, rest):
    """The window before the change has no drift."""
    put_runs(shelf)
    until = START + timedelta(hours=HISTORY_H)
    assert asked(rest, until=until.isoformat(), against="60h")["items"] == []


@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        ({"window": "1w"}, "window"),
        ({"window": "0d"}, "window"),
        ({"against": "1d"}, "against"),
        ({"window": "1m", "against": "90d"}, "against"),
        ({"until": "yesterday"}, "until"),
        ({"until": "0001-01-02T00:00:00Z"}, "until"),
        ({"alarms_per_1000": "0"}, "alarms_per_1000"),
        ({"step_type": "filter"}, "step_type"),
    ],
)
def test_what_is_refused(rest, parameters, name):
    """Each wrong parameter is named."""
    response = rest.get("/api/v1/drift", params=parameters)
    assert response.status_code == 422
    assert response.json()["error"]["parameter"] == name


def test_a_history_of_too_many_rows_is_refused(shelf, rest, monkeypatch):
    """Whoever asks is told what to ask instead; nothing is left out in silence."""
    put_runs(shelf)
    monkeypatch.setattr(drift, "MAX_ROWS", 50)
    for parameters, name in (({}, "pipeline"), ({"pipeline": "shop"}, "against")):
        until = START + timedelta(hours=HISTORY_H + WINDOW_H)
        given = {"window": "12h", "against": "72h", "until": until.isoformat()}
        response = rest.get("/api/v1/drift", params=given | parameters)
        assert response.status_code == 422
        assert response.json()["error"]["parameter"] == name
        assert response.json()["error"]["message"].startswith(name)


def steady(shares: Sequence[float | None]) -> drift.History:
    """Executions of one step, ten in each hour with this share of the reason; None: it did not run."""
    kind = drift.Kind("shop", "price", "filter", None, None, None)
    ran = [(place, share) for place, share in enumerate(shares) if share is not None]
    return drift.History(
        START,
        timedelta(hours=1),
        len(shares) - drift.PARTS,
        [drift.Executions(kind, place, 10, 1000) for place, _ in ran],
        [
            drift.Given(kind, place, "too_dear", int(1000 * share), 10 * share, 10 * share * share)
            for place, share in ran
        ],
    )


def test_what_was_always_the_same_may_shift():
    """Without any variance before, another share in the whole window is a drift, and the same one is none."""
    shifted = detect(steady([0.25] * 18 + [0.5] * 6), 10).drifts
    assert [(one.reason, one.kind) for one in shifted] == [("too_dear", "shifted")]
    assert shifted[0].share_before == shifted[0].difference_high == 0.25
    # One of C(24, 6) ways to choose the buckets of the window.
    assert shifted[0].p_value == pytest.approx(1 / 134_596)
    assert not detect(steady([0.25] * 24), 10).drifts
    assert not detect(steady([0.25] * 23 + [0.5]), 10).drifts
    assert not detect(steady([0.1] * 24), 10).drifts


def test_a_setting_that_is_new_in_each_execution_is_looked_at_once():
    """Thousands of fingerprints take as many steps, not their square; what came with the shift is named."""
    quiet = steady([0.25] * 18 + [0.5] * 6)
    executions, given = [], []
    for place in range(24):
        for number in range(1000):
            version = "2" if place >= 18 else "1"
            kind = drift.Kind("shop", "price", "filter", version, f"{place}-{number}", None)
            share = 0.5 if place >= 18 else 0.25
            executions.append(drift.Executions(kind, place, 1, 100))
            given.append(drift.Given(kind, place, "too_dear", int(100 * share), share, share * share))
    (found,) = detect(quiet._replace(executions=executions, given=given), 10).drifts
    assert [(one.field, one.value) for one in found.coincides_with] == [("pipeline_version", "2")]


def test_time_without_data_is_no_history():
    """A window in which nothing ran, or a past of too few hours, is not tested; gaps are passed over."""
    silent = detect(steady([0.25] * 18 + [None] * 6), 10)
    assert (silent.tested, silent.untested) == (0, 1)
    young = detect(steady([None] * 11 + [0.25] * 7 + [0.5] * 6), 10)
    assert (young.tested, young.untested) == (0, 1)
    assert len(detect(steady([0.25] * 9 + [None] * 9 + [0.5] * 6), 10).drifts) == 1
    assert detect(steady([None] * 24), 10) == Detected([], 0, 0)


def test_the_benchmark_in_small():
    """A doubled reason is named within a day; a few quiet windows give no alarm."""
    assert false_alarms(10, 5.0, seed=3) <= 1
    (delay,) = delays("wrong_type", 2.0, 1, 20.0, seed=3)
    assert delay is not None
    assert delay <= 24


def test_tails_of_t():
    """Against the tables of the distribution."""
    for t, freedom, p in ((12.706, 1, 0.05), (2.228, 10, 0.05), (4.587, 10, 0.001), (2.704, 40, 0.01)):
        assert t_tail(t, freedom) == pytest.approx(p, rel=2e-3)
        assert t_tail(-t, freedom) == pytest.approx(p, rel=2e-3)
    assert t_tail(0.0, 5) == pytest.approx(1.0)


CHECKS = ("type", "price", "stock")


def checked(number: int, outcomes: tuple[bool, ...], probability: float | None = None) -> Decision:
    """A candidate with all checks, the first that failed being its reason."""
    wrong = [name for name, passed in zip(CHECKS, outcomes, strict=True) if not passed]
    checks = [{"name": name, "passed": passed} for name, passed in zip(CHECKS, outcomes, strict=True)]
    values: dict[str, Any] = dict.fromkeys(Decision._fields)
    values |= {"item_id": f"i{number}", "verdict": "eliminated" if wrong else "kept", "value_missing": False}
    values |= {"reason": f"bad_{wrong[0]}" if wrong else None, "checks": checks, "probability": probability}
    return Decision(**values)


def test_planted_overlap_is_recovered():
    """So many candidates of each combination of failures, and exactly their counts come out."""
    planted = {outcomes: 3 + 7 * place for place, outcomes in enumerate(product((True, False), repeat=3))}
    made = [checked(n, outcomes) for outcomes, count in planted.items() for n in range(count)]
    Random(1).shuffle(made)
    found = {one.check: one for one in masked_reasons(made).checks}
    assert list(found) == list(CHECKS)

    def count(**failed: bool) -> int:
        wanted = [(CHECKS.index(name), not wrong) for name, wrong in failed.items()]
        return sum(n for outcomes, n in planted.items() if all(outcomes[at] == ok for at, ok in wanted))

    assert found["stock"].failed == count(stock=True)
    assert found["stock"].first == count(type=False, price=False, stock=True)
    assert found["price"].alone == count(type=False, price=True, stock=False)
    assert found["price"].masked == count(type=True, price=True)
    assert found["type"].together == {
        "price": count(type=True, price=True),
        "stock": count(type=True, stock=True),
    }
    assert found["type"].reasons == {"bad_type": count(type=True)}


def test_stopped_and_sampled_candidates():
    """Candidates of which not all checks were made are counted apart; a sample is weighted up."""
    stopped = checked(1, (False, True, True))._replace(checks=[{"name": "type", "passed": False}])
    found = masked_reasons([checked(2, (False, False, True), 0.25), stopped, stopped._replace(checks=None)])
    assert (found.evaluated, found.partly, found.unchecked, found.estimated) == (1, 1, 1, True)
    assert [(one.check, one.failed, one.masked) for one in found.checks] == [
        ("type", 4.0, 0.0),
        ("price", 4.0, 4.0),
        ("stock", 0.0, 0.0),
    ]


def test_masked_reasons_over_rest(shelf, rest, monkeypatch):
    """From the stored checks of a step; an unknown step is not found."""
    combinations = list(product((True, False), repeat=3))
    decisions = [checked(n, outcomes) for n, outcomes in enumerate(combinations)]
    shelf.put(
        run_copy("r"),
        step_copy("r", "s1", candidates_in=8, decisions_recorded=8, decisions_chunks=1),
        chunk(
            "r",
            "s1",
            [one.item_id for one in decisions],
            "".join("K" if one.verdict == "kept" else "E" for one in decisions),
            checks=[list(one.checks or ()) for one in decisions],
        ),
    )
    answer = rest.get("/api/v1/runs/r/steps/s1/masked-reasons").json()
    assert (answer["evaluated"], answer["completeness"]["evidence"]) == (8, "full")
    assert answer["whole"]
    by_check = {item["check"]: item for item in answer["items"]}
    assert by_check["price"] == by_check["price"] | {"failed": 4, "first": 2, "alone": 1, "masked": 2}
    assert by_check["price"]["together"] == {"type": 2, "stock": 2}
    assert rest.get("/api/v1/runs/r/steps/s2/masked-reasons").status_code == 404
    monkeypatch.setattr("api.routes.drift.MAX_CHECKED", 7)
    answer = rest.get("/api/v1/runs/r/steps/s1/masked-reasons").json()
    assert (answer["evaluated"], answer["whole"]) == (7, False)
