"""
Does the diff of two runs name the step where they part?

    python -m benchmarks.diff [--pipelines N | NAME,NAME] [--pairs 40] [--seed 1] [--sampled] [--json]

Each pair is a run of a pipeline of the fault bench (``benchmarks/faults``) and its twin: the same seed,
with a fault in one step. Both go through the client, a collector and PostgreSQL; then
``GET /runs/{twin}/diff/{faulty}`` is asked, the other way round, and the twin with itself. What is
true of a pair is measured in the pipeline itself: whether the faulty step recorded anything else.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from random import Random
from typing import Any, NamedTuple

import httpx

import xray_otel as xray
from benchmarks import servers
from benchmarks.faults.driving import observe
from benchmarks.faults.pipeline import Pipeline, draw, execute, planted
from benchmarks.faults.plants import PLANTS
from benchmarks.faults.registry import PIPELINES
from benchmarks.faults.strengths import load
from benchmarks.faults.trials import Trial, plan

_FLUSH_S = 120.0
_ASK_S = 60.0
_BATCH = 40
_TURNED = {"only_a": "only_b", "only_b": "only_a"}


class Pair(NamedTuple):
    """One pair, what is true of it and what was answered."""

    pipeline: str
    step: str
    fault: str
    recorded: str
    """``own``: the faulty step's record differs from its twin's; ``later``: that of a later one; ``none``."""
    named: str | None
    certain: bool
    possible: tuple[str, ...]
    same: bool
    mirrored: bool
    empty_with_itself: bool


def turned(value: Any) -> Any:
    """Return an answer of the API with a and b exchanged, without the sentences."""
    if isinstance(value, list):
        found = [turned(one) for one in value]
        return sorted(found) if all(isinstance(one, str) for one in found) else found
    if not isinstance(value, dict):
        return _TURNED.get(value, value) if isinstance(value, str) else value
    pairs = (("a", "b"), ("step_id_a", "step_id_b"), ("only_a", "only_b"))
    names = dict(pairs) | {other: one for one, other in pairs}
    return {names.get(k, k): turned(v) for k, v in value.items() if k not in ("summary", "text")}


def unturned(value: Any) -> Any:
    """Return an answer as ``turned`` twice does."""
    return turned(turned(value))


def main() -> None:
    """Read the options, make the pairs, report."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.diff",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--pipelines", default="", help="how many, or names separated by commas")
    parser.add_argument("--pairs", type=int, default=40, help="of each pipeline")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sampled", action="store_true", help="record a sample of the decisions only")
    parser.add_argument("--json", action="store_true", help="one line of JSON for each pair, no table")
    options = parser.parse_args()
    names = list(PIPELINES)
    if options.pipelines.isdecimal():
        names = names[: int(options.pipelines)]
    elif options.pipelines:
        names = options.pipelines.split(",")
    chosen = [PIPELINES[name] for name in names]
    trials = [one for one in plan(chosen, options.pairs, f"diff-{options.seed}", load()) if one.fault]
    Random(options.seed).shuffle(trials)
    found = list(_run(trials, "sampled" if options.sampled else "full"))
    if options.json:
        for pair in found:
            print(json.dumps(pair._asdict()))
    else:
        print("\n".join(report(found)))


def report(pairs: Sequence[Pair]) -> list[str]:
    """Return the figures."""
    own = [pair for pair in pairs if pair.recorded == "own"]
    later = [pair for pair in pairs if pair.recorded == "later"]
    none = [pair for pair in pairs if pair.recorded == "none"]
    named = sum(pair.named == pair.step for pair in own)
    among = sum(pair.step in pair.possible for pair in own)
    wrong = sum(pair.certain and pair.named != pair.step for pair in own + none)
    missed = Counter(pair.fault for pair in own if pair.named != pair.step)
    return [
        f"{len(pairs)} pairs of {len({pair.pipeline for pair in pairs})} pipelines",
        (
            f"the planted step's record differs: {len(own)}; named {_share(named, len(own))}, "
            f"among the possible steps {_share(among, len(own))}, another named for certain {wrong}"
        ),
        *([f"missed: {', '.join(f'{name} {n}' for name, n in missed.most_common())}"] if missed else []),
        (
            f"only later steps' records differ: {len(later)}; planted step among the possible ones "
            f"{_share(sum(pair.step in pair.possible for pair in later), len(later))}"
        ),
        f"no record differs: {len(none)}; answered so {sum(pair.named is None for pair in none)}",
        (
            f"the other way round the same: {_share(sum(p.mirrored for p in pairs), len(pairs))}; "
            f"a run with itself empty: {_share(sum(p.empty_with_itself for p in pairs), len(pairs))}"
        ),
    ]


