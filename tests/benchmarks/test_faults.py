"""The bench of planted faults: what it plants is what it says, and it runs through the real stack."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from benchmarks.faults import visibility
from benchmarks.faults.answers import Reply, reply
from benchmarks.faults.driving import Result
from benchmarks.faults.pipeline import draw, execute, planted
from benchmarks.faults.plants import PLANTS
from benchmarks.faults.pools import answer_pools
from benchmarks.faults.registry import PIPELINES
from benchmarks.faults.scoring import calibration, explained, false_alarms, hits
from benchmarks.faults.strengths import NEAR, STRENGTHS, load, prefixes, share_at
from benchmarks.faults.trials import CONFOUNDERS, Trial, plan
from benchmarks.faults.visibility import Seen

ROOT = Path(__file__).parents[2]
SMOKE_DEADLINE_S = 240.0


def places() -> list[tuple[str, str, str, str, float]]:
    """(pipeline, step, fault, strength, intensity) of all that was calibrated."""
    return [
        (pipeline, step, fault, strength, intensity)
        for pipeline, steps in load().items()
        for step, faults in steps.items()
        for fault, strengths in faults.items()
        for strength, intensity in strengths.items()
    ]


def test_there_are_enough_pipelines_and_faults():
    """At least 12 pipelines of 5 to 20 steps; at least 15 kinds of fault, each with all three strengths."""
    assert len(PIPELINES) >= 12
    assert {5, 20} <= {len(pipeline.steps) for pipeline in PIPELINES.values()}
    assert all(5 <= len(pipeline.steps) <= 20 for pipeline in PIPELINES.values())
    found = {(fault, strength) for _, _, fault, strength, _ in places()}
    assert {fault for fault, _ in found} == PLANTS.keys()
    assert len(PLANTS) >= 15
    assert sum(all((fault, strength) in found for strength in STRENGTHS) for fault in PLANTS) >= 15


@pytest.mark.parametrize("name", PIPELINES)
def test_a_run_without_fault_equals_its_twin(name):
    """The same seed gives the same run; another seed another one; no step is without effect."""
    pipeline = PIPELINES[name]
    query, items = draw(pipeline, "test-1")
    again = draw(pipeline, "test-1")
    assert (query, items) == again
    one = execute(pipeline.steps, query, items).outcomes
    assert one == execute(pipeline.steps, *again).outcomes
    assert one != execute(pipeline.steps, *draw(pipeline, "test-2")).outcomes
    assert all(outcome.rows for outcome in one)


def test_runs_are_the_same_in_every_process():
    """Nothing hangs on the hash seed of the interpreter, faults included."""
    code = """
from hashlib import sha256
from benchmarks.faults.pipeline import draw, execute, planted
from benchmarks.faults.plants import PLANTS
from benchmarks.faults.registry import PIPELINES
said = []
for name in ("rag", "routing"):
    pipeline = PIPELINES[name]
    query, items = draw(pipeline, "test")
    for at, step in enumerate(pipeline.steps):
        for plant in PLANTS.values():
            faulty = plant(step, 0.3)
            if faulty is not None:
                said.append(execute(planted(pipeline, at, faulty).steps, query, items).outcomes)
