"""Contracts: how they are declared, and that each comparison of a check counts."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from functools import partial
from time import monotonic
from typing import Any

import httpx
import psycopg
import pytest
import yaml

from api.alerts.asking import ask
from api.alerts.declared import rule as alert_rule
from api.app import create_app
from api.contracts.checking import Scope, check
from api.contracts.continuous import EVERY, check_due
from api.contracts.declared import ContractProblem, contract, contracts, load
from api.contracts.judging import Bounds, judge, share
from api.routes.contracts import storing
from api.schemas_contracts import in_words, overall
from api.settings import ApiSettings
from store.contract_shelf import ContractShelf
from store.database import libpq_url
from store.queries.types_metrics import MetricsPage, Resolution
from store.reader import Reader
from store.rows import Loss, RunWait
from store.settings import load as load_settings
from tests.fixtures.reading import (
    START,
    Clock,
    RestServer,
    Shelf,
    chunk,
    ns,
    run_copy,
    run_start,
    seconds,
    step_copy,
)

DRASTIC = 'step.step_type = "filter" and step.drop_ratio > 0.9'


@pytest.mark.parametrize(
    ("sign", "limit", "low", "high", "state"),
    [
        ("at_most", 5, 5, 5, "held"),
        ("at_most", 5, 5.1, 5.1, "violated"),
        ("at_most", 5, 4, 6, "unknown"),
        ("at_most", 5, 5, 5.1, "unknown"),
        ("below", 5, 4.9, 4.9, "held"),
        ("below", 5, 5, 5, "violated"),
        ("below", 5, 4, 5, "unknown"),
        ("at_least", 5, 5, 5, "held"),
        ("at_least", 5, 4.9, 4.9, "violated"),
        ("at_least", 5, 4.9, 5, "unknown"),
        ("above", 5, 5.1, 5.1, "held"),
        ("above", 5, 5, 5, "violated"),
        ("above", 5, 5, 6, "unknown"),
    ],
)
def test_a_limit_is_kept_wherever_the_figure_lies_or_it_is_unknown(
    sign: Any, limit: float, low: float, high: float, state: str
):
    """The limit itself belongs to at_most and at_least, and not to below and above."""
    assert judge(sign, limit, Bounds(low, high)) == state
    assert judge(sign, limit, None) == "unknown"


def test_shares_are_exact():
    """7 of 100 is 7 %, whatever doubles make of it; of nothing there is no share."""
    assert judge("at_most", Fraction("0.07"), share(7, 0, 100)) == "held"
    assert judge("at_least", Fraction("0.07"), share(7, 0, 100)) == "held"
    assert share(0, 0, 0) is None
    assert share(1, 2, 10) == Bounds(Fraction(1, 10), Fraction(3, 10))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("contracts: []", "contracts: a list"),
        ("contracts: [{id: a}]", "contracts[0] (a): one of share_of_runs, figure"),
        ("contracts: [{id: 'a b', figure: {of: duration_ms.p95, below: 1}}]", "contracts[0] (a b): id:"),
        (
            "contracts: [{id: a, figure: {of: speed, below: 1}}]",
            "figure.of: Input should be 'drop_ratio.mean'",
        ),
        (
            "contracts: [{id: a, figure: {of: duration_ms.p95}}]",
            "figure: one of at_most, below, at_least, above",
        ),
        (
            "contracts: [{id: a, figure: {of: duration_ms.p95, below: 1, above: 2}}]",
            "one of at_most, below, at_least, above is needed, and only one",
        ),
        ("contracts: [{id: a, share_of_runs: {where: 'status = ', at_most: 5%}}]", "share_of_runs.where: "),
        (
            "contracts: [{id: a, share_of_runs: {where: 'speed > 1', at_most: 5%}}]",
            "speed is no field of runs",
        ),
        (
            "contracts: [{id: a, share_of_runs: {where: 'duration_ms > 1', at_most: 105%}}]",
            "share_of_runs.at_most: must be a share such as 5 %",
        ),
        ("contracts: [{id: a, item: {id: x, reaches: {}}}]", "item.reaches: one of step_type, name"),
        ("contracts: [{id: a, item: {id: x, reaches: {step_type: sort}}}]", "item.reaches.step_type"),
        (
            "contracts: [{id: a, runs: 'pipeline = \"p\"', figure: {of: duration_ms.p95, below: 1}}]",
            "runs is not asked by figure; steps says of which",
        ),
        ("contracts: [{id: a, window: soon, item: {id: x, reaches: {name: r}}}]", "window: must be a length"),
        ("contracts: [{id: a, limit: 3, item: {id: x, reaches: {name: r}}}]", "limit: is no key of this"),
        (
            "contracts: [{id: a, steps: 'speed > 1', figure: {of: duration_ms.p95, below: 1}}]",
            "steps: q, column 1: speed is no field of steps",
        ),
        ("contracts: [{id: a, figure: {below: 1}}]", "figure.of: is needed"),
        ("contracts: [a, b", "line 1, column"),
        (
            "contracts: [&a {id: a, item: {id: x, reaches: {name: r}}}, *a]",
            "contracts[1].id: a was declared before",
        ),
    ],
)
def test_what_is_no_contract_is_pointed_at(text: str, problem: str):
    """The message names the place in the file and what is accepted there."""
    with pytest.raises(ContractProblem) as refusal:
        contracts(load(io.BytesIO(text.encode())))
    assert problem in str(refusal.value)


def declared(**fields: Any) -> Any:
    """Return a contract."""
    return contract({"id": "c", **fields})


def filled(shelf: Shelf, drops: list[int], **values: Any) -> None:
    """Put a completed run for each number of candidates that its filter drops of 100."""
    for at, dropped in enumerate(drops):
        shelf.put(
            run_copy(f"r{at}", at, pipeline="p"),
            step_copy(f"r{at}", "f", at, candidates_in=100, candidates_out=100 - dropped, **values),
        )


@pytest.mark.parametrize(("drastic", "state"), [(1, "held"), (2, "violated")])
def test_a_share_of_runs(shelf: Shelf, reader: Reader, drastic: int, state: str):
    """1 of 20 runs is 5 %, and 2 are more; the runs that speak against it are named."""
    filled(shelf, [91] * drastic + [90] * (20 - drastic))
    found = check(reader, declared(share_of_runs={"where": DRASTIC, "at_most": "5 %"}), Scope())
    assert (found.state, found.n, found.unsure) == (state, 20, 0)
    assert [each.run_id for each in found.evidence] == ([] if state == "held" else ["r1", "r0"])
    assert found.low == found.high == drastic / 20


@pytest.mark.parametrize(("selected", "state"), [([1, 2, 1], "held"), ([1, 0, 1], "violated")])
def test_every_run_selects_something(shelf: Shelf, reader: Reader, selected: list[int], state: str):
    """At least 100 %: one run that does not is named."""
    for at, count in enumerate(selected):
        shelf.put(run_copy(f"r{at}", at), step_copy(f"r{at}", "s", at, step_type="select", selected=count))
    always = declared(share_of_runs={"where": "step.selected > 0", "at_least": "100 %"})
    found = check(reader, always, Scope())
    assert found.state == state
    assert [each.run_id for each in found.evidence] == ([] if state == "held" else ["r1"])


def test_runs_that_cannot_be_told_make_it_unknown(shelf: Shelf, reader: Reader, clock: Clock):
    """Silent runs and lost steps count on neither side, running ones not at all; nothing is unknown too."""
    never = declared(share_of_runs={"where": DRASTIC, "at_most": "0 %"})
    found = check(reader, never, Scope())
    assert (found.state, found.because) == ("unknown", "no runs to judge")
    filled(shelf, [10, 10])
    shelf.put(run_start("silent", 0, timeout_s=10.0))
    shelf.put(run_start("running", 0), run_start("asleep", 0), RunWait("asleep", ns(seconds(5)), None))
    clock.now = START + timedelta(seconds=60)
    found = check(reader, never, Scope())
    assert (found.state, found.n, found.unsure, found.pending) == ("unknown", 3, 1, 2)
    assert in_words(found) == ("0 % to 33.33 % of 3 runs, at most 0 %: the record of 1 of 3 runs cannot tell")
    half = declared(share_of_runs={"where": DRASTIC, "at_most": "34 %"})
    assert check(reader, half, Scope()).state == "held"
    shelf.put(Loss("r0", "client_queue", "steps", "report-1", 1))
    assert check(reader, half, Scope()).unsure == 2
    some = declared(share_of_runs={"where": "step.drop_ratio > 0.05", "at_least": "50 %"})
    found = check(reader, some, Scope())
    assert (found.state, found.low, found.high, found.unsure) == ("unknown", 1 / 3, 1.0, 2)
    shelf.put(Loss("r1", "refused", "steps", "f/1/end", 1, "f", "1"))
    assert check(reader, half, Scope()).unsure == 2, "that step came in by another way"


@pytest.mark.parametrize(
    ("limit", "state"),
    [
        ({"at_most": 100.0}, "held"),
        ({"at_most": 99.9}, "violated"),
        ({"below": 100.1}, "held"),
        ({"below": 100.0}, "violated"),
        ({"at_least": 100.0}, "held"),
        ({"at_least": 100.1}, "violated"),
        ({"above": 99.9}, "held"),
        ({"above": 100.0}, "violated"),
    ],
)
def test_a_figure_of_steps(shelf: Shelf, reader: Reader, limit: dict[str, float], state: str):
    """The median of 50, 100 and 150 ms is 100 ms; a step that still runs says nothing about it."""
    for at, took_ms in enumerate((50, 100, 150)):
        start = ns(seconds(at))
        shelf.put(step_copy(f"r{at}", "rank", at, end_ns=start + took_ms * 1_000_000))
    running = step_copy("r9", "rank", 9, terminal=False, status=None, end_ns=None)
    shelf.put(running, step_copy("r8", "other", 8, end_ns=ns(seconds(20))))
    median = declared(steps='name = "rank"', figure={"of": "duration_ms.p50", **limit})
    found = check(reader, median, Scope())
    assert (found.state, found.n, found.low, found.because) == (state, 3, 100.0, None)
    if state == "violated":
        beyond = {"r1", "r2"} if {"at_most", "below"} & limit.keys() else {"r0", "r1"}
        assert {each.run_id for each in found.evidence} == beyond
    assert check(reader, median, Scope(pipeline="another")).state == "unknown"


def test_steps_without_the_figure_are_nothing_to_judge(shelf: Shelf, reader: Reader):
    """Steps are there, and no score of them: that is said, and not that the record is incomplete."""
    shelf.put(step_copy("r1", "f", 0))
    scored = declared(figure={"of": "score_mean.p50", "at_least": 0.5})
    found = check(reader, scored, Scope())
    assert (found.state, found.n, found.because) == ("unknown", 1, "no steps to judge")


@pytest.mark.parametrize(
    ("figure", "limit", "state"),
    [
        ("duration_ms.p50", 102.1, "held"),
        ("duration_ms.p50", 101.0, "unknown"),
        ("duration_ms.p50", 99.0, "unknown"),
        ("duration_ms.p50", 98.0, "violated"),
        ("duration_ms.mean", 101.0, "held"),
        ("duration_ms.mean", 100.0, "violated"),
        ("drop_ratio.p50", 0.511, "held"),
        ("drop_ratio.p50", 0.509, "unknown"),
        ("drop_ratio.p50", 0.489, "violated"),
    ],
)
def test_percentiles_of_long_times_are_known_within_their_resolution(
    shelf: Shelf, database_url: str, figure: str, limit: float, state: str
):
    """Of durations a part of the value, of drop ratios as they are; means are exact. Alert rules do alike."""

    class Coarse(Reader):
        def step_metrics(self, *args: Any, **options: Any) -> Any:
            page = super().step_metrics(*args, **options)
            return MetricsPage(page.items, page.next_cursor, page.completeness, Resolution(0.01, 0.02, 0.02))

    took_ns = 100 * 1_000_000
    shelf.put(step_copy("r", "f", 0, end_ns=ns(seconds(0)) + took_ns, candidates_in=100, candidates_out=50))
    with closing(Coarse.open(database_url)) as reader:
        found = check(reader, declared(figure={"of": figure, "below": limit}), Scope())
        rule = alert_rule({"steps": {"figure": figure}, "below": limit, "window": "1h"}, "r")
        (told,) = ask(reader, lambda *_: None, rule, START + timedelta(minutes=10))
    assert found.state == state
    assert told.holds == {"held": True, "violated": False, "unknown": None}[state]
    assert ("resolution of percentiles" in (found.because or "")) == (state == "unknown")


@pytest.mark.parametrize(("dear", "state"), [(20, "held"), (21, "violated")])
def test_a_share_of_a_reason(shelf: Shelf, reader: Reader, dear: int, state: str):
    """20 of 100 candidates are 20 %; other reasons and other steps do not count."""
    shelf.put(
        step_copy("r1", "f", 0, candidates_in=60, reason_codes=("dear", "old"), reason_counts=(15, 40)),
        step_copy("r2", "f", 1, candidates_in=40, reason_codes=("dear", "old"), reason_counts=(dear - 15, 9)),
        step_copy("r2", "g", 2, candidates_in=40, reason_codes=("dear",), reason_counts=(40,)),
    )
    asked = declared(steps='name = "f"', share_of_reason={"reason": "dear", "at_most": "20 %"})
    found = check(reader, asked, Scope())
    assert (found.state, found.n, found.low) == (state, 100, dear / 100)
    assert [each.run_id for each in found.evidence] == ([] if state == "held" else ["r1"])


def test_an_item_reaches_a_step(shelf: Shelf, reader: Reader):
    """It got there, it did not, or the record cannot tell: sampled steps never pass for either."""
    full = {"candidates_in": 2, "decisions_recorded": 2, "decisions_chunks": 1, "capture_level": "full"}

    def put(run_id: str, at: int, ranked: list[str], **of_rank: Any) -> None:
        shelf.put(
            run_copy(run_id, at),
            step_copy(run_id, "find", at, step_type="search", **full),
            chunk(run_id, "find", ["x", "y"], "KK"),
            step_copy(run_id, "order", at + 0.5, step_type="rank", **(full | of_rank)),
            chunk(run_id, "order", ranked, "K" * len(ranked)),
        )

    canary = declared(item={"id": "x", "reaches": {"step_type": "rank"}})
    put("came", 0, ["x", "y"])
    assert check(reader, canary, Scope()).state == "held"
    by_name = declared(item={"id": "x", "reaches": {"name": "order"}})
    assert check(reader, by_name, Scope()).state == "held"
    put("sampled", 10, ["y"], capture_level="sampled", decisions_recorded=1)
    found = check(reader, canary, Scope())
    assert (found.state, found.n, found.unsure) == ("unknown", 2, 1)
    put("missed", 20, ["y", "z"])
    found = check(reader, canary, Scope())
    assert (found.state, found.n, [each.run_id for each in found.evidence]) == ("violated", 3, ["missed"])
    shelf.put(run_start("running", 30))
    assert (check(reader, canary, Scope()).n, check(reader, canary, Scope()).pending) == (3, 1)
    some = declared(item={"id": "x", "reaches": {"step_type": "rank"}, "at_least": "33 %"})
    assert check(reader, some, Scope()).state == "held"
    few = declared(item={"id": "x", "reaches": {"step_type": "rank"}, "at_most": "33 %"})
    assert check(reader, few, Scope()).state == "violated"


def test_what_takes_too_long_is_unknown(shelf: Shelf, database_url: str, monkeypatch: pytest.MonkeyPatch):
    """An item in many runs is many questions: when there is no time for more, none is asked."""
    filled(shelf, [10, 10, 10])
    asked: list[str] = []
    until = monotonic() + 60

    class Slow(Reader):
        def journey(self, run_id: str, item_id: str) -> Any:
            asked.append(run_id)
            monkeypatch.setattr("api.contracts.checking.monotonic", lambda: until + 1)
            return super().journey(run_id, item_id)

    with closing(Slow.open(database_url)) as reader:
        canary = declared(item={"id": "x", "reaches": {"name": "f"}})
        late = check(reader, canary, Scope(), until)
        assert (late.state, asked) == ("unknown", ["r2"])
        assert "no time" in in_words(late)
        # What is known by then counts: one run that it did not reach is enough.
        monkeypatch.setattr("api.contracts.checking.monotonic", lambda: until)
        full = {"candidates_in": 1, "decisions_recorded": 1, "decisions_chunks": 1, "capture_level": "full"}
        shelf.put(run_copy("r3", 3), step_copy("r3", "f", 3, **full), chunk("r3", "f", ["y"], "K"))
        told = check(reader, canary, Scope(), until)
        assert (told.state, told.n, [one.run_id for one in told.evidence]) == ("violated", 1, ["r3"])
        monkeypatch.setattr("api.contracts.checking.monotonic", lambda: until + 1)
        assert check(reader, declared(figure={"of": "duration_ms.p50", "below": 99}), Scope(), until).n == 0


def test_the_scope_bounds_what_is_judged(shelf: Shelf, reader: Reader):
    """Times and pipeline of the check hold beside the contract's own expression."""
    filled(shelf, [95, 10, 10])
    never = declared(runs='pipeline = "p"', share_of_runs={"where": DRASTIC, "at_most": 0})
    assert check(reader, never, Scope()).state == "violated"
    assert check(reader, never, Scope(started_after=seconds(1))).state == "held"
    assert check(reader, never, Scope(started_before=seconds(1))).n == 1
    assert check(reader, never, Scope(pipeline="q")).state == "unknown"
    # What a run did as a whole is worked out from its steps, for either side.
    dropping = declared(runs="drop_ratio > 0.9", share_of_runs={"where": 'pipeline = "p"', "at_most": 0})
    assert (check(reader, dropping, Scope()).state, check(reader, dropping, Scope()).n) == ("violated", 1)
    dropped = declared(runs='pipeline = "p"', share_of_runs={"where": "drop_ratio > 0.9", "at_most": 0})
    assert (check(reader, dropped, Scope()).state, check(reader, dropped, Scope()).n) == ("violated", 3)


