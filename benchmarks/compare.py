"""
Does the comparison of two groups of runs find what is planted, and nothing else?

    python -m benchmarks.compare [--sets 200] [--runs 600] [--seed 1]
    python -m benchmarks.compare --speed 100000

Sets of runs are made with known truth: a pipeline of six steps whose shares vary from run to run and from
day to day, tags and metrics that mean nothing. In a null set the bad runs are like the others but for
their day; in the others three patterns are planted, each in a step or tag of its own. A false discovery
is a significant figure of a step or tag in which nothing was planted.

``--speed`` fills a database with runs and asks ``GET /compare`` of a server over it.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from random import Random
from typing import NamedTuple
from uuid import UUID

import httpx
import psycopg

from api.compare.features import Feature, features
from api.compare.groups import LEVEL, compare_groups
from api.compare.matching import match
from benchmarks import servers
from store.queries.groups import Groups, Member, RunFacts, StepFacts

STEPS = ("find", "by_type", "by_price", "relevance", "judge", "choose")
REASONS = ("too_dear", "too_cheap", "wrong_type", "no_stock", "duplicate", "blocked")
_DAYS = 7
_FIRST_DAY = date(2026, 1, 5)
_BAD_SHARE = 0.2
KINDS = ("reason", "error", "metric", "tag", "model", "new_reason")


class Plant(NamedTuple):
    """What is otherwise in the bad runs."""

    kind: str
    place: str
    """Name of the step or tag."""


class Set(NamedTuple):
    """One set of runs."""

    plants: Sequence[Plant]
    bad: frozenset[UUID]
    members: Sequence[Member]
    runs: Sequence[RunFacts]
    steps: Sequence[StepFacts]


class Found(NamedTuple):
    """What the comparison said about a set."""

    right: int
    """Planted patterns with a significant figure."""
    planted: int
    false: int
    """Significant figures where nothing was planted."""
    significant: int


def make_set(seed: str, runs: int, *, null: bool) -> Set:
    """Make one set; the same seed gives the same."""
    random = Random(seed)
    places = random.sample(STEPS[1:5], 2)
    kinds = random.sample([kind for kind in KINDS if kind != "tag"], 2)
    plants = (
        [] if null else [Plant(*one) for one in zip(kinds, places, strict=True)] + [Plant("tag", "tag-0")]
    )
    # Days differ in their traffic and in how many runs are bad: whoever holds days together is misled.
    moods = [{step: random.gauss(0.0, 0.3) for step in STEPS} for _ in range(_DAYS)]
    members, facts, steps, bad = [], [], [], set()
    for _ in range(runs):
        key = UUID(int=random.getrandbits(128))
        day = random.randrange(_DAYS)
        is_bad = random.random() < _BAD_SHARE * (0.5 + day / _DAYS)
        if is_bad:
            bad.add(key)
        own = plants if is_bad else []
        members.append(Member(key, _FIRST_DAY, "shop", "1", _FIRST_DAY + timedelta(day)))
        tags = {f"tag-{n}": random.choice("abcd") for n in range(5)}
        if own and random.random() < 0.3:
            tags["tag-0"] = "a"
        facts.append(RunFacts(key, "shop", "1", "completed", None, "app", None, tags, random.gauss(900, 90)))
        steps += [_step(random, key, name, moods[day][name], own) for name in STEPS]
    return Set(plants, frozenset(bad), members, facts, steps)


def _step(random: Random, key: UUID, name: str, mood: float, own: Sequence[Plant]) -> StepFacts:
    """One execution; its shares are over-dispersed, as those of real runs are."""
    kinds = {plant.kind for plant in own if plant.place == name}
    taken_in = max(5, round(120 * 2 ** random.gauss(0, 0.6)))
    counts = []
    for number, _ in enumerate(REASONS):
        usual = 0.12 / (number + 1) * 2.718 ** (mood + random.gauss(0, 0.5))
        if "reason" in kinds and number == 1:
            usual *= 1.8
        counts.append(min(taken_in, sum(random.random() < usual for _ in range(taken_in))))
    codes = list(REASONS)
    if "new_reason" in kinds and random.random() < 0.25:
        codes, counts = [*codes, "unheard_of"], [*counts, 1 + random.randrange(5)]
    eliminated = min(taken_in, sum(counts))
    failed = random.random() < (0.14 if "error" in kinds else 0.02)
    model = "large" if random.random() < (0.75 if "model" in kinds else 0.5) else "small"
    recall = random.gauss(0.8, 0.1) - (0.05 if "metric" in kinds else 0.0)
    values = dict.fromkeys(StepFacts._fields)
    return StepFacts(
        **values
        | {  # type: ignore[arg-type]  # named as its fields
            "run_key": key,
            "name": name,
            "step_type": "filter",
            "status": "error" if failed else "ok",
            "candidates_in": taken_in,
            "candidates_out": taken_in - eliminated,
            "drop_ratio": eliminated / taken_in,
            "duration_ms": random.lognormvariate(2, 0.5),
            "kept": taken_in - eliminated,
            "eliminated": eliminated,
            "reason_codes": codes,
            "reason_counts": counts,
            "model": model,
            "metrics": {"recall": recall, "noise": random.random()},
            "fields": {"price": {"missing": random.betavariate(1, 20), "mean": random.gauss(50, 9)}},
        }
    )


def judge(made: Set) -> Found:
    """Compare the groups of a set, and hold the answer against what was planted."""
    bad = [member for member in made.members if member.run_key in made.bad]
    good = [member for member in made.members if member.run_key not in made.bad]
    matched = match(Groups(bad, good, len(bad), len(good), 0))
    chosen = matched.strata.keys()
    compared = compare_groups(
        [member.run_key for member in matched.bad],
        [member.run_key for member in matched.good],
        matched.strata,
        features(
            [run for run in made.runs if run.run_key in chosen],
            [step for step in made.steps if step.run_key in chosen],
        ),
        defining=(),
    )
    called = [finding.feature for finding in compared.findings if finding.significant]
    places = {plant.place for plant in made.plants}
    return Found(
        right=sum(any(_shows(plant, feature) for feature in called) for plant in made.plants),
        planted=len(made.plants),
        false=sum(_place(feature) not in places for feature in called),
        significant=len(called),
    )


def _place(feature: Feature) -> str:
    return feature.step or feature.field.removeprefix("tag.")


def _shows(plant: Plant, feature: Feature) -> bool:
    """Whether the figure is the planted one itself, not one that follows from it."""
    field = {
        "reason": f"reason.{REASONS[1]}",
        "new_reason": "reason.unheard_of",
        "error": "status",
        "metric": "metric.recall",
        "model": "model",
        "tag": f"tag.{plant.place}",
    }[plant.kind]
    return feature.field == field and _place(feature) == plant.place


def report(sets: int, runs: int, seed: int) -> list[str]:
    """Return the figures."""
    nulls = [judge(make_set(f"{seed}-null-{n}", runs, null=True)) for n in range(sets)]
    planted = [judge(make_set(f"{seed}-planted-{n}", runs, null=False)) for n in range(sets)]
    alarms = sum(found.false > 0 for found in nulls)
    recall = sum(found.right for found in planted) / max(1, sum(found.planted for found in planted))
    false = statistics.fmean(found.false / max(1, found.significant) for found in planted)
    return [
        (
            f"{sets} null sets of {runs} runs: {alarms} with a false discovery ({100 * alarms / sets:.1f} %, "
            f"stated {100 * LEVEL:g} %)"
        ),
        (
            f"{sets} sets with three patterns: recall {100 * recall:.1f} %, false discoveries "
            f"{100 * false:.1f} % of what is called significant"
        ),
    ]


def speed(runs: int) -> Iterator[str]:
    """Fill a database, ask, and return the times."""
    with (
        tempfile.TemporaryDirectory(prefix="xray-bench-"),
        servers.postgres() as postgres,
        servers.whole(postgres.url) as server,
        httpx.Client(base_url=f"{server.api}/api/v1", timeout=60.0, trust_env=False) as api,
    ):
        # The writer makes the partition of this week with the first step.
        step = {"type": "step_end", "step_id": "s1", "name": "s1", "status": "ok"}
        api.post("/runs", json={"run_id": "first", "pipeline": "first"}).raise_for_status()
        api.post("/runs/first/events", json={"events": [step]}).raise_for_status()
        with psycopg.connect(postgres.url, autocommit=True) as database:
            _fill(database, runs)
        asked = {
            "by outcome": {"bad": 'outcome = "bad"'},
            "by a step": {"bad": 'step.name = "s3" and step.drop_ratio > 0.62'},
            "by version": {"bad": 'pipeline_version = "2"', "good": 'pipeline_version = "1"'},
            "by time": {"bad": 'started >= "2026-01-08T00:00:00Z"'},
        }
        for name, parameters in asked.items():
            took, answers = [], set()
            for _ in range(5):
                started = time.monotonic()
                response = api.get("/compare", params=parameters | {"pipeline": "shop"})
                took.append(time.monotonic() - started)
                answers.add(response.raise_for_status().content)
            summary = response.json()["summary"]
            yield (
                f"{name}: {statistics.median(took):.2f} s (at most {max(took):.2f} s), "
                f"{len(answers)} distinct answer; {summary[0]}"
            )


def _fill(database: psycopg.Connection, runs: int) -> None:
    """Runs of six steps over seven days, of which one in ten is bad."""
    database.execute(
        """
        INSERT INTO runs (run_key, run_id, run_day, pipeline, pipeline_version, tags, outcome, started_at,
                          ended_at, duration_ms, terminal_status, run_started_at, end_sent_ns, content_hash,
                          deliveries, received_at, last_received_at)
        SELECT md5('run-' || n)::uuid, 'run-' || n, CURRENT_DATE, 'shop',
               CASE WHEN n %% 4 = 0 THEN '2' ELSE '1' END, jsonb_build_object('market', chr(65 + n %% 5)),
               CASE WHEN n %% 10 = 3 THEN 'bad' ELSE 'good' END,
               at, at + interval '1 s', 1000, 'completed', at, 1, 1, 1, now(), now()
        FROM (SELECT n, timestamptz '2026-01-05 00:00Z' + n * interval '6 s' AS at
              FROM generate_series(1, %s) AS n) AS numbered
        """,
        (runs,),
    )
    database.execute(
        """
        INSERT INTO steps (run_key, step_id, attempt_key, run_day, attempt, name, step_type, status,
                           started_at, ended_at, duration_ms, candidates_in, candidates_out, drop_ratio,
                           kept, eliminated, reason_codes, reason_counts, metrics, inferred, end_sent_ns,
                           content_hash, deliveries, received_at)
        SELECT run_key, 's' || step, '1', run_day, 1, 's' || step, 'filter', 'ok',
               started_at + step * interval '100 ms', started_at + step * interval '110 ms', 10, 100,
               100 - gone, gone / 100.0, 100 - gone, gone, ARRAY['too_dear', 'wrong_type', 'no_stock'],
               ARRAY[gone / 2, gone - gone / 2, 0], jsonb_build_object('recall', random()), false, 1, 1, 1,
               now()
        FROM (SELECT runs.*, step, 20 + (random() * 40)::int
                     + CASE WHEN outcome = 'bad' AND step = 3 THEN 15 ELSE 0 END AS gone
              FROM runs, generate_series(1, 6) AS step WHERE pipeline = 'shop') AS made
        """
    )
    database.execute("ANALYZE")


def main() -> None:
    """Read the options, measure, report."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.compare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--sets", type=int, default=200, help="with patterns planted, and without")
    parser.add_argument("--runs", type=int, default=600, help="of each set")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--speed", type=int, metavar="RUNS", help="measure times over so many instead")
    options = parser.parse_args()
    for line in speed(options.speed) if options.speed else report(options.sets, options.runs, options.seed):
        print(line, flush=True)


if __name__ == "__main__":
    main()
