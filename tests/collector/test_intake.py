"""The intake: acknowledged after the commit, in groups, bounded; evidence goes before metrics."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, wait

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.errors import IntakeFull, IntakeStopped
from collector.intake import MAX_GROUP_BATCHES, Intake
from collector.telemetry import Telemetry
from store.errors import Unavailable
from store.rows import Artifact, Batch, DecisionChunk, Loss, StepCopy, WriteResult
from tests.fixtures.waiting import wait_until

KIB = 1024
MAX_BYTES = 1000 * KIB


class GatedWriter:
    """A Writer that commits when its gate is open, fails while it is told to, and remembers its groups."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.entered = threading.Event()
        self.failure: Exception | None = None
        self.poison: Batch | None = None
        self.forgetful = False
        self.groups: list[int] = []
        self.batches: list[Batch] = []

    def write(self, batches: Sequence[Batch]) -> Sequence[WriteResult]:
        self.entered.set()
        assert self.gate.wait(10.0)
        if self.failure is not None:
            raise self.failure
        if any(batch is self.poison for batch in batches):
            raise ValueError("poison")
        if self.forgetful:
            return []
        self.groups.append(len(batches))
        self.batches += batches
        return [WriteResult(stored=batch.received_ns) for batch in batches]

    def close(self) -> None:
        pass


@pytest.fixture
def writer() -> GatedWriter:
    """A writer whose gate is closed."""
    return GatedWriter()


@pytest.fixture
def intake(writer: GatedWriter) -> Iterator[Intake]:
    """An intake of at most 1,000 KiB that waits 30 s for a commit."""
    intake = Intake(writer, max_bytes=MAX_BYTES, timeout_s=30.0)
    intake.start()
    yield intake
    writer.failure = None
    writer.gate.set()
    intake.stop(5.0)


def batch(number: int = 0, size_bytes: int = 1) -> Batch:
    """An empty batch that can be told apart."""
    return Batch(number, size_bytes=size_bytes)


def test_a_future_resolves_after_the_write(intake: Intake, writer: GatedWriter):
    """While the writer has not returned, nobody is acknowledged; then everybody has its own result."""
    futures = [intake.submit(batch(number)) for number in range(3)]
    assert writer.entered.wait(5.0)
    assert not any(future.done() for future in futures)
    writer.gate.set()
    assert [future.result(5.0).stored for future in futures] == [0, 1, 2]


def test_what_is_queued_is_written_as_a_group(intake: Intake, writer: GatedWriter):
    """Requests that came while a write was under way share the next one, up to the bound of a group."""
    futures = [intake.submit(batch())]
    assert writer.entered.wait(5.0)
    futures += [intake.submit(batch()) for _ in range(MAX_GROUP_BATCHES + 1)]
    writer.gate.set()
    wait(futures, 5.0)
    assert writer.groups[0] == 1
    assert writer.groups[1:] == [MAX_GROUP_BATCHES, 1]


def test_more_than_may_wait_is_refused(intake: Intake, writer: GatedWriter):
    """Past the bound in bytes a request is refused at once, and taken again when there is room."""
    first = intake.submit(batch(size_bytes=999 * KIB))
    with pytest.raises(IntakeFull) as caught:
        intake.submit(batch(size_bytes=2 * KIB))
    assert (caught.value.waiting_bytes, caught.value.max_bytes) == (999 * KIB, MAX_BYTES)
    writer.gate.set()
    first.result(5.0)
    wait_until(lambda: intake.waiting_bytes == 0, timeout_s=5.0, what="room")
    intake.submit(batch(size_bytes=2 * KIB)).result(5.0)


def test_a_database_that_comes_back_in_time_goes_unnoticed(intake: Intake, writer: GatedWriter):
    """Unavailable is retried within the request's time; the sender only sees the success."""
    writer.failure = Unavailable("away")
    writer.gate.set()
    future = intake.submit(batch(7))
    assert writer.entered.wait(5.0)
    writer.failure = None
    assert future.result(5.0).stored == 7


def test_a_database_that_stays_away_is_told(intake: Intake, writer: GatedWriter):
    """When the request's time is up, its future fails with Unavailable and its bytes are free again."""
    writer.failure = Unavailable("away")
    writer.gate.set()
    with pytest.raises(Unavailable, match="away"):
        intake.submit(batch(), timeout_s=0.2).result(5.0)
    wait_until(lambda: intake.waiting_bytes == 0, timeout_s=5.0, what="room")


