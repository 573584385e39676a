"""The intake: acknowledged after the commit, in groups, bounded, patient with a database that is away."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import wait

import pytest

from collector.errors import IntakeFull, IntakeStopped
from collector.intake import MAX_GROUP_BATCHES, Intake
from store.errors import Unavailable
from store.rows import Batch, WriteResult
from tests.fixtures.waiting import wait_until


class GatedWriter:
    """A Writer that commits when its gate is open, fails while it is told to, and remembers its groups."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.entered = threading.Event()
        self.failure: Exception | None = None
        self.poison: Batch | None = None
        self.forgetful = False
        self.groups: list[int] = []

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
        return [WriteResult(stored=batch.received_ns) for batch in batches]

    def close(self) -> None:
        pass


@pytest.fixture
def writer() -> GatedWriter:
    """A writer whose gate is closed."""
    return GatedWriter()


@pytest.fixture
def intake(writer: GatedWriter) -> Iterator[Intake]:
    """An intake of at most 100 KiB that waits 5 s for a commit."""
    intake = Intake(writer, max_bytes=100 * 1024, timeout_s=5.0)
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
    first = intake.submit(batch(size_bytes=99 * 1024))
    with pytest.raises(IntakeFull) as caught:
        intake.submit(batch(size_bytes=2 * 1024))
    assert (caught.value.waiting_bytes, caught.value.max_bytes) == (99 * 1024, 100 * 1024)
    writer.gate.set()
    first.result(5.0)
    wait_until(lambda: intake.waiting_bytes == 0, timeout_s=5.0, what="room")
    intake.submit(batch(size_bytes=2 * 1024)).result(5.0)


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