@pytest.fixture
def served(database_url: str, reader: Reader) -> Iterator[httpx.Client]:
    """A client of the API with the stored contracts."""
    app = create_app(load_settings(ApiSettings, {}), reader, routers=[storing(ContractShelf(database_url))])
    server = RestServer(app)
    with httpx.Client(base_url=f"{server.url}/api/v1", timeout=30.0, trust_env=False) as client:
        yield client
    server.stop()


def test_one_state_for_several_contracts():
    """The worst of them, and one that is violated is worse than one that cannot be told."""
    assert overall(["held", "held"]) == "held"
    assert overall(["held", "unknown", "held"]) == "unknown"
    assert overall(["unknown", "violated", "held"]) == "violated"


def test_contracts_by_rest(shelf: Shelf, served: httpx.Client):
    """A check answers one verdict per contract, and one for all; what is wrong is pointed at."""
    filled(shelf, [95, 10])
    both = yaml.safe_load(
        """
        contracts:
          - {id: never, share_of_runs: {where: 'step.drop_ratio > 0.9', at_most: 0}}
          - {id: median, about: quick enough, figure: {of: duration_ms.p50, below: 11}}
        """
    )
    answer = served.post("/contracts/check", json=both, params={"pipeline": "p"})
    assert answer.status_code == 200, answer.text
    assert answer.json()["state"] == "violated"
    never, median = answer.json()["items"]
    assert (never["state"], never["evidence"]) == (
        "violated",
        [{"run_id": "r0", "step_id": None, "value": None}],
    )
    assert never["said"] == "50 % of 2 runs, at most 0 %"
    assert (median["state"], median["low"], median["limit"]) == (
        "held",
        10.0,
        {"sign": "below", "value": 11.0},
    )
    for parameters, body, named in (
        ({"colour": "red"}, both, "colour"),
        ({"started_after": "now"}, both, "started_after"),
        ({}, {"contracts": [{"id": "a"}]}, "contracts[0] (a)"),
    ):
        refused = served.post("/contracts/check", json=body, params=parameters)
        assert refused.status_code == 422
        assert named in refused.json()["error"]["message"]


