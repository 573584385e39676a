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
from api.replay.engine import rerun
from api.replay.facts import Change
from api.replay.flip import Flip, smallest_flip
from api.replay.gather import Told, gather
from api.replay.result import Answer, replay
from benchmarks.replay.kinds import INDEPENDENT
from benchmarks.replay.pipelines import Executed, Pipeline, asked, change, draw, execute, fates, record
from benchmarks.replay.steps import PASSING, SIGNS, Setting, Step
from store.queries.errors import InvalidParameter
from store.reader import Reader

FLUSH_S = 120.0


@dataclass
class Run:
    """A pipeline that was executed and recorded."""

    seed: str
    pipeline: Pipeline
    run_id: str
    executed: Executed


@dataclass
class Share:
    """How much of what changes of one rule do to its step is certain."""

    changes: int = 0
    whole: int = 0
    """Those of which every verdict of the step is certain."""
    turning: int = 0
    """Those that truly turn a verdict."""
    turned: int = 0
    """Those of them of which each verdict that turns is certain."""
    verdicts: Counter[str] = field(default_factory=Counter)
    """Of all candidates: ``certain``, or why not."""

    def add(self, other: Share) -> None:
        """Take up others."""
        self.changes += other.changes
        self.whole += other.whole
        self.turning += other.turning
        self.turned += other.turned
        self.verdicts += other.verdicts

    def __str__(self) -> str:
        def share(part: int, of: int) -> str:
            return f"{part / of:.1%}" if of else "-"

        return (
            f"every verdict in {share(self.whole, self.changes)} of {self.changes} changes, "
            f"each that turns in {share(self.turned, self.turning)} of {self.turning}, "
            f"{share(self.verdicts['certain'], self.verdicts.total())} of verdicts"
        )


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
    whole: Counter[bool] = field(default_factory=Counter)
    """Changes by whether the fate of every item is certain."""
    filters: dict[tuple[str, str, str], Share] = field(default_factory=dict)
    """(recorded as advised or as found, kind, capture): of changes of one rule of such a step."""
    flips: Counter[str] = field(default_factory=Counter)

    def share(self, how: str, *kinds: str) -> Share:
        """Of changes of steps of these kinds at full capture, recorded so (``""``: either way)."""
        found = Share()
        for (recorded, kind, capture), share in self.filters.items():
            if kind in kinds and capture == "full" and how in ("", recorded):
                found.add(share)
        return found


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
            _note_filter(run, told, question.changes, truth, tally)


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


def _note_filter(run: Run, told: Told, changes: Sequence[Change], truth: Executed, tally: Tally) -> None:
    """How much of the changed step's verdicts is certain; those of filters stand in the slate's order."""
    [facts] = [step for step in told.steps if step.step_id == changes[0].step_id]
    step = next(step for step in run.pipeline.steps if step.name == facts.name)
    if step.kind not in INDEPENDENT:
        return
    said = rerun(told.steps, changes, assume=False).steps[facts.step_id].verdicts
    rows = list(zip(run.executed[step.name], truth[step.name], strict=True))
    turns = [before.verdict != after.verdict for before, after in rows]
    share = Share(changes=1, turning=int(any(turns)))
    if run.pipeline.capture == "full":
        for number, (verdict, (_, after)) in enumerate(zip(said, rows, strict=True)):
            if verdict.word is not None and verdict.word != after.verdict:
                tally.wrong.append(f"{run.seed}: {changes}: {number} is {after.verdict}, not {verdict.word}")
        share.turned = int(any(turns) and all(v.word for v, t in zip(said, turns, strict=True) if t))
    share.whole = int(all(verdict.word is not None for verdict in said))
    share.verdicts.update("certain" if v.word is not None else v.cause or "" for v in said)
    how = "advised" if step.advised else "found"
    tally.filters.setdefault((how, step.kind, run.pipeline.capture), Share()).add(share)


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
    """
    A threshold nearer to the present one that turns the verdict, of all that could: doubles, and the item's
    own value. Whole numbers between two doubles, as others may have, are not meant (``api/replay/flip.py``).
    """
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
                double = float(value)
                near |= {double, math.nextafter(double, -math.inf), math.nextafter(double, math.inf)}
                if row.item.id == item:
                    near.add(value)
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
    said = {row.verdict in PASSING for row in rows}  # several where a sample recorded one of them
    return said.pop() if len(said) == 1 else None


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
