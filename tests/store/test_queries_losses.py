"""The loss ledger as it is read: what still counts, once, and what completeness says of it."""

from __future__ import annotations

from datetime import timedelta
from itertools import permutations
from typing import Any

import pytest

from store.losses import loss_of
from store.queries.errors import InvalidParameter
from store.queries.filters import PageRequest, parse
from store.queries.types import Missing, RunRecord, StepRecord
from store.queries.types_losses import LossRecord
from store.queries.vocabulary import LOSSES
from store.reader import Reader
from store.rows import Artifact, DecisionChunk, Loss
from tests.fixtures.reading import START, Clock, Shelf, chunk, run_copy, step_copy

ARTIFACT = Artifact("r", "s", "1", "prompt", "text/plain", 3, b"\x02" * 32, b"abc")


def lost(row: DecisionChunk | Artifact, cause: str = "shed") -> Loss:
    """The loss of a row."""
    loss = loss_of(row, cause)
    assert loss is not None
    return loss


def chunks(step_id: str = "s", total: int = 3) -> list[DecisionChunk]:
    """A step's decisions, two in a chunk."""
    return [chunk("r", step_id, [f"{n}a", f"{n}b"], "KE", index=n, total=total) for n in range(total)]


def step(step_id: str = "s", **values: Any) -> Any:
    """A step that announces three chunks of two decisions."""
    given: dict[str, Any] = {
        "candidates_in": 6,
        "decisions_recorded": 6,
        "decisions_chunks": 3,
        "capture_level": "full",
    }
    return step_copy("r", step_id, **given | values)


def found(reader: Reader, **sent: str) -> list[LossRecord]:
    return list(reader.losses(*parse(LOSSES, list(sent.items()))).items)


def in_short(losses: list[LossRecord]) -> list[tuple[Any, ...]]:
    return [(loss.run_id, loss.cause, loss.what, loss.count, loss.step_id) for loss in losses]


def run_and_steps(reader: Reader) -> tuple[RunRecord, list[StepRecord]]:
    detail = reader.run_detail("r")
    assert detail is not None
    return detail.run, list(detail.steps)


def test_a_shed_chunk_is_missing_for_its_cause(shelf: Shelf, reader: Reader) -> None:
    """Step, run and list of decisions say what was shed, in candidates; the rest has no cause."""
    first, second, _ = chunks()
    shelf.put(run_copy("r"), step(), first, lost(second))
    run, (shown,) = run_and_steps(reader)
    expected = [Missing("chunk_missing", "chunks", 1), Missing("shed", "decisions", 2)]
    assert (shown.completeness.missing, shown.completeness.evidence) == (expected, "partial")
    assert (run.completeness.missing, run.completeness.state) == (expected, "partial")
    page = reader.decisions("r", "s")
    assert page is not None
    assert page.completeness.missing == expected
    assert reader.runs().items[0] == run
    assert reader.steps().items[0] == shown


def test_a_chunk_that_came_in_another_way_is_not_lost(shelf: Shelf, reader: Reader) -> None:
    """What one collector shed and another one stored counts as stored, in any order of arrival."""
    one = chunks()[0]
    for number, order in enumerate(permutations("sll")):
        of_run = one._replace(run_id=f"r{number}")
        for letter in order:
            shelf.put(of_run if letter == "s" else lost(of_run))
    assert found(reader) == []
    assert not any(run.completeness.missing for run in reader.runs().items)


def test_an_artifact_that_came_in_another_way_is_not_lost(shelf: Shelf, reader: Reader) -> None:
    """The same for artifacts, of a step and of the run itself; another payload does not stand in."""
    of_run = ARTIFACT._replace(step_id=None, attempt_key=None)
    shelf.put(*map(lost, (ARTIFACT, of_run, ARTIFACT._replace(sha256=b"\x03" * 32))))
    assert sum(loss.count for loss in found(reader)) == 3
    shelf.put(of_run, ARTIFACT)
    assert in_short(found(reader)) == [("r", "shed", "artifacts", 1, "s")]


