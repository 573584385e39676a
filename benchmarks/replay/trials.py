"""Changes that are replayed and truly run, and what came of them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import xray_otel as xray
from api.replay.asking import understood
from api.replay.contrast import contrast
from api.replay.flip import Flip, smallest_flip
from api.replay.gather import Told, gather
from api.replay.result import Answer, replay
from benchmarks.replay.pipelines import Executed, Pipeline, asked, change, draw, execute, fates, record
from benchmarks.replay.steps import INDEPENDENT, PASSING, SIGNS, Setting, Step
from store.queries.errors import InvalidParameter
from store.reader import Reader

FLUSH_S = 120.0
_CHECKED = ("checks_all", "checks_in_turn", "single")
"""Kinds that record what each kept candidate was compared by, whatever ``records`` says."""


@dataclass
class Run:
    """A pipeline that was executed and recorded."""

    seed: str
    pipeline: Pipeline
    run_id: str
    executed: Executed


@dataclass
class Tally:
    """What came of the changes."""

    changes: int = 0
    refused: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    """Items by certainty."""
    wrong: list[str] = field(default_factory=list)
    """Certain answers that truly running contradicts."""
    assumed_wrong: int = 0
    by_kind: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """(kind, capture, whole or not): changes of one rule, by whether every verdict of the step is certain."""
    whole: Counter[bool] = field(default_factory=Counter)
    """Changes by whether the fate of every item is certain."""
    verdicts: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """(kind, capture, cause): verdicts of the changed step; cause: certain, or why it is not."""
    flips: Counter[str] = field(default_factory=Counter)

    def share(self, *kinds: str) -> tuple[float, float]:
        """
        Of changes of one rule of these kinds at full capture: those of which each verdict is certain, and
        the share of single verdicts that are.
        """
        changes, verdicts = Counter[str](), Counter[bool]()
        for (kind, capture, whole), n in self.by_kind.items():
            if kind in kinds and capture == "full":
                changes[whole] += n
        for (kind, capture, cause), n in self.verdicts.items():
            if kind in kinds and capture == "full":
                verdicts[cause == "certain"] += n
        return changes["whole"] / max(1, changes.total()), verdicts[True] / max(1, verdicts.total())


def recorded(seeds: Sequence[str]) -> list[Run]:
    """Executes and records a pipeline for each seed, and waits until all is delivered."""
    runs = []
    for number, seed in enumerate(seeds):
        pipeline = draw(seed)
        run_id, executed = record(pipeline)
        runs.append(Run(seed, pipeline, run_id, executed))
        if number % 20 == 19:
            assert xray.flush(FLUSH_S), "the collector did not take the runs"
    assert xray.flush(FLUSH_S), "the collector did not take the runs"
    return runs


def told_of(reader: Reader, run: Run) -> Told:
    """What the server knows of the run."""
    told = gather(reader, run.run_id)
    assert told is not None, run.seed
    assert len(told.steps) == len(run.pipeline.steps), run.seed
    return told


def try_changes(run: Run, told: Told, count: int, tally: Tally) -> None:
    """Replays changes of a run and holds them against running it again."""
    random = Random(f"{run.seed} changes")
    if not any(step.changeable for step in run.pipeline.steps):
        return
    for _ in range(count):
        changed = change(run.pipeline, run.executed, random)
        tally.changes += 1
        try:
            question = understood({"changes": asked(changed)}, told)
        except InvalidParameter:
            tally.refused += 1
            continue
        answer = replay(told.steps, question.changes)
        truth = execute(run.pipeline, changed)
        tally.wrong += [f"{run.seed}: {asked(changed)}: {text}" for text in disagreements(answer, truth)]
        expected = fates(truth)
        tally.assumed_wrong += sum(
            expected[item.item_id] != item.now
            for item in answer.items.values()
            if item.certainty == "assumed"
        )
        tally.answers.update(item.certainty for item in answer.items.values())
        tally.whole[all(item.certainty == "certain" for item in answer.items.values())] += 1
        if len(changed) == 1:
            _note_kind(run, answer, changed, tally)


def disagreements(answer: Answer, truth: Executed) -> Iterator[str]:
    """What the answer is certain of and is not so."""
    expected = fates(truth)
    for item in answer.items.values():
        if item.certainty == "certain" and expected.get(item.item_id) != item.now:
            yield f"{item.item_id} is {expected.get(item.item_id)}, not {item.now}"
    for line in answer.steps:
        out = sum(row.verdict in PASSING for row in truth[line.step])
        if out < line.low or (line.high is not None and out > line.high):
            yield f"{line.step} lets {out} go on, not {line.low} to {line.high}"


def _note_kind(
    run: Run, answer: Answer, changed: Mapping[tuple[str, str | None], Setting], tally: Tally
) -> None:
    [(name, _)] = changed
    step = next(step for step in run.pipeline.steps if step.name == name)
    line = next(line for line in answer.steps if line.step == name)
    whole = "whole" if line.low == line.high else "open"
    kind = step.kind
    if kind in INDEPENDENT and (
        any(rule.form not in ("compare", "band") for rule in step.rules)
        or (kind not in _CHECKED and step.records != "all")
    ):
        kind = f"{kind}, told less"
    tally.by_kind[kind, run.pipeline.capture, whole] += 1
    open_ones = Counter(line.unknown)
    open_ones["certain"] = len(run.executed[name]) - open_ones.total()
    tally.verdicts.update({(kind, run.pipeline.capture, cause): n for cause, n in open_ones.items()})


def try_flips(run: Run, told: Told, count: int, tally: Tally) -> None:
    """Asks for the smallest change that turns verdicts, makes it, and looks for a smaller one."""
    random = Random(f"{run.seed} flips")
    places = [
        (step, row) for step in run.pipeline.steps for row in run.executed[step.name] if step.changeable
    ]
    for step, row in random.sample(places, min(count, len(places))):
        [facts] = told.named(step.name)
        found = smallest_flip(told.steps, facts, row.item.id)
        if not isinstance(found, Flip):
            tally.flips["none"] += 1
            continue
        tally.flips[found.certainty] += 1
        rule = found.rule if found.change.top_k is None else None
        if _passes(run, step, row.item.id, _made(found)) is not found.passes:
            if found.certainty == "certain":
                tally.wrong.append(f"{run.seed}: {found} does not turn it")
        elif found.certainty == "certain" and (smaller := _smaller(run, step, row.item.id, rule, found)):
            tally.wrong.append(f"{run.seed}: {found} and {smaller} is smaller")


def _made(flip: Flip) -> dict[tuple[str, str | None], Setting]:
    change = flip.change
    return {(flip.step, change.rule): Setting(change.threshold, change.scale, change.remove, change.top_k)}


def _smaller(run: Run, step: Step, item: str, rule: str | None, flip: Flip) -> float | None:
    """A threshold nearer to the present one that turns the verdict, of all that could."""
    if flip.change.scale is not None:
        return None
    if rule is None:
        numbers: list[Any] = list(range(len(run.executed[step.name]) + 1))
        options = [(number, Setting(top_k=number)) for number in numbers]
    else:
        [known] = [one for one in step.rules if one.name == rule]
        near: set[float] = set()
        for row in run.executed[step.name]:
            value: Any = row.value if step.kind == "quota" else known.observed(row.item)
            if type(value) in (int, float) and not math.isnan(value):
                near |= {value, math.nextafter(value, -math.inf), math.nextafter(value, math.inf)}
        options = [(threshold, Setting(threshold=threshold)) for threshold in sorted(near)]
    size = abs(flip.after - flip.before)
    # Where the record leaves open which side the limit itself is on, the next double has to do.
    allowed = (
        abs(math.nextafter(flip.after, flip.before) - flip.before) if flip.comparator not in SIGNS else size
    )
    for value, setting in options:
        smaller = abs(value - flip.before) < allowed
        if smaller and _passes(run, step, item, {(step.name, rule): setting}) is flip.passes:
            return float(value)
    return None


def _passes(
    run: Run, step: Step, item: str, changed: Mapping[tuple[str, str | None], Setting]
) -> bool | None:
    rows = [row for row in execute(run.pipeline, changed)[step.name] if row.item.id == item]
    return rows[0].verdict in PASSING if len(rows) == 1 else None


def try_contrasts(run: Run, told: Told, count: int, tally: Tally) -> None:
    """Holds items against each other, and the answers against what was decided."""
    random = Random(f"{run.seed} contrasts")
    known = sorted({row.item.id for rows in run.executed.values() for row in rows})
    for _ in range(count):
        item, over = random.sample(known, 2)
        found = contrast(told.steps, item, over)
        if found.kind != "parted" or found.step is None:
            continue
        lost = [
            bool(said := [row.verdict for row in run.executed[found.step.name] if row.item.id == name])
            and not any(verdict in PASSING for verdict in said)
            for name in (item, over)
        ]
        if lost.count(True) != 1:
            tally.wrong.append(f"{run.seed}: {item} and {over} do not part at {found.step.name}")
