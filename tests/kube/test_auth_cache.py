"""Verdicts are kept for their time, questions asked once, memory is bounded."""

import asyncio

import pytest

from collector.kube.auth_cache import Remembered


class Asked:
    """Answers with the number of the question, good for `seconds`."""

    def __init__(self, seconds: float = 10.0) -> None:
        self.seconds = seconds
        self.count = 0
        self.go = asyncio.Event()
        self.go.set()

    async def __call__(self) -> tuple[int, float]:
        self.count += 1
        await self.go.wait()
        return self.count, self.seconds


async def test_a_verdict_is_believed_for_its_time():
    now = 0.0
    cache, asked = Remembered[str, int](clock=lambda: now), Asked()
    assert [await cache.get("a", asked), await cache.get("a", asked), await cache.get("b", asked)] == [1, 1, 2]
    now = 9.99
    assert await cache.get("a", asked) == 1
    now = 10.0
    assert await cache.get("a", asked) == 3


async def test_nothing_is_kept_for_no_time():
    cache, asked = Remembered[str, int](), Asked(seconds=0)
    assert [await cache.get("a", asked) for _ in range(3)] == [1, 2, 3]
    assert len(cache) == 0


async def test_one_question_per_key_is_under_way_and_leaving_disturbs_nobody():
    cache, asked = Remembered[str, int](), Asked()
    asked.go.clear()
    waiting = [asyncio.create_task(cache.get("a", asked)) for _ in range(5)]
    await asyncio.sleep(0)
    waiting.pop(0).cancel()
    await asyncio.sleep(0)
    asked.go.set()
    assert await asyncio.gather(*waiting) == [1] * 4


async def test_a_failure_is_for_those_who_asked_and_is_not_kept():
    cache = Remembered[str, int]()

    async def fails() -> tuple[int, float]:
        await asyncio.sleep(0)
        raise OSError("no")

    found = await asyncio.gather(*(cache.get("a", fails) for _ in range(3)), return_exceptions=True)
    assert [str(fault) for fault in found] == ["no"] * 3
    assert await cache.get("a", Asked()) == 1


async def test_the_oldest_goes_when_there_are_too_many():
    cache, asked = Remembered[int, int](most=3), Asked()
    for key in range(5):
        await cache.get(key, asked)
    assert len(cache) == 3
    assert await cache.get(4, asked) == 5
    assert await cache.get(0, asked) == 6


async def test_closing_gives_up_what_is_under_way():
    cache, asked = Remembered[str, int](), Asked()
    asked.go.clear()
    waiting = asyncio.create_task(cache.get("a", asked))
    await asyncio.sleep(0)
    await cache.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
