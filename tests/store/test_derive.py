"""What the store computes: ratios, durations, and the flags about counts and times."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from store.merge import RunState, merge_runs, merge_steps, run_state, step_state, steps_say, wait_state
from store.records import RunRow, StepRow
from store.render import render_run, render_step
from store.rows import Flag, RunCopy, RunWait, StepCopy

DAY = date(2026, 11, 20)
NS = 1_795_000_000_000_000_000
RECEIVED_US = NS // 1000 + 77
GOOD = {"candidates_in": 10, "candidates_out": 4, "start_ns": NS, "end_ns": NS + 2_500_000, "end_sent_ns": NS}


def copy(**fields: Any) -> StepCopy:
    shape = {"terminal": True, "name": "n", "step_type": "filter", "status": "ok"}
    return StepCopy("run", "s", "1", **{**shape, **GOOD, **fields})


def rendered(*copies: StepCopy) -> StepRow:
    state = step_state(copies[0], RECEIVED_US)
    for other in copies[1:]:
        state = merge_steps(state, step_state(other, RECEIVED_US))
    return render_step(state, bytes(16), DAY)


def flags(row: StepRow | RunRow) -> list[tuple[str, str]]:
    return [(flag["code"], flag["field"]) for flag in row.flags or []]


def test_a_good_step_has_its_ratio_and_duration_and_no_flag():
    """(in - out) / in and the time between start and end, nothing to say beside."""
    row = rendered(copy())
    assert (row.drop_ratio, row.duration_ms, row.flags) == (0.6, 2.5, None)


def test_a_step_that_names_no_type_is_custom_until_a_copy_does():
    """The vocabulary is closed: custom stands in for a type that no copy names, without a flag."""
    end = copy(step_type=None)
    start = copy(terminal=False, step_type="rank", step_type_original="ranking", status=None)
    assert (rendered(end).step_type, rendered(end).flags) == ("custom", None)
    assert rendered(start._replace(step_type=None)).step_type == "custom"
    both = rendered(end, start)
    assert (both.step_type, both.step_type_original) == ("rank", "ranking")


def test_the_word_for_a_type_is_that_of_its_copy():
    """A start copy's word does not stand beside the type that the terminal copy names itself."""
    start = copy(terminal=False, step_type="rank", step_type_original="ranking", status=None)
    row = rendered(copy(), start)
    assert (row.step_type, row.step_type_original) == ("filter", None)


@pytest.mark.parametrize(
    ("sent", "ratio"),
    [
        ({"candidates_in": 0, "candidates_out": 0}, None),
        ({"candidates_in": None}, None),
        ({"candidates_out": None}, None),
        ({"candidates_out": 11}, None),
        ({"candidates_out": 10}, 0.0),
        ({"candidates_out": 0}, 1.0),
        ({"candidates_out": None, "kept": 1, "selected": 2, "scored": 3}, 0.4),
    ],
)
def test_the_drop_ratio_is_null_rather_than_guessed(sent, ratio):
    """Null when in is 0 or unknown, out unknown or larger than in; out may come from the verdicts."""
    assert rendered(copy(**sent)).drop_ratio == ratio


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ({"candidates_in": None, "candidates_out": None}, ["candidates_in", "candidates_out"]),
        ({"step_type": "rank"}, ["score"]),
        ({"step_type": "rank", "score": (None, None, 0.5, None, None, None, None)}, []),
        ({"step_type": "llm"}, ["model"]),
        ({"step_type": "llm", "model": "m", "candidates_in": None}, []),
        ({"step_type": "search", "candidates_in": None, "candidates_out": None}, ["candidates_out"]),
        ({"step_type": "custom", "candidates_in": None, "candidates_out": None}, []),
        ({"step_type": "select", "candidates_in": None, "candidates_out": None}, []),
    ],
)
def test_a_step_without_the_metrics_of_its_type_is_flagged(sent, expected):
    """filter: in and out; rank: these and scores; llm: its model; search: out."""
    assert flags(rendered(copy(**sent))) == [("missing_metric", field) for field in expected]


@pytest.mark.parametrize("step_type", ["filter", "rank", "select", "search", "llm", "custom"])
def test_more_out_than_in_is_flagged_where_it_cannot_be(step_type):
    """A search, llm or custom step may expand; filter, rank and select may not."""
    row = rendered(copy(step_type=step_type, candidates_out=11, model="m", score=(0.1,) * 7))
    narrowing = step_type in ("filter", "rank", "select")
    assert flags(row) == ([("out_exceeds_in", "candidates_out")] if narrowing else [])
    assert row.candidates_out == 11


@pytest.mark.parametrize(
    ("sent", "judged"),
    [
        ({"kept": 4, "eliminated": 6}, None),
        ({"kept": 4, "eliminated": 5}, 9),
        ({"kept": 4, "eliminated": 7}, 11),
        ({"kept": 4}, None),
        ({"kept": 11}, 11),
        ({"eliminated": 6}, None),
        ({"selected": 1, "not_selected": 3, "deferred": 5, "merged": 1}, None),
        ({"kept": 4, "eliminated": 5, "candidates_in": None, "step_type": "custom"}, None),
    ],
)
def test_counts_that_do_not_add_up_are_flagged(sent, judged):
    """Too many always, too few when both sides were counted; the sum is shown."""
    found = [flag["sent"] for flag in rendered(copy(**sent)).flags or [] if flag["code"] == "counts_disagree"]
    assert found == ([] if judged is None else [judged])


