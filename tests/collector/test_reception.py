"""Bodies on their way in: bounded together in bytes, each in time, and nobody waits for another."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

import pytest

from collector.errors import BodyTooSlow, IntakeStopped, ReceptionFull
from collector.reception import USUAL_BODY_BYTES, Reception, Room

ROOM = 4 * USUAL_BODY_BYTES
MIB = 1 << 20


def test_bytes_are_bounded_together():
    """Whoever finds no room is refused at once, and finds it when another has gone."""
    room = Room(ROOM)
    reception = Reception(room, timeout_s=60.0)
    with ExitStack() as stack:
        claims = [stack.enter_context(reception.claim()) for _ in range(5)]
        for claim in claims[:4]:
            claim.add(USUAL_BODY_BYTES)
        with pytest.raises(ReceptionFull):
            claims[4].add(1)
        claims[0].__exit__(None, None, None)
        claims[4].add(USUAL_BODY_BYTES)
        assert room.bytes_under_way == ROOM
    assert room.bytes_under_way == 0


def test_a_body_alone_always_passes():
    """A body above all the room is taken when there is no other: it could never come otherwise."""
    reception = Reception(Room(ROOM), timeout_s=60.0)
    with reception.claim() as alone, reception.claim() as other:
        alone.add(2 * ROOM)
        alone.add(1)
        with pytest.raises(ReceptionFull):
            other.add(1)


def test_large_bodies_leave_room_for_usual_ones():
    """What is above the usual size may grow into three quarters of the room only."""
    room = Room(ROOM)
    reception = Reception(room, timeout_s=60.0)
    with reception.claim() as usual, reception.claim() as large:
        usual.add(1)
        large.add(3 * ROOM // 4 - 1)
        with pytest.raises(ReceptionFull):
            large.add(1)
        usual.add(USUAL_BODY_BYTES - 1)
        assert room.bytes_under_way == ROOM - 1
    assert room.met_large()
    assert not room.met_large()


def test_a_slow_body_is_cut():
    """A body has its time; a block within it passes."""

    async def read() -> None:
        reception = Reception(Room(ROOM), timeout_s=0.05)
        async with reception.reading():
            pass
        with pytest.raises(BodyTooSlow):
            async with reception.reading():
                await asyncio.sleep(60.0)

    asyncio.run(read())


def test_the_slowest_gives_way():
    """When more is read than has room, the oldest is given little time; newcomers never wait."""

    async def read() -> list[object]:
        reception = Reception(Room(ROOM), timeout_s=60.0)
        ended = asyncio.Event()

        async def body() -> None:
            async with reception.reading(unmeasured=True):
                await ended.wait()

        crowd = [asyncio.create_task(body()) for _ in range(4)]
        await asyncio.sleep(0)
        crowd.append(asyncio.create_task(body()))
        done, _ = await asyncio.wait(crowd, timeout=30.0, return_when=asyncio.FIRST_COMPLETED)
        assert done == {crowd[0]}
        ended.set()
        return await asyncio.gather(*crowd, return_exceptions=True)

    first, *others = asyncio.run(read())
    assert isinstance(first, BodyTooSlow)
    assert others == [None] * 4


def test_memory_that_nobody_counted_is_bounded():
    """When bodies of unknown size fill the memory the oldest goes on, later ones are cut or not begun."""

    async def read() -> list[object]:
        in_use = 0
        reception = Reception(Room(ROOM), timeout_s=60.0, memory_in_use=lambda: in_use)
        ended, begun = asyncio.Event(), asyncio.Semaphore(0)

        async def body() -> None:
            async with reception.reading(unmeasured=True):
                begun.release()
                await ended.wait()

        crowd = [asyncio.create_task(body()) for _ in range(2)]
        for _ in crowd:
            await begun.acquire()
        in_use = ROOM + 1
        late = asyncio.create_task(body())
        await asyncio.wait([crowd[1], late], timeout=30.0)
        ended.set()
        return await asyncio.gather(*crowd, late, return_exceptions=True)

    first, second, third = asyncio.run(read())
    assert first is None
    assert isinstance(second, BodyTooSlow)
    assert isinstance(third, ReceptionFull)


def test_a_stop_cuts_what_is_being_read():
    """Bodies under way and new ones hear that the collector stops."""

    async def read() -> None:
        reception = Reception(Room(ROOM), timeout_s=60.0)

        async def body() -> None:
            async with reception.reading():
                await asyncio.sleep(60.0)

        reading = asyncio.create_task(body())
        await asyncio.sleep(0)
        reception.close()
        with pytest.raises(IntakeStopped):
            await reading
        with pytest.raises(IntakeStopped):
            async with reception.reading():
                pass

    asyncio.run(read())


def test_no_body_is_begun_without_room():
    """While all the room is taken, a body of unknown size is refused before it is read."""

    async def read() -> None:
        reception = Reception(Room(ROOM), timeout_s=60.0)
        with reception.claim() as claim:
            claim.add(ROOM)
            with pytest.raises(ReceptionFull):
                async with reception.reading(unmeasured=True):
                    pass

    asyncio.run(read())


def test_who_waits_for_a_turn_is_refused_when_the_collector_stops():
    """It has no deadline yet that the stop could end."""

    async def read() -> None:
        reception = Reception(Room(ROOM), timeout_s=60.0)
        reading = asyncio.Event()

        async def body() -> None:
            async with reception.reading(unmeasured=True):
                reading.set()
                await asyncio.sleep(60.0)

        first = asyncio.create_task(body())
        await reading.wait()
        second = asyncio.create_task(body())
        await asyncio.sleep(0)
        reception.close()
        done = await asyncio.wait_for(asyncio.gather(first, second, return_exceptions=True), 30.0)
        assert [type(outcome) for outcome in done] == [IntakeStopped, IntakeStopped]

    asyncio.run(read())