def test_a_request_that_waited_too_long_is_not_written(intake: Intake, writer: GatedWriter):
    """Its sender was told to come again; a database that is behind is spared the copy."""
    first = intake.submit(batch(1))
    assert writer.entered.wait(5.0)
    late = intake.submit(batch(2), timeout_s=0.05)
    with pytest.raises(TimeoutError):
        late.result(0.1)
    writer.gate.set()
    assert first.result(5.0).stored == 1
    assert isinstance(late.exception(5.0), Unavailable)
    assert writer.groups == [1]


def test_a_writer_that_forgets_a_result_hangs_nobody(intake: Intake, writer: GatedWriter):
    """When results and requests do not pair up, every request hears of it and the next one is written."""
    writer.gate.set()
    writer.forgetful = True
    with pytest.raises(ValueError, match="zip"):
        intake.submit(batch(1)).result(5.0)
    writer.forgetful = False
    assert intake.submit(batch(2)).result(5.0).stored == 2


def test_one_batch_that_breaks_the_writer_harms_no_other(intake: Intake, writer: GatedWriter):
    """A group that fails for an unknown reason is taken apart: only the batch that causes it fails."""
    futures = [intake.submit(batch(1))]
    assert writer.entered.wait(5.0)
    poison = batch(2)
    writer.poison = poison
    futures += [intake.submit(each) for each in (batch(3), poison, batch(4))]
    writer.gate.set()
    assert [futures[at].result(5.0).stored for at in (0, 1, 3)] == [1, 3, 4]
    with pytest.raises(ValueError, match="poison"):
        futures[2].result(5.0)
    assert intake.submit(batch(5)).result(5.0).stored == 5


def test_stop_writes_what_was_taken(intake: Intake, writer: GatedWriter):
    """Stopping flushes the queue, refuses what is new, and may be asked twice."""
    futures = [intake.submit(batch()) for _ in range(20)]
    writer.gate.set()
    assert intake.stop(5.0)
    assert all(future.done() for future in futures)
    with pytest.raises(IntakeStopped):
        intake.submit(batch())
    assert intake.stop(5.0)


def test_stop_with_the_database_away(intake: Intake, writer: GatedWriter):
    """What cannot be written by the deadline fails as retryable, and stop says that not all was written."""
    writer.failure = Unavailable("away")
    writer.gate.set()
    futures = [intake.submit(batch(), timeout_s=60.0) for _ in range(20)]
    assert not intake.stop(0.3)
    wait(futures, 5.0)
    assert all(isinstance(future.exception(0), Unavailable) for future in futures)


def test_stop_before_start(writer: GatedWriter):
    """An intake that never started stops at once."""
    assert Intake(writer, max_bytes=1024).stop(1.0)


def chunk(step_id: str, kib: int = 100) -> DecisionChunk:
    """One chunk of a step's decisions: 10 candidates for each KiB."""
    return DecisionChunk("run-1", step_id, "1", 0, 1, 10 * kib, bytes(kib * KIB))


def artifact(number: int, kib: int = 100) -> Artifact:
    """An artifact of a step."""
    digest = number.to_bytes(32, "big")
    return Artifact("run-1", "s", "1", "prompt", "text/plain", kib * KIB, digest, bytes(kib * KIB))


def evidence(number: int, kib: int = 100) -> Batch:
    """A batch with as many KiB of decisions as of artifacts."""
    return Batch(number, decisions=[chunk(f"s{number}", kib)], artifacts=[artifact(number, kib)])


def metrics(number: int, kib: int) -> Batch:
    """A batch with a step, and no evidence."""
    return Batch(number, steps=[StepCopy("run-1", "s", "1", True)], size_bytes=kib * KIB)


def written(writer: GatedWriter, number: int) -> Batch:
    """The batch as the writer got it."""
    (found,) = [batch for batch in writer.batches if batch.received_ns == number]
    return found


def hold(intake: Intake, writer: GatedWriter, kib: int = 0) -> Future[WriteResult]:
    """Occupy the writer, with a batch that cannot shrink."""
    future = intake.submit(metrics(0, kib))
    assert writer.entered.wait(5.0)
    return future


def shed_of(batch: Batch) -> dict[str, int]:
    """What a batch says was shed."""
    assert all(loss.cause == "shed" for loss in batch.losses)
    return {loss.what: loss.lost for loss in batch.losses}