def test_an_end_before_the_start_leaves_no_duration():
    """The times are shown as sent, the duration is null, and the flag says why."""
    row = rendered(copy(end_ns=NS - 1_000_000))
    assert (row.duration_ms, flags(row)) == (None, [("end_before_start", "ended_at")])


def test_times_that_were_not_sent_read_as_receipt():
    """Receipt stands in for both, the row says so, and no duration is made of it."""
    row = rendered(copy(start_ns=None, end_ns=None, end_sent_ns=None))
    assert (row.started_at, row.ended_at, row.duration_ms) == (RECEIVED_US, RECEIVED_US, None)
    assert row.receipt_filled == ["started_at", "ended_at"]
    assert flags(row) == [("time_missing", "ended_at"), ("time_missing", "started_at")]


def test_a_time_that_was_not_believed_is_not_called_missing():
    """The sender's flag stands alone; receipt stands in all the same."""
    flag = Flag("time_out_of_range", "start_time_unix_nano", 5)
    row = rendered(copy(start_ns=None, start_sent_ns=5, flags=(flag,)))
    assert (row.started_at, flags(row)) == (RECEIVED_US, [("time_out_of_range", "start_time_unix_nano")])


def test_a_start_alone_is_a_running_step_without_complaints():
    """What a step lacks is not known before it has ended."""
    row = rendered(copy(terminal=False, status=None, end_ns=None, candidates_out=None))
    assert (row.status, row.ended_at, row.duration_ms, row.flags) == ("running", None, None, None)


def test_a_start_fills_what_the_end_left_open():
    """in from the start copy and out from the end give a ratio; what the end says goes first."""
    start = copy(terminal=False, status=None, end_ns=None, candidates_out=9, why="budget", start_ns=NS)
    end = copy(candidates_in=None, start_ns=None, why=None)
    row = rendered(end, start)
    assert (row.candidates_in, row.candidates_out, row.drop_ratio, row.why) == (10, 4, 0.6, "budget")
    assert row.filled is not None
    assert set(row.filled) >= {"candidates_in", "started_at", "why"}
    assert row.status == "ok"


def test_codes_and_counts_of_reasons_come_from_one_copy():
    """A histogram is never put together from two copies."""
    start = copy(terminal=False, status=None, reason_codes=("a", "b"), reason_counts=(1, 2))
    end = copy(reason_codes=("c",), reason_counts=None)
    row = rendered(start, end)
    assert (row.reason_codes, row.reason_counts) == (("c",), None)


def run_row(*states: RunState) -> RunRow:
    state = states[0]
    for other in states[1:]:
        state = merge_runs(state, other)
    return render_run(state, bytes(16), DAY)


def test_a_run_starts_with_the_first_that_is_known():
    """Its own copies before its steps, its steps before a wait, receipt when there is nothing."""
    said = steps_say("run", [copy(start_ns=NS + 5000)], RECEIVED_US)
    wait = wait_state(RunWait("run", NS + 9000), RECEIVED_US)
    end = run_state(RunCopy("run", True, "completed", end_ns=NS + 2_000_000, end_sent_ns=NS), RECEIVED_US)
    start = run_state(RunCopy("run", False, start_ns=NS + 7000), RECEIVED_US)
    assert run_row(end, said, wait, start).started_at == NS // 1000 + 7
    assert run_row(end, said, wait).started_at == NS // 1000 + 5
    assert run_row(end, wait).started_at == NS // 1000 + 9
    alone = run_row(end)
    assert (alone.started_at, alone.receipt_filled, alone.duration_ms) == (RECEIVED_US, ["started_at"], None)
    assert flags(alone) == [("time_missing", "started_at")]


def test_the_run_that_ended_last_decides():
    """A resumed run is not left crashed, whichever end arrives first."""
    crashed = run_state(RunCopy("run", True, "crashed", end_ns=NS, end_sent_ns=NS), RECEIVED_US)
    completed = run_state(RunCopy("run", True, "completed", end_ns=NS + 1, end_sent_ns=NS + 1), RECEIVED_US)
    untimed = run_state(RunCopy("run", True, "cancelled"), RECEIVED_US)
    for order in ((crashed, completed, untimed), (untimed, completed, crashed)):
        assert run_row(*order).terminal_status == "completed"


def test_a_run_without_words_of_its_own_bears_those_of_its_first_step():
    """A step that names a pipeline goes before an earlier one that does not."""
    earlier = copy(start_sent_ns=NS, service_name="other")
    named = copy(start_sent_ns=NS + 1, pipeline="shop", service_name="svc")
    row = run_row(steps_say("run", [earlier, named], RECEIVED_US))
    assert (row.pipeline, row.service_name) == ("shop", "svc")
    own = run_state(RunCopy("run", False, pipeline="own", start_ns=NS), RECEIVED_US)
    row = run_row(steps_say("run", [named], RECEIVED_US), own)
    assert (row.pipeline, row.service_name) == ("own", "svc")
