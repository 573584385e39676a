"""
Which step took its candidates from which: as declared by ``parents``, else from the step before.

Where a step that does not say ran beside others, or is one of several executions of its name (batches,
rounds), the items tell: it took them from the latest step that let some of them pass.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from api.explain.funnel import last_attempts
from api.explain.named import NOTHING, Named, without
from api.explain.records import Untold
from store.queries.run_columns import RunColumns
from store.queries.types import StepRecord

JUDGES = frozenset(("filter", "rank", "select"))
"""Step types that give every candidate they take in a verdict; a search or llm step may not."""
LOOKS = frozenset(("search", "llm"))
"""Step types that may look at some of the candidates while all of them go on."""
LOOKED_BACK = 64
"""Steps before one that are looked at for where its items came from."""


@dataclass(slots=True, eq=False)
class Node:
    """A step with what it names and where its candidates came from."""

    step: StepRecord
    named: Named
    told: bool
    """Whether all that it decided can be read, so that an item it does not name was not recorded."""
    silent: bool
    """It judges and counted nothing: what it took in and gave out is not known."""
    level: Node | None = None
    """The counting step whose span stands around this one's."""
    feeders: Sequence[Node] = ()
    declared: bool = False
    doubt: Untold | None = None
    """Why the feeders are not known (``AuditLine.untold``)."""
    repeats: bool = field(default=False)
    """Whether its level has several executions of its name."""

    same_as: dict[int, bool] = field(default_factory=dict)
    """What ``same`` found, by the other's identity."""

    @property
    def counts(self) -> bool:
        """Whether it said how many candidates it took in or gave out."""
        return self.step.candidates_in is not None or self.step.candidates_out is not None

    @property
    def only_looks(self) -> bool:
        """Whether it looked at some of what it was handed and refused none: all of them go on beside it."""
        if self.step.step_type not in LOOKS or self.step.candidates_in is None or self.named.refused:
            return False
        return bool(self.feeders) and bool(without(self.feeders[-1].named.passing, [self.named.set]))

    @property
    def settled(self) -> bool:
        """Whether it ended well: one that failed may have stopped halfway."""
        return self.step.status == "ok"


def flow(steps: Sequence[StepRecord], columns: RunColumns) -> list[Node]:
    """The last attempts of the steps in order, each with its feeders."""
    nodes = [_node(step, columns) for step in last_attempts(steps)]
    _place(nodes, columns)
    by_id = {node.step.step_id: node for node in nodes}
    before: defaultdict[Node | None, list[Node]] = defaultdict(list)
    crowded = {id(node) for of_level in _levels(nodes).values() for node in _overlapping(of_level)}
    for node in nodes:
        step = node.step
        if not node.counts and not node.silent:
            continue
        if node.level not in before and node.level is not None:
            before[node.level] = list(node.level.feeders)
        earlier = before[node.level]
        if step.parents is not None:
            node.declared = True
            node.feeders = [by_id[parent] for parent in step.parents if parent in by_id]
            if len(node.feeders) < len(step.parents):
                node.doubt = "parent_unknown"
        elif step.candidates_in is not None or node.silent:
            _find(node, [other for other in earlier if not _overlap(other, node)], earlier, crowded)
        earlier.append(node)
    return nodes


def _node(step: StepRecord, columns: RunColumns) -> Node:
    key = (step.step_id, step.attempt_key)
    parts = columns.by_step.get(key)
    counts = step.candidates_in is not None or step.candidates_out is not None
    silent = not counts and step.step_type in JUDGES and step.status == "ok"
    return Node(step, Named(parts) if parts else NOTHING, _told(step, key in columns.unread, parts), silent)


def _told(step: StepRecord, unread: bool, parts: Sequence[object] | None) -> bool:
    known = step.completeness
    if unread or known.missing or known.metrics == "running":
        return False
    taken = step.candidates_out if step.candidates_in is None else step.candidates_in
    if known.evidence == "sampled" and taken != known.decisions_stored:
        return False
    if step.candidates_in == 0:
        return True
    if known.decisions_recorded is None:
        return known.evidence == "full" and parts is not None
    if known.decisions_stored == 0:
        return known.decisions_recorded == 0 and step.capture_level == "full"
    return known.decisions_recorded == known.decisions_stored and parts is not None


def _place(nodes: Sequence[Node], columns: RunColumns) -> None:
    """Fill in levels, and which names were executed several times."""
    by_span = {node.step.span_id: node for node in nodes if node.step.span_id is not None}
    for node in nodes:
        around, seen = node, {id(node)}
        while True:
            parent = columns.enclosing.get((around.step.step_id, around.step.attempt_key))
            found = by_span.get(parent) if parent is not None else None
            if found is None or id(found) in seen:
                break
            if found.counts:
                node.level = found
                break
            seen.add(id(found))
            around = found
    for of_level in _levels(nodes).values():
        often = Counter(node.step.name for node in of_level if node.counts)
        for node in of_level:
            node.repeats = often[node.step.name] > 1


def _levels(nodes: Sequence[Node]) -> Mapping[Node | None, list[Node]]:
    found: defaultdict[Node | None, list[Node]] = defaultdict(list)
    for node in nodes:
        found[node.level].append(node)
    return found


