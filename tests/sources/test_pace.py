"""Computations of many tasks, spread over turns of the event loop."""

import asyncio
import time

import pytest

from collector.sources.pace import READ_S, SLICE_S, Pace
from collector.turns import SHORT_S, Turns


async def test_what_many_are_about_to_compute_is_spread_over_turns_in_their_order() -> None:
    pace, turns, done = Pace(), 0, list[tuple[int, int]]()

    def long(number: int) -> int:
        time.sleep(1.2 * SLICE_S)
        done.append((turns, number))
        return number

    async def count() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    counting = asyncio.create_task(count())
    assert await asyncio.gather(*(pace.run(lambda number=n: long(number)) for n in range(8))) == list(range(8))
    counting.cancel()
    assert [number for _, number in done] == list(range(8))
    assert max(sum(at == turn for at, _ in done) for turn, _ in done) <= 2


async def test_what_it_raises_is_the_callers_and_the_others_go_on() -> None:
    pace = Pace()

    def fails() -> None:
        time.sleep(1.2 * SLICE_S)
        raise OSError("no")

    found = await asyncio.gather(*(pace.run(fails) for _ in range(3)), pace.run(lambda: 1), return_exceptions=True)
    assert [type(each) for each in found] == [OSError, OSError, OSError, int]


async def test_one_that_is_cancelled_while_it_waits_holds_up_nobody() -> None:
    pace = Pace()
    first, second, third = (asyncio.create_task(pace.run(lambda: time.sleep(1.2 * SLICE_S))) for _ in range(3))
    await asyncio.sleep(0)
    second.cancel()
    async with asyncio.timeout(5):
        await asyncio.gather(first, third)
    with pytest.raises(asyncio.CancelledError):
        await second


async def test_what_is_to_be_done_later_is_done_in_bites_or_at_once_at_the_end() -> None:
    pace, done = Pace(), list[int]()

    def long(number: int) -> None:
        time.sleep(0.6 * SLICE_S)
        done.append(number)

    for number in range(9):
        pace.later(lambda number=number: long(number))
    assert not done
    await asyncio.sleep(0)
    assert 0 < len(done) < 9
    pace.finish()
    assert done == list(range(9))
    pace.later(lambda: long(9))
    for _ in range(3):
        await asyncio.sleep(0)
    assert done == list(range(10))


async def test_what_may_be_read_in_one_turn_has_an_end() -> None:
    pace = Pace()
    assert pace.may_read()
    pace.has_read(READ_S / 2)
    assert pace.may_read()
    pace.has_read(READ_S)
    assert not pace.may_read()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert pace.may_read()


async def test_less_is_read_in_one_turn_while_there_are_clients_and_always_from_one_connection() -> None:
    turns = Turns()
    pace = Pace(turns)
    turns.served()
    pace.has_read(SHORT_S)
    assert not pace.may_read()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    turns.asked()
    assert pace.may_read()
    pace.has_read(1e-9)
    assert not pace.may_read()