def test_one_thing_is_lost_for_one_cause(shelf: Shelf, reader: Reader) -> None:
    """A chunk that two collectors lost for different causes counts once; shedding goes before."""
    one, other, _ = chunks()
    shelf.put(*(lost(one, cause) for cause in ("refused", "shed", "over_limit")))
    shelf.put(*(lost(other, cause) for cause in ("refused", "over_limit")), step())
    assert in_short(found(reader, what="decisions")) == [
        ("r", "over_limit", "decisions", 2, "s"),
        ("r", "shed", "decisions", 2, "s"),
    ]
    _, (shown,) = run_and_steps(reader)
    assert Missing("chunk_missing", "chunks", 1) in shown.completeness.missing


def test_a_report_has_several_causes(shelf: Shelf, reader: Reader) -> None:
    """Entries of one sender's report all stand: their subject is the report, not a thing."""
    report = Loss("r", "client_queue", "decisions", "report-1", 10)
    shelf.put(
        run_copy("r"), report, report._replace(cause="client_policy"), report._replace(what="steps", lost=1)
    )
    run, _ = run_and_steps(reader)
    assert run.completeness.missing == [
        Missing("client_policy", "decisions", 10),
        Missing("client_queue", "decisions", 10),
        Missing("client_queue", "steps", 1),
    ]
    assert (run.completeness.state, run.completeness.evidence) == ("partial", "partial")


def test_shed_decisions_that_nobody_announced(shelf: Shelf, reader: Reader) -> None:
    """Without counts of chunks the ledger alone knows: evidence is partial, not none."""
    shelf.put(run_copy("r"), step_copy("r", "s", candidates_in=6), *map(lost, chunks()))
    run, (shown,) = run_and_steps(reader)
    assert (shown.completeness.evidence, run.completeness.evidence) == ("partial", "partial")
    assert shown.completeness.missing == run.completeness.missing == [Missing("shed", "decisions", 6)]


def test_chunks_are_accounted_for_step_by_step(shelf: Shelf, reader: Reader) -> None:
    """What one step shed does not explain what another one misses."""
    silent = step_copy("r", "silent", 1)
    shelf.put(run_copy("r"), step(), silent, *map(lost, [*chunks()[:1], *chunks("silent")]))
    run, _ = run_and_steps(reader)
    assert run.completeness.missing == [
        Missing("chunk_missing", "chunks", 2),
        Missing("shed", "decisions", 8),
    ]
    listed = found(reader, run_id="r", cause="chunk_missing")
    assert in_short(listed) == [("r", "chunk_missing", "chunks", 2, "s")]


def test_losses_of_a_run_include_what_nobody_explains(shelf: Shelf, reader: Reader) -> None:
    """Asked for one run, the list and the totals hold its missing chunks too; they are found only there."""
    shelf.put(run_copy("r", pipeline="shop"), step(), lost(chunks()[0]), run_copy("other"))
    shelf.put(Loss("other", "client_queue", "steps", "report-1", 4))
    assert in_short(found(reader, run_id="r")) == [
        ("r", "chunk_missing", "chunks", 2, "s"),
        ("r", "shed", "decisions", 2, "s"),
    ]
    assert {loss.pipeline for loss in found(reader, run_id="r")} == {"shop"}
    totals = reader.loss_totals(parse(LOSSES, [("run_id", "r")])[0])
    assert [(total.cause, total.what, total.count, total.entries) for total in totals.items] == [
        ("chunk_missing", "chunks", 2, 1),
        ("shed", "decisions", 2, 1),
    ]
    for ask in (
        lambda **sent: found(reader, **sent),
        lambda **s: reader.loss_totals(parse(LOSSES, [*s.items()])[0]),
    ):
        with pytest.raises(InvalidParameter, match="run_id"):
            ask(cause="chunk_missing")


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ({}, {"a", "b", None}),
        ({"run_id": "a"}, {"a"}),
        ({"run_id": "nobody"}, set()),
        ({"pipeline": "shop"}, {"a", None}),
        ({"service_name": "svc"}, {None}),
        ({"cause": "shed"}, {"a"}),
        ({"cause": "client_queue"}, {"b", None}),
        ({"what": "decisions"}, {"a"}),
        ({"step_id": "s"}, {"a"}),
        ({"started_after": "2025-03-01T12:00:30Z"}, {"b"}),
        ({"started_before": "2025-03-01T12:00:30Z"}, {"a"}),
        ({"received_after": "2025-03-01T12:00:01Z"}, {None}),
        ({"pipeline": "shop", "cause": "shed"}, {"a"}),
        ({"pipeline": "mail", "cause": "shed"}, set()),
    ],
)
def test_filters(shelf: Shelf, reader: Reader, sent: dict[str, str], expected: set[str | None]) -> None:
    """All filters hold together, of runs and of losses that belong to none; the totals agree."""
    shelf.put(run_copy("a", pipeline="shop"), run_copy("b", 60, pipeline="mail"))
    shelf.put(
        Loss("a", "shed", "decisions", "s/1/0", 5, "s", "1"), Loss("b", "client_queue", "steps", "x", 1)
    )
    alone = Loss(None, "client_queue", "steps", "x", 1, pipeline="shop", service_name="svc")
    shelf.put(alone, received=START + timedelta(seconds=1))
    losses = found(reader, **sent)
    assert {loss.run_id for loss in losses} == expected
    totals = reader.loss_totals(parse(LOSSES, list(sent.items()))[0])
    assert sum(total.count for total in totals.items) == sum(loss.count for loss in losses)
    assert sum(total.entries for total in totals.items) == len(losses)


