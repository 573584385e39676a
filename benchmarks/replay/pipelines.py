"""Draws pipelines, executes them, records them through the client, and changes their rules."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any, Literal

import xray_otel as xray
from benchmarks.replay.kinds import judge, score_of
from benchmarks.replay.steps import PASSING, Changed, Item, Row, Rule, Setting, Step

_FIELDS = ("price", "rating", "weight", "relevance")
_ADVISED = (
    *("compared",) * 4,
    *("hand",) * 3,
    *("checks_in_turn",) * 3,
    *("checks_all",) * 4,
    *("own",) * 2,
)
"""One rule: by the client's comparison, or own code that says so; several: checks of each candidate."""
_FOUND = (
    *("single",) * 4,
    *("hand",) * 3,
    *("in_turn",) * 2,
    "checks_in_turn",
    *("checks_all",) * 4,
    *("own",) * 2,
    "veiled",
    "any_of",
    "offers",
)
"""As code is that nobody wrote with replay in mind."""
_DEPENDENT = ("quota", "budget", "unique", "enough", "average", "moody")
_SEVERAL = ("in_turn", "checks_in_turn", "checks_all", "any_of", "offers", "veiled", "unique", "enough")
_BY_FILTER = ("compared", "single", "veiled", "quota", "budget")
_ODD: Sequence[Sequence[int]] = (*((),) * 17, *((2**53, 2**53 + 1, 2**53 + 3, 2**62 + 1),) * 2, (True, False))
"""Values of some pipelines: whole numbers of which doubles do not tell all, and truths."""
CHECKED = ("checks_all", "checks_in_turn", "any_of", "offers")


@dataclass(frozen=True)
class Pipeline:
    """Steps in the order of their execution."""

    name: str
    steps: Sequence[Step]
    capture: Literal["full", "sampled"]


Executed = Mapping[str, Sequence[Row]]
"""Step to what it decided."""