def test_artifacts_go_first_then_decisions(intake: Intake, writer: GatedWriter):
    """From half of the bound on artifacts are shed on arrival, from three quarters decisions as well."""
    futures = [hold(intake, writer, 100)]
    futures += [intake.submit(evidence(number)) for number in range(1, 9)]
    writer.gate.set()
    wait(futures, 5.0)
    sheds = [shed_of(written(writer, number)) for number in range(1, 9)]
    without = next(at for at, shed in enumerate(sheds) if shed)
    bare = next(at for at, shed in enumerate(sheds) if "decisions" in shed)
    assert sheds[:without] == [{}] * without
    assert sheds[without:bare] == [{"artifacts": 1}] * (bare - without)
    assert sheds[bare:] == [{"artifacts": 1, "decisions": 1000}] * (8 - bare)
    assert 0 < without < bare < 8
    assert not written(writer, 8).decisions
    assert not written(writer, 8).artifacts


def test_metrics_push_waiting_evidence_out(intake: Intake, writer: GatedWriter):
    """A request with metrics is taken while evidence waits: artifacts go first, the newest of each first."""
    futures = [hold(intake, writer, 200)]
    futures += [intake.submit(Batch(number, decisions=[chunk(f"s{number}")])) for number in (1, 2)]
    futures.append(intake.submit(Batch(3, artifacts=[artifact(3, 40)])))
    futures.append(intake.submit(metrics(4, 600)))
    writer.gate.set()
    wait(futures, 5.0)
    assert all(future.exception() is None for future in futures)
    assert [shed_of(written(writer, number)) for number in (1, 2, 3, 4)] == [
        {},
        {"decisions": 1000},
        {"artifacts": 1},
        {},
    ]


def test_metrics_are_refused_when_only_metrics_wait(intake: Intake, writer: GatedWriter):
    """When shedding all evidence makes no room, the sender is told to come again, and can."""
    futures = [hold(intake, writer, 200), intake.submit(evidence(1, 10)), intake.submit(metrics(2, 700))]
    with pytest.raises(IntakeFull):
        intake.submit(metrics(3, 200))
    writer.gate.set()
    wait(futures, 5.0)
    assert shed_of(written(writer, 1)) == {"artifacts": 1, "decisions": 100}
    assert intake.submit(metrics(3, 200)).result(5.0).stored == 3


def test_evidence_pushes_nobody_out(intake: Intake, writer: GatedWriter):
    """Evidence for which there is no room is shed itself; what waits stays."""
    futures = [hold(intake, writer, 200), intake.submit(Batch(1, decisions=[chunk("s1", 400)]))]
    futures.append(intake.submit(Batch(2, decisions=[chunk("s2", 400)])))
    writer.gate.set()
    wait(futures, 5.0)
    assert [shed_of(written(writer, number)) for number in (1, 2)] == [{}, {"decisions": 4000}]


def test_a_database_that_is_slow_gets_no_evidence(writer: GatedWriter):
    """When requests wait too long for their turn, evidence is shed although there is room for it."""
    intake = Intake(writer, max_bytes=MAX_BYTES, timeout_s=0.4)
    intake.start()
    futures = [intake.submit(metrics(0, 0), timeout_s=60.0)]
    assert writer.entered.wait(5.0)
    futures.append(intake.submit(metrics(1, 0), timeout_s=60.0))
    futures.append(intake.submit(evidence(2, 10), timeout_s=60.0))
    time.sleep(0.2)
    writer.gate.set()
    wait(futures, 5.0)
    assert intake.stop(5.0)
    assert shed_of(written(writer, 2)) == {"artifacts": 1, "decisions": 100}


def test_a_small_commit_tells_nothing_of_a_large_one(writer: GatedWriter):
    """What a commit costs however little is in it says nothing about bytes: evidence goes in whole."""
    intake = Intake(writer, max_bytes=MAX_BYTES, timeout_s=10.0)
    intake.start()
    small = intake.submit(metrics(0, 0))
    assert writer.entered.wait(5.0)
    time.sleep(0.3)
    writer.gate.set()
    assert small.result(5.0).stored == 0
    intake.submit(evidence(1, 300)).result(5.0)
    assert intake.stop(5.0)
    assert shed_of(written(writer, 1)) == {}


def test_what_would_take_too_long_is_shed_until_the_database_is_quick_again(writer: GatedWriter):
    """A large commit that was slow tells of the next large one; small quick ones let it be tried again."""
    intake = Intake(writer, max_bytes=MAX_BYTES, timeout_s=0.4)
    intake.start()
    slow = intake.submit(metrics(0, 300), timeout_s=60.0)
    assert writer.entered.wait(5.0)
    time.sleep(0.6)
    writer.gate.set()
    slow.result(5.0)
    intake.submit(evidence(1, 300), timeout_s=60.0).result(5.0)
    for number in range(2, 62):
        intake.submit(metrics(number, 0), timeout_s=60.0).result(5.0)
    intake.submit(evidence(62, 300), timeout_s=60.0).result(5.0)
    assert intake.stop(5.0)
    assert shed_of(written(writer, 1)) == {"artifacts": 1, "decisions": 3000}
    assert shed_of(written(writer, 62)) == {}


