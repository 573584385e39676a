"""The tables of the bench, as Markdown."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

from benchmarks.faults.driving import Result
from benchmarks.faults.scoring import Hits, calibration, false_alarms, hits, methods
from benchmarks.faults.trials import CONFOUNDERS

Group = tuple[str, Callable[[Result], bool]]

GROUPS: tuple[Group, ...] = (
    ("clear", lambda result: _visibility(result) == "clear"),
    ("all visible", lambda result: _visibility(result) in ("clear", "downstream")),
    ("downstream only", lambda result: _visibility(result) == "downstream"),
    ("invisible", lambda result: _visibility(result) == "invisible"),
    ("all", lambda result: True),
)

_HEADS = " | top-1 | top-3 | must answer: top-1 | top-3 |"


def report(results: Sequence[Result]) -> Iterator[str]:
    """All lines."""
    faulty = [result for result in results if result.trial.fault is not None]
    yield f"{len(faulty)} faulty runs, {len(results) - len(faulty)} healthy; shares in percent."
    yield ""
    yield f"| method | faults | n{_HEADS}"
    yield "|---|---|---|---|---|---|---|"
    compared = methods(results)
    for name, method in compared.items():
        for group, belongs in GROUPS:
            yield _row([name, group], hits(filter(belongs, faulty), method))
    yield ""
    names = [*CONFOUNDERS, "all"]
    yield "| false alarms on healthy runs | " + " | ".join(name.replace("_", " ") for name in names) + " |"
    yield "|---|" + "---|" * len(names)
    for name, method in compared.items():
        shares = false_alarms(results, method)
        yield f"| {name} | " + " | ".join(_of(shares.get(one)) for one in names) + " |"
    yield ""
    yield from _confidence(results)
    for heading, key in (("fault", _fault), ("strength", _strength), ("pipeline", _pipeline)):
        yield ""
        yield f"| {heading} | clear | downstream | invisible | n{_HEADS}"
        yield "|---|---|---|---|---|---|---|---|---|"
        groups: defaultdict[str, list[Result]] = defaultdict(list)
        for result in faulty:
            groups[key(result)].append(result)
        for word, members in sorted(groups.items()):
            shares_seen = [
                f"{100 * sum(_visibility(one) == kind for one in members) / len(members):.0f}"
                for kind in ("clear", "downstream", "invisible")
            ]
            yield _row([word, *shares_seen], hits(members, compared["explain"]))


def _confidence(results: Sequence[Result]) -> Iterator[str]:
    bins = calibration(results)
    if not bins:
        yield "No confidence is stated."
        return
    yield "| stated confidence | mean stated | right | n |"
    yield "|---|---|---|---|"
    for one in bins:
        yield f"| {one.low:g}-{one.high:g} | {100 * one.stated:.1f} | {one.right} | {one.right.n} |"


def _row(words: Sequence[str], found: Hits) -> str:
    cells = [*words, str(found.n), *map(str, (found.top1, found.top3, found.forced1, found.forced3))]
    return "| " + " | ".join(cells) + " |"


def _of(share: object) -> str:
    return "-" if share is None else str(share)


def _visibility(result: Result) -> str | None:
    return None if result.seen is None else result.seen.visibility


def _fault(result: Result) -> str:
    return result.trial.fault or ""


def _strength(result: Result) -> str:
    return result.trial.strength or ""


def _pipeline(result: Result) -> str:
    return result.trial.pipeline