def draw(seed: str) -> Pipeline:
    """A pipeline of two to eight steps."""
    random = Random(seed)
    capture: Literal["full", "sampled"] = "sampled" if random.random() < 0.2 else "full"
    steps: list[Step] = []
    items = _items(random, random.choice((12, 40, 120)))
    steps.append(Step("search", "source", "search", items=items))
    last = ["search"]
    if random.random() < 0.25:
        steps.append(_filter(random, "price_a", last))
        more = [*random.sample(items, len(items) // 3), *_items(random, 10, "m")]
        alone = {"item_independent": True} if random.random() < 0.5 else {}
        steps.append(Step("search_b", "source", "search", items=more, declares=alone))
        steps.append(_filter(random, "filter_b", ["search_b"]))
        last = ["price_a", "filter_b"]
    for number in range(random.randint(1, 4)):
        steps.append(_filter(random, f"filter_{number}", last))
        last = [steps[-1].name]
    if random.random() < 0.6:
        kind = random.choice(("rank", "rank", "placed", "tied", "diverse"))
        steps.append(_ordered(random, kind, last))
        last = ["order"]
        if random.random() < 0.5:
            steps.append(_filter(random, "after", last))
            last = ["after"]
    if random.random() < 0.1:
        alone = {"item_independent": True} if random.random() < 0.6 else {}
        steps.append(Step("good", "good", "filter", inputs=last, declares=alone))
        last = ["good"]
    if random.random() < 0.6:
        alone = {"item_independent": True} if random.random() < 0.6 else {}
        kind = random.choice(("select", "choosy"))
        steps.append(Step("best", kind, "select", top_k=1, inputs=last, declares=alone))
    says = random.random() < 0.6
    return Pipeline("bench", [replace(s, says_parents=says and bool(s.inputs)) for s in steps], capture)


def execute(pipeline: Pipeline, changed: Changed) -> Executed:
    """What the steps decide under the changed rules."""
    done: dict[str, list[Row]] = {}
    for step in pipeline.steps:
        done[step.name] = judge(step, _slate(step, done), changed)
    return done


def record(pipeline: Pipeline) -> tuple[str, Executed]:
    """Execute the pipeline through the client; return the run's id and what was decided."""
    done: dict[str, list[Row]] = {}
    ids: dict[str, str] = {}
    with xray.run(pipeline.name) as run:
        for step in pipeline.steps:
            slate = _slate(step, done)
            parents = [ids[name] for name in step.inputs] if step.says_parents else None
            asked_for = step.top_k if step.kind == "tied" else None
            with xray.step(
                step.name, type=step.type, parents=parents, capture=pipeline.capture, top_k=asked_for
            ) as recorder:
                ids[step.name] = recorder.step_id
                done[step.name] = _record(step, slate, recorder)
        return run.run_id, done


def fates(executed: Executed) -> dict[str, str]:
    """Item to the verdict that decided what became of it: of several in a step the last that goes on."""
    found: dict[str, str] = {}
    for rows in executed.values():
        words: dict[str, list[str]] = {}
        for row in rows:
            words.setdefault(row.item.id, []).append(row.verdict)
        for item, said in words.items():
            passing = [word for word in said if word in PASSING]
            found[item] = passing[-1] if passing else said[-1]
    return found


def change(pipeline: Pipeline, executed: Executed, random: Random) -> dict[tuple[str, str | None], Setting]:
    """One change that somebody may ask for, sometimes two."""
    places = [(step, rule) for step in pipeline.steps for rule in step.changeable]
    found: dict[tuple[str, str | None], Setting] = {}
    for step, rule in random.sample(places, min(len(places), 2 if random.random() < 0.1 else 1)):
        found[step.name, rule] = _setting(step, rule, executed[step.name], random)
    return found


def asked(changed: Changed) -> list[dict[str, Any]]:
    """The changes as the API takes them."""
    found = []
    for (step, rule), setting in changed.items():
        one: dict[str, Any] = {"step": step}
        if rule is not None:
            one["reason"] = rule
        if setting.top_k is not None:
            one["top_k"] = setting.top_k
        elif setting.remove:
            one["remove_check"] = True
        elif setting.scale is not None:
            one["scale"] = setting.scale
        else:
            one["threshold"] = setting.threshold
        found.append(one)
    return found


def _setting(step: Step, rule: str | None, rows: Sequence[Row], random: Random) -> Setting:
    if rule is None:
        return Setting(top_k=max(0, (step.top_k or 1) + random.choice((-3, -2, -1, 1, 2, 5))))
    [known] = [one for one in step.rules if one.name == rule]
    chance = random.random()
    if chance < 0.08:
        return Setting(remove=True)
    own = 1.0 if step.advised else 0.7  # seldom one limit in place of each candidate's own
    if chance < (own if step.kind == "own" else 0.2):
        return Setting(scale=random.choice((0.5, 0.9, 0.95, 1.05, 1.1, 2.0)))
    values = [v for row in rows if type(v := known.observed(row.item)) in (int, float) and v == v]
    if step.kind == "budget":
        values = [row.value for row in rows if row.value is not None]
    if chance < 0.5 and values and step.kind != "quota":
        return Setting(threshold=random.choice(values))
    if step.kind == "quota":
        return Setting(threshold=max(1, int(known.threshold) + random.choice((-1, 1, 2))))
    return Setting(threshold=known.threshold * random.uniform(0.7, 1.3))


def _slate(step: Step, done: Mapping[str, Sequence[Row]]) -> list[Item]:
    """What the steps before hand over; where branches join, what came first stays first."""
    handed = [[row.item for row in done[name] if row.verdict in PASSING] for name in step.inputs]
    if len(handed) < 2:
        return handed[0] if handed else []
    joined: dict[str, Item] = {}
    for items in handed:
        for item in items:
            joined.setdefault(item.id, item)
    return list(joined.values())


def _items(random: Random, count: int, prefix: str = "i") -> list[Item]:
    gaps = random.random() < 0.3
    odd = random.choice(_ODD)
    found = [
        Item(
            f"{prefix}{number}",
            {name: _value(random, gaps, odd) for name in _FIELDS},
            f"brand{random.randrange(1 + count // 8)}",
            f"title{random.randrange(count * 4)}",
        )
        for number in range(count)
    ]
    if random.random() < 0.25:
        found += random.sample(found, max(1, count // 8))
    random.shuffle(found)
    return found


def _value(random: Random, gaps: bool, odd: Sequence[int]) -> float | int | None:
    chance = random.random()
    if odd and random.random() < 0.2:
        return random.choice(odd)
    if gaps and chance < 0.05:
        return None if chance < 0.04 else float("nan")
    if chance < 0.45:
        return random.randint(0, 100)
    return random.uniform(0, 100) if chance < 0.8 else random.randint(0, 200) / 2


def _filter(random: Random, name: str, inputs: Sequence[str]) -> Step:
    chance = random.random()
    advised = chance < 0.4
    kind = random.choice(_ADVISED if advised else _FOUND if chance < 0.75 else _DEPENDENT)
    count = random.choice((2, 2, 3)) if kind in _SEVERAL else 0 if kind == "moody" else 1
    if kind in ("unique", "enough"):
        count = random.choice((0, 1, 1))
    rules = [_rule(random, f"{name}_{field}", field) for field in random.sample(_FIELDS[:3], count)]
    if kind == "quota":
        rules = [Rule(f"{name}_quota", "price", "<", random.choice((2, 3, 8)))]
    elif kind == "budget":
        rules = [Rule(f"{name}_budget", "price", random.choice(("<", "<=")), random.choice((90.0, 700)))]
    elif kind == "compared":
        rules = [replace(rule, missing="drop", form=random.choice(("compare", "band"))) for rule in rules]
    elif not advised and random.random() < 0.15:
        rules = [replace(rule, form="near") if rule.form == "compare" else rule for rule in rules]
    records = "all" if advised else random.choice(("all", "all", "first", "none"))
    step = Step(name, kind, "filter", rules, inputs=inputs, records=records, advised=advised)
    declares = _advised(step) if advised else _declared(random, step)
    return replace(step, type="llm" if kind == "moody" else "filter", declares=declares)


def _rule(random: Random, name: str, field: str) -> Rule:
    sign: Literal["<", "<=", ">", ">="] = random.choice(("<", "<=", ">", ">="))
    share = random.choice((0.25, 0.5, 0.75, 0.98))
    threshold = 100 * share if sign in ("<", "<=") else 100 * (1 - share)
    if random.random() < 0.3:
        threshold = int(threshold)
    form = random.choice(("compare",) * 14 + ("band", "equal", "unequal"))
    if form == "band":
        threshold /= 2
    elif form != "compare":
        threshold = random.randint(0, 3)
    return Rule(name, field, sign, threshold, random.choice(("keep", "drop", "drop", "zero")), form)


def _advised(step: Step) -> dict[str, Any]:
    """All that is true of it; the client's comparison says so itself."""
    if step.kind == "compared":
        return {}
    found: dict[str, Any] = {"item_independent": True, "evaluation": _EVALUATIONS[step.kind]}
    signs = {"equal": "==", "unequal": "!="}
    found["comparators"] = {rule.name: signs.get(rule.form, rule.sign) for rule in step.rules}
    words = {"keep": "passes", "drop": "fails"}
    found["missing"] = {rule.name: words[rule.missing] for rule in step.rules if rule.missing in words}
    return found


_EVALUATIONS = {
    "single": "single",
    "hand": "single",
    "own": "single",
    "checks_all": "all",
    "checks_in_turn": "first_failure",
    "in_turn": "first_failure",
}


def _declared(random: Random, step: Step) -> dict[str, Any]:
    """Nothing, or what is true of it."""
    found: dict[str, Any] = {}
    if random.random() < 0.5:
        found["item_independent"] = step.kind not in _DEPENDENT
    if step.kind == "unique" and random.random() < 0.5:
        found["merges"] = True
    if step.kind in _EVALUATIONS and random.random() < 0.5:
        found["evaluation"] = _EVALUATIONS[step.kind]
    compares = all(rule.form in ("compare", "band") for rule in step.rules)
    if random.random() < 0.3 and compares and step.kind not in ("quota", "budget", "veiled"):
        found["comparators"] = {rule.name: rule.sign for rule in step.rules}
    return found


def _ordered(random: Random, kind: str, inputs: Sequence[str]) -> Step:
    alone = {"item_independent": kind != "diverse"} if random.random() < 0.5 else {}
    top_k = random.choice((3, 5, 10)) if kind == "diverse" else random.choice((3, 10, 30))
    return Step("order", kind, "rank", top_k=top_k, inputs=inputs, declares=alone)


def _record(step: Step, slate: Sequence[Item], recorder: xray.Step) -> list[Row]:
    rows = judge(step, slate, {})
    recorder.declare(**{name: said for name, said in step.declares.items() if name != "merges"})
    if step.kind == "source":
        recorder.accept_all([item.id for item in step.items])
    elif step.kind in _BY_FILTER:
        _filtered(step, slate, rows, recorder)
    elif step.kind == "rank":
        kept = recorder.rank(slate, score_of, top_k=step.top_k, key="id")
        assert kept == [row.item for row in rows if row.verdict == "kept"]
    elif step.kind == "select":
        best = recorder.select_best(slate, score_of, key="id")
        assert best == next((row.item for row in rows if row.verdict == "selected"), None)
    else:
        for row in rows:
            _one(step, row, recorder)
    return rows


def _filtered(step: Step, slate: Sequence[Item], rows: Sequence[Row], recorder: xray.Step) -> None:
    """By the client's own filter; a predicate comes to the verdicts in its turn."""
    rule, verdicts, values = step.rules[0], iter(rows), iter(rows)
    common: dict[str, Any] = {"key": "id", "threshold": rule.threshold, "reason": rule.name}
    if step.kind == "compared":
        kept = recorder.filter(slate, value=rule.observed, comparator=rule.sign, **common)
    else:
        kept = recorder.filter(
            slate,
            lambda _: next(verdicts).verdict == "kept",
            value=lambda _: xray.MISSING if (row := next(values)).missing else row.value,
            **common,
        )
    assert kept == [row.item for row in rows if row.verdict == "kept"]


def _one(step: Step, row: Row, recorder: xray.Step) -> None:
    figures: dict[str, Any] = {
        "value": xray.MISSING if row.missing else row.value,
        "threshold": row.threshold,
        "score": row.score,
    }
    unlisted = step.records == "none" and zlib.crc32(row.item.id.encode()) % 3 == 0
    if step.kind in CHECKED and not unlisted:
        checks = [
            {"name": c["name"], "value": c["value"], "threshold": c["threshold"], "passed": c["passed"]}
            for c in row.checks or ()
        ]
        figures = {"checks": checks}
    if row.verdict == "kept":
        if step.records == "none" and step.kind not in CHECKED:
            figures = {"score": row.score}
        elif step.kind == "own" and step.records == "first":
            figures["threshold"] = None
        recorder.accept(row.item.id, row.reason, **figures)
    elif row.verdict == "selected":
        recorder.select(row.item.id, row.reason, score=row.score)
    elif row.verdict == "eliminated":
        recorder.reject(row.item.id, row.reason, **figures)
    elif row.verdict == "merged":
        recorder.merge(row.item.id, row.value, row.reason)
    else:
        recorder.not_select(row.item.id, row.reason, score=row.score)
