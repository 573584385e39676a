"""
Conservation of candidates: none may vanish inside a step or on the way to the next, and none appear.

Counts are held against counts, which are exact. Where the evidence of a step and of those it took its
candidates from can be read, items are held against items, and those that vanished or appeared are named.
What cannot be told is said, and is no alarm (decision 0042).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import fields

from api.explain.flow import JUDGES, LOOKS, Node, flow, same
from api.explain.named import without
from api.explain.records import AuditLine, Items, Untold
from store.queries.baseline import Baseline
from store.queries.run_columns import NO_COLUMNS, RunColumns
from store.queries.types import CountsByVerdict, RunRecord, StepRecord

__all__ = ["JUDGES", "audit"]

_REFUSING = frozenset(("eliminated", "not_selected", "deferred", "merged"))
_OPEN: tuple[Untold, ...] = ("parallel", "repeated")
SETTLED_RUNS = ("completed", "crashed", "cancelled")


def audit(
    run: RunRecord,
    steps: Sequence[StepRecord],
    columns: RunColumns = NO_COLUMNS,
    usually_counting: Set[str] = frozenset(),
) -> list[AuditLine]:
    """
    One line per step, in order, of its last attempt.

    usually_counting: names of steps that say in other runs what they took in; one that counts nothing here
    has recorded none of what it was handed.
    """
    return Audit(run, steps, columns, usually_counting).lines()


def usually_counting(baseline: Baseline) -> frozenset[str]:
    """Names of the steps that say in other runs what they took in and gave out."""
    return frozenset(name for name, usual in baseline.steps.items() if usual.drop_ratio is not None)


class Audit:
    """The audit of one run while it is made."""

    def __init__(
        self,
        run: RunRecord,
        steps: Sequence[StepRecord],
        columns: RunColumns,
        usually_counting: Set[str],
    ) -> None:
        self._nodes = flow(steps, columns)
        self._place = {id(node): place for place, node in enumerate(self._nodes)}
        self._usually_counting = usually_counting
        whole = run.steps_count <= len(steps) and not any(
            entry.what in ("runs", "steps") for entry in run.completeness.missing
        )
        self._ended = run.status in SETTLED_RUNS and whole
        self._completed = run.status == "completed" and whole
        self._consumers: defaultdict[int, defaultdict[int, list[Node]]]
        self._consumers = defaultdict(lambda: defaultdict(list))
        for node in self._nodes:
            for feeder in node.feeders:
                self._consumers[id(feeder)][id(node.level)].append(node)
        self._vanished: defaultdict[int, dict[str, bool]] = defaultdict(dict)
        """By step: the items and whether a later step names them."""
        self._untold: dict[int, Untold] = {}

    def lines(self) -> list[AuditLine]:
        """One line per step."""
        for node in self._nodes:
            for consumers in self._consumers[id(node)].values():
                self._follow(node, consumers)
        return [self._line(node) for node in self._nodes]

    def _follow(self, feeder: Node, consumers: Sequence[Node]) -> None:
        """What a step let pass and none of those that took from it names."""
        ended_well = {node.step.name for node in consumers if node.settled}
        # One that failed and was tried again is judged by the other execution.
        taking = [node for node in consumers if node.settled or node.step.name not in ended_well]
        taking = [node for node in taking if not node.only_looks] or taking
        perhaps = self._perhaps_taking(feeder, taking[0])
        doubt = self._doubt(feeder, taking)
        if doubt is None and not all(node.told for node in perhaps):
            doubt = "repeated"
        if doubt is not None:
            for node in taking:
                self._untold.setdefault(id(node), doubt)
            return
        if len(taking) == 1 and same(feeder, taking[0]):
            return
        for node in taking:
            whole = len(taking) > 1 and node.step.candidates_in == feeder.step.candidates_out
            if whole and len(node.feeders) == 1:
                self._lose(node, without(feeder.named.passing, [node.named.set]))
        missing = without(feeder.named.passing, [node.named.set for node in (*taking, *perhaps)])
        for node in taking:
            missing = self._without_crossed(node, feeder, missing)
        names = {node.step.name for node in taking}
        self._lose(taking[-1 if len(names) == 1 else 0], missing)

    def _perhaps_taking(self, feeder: Node, consumer: Node) -> list[Node]:
        """Later steps of the level of which it is not known where they took their candidates."""
        return [
            node
            for node in self._nodes[self._place[id(feeder)] + 1 :]
            if node.level is consumer.level and node.doubt in _OPEN
        ]

    def _doubt(self, feeder: Node, taking: Sequence[Node]) -> Untold | None:
        """Why it cannot be told by items whether some vanished; None when it can."""
        if not self._ended:
            return "run_open"
        for node in taking:
            if not node.settled:
                return "failed"
            if node.silent:
                if node.step.name not in self._usually_counting:
                    return "silent"
            elif not node.told:
                return _unread(node)
            elif node.named.count and _other_ids(node):
                return "other_ids"
            elif node.step.step_type not in JUDGES and not _adds_nothing(node):
                return "expands"
        return None if feeder.named.count or feeder.told else "evidence"

    @staticmethod
    def _without_crossed(node: Node, feeder: Node, missing: list[str]) -> list[str]:
        """Without what another branch refused, unless the join takes in what one branch alone let pass."""
        others = [other for other in node.feeders if other is not feeder]
        if not missing or not others:
            return missing
        passed = [other.named.passing_set for other in node.feeders]
        refused = frozenset().union(*(other.named.refused for other in node.feeders))
        crossing = node.named.set & refused
        if any(item in of_one for item in crossing for of_one in passed):
            return missing
        return without(missing, [other.named.refused for other in others])

    def _lose(self, node: Node, missing: Sequence[str]) -> None:
        if not missing:
            return
        left = frozenset(missing)
        seen: set[str] = set()
        for later in self._nodes[self._place[id(node)] + 1 :]:
            if later.named.count and later.level is node.level:
                seen |= left.intersection(later.named.items)
        for item in missing:
            # A model may look at a few while all go on; of a run that broke off, others may have been next.
            certain = self._completed and node.step.step_type not in LOOKS
            again = item in seen
            if certain or (again and node.step.step_type not in LOOKS) or (not again and self._completed):
                self._vanished[id(node)].setdefault(item, again)

    def _line(self, node: Node) -> AuditLine:
        step = node.step
        accounted = _accounted(step.counts)
        unaccounted, doubt = self._unaccounted(node, accounted)
        vanished = self._vanished.get(id(node), {})
        ghosts = self._ghosts(node)
        handed_over = _sum([feeder.step.candidates_out for feeder in node.feeders])
        untold: dict[Untold, None] = dict.fromkeys(
            code
            for code in (node.doubt, doubt, self._untold.get(id(node)), *map(_unread, node.feeders))
            if code is not None
        )
        # A step that may add candidates has no ghosts.
        adds = node.step.step_type not in JUDGES and node.told
        by_items = (ghosts is not None or adds) and node.doubt is None and id(node) not in self._untold
        if by_items and not vanished and not ghosts:
            difference: int | None = 0 if handed_over is not None and step.candidates_in is not None else None
        else:
            difference, code = self._difference(node, handed_over, certain=bool(vanished or ghosts))
            if code is not None:
                untold[code] = None
        return AuditLine(
            step_id=step.step_id,
            step=step.name,
            candidates_in=step.candidates_in,
            counts=_known(step.counts),
            accounted=accounted,
            unaccounted=unaccounted,
            previous_step_ids=[feeder.step.step_id for feeder in node.feeders],
            handed_over=handed_over,
            handover_difference=difference,
            vanished=Items(len(vanished), list(vanished)),
            reappeared=sum(vanished.values()),
            ghosts=Items(len(ghosts or ()), list(ghosts or ())),
            untold=list(untold),
        )

    def _unaccounted(self, node: Node, accounted: int | None) -> tuple[int | None, Untold | None]:
        """Taken in less verdicts, of a step that judges; and why that cannot be told."""
        step = node.step
        if step.step_type not in JUDGES or step.candidates_in is None or step.status != "ok":
            return None, None
        if accounted is None:
            return None, None
        gap = step.candidates_in - accounted
        if gap == 0:
            return 0, None
        if gap < 0:
            if not node.told:
                return None, "repeats"
            return step.candidates_in - len(node.named.set), None
        recorded = step.completeness.decisions_stored or step.decisions_recorded is not None
        refusing = (
            step.counts.eliminated,
            step.counts.not_selected,
            step.counts.deferred,
            step.counts.merged,
        )
        if not recorded and all(count is None for count in refusing):
            return None, "passing_only"
        return gap, None

    def _ghosts(self, node: Node) -> list[str] | None:
        """Items that no step let pass which this one names; None when that cannot be told."""
        feeders = node.feeders
        if not self._ended or node.step.step_type not in JUDGES or not node.named.count:
            return [] if self._ended and node.told and node.doubt is None else None
        before = self._nodes[: self._place[id(node)]]
        if node.doubt in _OPEN:
            return self._unheard_of(node, before)
        if node.doubt is not None or not feeders:
            return None
        if not all(feeder.told or feeder.silent for feeder in feeders):
            return None
        if len(feeders) == 1 and same(feeders[0], node):
            return []
        if _other_ids(node):
            return None
        new = without(node.named.items, [feeder.named.passing_set for feeder in feeders])
        if not new:
            return []
        if any(other.silent for other in feeders) or any(
            not other.told and other.counts and other.settled for other in before
        ):
            return None
        return without(new, self._explained(node, before))

    def _explained(self, node: Node, before: Sequence[Node]) -> Iterator[Set[str]]:
        """Items that a step may take in though its feeders did not record that they let them pass."""
        for other in reversed(before):
            yield self._vanished.get(id(other), {}).keys()
        for feeder in node.feeders:
            yield feeder.named.merged_into
        refused = frozenset().union(*(feeder.named.refused for feeder in node.feeders))
        for other in reversed(before):
            yield other.named.reserve
            if not node.declared:
                yield other.named.passing_set - refused

    def _unheard_of(self, node: Node, before: Sequence[Node]) -> list[str] | None:
        """Items that no earlier step names, of one that may have taken them from any."""
        if not all(other.told for other in before if other.counts or other.silent):
            return None
        known = [other.named.set for other in before]
        batches = any(other.feeders and other.step.name == node.step.name for other in self._nodes)
        if not batches and all(node.named.set.isdisjoint(of_one) for of_one in known):
            return None
        merged = [other.named.merged_into for other in before]
        return without(node.named.items, [*known, *merged])

    def _difference(
        self, node: Node, handed_over: int | None, *, certain: bool
    ) -> tuple[int | None, Untold | None]:
        """Handed over less taken in, where counts alone can tell; and why they cannot."""
        taken_in = node.step.candidates_in
        if handed_over is None or taken_in is None:
            return None, None
        difference = handed_over - taken_in
        if difference == 0 or certain:
            return difference, None
        if not self._completed or not node.settled:
            return None, "run_open" if not self._completed else "failed"
        if node.step.step_type in LOOKS:
            return None, "expands"
        shared = any(len(self._consumers[id(feeder)][id(node.level)]) > 1 for feeder in node.feeders)
        if difference > 0:
            if len(node.feeders) > 1:
                return 0, None
            if shared:
                return None, "shared"
            return (None, "repeats") if _may_repeat(node.feeders[0]) else (difference, None)
        if node.step.step_type not in JUDGES:
            return None, "expands"
        # Of verdicts that were counted one by one, several may be about the same candidate.
        counted = _accounted(node.step.counts) == taken_in
        return (None, "repeats") if counted else (difference, None)


def _unread(node: Node) -> Untold | None:
    """Why not all that the step decided is there to be looked at; None when it is."""
    if node.told or node.silent:
        return None
    return "sampled" if node.step.completeness.evidence == "sampled" else "evidence"


def _known(counts: CountsByVerdict) -> Mapping[str, int]:
    found = {verdict.name: getattr(counts, verdict.name) for verdict in fields(counts)}
    return {name: count for name, count in found.items() if count is not None}


def _accounted(counts: CountsByVerdict) -> int | None:
    known = _known(counts)
    return sum(known.values()) if known else None


def _sum(counts: Sequence[int | None]) -> int | None:
    return sum(count for count in counts if count is not None) if counts and None not in counts else None


def _other_ids(node: Node) -> bool:
    """Whether it names none of many that it was handed: its items are named by another key."""
    if any(same(feeder, node) or feeder.named.items[:1] == node.named.items[:1] for feeder in node.feeders):
        return False
    handed = [feeder.named.set for feeder in node.feeders]
    return any(handed) and all(node.named.set.isdisjoint(of_one) for of_one in handed)


def _adds_nothing(node: Node) -> bool:
    return any(same(feeder, node) for feeder in node.feeders) or not without(
        node.named.items, [feeder.named.passing_set for feeder in node.feeders]
    )


def _may_repeat(feeder: Node) -> bool:
    """Whether a step may have counted a candidate several times that it let pass."""
    if feeder.named.count and feeder.named.repeated:
        return True
    handed = _sum([other.step.candidates_out for other in feeder.feeders])
    return handed is not None and (feeder.step.candidates_in or 0) > handed