print(sha256(repr(said).encode()).hexdigest())
"""
    answers = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(answers) == 1


def test_every_fault_changes_verdicts():
    """Each kind, at full intensity in each step that it fits, changes what happens to candidates."""
    found: Counter[str] = Counter()
    tried: Counter[str] = Counter()
    for pipeline in PIPELINES.values():
        for at, runs in enumerate(prefixes(pipeline, ["test-1"])):
            for name, plant in PLANTS.items():
                step = plant(pipeline.steps[at], 1.0)
                if step is not None:
                    tried[name] += 1
                    found[name] += share_at(pipeline.steps[at:], step, runs) > 0
    assert tried.keys() == PLANTS.keys()
    # Some fit a step where they do nothing, such as a lost field that no later step reads.
    assert {name: found[name] for name in PLANTS if found[name] < 0.4 * tried[name]} == {}


def test_strengths_hold_on_other_seeds():
    """What was calibrated changes about the stated share of fates in runs that it was not made on."""
    chosen = Random(3).sample(places(), 60)
    runs = {name: prefixes(PIPELINES[name], [f"test-{n}" for n in range(6)]) for name in PIPELINES}
    ratios = []
    for name, step, fault, strength, intensity in chosen:
        pipeline = PIPELINES[name]
        at = pipeline.step_at(step)
        faulty = PLANTS[fault](pipeline.steps[at], intensity)
        assert faulty is not None
        share = share_at(pipeline.steps[at:], faulty, runs[name][at])
        ratios.append(share / STRENGTHS[strength])
    near = [ratio for ratio in ratios if 1 / (NEAR * 1.5) <= ratio <= NEAR * 1.5]
    assert len(near) >= 0.85 * len(ratios), sorted(ratios)


def test_visibility_is_measured_against_the_twin():
    """A run is not seen beside itself; a field that is not filled is seen in its own step."""
    pipeline = PIPELINES["hiring"]
    habits = visibility.usual(pipeline, "test")
    query, items = draw(pipeline, "test-1")
    twin = execute(pipeline.steps, query, items).outcomes
    at = pipeline.step_at("seniority")
    assert visibility.seen(at, twin, twin, habits) == Seen(0.0, 0.0)
    faulty = PLANTS["attribute_missing"](pipeline.steps[at], 0.5)
    assert faulty is not None
    outcomes = execute(planted(pipeline, at, faulty).steps, query, items).outcomes
    assert visibility.seen(at, outcomes, twin, habits).visibility == "clear"


def test_a_plan_is_balanced_and_keeps_its_seeds_apart():
    """Half of the runs are healthy, all confounders occur, and no seed of tuning is one of reporting."""
    pipelines = list(PIPELINES.values())
    tune, report = (plan(pipelines, 12, f"{purpose}-1", load()) for purpose in ("tune", "report"))
    assert {trial.seed for trial in tune}.isdisjoint({trial.seed for trial in report})
    assert sum(trial.fault is None for trial in tune) == len(tune) / 2
    assert {trial.confounder for trial in tune} == CONFOUNDERS.keys()
    assert {trial.fault for trial in tune} - {None} == PLANTS.keys()
    assert tune == plan(pipelines, 12, "tune-1", load())


def test_scores_count_what_they_say():
    """Abstaining is a miss, forced answers count without it, and "outside" is an alarm but for sizes."""
    fault = Trial("p", "s", fault="crash", step="b", strength="faint")
    clear = Seen(9.0, 0.0)
    results = [
        Result(fault, clear, Reply("fault", ("b", "a"), 0.95)),
        Result(fault, clear, Reply("fault", ("a", "b"), 0.95)),
        Result(fault, clear, Reply("nothing_unusual", ("b",), 0.2)),
        Result(fault, clear, Reply("outside_baseline", ("a", "c", "d", "b"), None)),
        Result(Trial("p", "s"), None, Reply("fault", ("a",), 0.6)),
        Result(Trial("p", "s"), None, Reply("nothing_unusual", (), None)),
        Result(Trial("p", "s", "much_larger"), None, Reply("outside_baseline", (), None)),
        Result(Trial("p", "s", "traffic_mix"), None, Reply("outside_baseline", (), None)),
    ]

    def asked(result):
        return explained(result.reply)

    found = hits(results, asked)
    assert (found.n, found.top1.right, found.top3.right) == (4, 1, 2)
    assert (found.forced1.right, found.forced3.right) == (2, 3)
    alarms = false_alarms(results, asked)
    assert {name: share.right for name, share in alarms.items()} == {
        "none": 1,
        "much_larger": 0,
        "traffic_mix": 1,
        "all": 2,
    }
    assert [(one.low, one.right.right, one.right.n) for one in calibration(results)] == [
        (0.5, 0, 1),
        (0.95, 1, 2),
    ]


def test_a_better_answer_is_read_without_a_change():
    """Culprits with confidence and a conclusion, when the answer has them, are what is scored."""
    line = {"step": "a", "drop_ratio": 0.5, "baseline_drop_ratio": 0.1}
    answer = {
        "funnel": [line],
        "first_error": None,
        "suspect": {"step": "a"},
        "findings": [],
        "largest_deviation": None,
    }
    assert reply(answer)[:3] == ("fault", ("a",), None)
    better = answer | {
        "conclusion": "outside_baseline",
        "culprits": [
            {"step": "b", "confidence": 0.7, "suspicion": 5.0},
            {"step": "a", "confidence": 0.1, "suspicion": 2.0},
        ],
    }
    assert reply(better)[:3] == ("outside_baseline", ("b", "a"), 0.7)
    assert reply(better).largest_change == "a"


def test_answers_without_the_stack_are_the_same_every_time(tmp_path):
    """What is tuned on: crashes and lost candidates are named, and a second time the answers are equal."""
    kept = [tmp_path / name for name in ("one.jsonl", "two.jsonl")]
    for file in kept:
        command = [
            sys.executable,
            "-m",
            "benchmarks.faults",
            "--offline",
            "--pipelines",
            "mail",
            "--runs",
            "20",
        ]
        subprocess.run(
            [*command, "--baseline", "30", "--purpose", "tune", "--keep", str(file)],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            check=True,
        )
    assert kept[0].read_text() == kept[1].read_text()
    results = [json.loads(line) for line in kept[0].read_text().splitlines()]
    plain = [one for one in results if one["trial"]["fault"] in ("crash", "lost_candidates")]
    assert plain
    assert all(one["reply"]["ranking"][0] == one["trial"]["step"] for one in plain)
    assert {one["reply"]["conclusion"] for one in plain} == {"fault"}


def test_pools_name_a_faint_fault_that_one_run_hides():
    """Ten runs of one fault together name its step; ten healthy ones none; a second time the same."""
    intensity = load()["mail"]["clean"]["threshold_shift"]["faint"]
    trials = [
        Trial("mail", "test-1", "none", "threshold_shift", "clean", "faint", intensity),
        Trial("mail", "test-2"),
    ]

    def asked(runs):
        return list(answer_pools(trials, {"mail": PIPELINES["mail"]}, 30, "test", runs))

    assert {answer.reply.conclusion for answer in asked(1)} == {"nothing_unusual"}
    faulty, healthy = answers = asked(10)
    assert (faulty.reply.conclusion, faulty.reply.ranking[0]) == ("fault", "clean")
    assert healthy.reply.conclusion == "nothing_unusual"
    assert answers == asked(10)


def test_smoke_run_through_the_real_stack(tmp_path):
    """Client, collector, PostgreSQL and REST: faults that crash are named, and truth stays outside."""
    kept = tmp_path / "results.jsonl"
    command = [sys.executable, "-m", "benchmarks.faults", "--pipelines", "mail,categories", "--runs", "20"]
    run = subprocess.run(
        [*command, "--baseline", "20", "--keep", str(kept)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=SMOKE_DEADLINE_S,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert "40 faulty runs, 40 healthy" in run.stdout
    results = [json.loads(line) for line in kept.read_text().splitlines()]
    assert len(results) == 80
    crashed = [one for one in results if one["trial"]["fault"] == "crash"]
    assert crashed
    assert all(one["reply"]["first_error"] == one["trial"]["step"] for one in crashed)
    assert all(one["seen"]["own"] > visibility.LIMIT for one in crashed)
    again = subprocess.run(
        [*command, "--from", str(kept)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert again.stdout == run.stdout