def test_pages(shelf: Shelf, reader: Reader) -> None:
    """Page by page each loss comes once, the latest first, with and without a run, also while others come."""
    for second in range(6):
        run_id = f"run-{second}" if second % 3 else None
        rows = [Loss(run_id, "shed", what, f"r{second}", second) for what in ("decisions", "artifacts")]
        shelf.put(*rows, received=START + timedelta(seconds=second))
    seen: list[LossRecord] = []
    cursor = None
    while not seen or cursor is not None:
        page = reader.losses(page=PageRequest(5, cursor))
        seen += page.items
        cursor = page.next_cursor
        shelf.put(Loss(None, "shed", "texts", f"late-{len(seen)}", 1), received=START + timedelta(hours=1))
    assert [loss.received_at for loss in seen] == sorted((loss.received_at for loss in seen), reverse=True)
    assert sorted((loss.what, loss.count) for loss in seen) == sorted(
        (what, second) for second in range(6) for what in ("decisions", "artifacts")
    )


def test_attempts_are_shown_as_sent(shelf: Shelf, reader: Reader) -> None:
    """An attempt that was numbered by its sender is shown; one known by its span is not."""
    one = chunks()[0]
    shelf.put(lost(one._replace(attempt_key="7")), lost(one._replace(attempt_key="00f067aa0ba902b7")))
    assert {loss.attempt for loss in found(reader)} == {7, None}


def test_pages_go_on_whatever_the_names_are(shelf: Shelf, reader: Reader) -> None:
    """A cursor holds the longest subject, of characters that JSON writes as six."""
    name = "\x01" * 512
    shelf.put(*(lost(chunk("r", name, ["a"], "K", index=n, attempt_key=name, total=3)) for n in range(3)))
    seen, cursor = 0, None
    for _ in range(3):
        filters, page = parse(LOSSES, [("limit", "1"), *([("cursor", cursor)] if cursor else [])])
        answer = reader.losses(filters, page)
        seen, cursor = seen + len(answer.items), answer.next_cursor
    assert (seen, cursor) == (3, None)


def test_totals_without_a_bound_are_of_the_last_days(shelf: Shelf, reader: Reader, clock: Clock) -> None:
    """Not of the whole ledger; the answer says since when, and a bound of one's own goes further back."""
    shelf.put(run_copy("r"), Loss("r", "client_queue", "steps", "x", 4))
    assert [total.count for total in reader.loss_totals().items] == [4]
    clock.now = START + timedelta(days=8)
    totals = reader.loss_totals()
    assert (list(totals.items), totals.received_after) == ([], START + timedelta(days=1))
    for asked in (("received_after", "2025-01-01T00:00:00Z"), ("run_id", "r")):
        totals = reader.loss_totals(parse(LOSSES, [asked])[0])
        assert ([total.count for total in totals.items], totals.received_after) == ([4], None)
