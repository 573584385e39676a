"""
``python -m tests.acceptance.audited_pipelines --first 0 --runs 50 [--capture sampled]``

Pipelines of random shape that really pass items on, recorded by the real client. In some runs one step
does not record k of its items: one JSON line per run says which. The rest of the run is as it was.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import threading
from collections.abc import Sequence
from typing import Any

import xray_otel as xray

ALL = 1_000_000
HIDDEN = (0, 0, 1, 2, 7, ALL)
"""How many items a step does not record."""
FLUSHED_RUNS, DELIVERED_WITHIN_S = 20, 120.0
LINEAR = ("filter", "loop", "several", "rank", "dedup", "reserve", "retry", "nested", "batches", "custom")
CLEAN_ONLY = ("copies", "unsaid_branches", "rounds", "look", "split", "failed", "again", "more", "relaxed")
"""Shapes in which a hidden item may look as if it had gone another way."""


class Pipeline:
    """One run of a shape that its seed decides."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self.hidden: set[str] = set()
        self._hide = self._rng.choice(HIDDEN)
        shapes = LINEAR if self._hide else LINEAR + CLEAN_ONLY
        self.shapes = [self._rng.choice(shapes) for _ in range(self._rng.randint(1, 5))]
        if self._hide == 0 and "reserve" in self.shapes:
            self.shapes.append("refill")
        if self._rng.random() < 0.3:
            self.shapes.append("routes")
        self._victim = self._rng.randrange(-1, len(self.shapes) + 1)
        """Place of the step that hides: -1 the search, the last one the selection."""
        if self._victim == -1 and self.shapes[0] == "custom":
            self._victim = 0  # a step that may add items tells nothing about its source
        self._fresh = 0
        self._held: list[str] = []
        self._step: Any = None

    def run(self) -> str:
        """Execute it; returns the run's id."""
        with xray.run("audited", version="1") as run:
            items = self._search("search", self._rng.choice((3, 20, 60, 300)), place=-1)
            for place, shape in enumerate(self.shapes):
                items = getattr(self, f"_{shape}")(f"{shape}_{place}", items, place)
            self._select("select", items, len(self.shapes))
            return run.run_id

    def _new(self, count: int) -> list[str]:
        self._fresh += count
        return [f"i{number}" for number in range(self._fresh - count, self._fresh)]

    def _seen(self, items: Sequence[str], place: int) -> set[str]:
        """What the step at this place records of the items that it judges."""
        if place != self._victim or not self._hide or not items:
            return set(items)
        if self._hide >= len(set(items)) or place == -1:
            # A source that records nothing has no record to be held against.
            count = min(self._hide, len(set(items)) if place >= 0 else len(items) // 2)
        else:
            count = self._hide
        chosen = self._rng.sample(sorted(set(items)), count)
        self.hidden |= set(chosen)
        return set(items) - set(chosen)

    def _record(self, step: xray.Step, items: Sequence[str], letters: str, place: int) -> None:
        seen = self._seen(items, place)
        pairs = [(item, letter) for item, letter in zip(items, letters, strict=True) if item in seen]
        step.record([item for item, _ in pairs], "".join(letter for _, letter in pairs))
        if self._rng.random() < 0.4 and len(set(items)) == len(items):
            step.counts(in_=len(items), out=sum(letter in "KSW" for letter in letters))

    def _judge(
        self, name: str, items: Sequence[str], place: int, passing: float = 0.7, **arguments: Any
    ) -> list[str]:
        """A filter by chance."""
        with xray.step(name, type="filter", **arguments) as step:
            letters = "".join("K" if self._rng.random() < passing else "E" for _ in items)
            self._record(step, items, letters, place)
            self._step = step
        return [item for item, letter in zip(items, letters, strict=True) if letter == "K"]

    def _search(self, name: str, count: int, place: int = -2) -> list[str]:
        found = self._new(count)
        with xray.step(name, type="search") as step:
            seen = self._seen(found, place)
            step.record([item for item in found if item in seen], "kept")
            self._step = step
        return found

    def _filter(self, name: str, items: list[str], place: int) -> list[str]:
        return self._judge(name, items, place)

    def _loop(self, name: str, items: list[str], place: int) -> list[str]:
        """One call per item, in an order of its own."""
        shuffled = self._rng.sample(items, len(items))
        kept = []
        with xray.step(name, type="filter") as step:
            seen = self._seen(shuffled, place)
            step.record([], "")
            for item in shuffled:
                if self._rng.random() < 0.6:
                    kept.append(item)
                    if item in seen:
                        step.accept(item, "good")
                elif item in seen:
                    step.reject(item, "bad", value=1, threshold=0)
        return kept

    def _several(self, name: str, items: list[str], place: int) -> list[str]:
        """Three rules, each of them a decision; the first that refuses ends it."""
        kept = []
        with xray.step(name, type="filter") as step:
            seen = self._seen(items, place)
            step.record([], "")
            for item in items:
                for rule in ("price", "brand", "stock"):
                    good = self._rng.random() < 0.9
                    if item in seen:
                        (step.accept if good else step.reject)(item, rule)
                    if not good:
                        break
                else:
                    kept.append(item)
        return kept

    def _rank(self, name: str, items: list[str], place: int) -> list[str]:
        ordered = self._rng.sample(items, len(items))
        top = max(1, len(items) * 2 // 3)
        with xray.step(name, type="rank") as step:
            self._record(
                step, ordered, "".join("K" if at < top else "N" for at in range(len(ordered))), place
            )
        return ordered[:top]

    def _dedup(self, name: str, items: list[str], place: int) -> list[str]:
        kept: list[str] = []
        with xray.step(name, type="filter") as step:
            seen = self._seen(items, place)
            step.record([], "")
            for item in items:
                if kept and self._rng.random() < 0.2:
                    if item in seen:
                        step.merge(item, into=kept[0])
                else:
                    kept.append(item)
                    if item in seen:
                        step.accept(item)
        return kept

    def _reserve(self, name: str, items: list[str], place: int) -> list[str]:
        with xray.step(name, type="filter") as step:
            letters = "".join(self._rng.choice("KKKED") for _ in items)
            self._record(step, items, letters, place)
        self._held = [item for item, letter in zip(items, letters, strict=True) if letter == "D"]
        return [item for item, letter in zip(items, letters, strict=True) if letter == "K"]

    def _refill(self, name: str, items: list[str], place: int) -> list[str]:
        """Items of the reserve come back."""
        return self._judge(name, [*items, *self._held], place)

    def _retry(self, name: str, items: list[str], place: int) -> list[str]:
        """The first attempt fails halfway."""
        try:
            with xray.step(name, type="filter", step_id=name, attempt=1) as step:
                step.accept_all(items[: len(items) // 2])
                raise TimeoutError
        except TimeoutError:
            return self._judge(name, items, place, step_id=name, attempt=2)

    def _nested(self, name: str, items: list[str], place: int) -> list[str]:
        """A step around two others; the inner ones record, and the outer one sums up."""
        with xray.step(name, type="filter") as outer:
            inner = self._judge(f"{name}_inner", items, place)
            kept = self._judge(f"{name}_last", inner, -2)
            passed = set(kept)
            outer.record(items, "".join("K" if item in passed else "E" for item in items))
        return kept

    def _batches(self, name: str, items: list[str], place: int) -> list[str]:
        """Several executions of one step, each on a part, one after the other or at once."""
        size = max(1, len(items) // 3)
        parts = [items[start : start + size] for start in range(0, len(items), size)]
        victim = self._rng.randrange(len(parts)) if parts else 0
        kept: list[str] = []
        for number, part in enumerate(parts):
            kept += self._judge(name, part, place if number == victim else -2, passing=0.9)
        return kept

    def _routes(self, name: str, items: list[str], place: int) -> list[str]:
        """Each item goes to one of two branches; a join takes in both."""
        with xray.step(f"{name}_gate", type="filter") as source:
            source.record(items, "K" * len(items))
        left = [item for item in items if hash_of(item) % 2]
        right = [item for item in items if not hash_of(item) % 2]
        first = self._judge(f"{name}_left", left, place, parents=[source])
        one = self._step
        second = self._judge(f"{name}_right", right, -2, parents=[source])
        with xray.step(f"{name}_join", type="filter", parents=[one, self._step]) as join:
            self._record(join, [*first, *second], "K" * len([*first, *second]), -2)
        return [*first, *second]

    def _custom(self, name: str, items: list[str], place: int) -> list[str]:
        """Enriches each item and passes it on."""
        with xray.step(name, type="custom") as step:
            self._record(step, items, "K" * len(items), place)
        return items

    def _copies(self, name: str, items: list[str], place: int) -> list[str]:
        """Two branches judge the same items; a join takes in what both let pass."""
        with xray.step(f"{name}_gate", type="filter") as source:
            source.record(items, "K" * len(items))
        kept = set(self._judge(f"{name}_a", items, -2, parents=[source]))
        one = self._step
        kept &= set(self._judge(f"{name}_b", items, -2, parents=[source]))
        both = [item for item in items if item in kept]
        return self._judge(f"{name}_join", both, -2, parents=[one, self._step])

    def _unsaid_branches(self, name: str, items: list[str], place: int) -> list[str]:
        """Branches at the same time that declare no parents; each takes a part."""
        barrier = threading.Barrier(2, timeout=60)
        kept: dict[str, list[str]] = {}

        def branch(side: str, part: list[str], letters: str) -> None:
            with run.step(f"{name}_{side}", type="filter") as step:
                barrier.wait()
                step.record(part, letters)
                barrier.wait()
            kept[side] = [item for item, letter in zip(part, letters, strict=True) if letter == "K"]

        run = xray.current_run()
        half = len(items) // 2
        threads = []
        for side, part in (("left", items[:half]), ("right", items[half:])):
            letters = "".join(self._rng.choice("KKE") for _ in part)
            threads.append(threading.Thread(target=branch, args=(side, part, letters)))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return self._judge(f"{name}_join", [*kept["left"], *kept["right"]], -2)

    def _rounds(self, name: str, items: list[str], place: int) -> list[str]:
        """The same step again on those that passed it."""
        for _ in range(3):
            items = self._judge(name, items, -2, passing=0.9)
        return items

    def _relaxed(self, name: str, items: list[str], place: int) -> list[str]:
        """The same step again on all, with a weaker rule."""
        self._judge(name, items, -2, passing=0.2)
        return self._judge(name, items, -2, passing=0.8)

    def _look(self, name: str, items: list[str], place: int) -> list[str]:
        """A model sees the first five; all go on."""
        with xray.step(name, type="llm") as step:
            step.record(items[:5], "scored")
        with xray.step(f"{name}_silent", type="llm"):
            pass
        return items

    def _split(self, name: str, items: list[str], place: int) -> list[str]:
        """Each item becomes two others."""
        parts = [f"{item}{half}" for item in items for half in "ab"]
        with xray.step(name, type="custom") as step:
            step.record(parts, "kept")
            if self._rng.random() < 0.5:
                step.counts(in_=len(items), out=len(parts))
        return parts

    def _failed(self, name: str, items: list[str], place: int) -> list[str]:
        """A step fails halfway, and the pipeline goes on without it."""
        try:
            with xray.step(name, type="filter") as step:
                step.reject_all(items[: len(items) // 3], "slow")
                raise TimeoutError
        except TimeoutError:
            return items

    def _again(self, name: str, items: list[str], place: int) -> list[str]:
        """A step fails and is done again as a step of its own."""
        self._failed(name, items, place)
        return self._judge(name, items, -2)

    def _more(self, name: str, items: list[str], place: int) -> list[str]:
        """A search in the middle adds candidates."""
        return [*items, *self._search(name, 10)]

    def _select(self, name: str, items: list[str], place: int) -> None:
        with xray.step(name, type="select") as step:
            letters = "W" * min(1, len(items)) + "N" * (len(items) - 1)
            self._record(step, items, letters, place)


def hash_of(item: str) -> int:
    """The same in all processes."""
    return sum(item.encode())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--first", type=int, required=True)
    parser.add_argument("--runs", type=int, required=True)
    parser.add_argument("--capture", default="full")
    options = parser.parse_args()
    xray.configure(service_name="audited", capture=options.capture)
    for seed in range(options.first, options.first + options.runs):
        pipeline = Pipeline(seed)
        run_id = pipeline.run()
        hidden = sorted(pipeline.hidden)
        told = {"run_id": run_id, "seed": seed, "shapes": pipeline.shapes, "hidden": hidden}
        sys.stdout.write(json.dumps(told) + "\n")
        if seed % FLUSHED_RUNS == 0:
            xray.flush(DELIVERED_WITHIN_S)
    xray.shutdown(DELIVERED_WITHIN_S)


if __name__ == "__main__":
    main()