def _share(right: int, of: int) -> str:
    return f"{right} of {of}" + (f" ({100 * right / of:.1f} %)" if of else "")


def _run(trials: Sequence[Trial], capture: str) -> Iterator[Pair]:
    with (
        tempfile.TemporaryDirectory(prefix="xray-bench-spool-") as spool,
        servers.postgres() as postgres,
        servers.whole(postgres.url) as server,
        httpx.Client(base_url=f"{server.api}/api/v1", timeout=_ASK_S, trust_env=False) as api,
    ):
        xray.configure(endpoint=server.otlp_http, spool_dir=spool, service_name="diff", capture="full")
        try:
            for start in range(0, len(trials), _BATCH):
                batch = trials[start : start + _BATCH]
                made = [(trial, *_make(trial, PIPELINES[trial.pipeline], capture)) for trial in batch]
                if not xray.flush(_FLUSH_S):
                    raise SystemExit(f"X-Ray did not take all runs within {_FLUSH_S:g} s")
                yield from (_ask(api, *one) for one in made)
                print(f"{start + len(batch)} of {len(trials)} pairs", file=sys.stderr, flush=True)
        finally:
            xray.shutdown()


def _make(trial: Trial, pipeline: Pipeline, capture: str) -> tuple[str, str, str]:
    """Run the twin and the faulty one; their ids, and where their records differ."""
    assert trial.fault is not None
    assert trial.step is not None
    at = pipeline.step_at(trial.step)
    step = PLANTS[trial.fault](pipeline.steps[at], trial.intensity)
    assert step is not None  # the plan holds only what fits
    query, items = draw(pipeline, trial.seed)
    watch = partial(observe, capture=capture)
    with xray.run(pipeline.name, version="1") as twin:
        one = execute(pipeline.steps, query, items, watch).outcomes
    with xray.run(pipeline.name, version="1") as run:
        other = execute(planted(pipeline, at, step).steps, query, items, watch).outcomes
    shown = [_recorded(a) != _recorded(b) for a, b in zip(one, other, strict=True)]
    recorded = "own" if shown[at] else "later" if any(shown) else "none"
    return twin.run_id, run.run_id, recorded


def _recorded(outcome: Any) -> Any:
    """What of an outcome is sent: all, but of the items that go on only the recorded fields."""
    fields = [[item.get(name) for item in outcome.out] for name in outcome.fields]
    sources = Counter(item.get("source") for item in outcome.out) if outcome.fields else None
    return outcome.rows, fields, sources, outcome.taken_in, outcome.metrics, outcome.error


def _ask(api: httpx.Client, trial: Trial, twin: str, faulty: str, recorded: str) -> Pair:
    def asked(a: str, b: str) -> Any:
        response = api.get(f"/runs/{a}/diff/{b}", params={"limit": 1000})
        if response.status_code != httpx.codes.OK:
            raise SystemExit(f"diff of {a} and {b}: HTTP {response.status_code} {response.text}")
        return response.json()

    answer, other, itself = asked(twin, faulty), asked(faulty, twin), asked(twin, twin)
    first = answer["first_divergence"]
    assert trial.fault is not None
    assert trial.step is not None
    return Pair(
        trial.pipeline,
        trial.step,
        trial.fault,
        recorded,
        named=None if first is None else first["step"],
        certain=first is not None and first["certain"],
        possible=() if first is None else tuple(first["possible_steps"]),
        same=answer["same"],
        mirrored=unturned(answer) == turned(other),
        empty_with_itself=itself["same"]
        and itself["first_divergence"] is None
        and not itself["differences"]
        and not itself["changed"],
    )


if __name__ == "__main__":
    main()