def test_stored_contracts_are_checked_again_and_again(shelf: Shelf, served: httpx.Client, database_url: str):
    """Put, checked when due and not before, replaced, deleted with its results."""
    filled(shelf, [95, 10])
    body = {"share_of_runs": {"where": DRASTIC, "at_most": 0}, "window": "1h"}
    put = served.put("/contracts/never", json=body)
    assert put.status_code == 201
    assert (put.json()["results"], put.json()["next_check_at"]) == ([], put.json()["updated_at"])
    assert served.put("/contracts/never", json={"share_of_runs": {}}).status_code == 422
    at = datetime.now(UTC) + timedelta(seconds=1)
    now: Callable[[], datetime] = lambda: at  # noqa: E731 - moved below
    opened = partial(Reader.open, database_url)
    with psycopg.connect(libpq_url(database_url), autocommit=True) as connection:
        check_due(connection, opened, now)
        check_due(connection, opened, now)
        (result,) = served.get("/contracts/never").json()["results"]
        # The story is long ago, and the window an hour.
        assert (result["state"], result["result"]["because"]) == ("unknown", "no runs to judge")
        at += EVERY
        assert datetime.fromisoformat(served.get("/contracts/never").json()["next_check_at"]) == at
        assert served.put("/contracts/never", json=body | {"window": "100000d"}).status_code == 200
        check_due(connection, opened, now)
    (listed,) = served.get("/contracts").json()["items"]
    assert [each["state"] for each in listed["results"]] == ["violated"]
    assert [each["state"] for each in served.get("/contracts/never").json()["results"]] == [
        "violated",
        "unknown",
    ]
    assert served.delete("/contracts/never").status_code == 204
    assert served.delete("/contracts/never").status_code == 404
    assert served.get("/contracts/never").status_code == 404
