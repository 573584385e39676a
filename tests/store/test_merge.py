"""The merge: the order, grouping and number of deliveries cannot show."""

from __future__ import annotations

from datetime import date
from functools import reduce

from hypothesis import given
from hypothesis import strategies as st

from store.copies import decode_run, decode_step, encode, to_json
from store.ids import run_key_bytes
from store.lone import item_of, render_lone
from store.merge import (
    RunState,
    StepState,
    adds_nothing,
    bare_run,
    heartbeat_state,
    merge_runs,
    merge_steps,
    rank,
    run_state,
    step_state,
    steps_say,
    wait_state,
)
from store.records import RunRow, StepRow
from store.render import recover_run, recover_step, render_run, render_step
from store.rows import RunCopy, RunHeartbeat, RunWait, StepCopy
from tests.store.copy_strategies import heartbeats, run_copies, run_waits, step_copies

DAY = date(2026, 11, 20)
RECEIVED_US = 1_795_000_000_000_000
RUN_KEY = run_key_bytes("run-a")


def _same_run(copies):
    return [copy._replace(run_id="run-a") for copy in copies]


def _same_step(copies):
    return [copy._replace(run_id="run-a", step_id="s1") for copy in copies]


steps_of_one_key = st.lists(step_copies(), min_size=1, max_size=5).map(_same_step)
run_parts = st.lists(run_copies() | run_waits() | heartbeats | step_copies(), min_size=1, max_size=6).map(
    _same_run
)


def _run_part(copy: RunCopy | RunWait | RunHeartbeat | StepCopy) -> RunState:
    if isinstance(copy, RunCopy):
        return run_state(copy, RECEIVED_US)
    if isinstance(copy, RunWait):
        return wait_state(copy, RECEIVED_US)
    if isinstance(copy, RunHeartbeat):
        return heartbeat_state(copy, RECEIVED_US)
    return steps_say("run-a", [copy], RECEIVED_US)


def _step_view(state: StepState) -> bytes:
    row = render_step(state, RUN_KEY, DAY)
    return _view(row)


def _run_view(state: RunState) -> bytes:
    return _view(render_run(state, RUN_KEY, DAY))


def _view(row: RunRow | StepRow) -> bytes:
    values = row._asdict()
    for volatile in ("deliveries", "received_at", "last_received_at"):
        values.pop(volatile, None)
    return to_json(values)


def _through_database(row):
    """The row as JSON columns and arrays come back from the database."""
    loaded = [list(value) if isinstance(value, tuple) else value for value in row]
    return type(row)(*loaded)


@given(steps_of_one_key, st.randoms(use_true_random=False))
def test_a_step_is_the_same_in_any_order_and_number_of_deliveries(copies, random):
    """Shuffled and partly doubled copies of a step render to the same row."""
    states = [step_state(copy, RECEIVED_US) for copy in copies]
    again = states + random.choices(states, k=2)
    random.shuffle(again)
    assert _step_view(reduce(merge_steps, again)) == _step_view(reduce(merge_steps, states))


@given(st.lists(step_copies().map(lambda copy: copy._replace(terminal=True)), min_size=1, max_size=5))
def test_a_lone_step_is_rendered_as_any_other(copies):
    """What is rendered by the column equals what each copy's state is rendered to."""
    lone = [(0, copy, RECEIVED_US + n, rank(copy, 0).order[2]) for n, copy in enumerate(copies)]
    keys = [(RUN_KEY, copy.step_id, copy.attempt_key) for copy in copies]
    rows = zip(*render_lone(keys, lone, [DAY] * len(copies)), strict=True)
    for row, key, entry in zip(rows, keys, lone, strict=True):
        assert row == render_step(item_of(key, entry).state, RUN_KEY, DAY)
        assert row == render_step(step_state(entry[1], entry[2]), RUN_KEY, DAY)


@given(run_parts, st.randoms(use_true_random=False))
def test_a_run_is_the_same_in_any_order_and_number_of_deliveries(copies, random):
    """Shuffled and partly doubled run copies, waits and steps render to the same run."""
    states = [_run_part(copy) for copy in copies]
    again = states + random.choices(states, k=2)
    random.shuffle(again)
    assert _run_view(reduce(merge_runs, again)) == _run_view(reduce(merge_runs, states))


@given(steps_of_one_key, steps_of_one_key, steps_of_one_key)
def test_merging_steps_is_associative(first, second, third):
    """How the copies of a step are grouped into batches makes no difference."""
    a, b, c = (
        reduce(merge_steps, [step_state(copy, RECEIVED_US) for copy in group])
        for group in (first, second, third)
    )
    assert merge_steps(merge_steps(a, b), c) == merge_steps(a, merge_steps(b, c))


@given(run_parts, run_parts, run_parts)
def test_merging_runs_is_associative(first, second, third):
    """How the parts of a run are grouped into batches makes no difference."""
    a, b, c = (reduce(merge_runs, map(_run_part, group)) for group in (first, second, third))
    assert merge_runs(merge_runs(a, b), c) == merge_runs(a, merge_runs(b, c))


@given(steps_of_one_key, st.integers(0, 4))
def test_a_step_may_rest_in_the_table_between_any_two_copies(copies, cut):
    """Storing and reading the row in between leads to the same row as merging all at once."""
    states = [step_state(copy, RECEIVED_US) for copy in copies]
    before, after = states[: cut + 1], states[cut + 1 :]
    stored = render_step(reduce(merge_steps, before), RUN_KEY, DAY)
    resumed = recover_step(_through_database(stored), "run-a")
    assert _step_view(reduce(merge_steps, after, resumed)) == _step_view(reduce(merge_steps, states))


@given(run_parts, st.integers(0, 5))
def test_a_run_may_rest_in_the_table_between_any_two_copies(copies, cut):
    """Storing and reading the row in between leads to the same row as merging all at once."""
    states = [_run_part(copy) for copy in copies]
    before, after = states[: cut + 1], states[cut + 1 :]
    resumed = recover_run(_through_database(render_run(reduce(merge_runs, before), RUN_KEY, DAY)))
    assert _run_view(reduce(merge_runs, after, resumed)) == _run_view(reduce(merge_runs, states))


@given(run_parts, st.lists(step_copies(), min_size=1, max_size=4).map(_same_run))
def test_steps_that_add_nothing_leave_their_run_as_it_is(known, steps):
    """The writer may skip a run's row exactly when merging would not change it."""
    state = reduce(merge_runs, map(_run_part, known))
    said = steps_say("run-a", steps, RECEIVED_US)
    unchanged = _run_view(merge_runs(state, said)) == _run_view(state)
    assert not adds_nothing(state, said) or unchanged


@given(st.lists(step_copies(), min_size=1, max_size=4).map(_same_run))
def test_steps_say_of_their_run_what_each_says_alone(copies):
    """Looking at several steps at once equals merging them one by one."""
    one_by_one = reduce(merge_runs, map(_run_part, copies), bare_run("run-a", RECEIVED_US))
    assert _run_view(steps_say("run-a", copies, RECEIVED_US)) == _run_view(one_by_one)


@given(step_copies())
def test_a_step_copy_survives_as_json(copy):
    """A start copy that is kept beside its row comes back whole, but for its hash, which the row has."""
    assert decode_step(encode(copy)) == copy._replace(sent_hash=None)


@given(run_copies())
def test_a_run_copy_survives_as_json(copy):
    """A start copy that is kept beside its row comes back whole."""
    assert decode_run(encode(copy)) == copy