def _find(node: Node, before: Sequence[Node], level: Sequence[Node], crowded: set[int]) -> None:
    """
    Give a step that does not declare its parents its feeders, or the doubt about them.

    before: steps of the level that had ended when it started. level: all that had started.
    """
    # What a failed step let pass is taken by nobody, as far as is known: it is tried again, or done without.
    failed = not all(other.settled for other in before)
    before = [other for other in before if other.settled]
    if not before:
        node.doubt = ("failed" if failed else "parallel") if level else None
        return
    if node.told and node.named.count and _by_items(node, before, level):
        return
    previous = before[-1]
    if id(previous) in crowded:
        node.doubt = "parallel"
    elif previous.silent:
        node.doubt = "silent"
    elif _is_one_of_many(node, previous):
        batches = [other for other in before if other is previous or _beside(other, previous)]
        whole = len(batches) == sum(other.step.name == previous.step.name for other in before)
        if whole and node.told and not node.named.count and not node.repeats:
            node.feeders = batches
        else:
            node.doubt = "repeated"
    else:
        node.feeders = _with_sources(previous, before)


def _is_one_of_many(node: Node, previous: Node) -> bool:
    """Whether it may be a batch or round, or follow one: then counts do not tell what it took."""
    return node.repeats or (previous.repeats and previous.step.candidates_in is not None)


def _with_sources(previous: Node, before: Sequence[Node]) -> Sequence[Node]:
    """Sources that follow each other feed the same step: they take nothing from one another."""
    found = [previous]
    for other in reversed(before[:-1]):
        if found[-1].step.candidates_in is not None or other.step.candidates_in is not None:
            break
        found.append(other)
    return found[::-1]


def _by_items(node: Node, before: Sequence[Node], level: Sequence[Node]) -> bool:
    """Whether the items tell where they came from; then the feeders are given."""
    found = None
    for other in reversed(before[-LOOKED_BACK:]):
        if other.silent or not other.told:
            return False
        if not other.only_looks and _took_from(node, other):
            found = other
            break
    if found is None:
        return False
    found = _no_earlier_than_siblings(node, found, before)
    feeders = [found]
    left = [] if same(found, node) else without(node.named.items, [found.named.passing_set])
    taken = {id(feeder) for other in before for feeder in other.feeders}
    # Of batches that nobody has taken from, all feed this step.
    free = [other for other in before if other is not found and (left or id(other) not in taken)]
    feeders += [other for other in free if _beside(other, found)]
    if left:
        left = without(left, [other.named.passing_set for other in feeders])
    place = before.index(found)
    while left and place and feeders[-1].step.candidates_in is None:
        place -= 1
        other = before[place]
        if other.told and not other.silent and not other.named.passing_set.isdisjoint(left):
            feeders.append(other)
            left = without(left, [other.named.passing_set])
    if left and not all(other.told for other in before):
        return False
    node.feeders = sorted(feeders, key=level.index)
    return True


def same(feeder: Node, node: Node) -> bool:
    """Whether a step took in just what another let pass, in that order; a quick look at long lists."""
    known = node.same_as.get(id(feeder))
    if known is None:
        known = node.same_as[id(feeder)] = feeder.named.hands_on(node.named)
    return known


def _took_from(node: Node, other: Node) -> bool:
    if same(other, node):
        return True
    let_pass = other.named.passing_set
    passed = sum(item in let_pass for item in node.named.items)
    if not passed:
        # What goes on here it did not refuse, and nothing that it recorded went on: it did not record that.
        judged = other.step.candidates_in is not None and other.step.step_type not in LOOKS
        silent = judged and not let_pass and other.step.name != node.step.name
        return silent and node.named.set.isdisjoint(other.named.set)
    if passed == node.named.count:
        return True
    refused = sum(item in other.named.refused for item in without(node.named.items, [let_pass]))
    # A second round on the same candidates takes in what the first refused, too.
    return refused == 0 if other.step.name == node.step.name else refused <= passed


def _no_earlier_than_siblings(node: Node, found: Node, before: Sequence[Node]) -> Node:
    """Where batches before this one took theirs, when its candidates seem to come from further back."""
    for other in reversed(before):
        if other.step.name == node.step.name and other.feeders and _share_nothing(other, node):
            last = max(other.feeders, key=before.index)
            return last if before.index(last) > before.index(found) else found
    return found


def _beside(one: Node, other: Node) -> bool:
    """Whether two steps shared out or copied the same candidates: batches of one step, or branches."""
    if one.step.name == other.step.name:
        return _share_nothing(one, other)
    same_source = bool(one.feeders) and {*map(id, one.feeders)} == {*map(id, other.feeders)}
    return same_source and _overlap(one, other)


def _share_nothing(one: Node, other: Node) -> bool:
    return bool(one.named.count) and one.named.set.isdisjoint(other.named.set)


def _overlap(one: Node, other: Node) -> bool:
    """Whether two steps ran at the same time, side by side or one in the other; unknown ends do not."""
    if one.step.ended_at is None or other.step.ended_at is None:
        return False
    return one.step.started_at < other.step.ended_at and other.step.started_at < one.step.ended_at


def _overlapping(nodes: Sequence[Node]) -> list[Node]:
    """Counting steps that overlap any other of the level."""
    found: dict[int, Node] = {}
    longest: Node | None = None
    ended = [node for node in nodes if node.counts and node.step.ended_at is not None]
    # By start: what overlaps an earlier step overlaps the one of them that ended last.
    for node in sorted(ended, key=lambda node: node.step.started_at):
        if longest is not None and _overlap(longest, node):
            found |= {id(longest): longest, id(node): node}
        if longest is None or _end(node) > _end(longest):
            longest = node
    return list(found.values())


def _end(node: Node) -> datetime:
    assert node.step.ended_at is not None  # the caller leaves the others out
    return node.step.ended_at