def test_a_chance_ends_with_the_next_slow_commit(writer: GatedWriter):
    """However many small commits were quick meanwhile, a large one that is slow again is believed at once."""
    intake = Intake(writer, max_bytes=MAX_BYTES, timeout_s=10.0)
    for _ in range(2):
        for _ in range(500):
            intake._learn_rate(10, 0.001)
        intake._learn_rate(1_000_000, 1_000.0)
    writer.gate.set()
    intake.start()
    intake.submit(evidence(1, 300)).result(5.0)
    assert intake.stop(5.0)
    assert shed_of(written(writer, 1)) == {"artifacts": 1, "decisions": 3000}


def test_a_loss_names_what_was_shed(intake: Intake, writer: GatedWriter):
    """The entry of the ledger has the run, the step and how many candidates."""
    futures = [hold(intake, writer, 900), intake.submit(Batch(1, decisions=[chunk("by price", 7)]))]
    writer.gate.set()
    wait(futures, 5.0)
    (loss,) = written(writer, 1).losses
    assert (loss.run_id, loss.step_id, loss.attempt_key, loss.lost) == ("run-1", "by price", "1", 70)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 400)), min_size=1, max_size=30), st.booleans())
def test_acknowledged_is_stored_and_shed(requests: list[tuple[int, int]], two: bool):
    """Whatever arrives: all metrics that were taken are written, and each piece of evidence or its loss."""
    writers = [GatedWriter() for _ in range(1 + two)]
    telemetry = Telemetry()
    intake = Intake(*writers, max_bytes=MAX_BYTES, timeout_s=60.0, telemetry=telemetry)
    intake.start()
    taken, futures = [], []
    for number, (kind, kib) in enumerate(requests):
        offered = [
            metrics(number, kib),
            evidence(number, kib),
            Batch(number, artifacts=[artifact(number, kib)]),
            Batch(number, steps=[StepCopy("run-1", "s", "1", True)], decisions=[chunk(f"s{number}", kib)]),
        ][kind]
        try:
            futures.append(intake.submit(offered))
            taken.append(offered)
        except IntakeFull:
            assert kind != 0 or intake.waiting_bytes > MAX_BYTES / 2
    assert intake.waiting_bytes <= MAX_BYTES + 400 * KIB
    for writer in writers:
        writer.gate.set()
    assert intake.stop(10.0)
    assert {future.result(0).stored for future in futures} == {batch.received_ns for batch in taken}
    reached = [batch for writer in writers for batch in writer.batches]
    shed = [loss for batch in reached for loss in batch.losses]
    assert sum(len(batch.steps) for batch in reached) == sum(len(batch.steps) for batch in taken)
    assert candidates(reached) + lost(shed, "decisions") == candidates(taken)
    assert artifacts(reached) + lost(shed, "artifacts") == artifacts(taken)
    counted = telemetry.read()["shed"]
    assert counted.get("decisions", 0) == lost(shed, "decisions")
    assert counted.get("artifacts", 0) == lost(shed, "artifacts")
    assert intake.waiting_bytes == 0


def candidates(batches: Sequence[Batch]) -> int:
    """Candidates in the decisions of the batches."""
    return sum(chunk.item_count for batch in batches for chunk in batch.decisions)


def artifacts(batches: Sequence[Batch]) -> int:
    """Artifacts of the batches."""
    return sum(len(batch.artifacts) for batch in batches)


def lost(losses: Sequence[Loss], what: str) -> int:
    """What the ledger says about one thing."""
    return sum(loss.lost for loss in losses if loss.what == what)


def test_writers_write_at_the_same_time():
    """With two writers, two transactions are under way at once."""
    writers = [GatedWriter(), GatedWriter()]
    intake = Intake(*writers, max_bytes=MAX_BYTES)
    intake.start()
    futures = [intake.submit(batch(0))]
    wait_until(lambda: any(writer.entered.is_set() for writer in writers), timeout_s=5.0, what="one writes")
    futures.append(intake.submit(batch(1)))
    wait_until(lambda: all(writer.entered.is_set() for writer in writers), timeout_s=5.0, what="both write")
    for writer in writers:
        writer.gate.set()
    assert [future.result(5.0).stored for future in futures] == [0, 1]
    assert intake.stop(5.0)
