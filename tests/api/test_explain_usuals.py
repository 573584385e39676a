"""What is kept about baselines, and that it changes no answer."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from random import Random
from weakref import ref

import pytest

from api.explain.analysis import explain
from api.explain.records import Explanation, Material
from api.explain.usual import Usual
from api.explain.usuals import REMEMBERED_S, Run, Usuals
from store.queries.habits import Habits
from tests.api.test_explain_culprits import steps, usual
from tests.fixtures.run_records import material


def healthy(runs: int = 60) -> list[Run]:
    """Runs to compare with."""
    random = Random(1)
    return [usual(random) for _ in range(runs)]


def asked(baseline: Sequence[Run], seed: int) -> Material:
    """Material of a run whose ``lookup`` is off in every second seed, and that gives a reason of its own."""
    random = Random(seed)
    own = dict(usual(random, level=13.0) if seed % 2 else usual(random))
    if seed % 2:
        own["second"].values[f"share:reason only here {seed}"] = 0.2
    return replace(material(steps()), habits=Habits(own, baseline))


def test_the_same_runs_are_the_same_baseline_and_others_are_not() -> None:
    """Whichever list they come in; one run more, one less or one that was read again makes another."""
    usuals, runs = Usuals(), healthy()
    first = usuals.of(runs)
    assert usuals.of([*runs]) is first
    assert usuals.of(runs[1:]) is not first
    assert usuals.of([dict(runs[0]), *runs[1:]]) is not first
    assert usuals.of(runs) is first
    runs.append(runs[0])
    assert usuals.of(runs) is not first
    assert usuals.of(runs[:-1]) is first


def test_what_is_kept_changes_no_answer() -> None:
    """Of many runs one after the other, and of many at once, each is answered as if it were the first."""
    usuals, runs = Usuals(), healthy()
    materials = [asked(runs, seed) for seed in range(24)]
    alone = [explain(one) for one in materials]
    assert {answer.conclusion for answer in alone} == {"fault", "nothing_unusual"}

    def answered(one: Material) -> Explanation:
        return explain(one, usuals.of(one.habits.baseline))

    assert [answered(one) for one in materials] == alone
    usuals = Usuals()
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(answered, materials * 4)) == alone * 4


def test_a_number_stands_for_one_list_of_figures() -> None:
    """However many threads ask for new ones at once."""
    found = Usual(healthy())
    lists = [tuple(("step", f"level:{number}") for number in range(at)) for at in range(200)]
    with ThreadPoolExecutor(8) as threads:
        numbers = list(threads.map(found.key, lists * 8))
    assert numbers == numbers[:200] * 8
    assert len(set(numbers)) == 200


def test_what_is_kept_is_bounded_and_ages(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one not asked for the longest goes first, also when another has grown; none outlives its time."""
    now = [0.0]
    usuals = Usuals(lambda: now[0])
    one, two, three = (healthy() for _ in range(3))
    explained = [asked(runs, 1) for runs in (one, two, three)]
    for material_of in explained[:2]:
        explain(material_of, usuals.of(material_of.habits.baseline))
    first, second = usuals.of(one), usuals.of(two)
    size = second.bytes()
    assert size > 60 * 8 * 100
    monkeypatch.setattr("api.explain.usuals.REMEMBERED_BYTES", int(2.5 * size))
    explain(explained[2], usuals.of(three))
    usuals.bound()
    assert usuals.of(two) is second
    assert usuals.of(one) is not first
    now[0] = REMEMBERED_S + 1
    assert usuals.of(two) is not second


def test_a_baseline_that_is_too_large_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even until the next question, and it takes nothing else along."""
    usuals, small, large = Usuals(), healthy(20), healthy(60)
    kept = usuals.of(small)
    explain(asked(small, 1), kept)
    monkeypatch.setattr("api.explain.usuals.REMEMBERED_BYTES", kept.bytes() + 1)
    grown = usuals.of(large)
    explain(asked(large, 1), grown)
    usuals.bound()
    assert usuals.of(small) is kept
    gone = ref(grown)
    del grown
    assert gone() is None


def test_too_few_runs_take_room_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is found out about them, yet their figures are kept alive."""
    usuals = Usuals()
    size = usuals.of(healthy(10)).bytes()
    assert size > 10 * 8 * 100
    monkeypatch.setattr("api.explain.usuals.REMEMBERED_BYTES", int(2.5 * size))
    kept = [ref(usuals.of(healthy(10))) for _ in range(4)]
    usuals.bound()
    assert [one() is None for one in kept] == [True, True, False, False]
