"""The tick in virtual time: an hour of cycles costs no time."""

import asyncio

import pytest

from collector.core.batch import DataBatch
from collector.core.entities import EntityTable
from collector.core.metrics import MetricTable
from collector.errors import ScrapeError
from collector.manager import MAX_TICKS, Manager

S = 1_000_000_000
EPOCH = 1_800_000_000


class Source:
    """A source whose scrapes take as long as they are told to."""

    name = "scripted"

    def __init__(self, *seconds: float) -> None:
        self.windows: list[tuple[int, int, float]] = []
        self.seconds = list(seconds)
        self.under_way = self.most_under_way = 0
        self.tables = EntityTable(), MetricTable()

    async def scrape(self, start: int, end: int) -> DataBatch:
        self.windows.append((start // S - EPOCH, end // S - EPOCH, asyncio.get_running_loop().time()))
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await asyncio.sleep(self.seconds.pop(0) if self.seconds else 0)
        finally:
            self.under_way -= 1
        return DataBatch(*self.tables, end)


async def ticking(
    source: Source, seconds: float, *, resolution: int, offset: int, began: float = 0.25
) -> dict[str, list]:
    """Run a manager for so many virtual seconds; what it exported and what it lost."""
    loop = asyncio.get_running_loop()
    zero = loop.time()
    seen: dict[str, list] = {"exported": [], "lost": []}
    manager = Manager(
        source,
        lambda batch: batch.freeze(),
        lambda batch: seen["exported"].append(batch.timestamp // S - EPOCH),
        resolution_ns=resolution * S,
        offset_ns=offset * S,
        lost=seen["lost"].append,
        clock=lambda: EPOCH + began + loop.time() - zero,
    )
    running = asyncio.create_task(manager.run())
    await asyncio.sleep(seconds)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    return seen


@pytest.mark.looptime
async def test_windows_are_aligned_and_stamped_with_their_end_and_asked_after_the_offset():
    source = Source()
    seen = await ticking(source, 190, resolution=60, offset=5)
    assert seen["exported"] == [60, 120, 180]
    assert [window[:2] for window in source.windows] == [(0, 60), (60, 120), (120, 180)]
    assert [round(window[2], 2) for window in source.windows] == [64.75, 124.75, 184.75]


@pytest.mark.looptime
async def test_a_resolution_equal_to_the_offset_loses_no_window():
    assert (await ticking(Source(), 31, resolution=5, offset=5))["exported"] == [5, 10, 15, 20, 25]


@pytest.mark.looptime
async def test_at_most_three_ticks_overlap_and_a_window_without_permit_is_skipped_and_counted():
    source = Source(*[1000.0] * 5)
    seen = await ticking(source, 620, resolution=60, offset=5)
    assert source.most_under_way == MAX_TICKS
    assert seen["exported"] == []
    assert seen["lost"]
    assert set(seen["lost"]) == {"skipped"}


@pytest.mark.looptime
async def test_a_scrape_slower_than_the_resolution_delays_no_other():
    seen = await ticking(Source(90, 0, 0), 250, resolution=60, offset=5)
    assert sorted(seen["exported"]) == [60, 120, 180, 240]
    assert seen["exported"] != sorted(seen["exported"])


@pytest.mark.looptime
async def test_a_window_slept_through_is_skipped_and_never_caught_up():
    source = Source()
    loop = asyncio.get_running_loop()
    zero, jump = loop.time(), [0.0]
    exported: list[int] = []
    lost: list[str] = []
    manager = Manager(
        source,
        lambda batch: batch.freeze(),
        lambda batch: exported.append(batch.timestamp // S - EPOCH),
        resolution_ns=60 * S,
        offset_ns=5 * S,
        lost=lost.append,
        clock=lambda: EPOCH + loop.time() - zero + jump[0],
    )
    running = asyncio.create_task(manager.run())
    await asyncio.sleep(70)
    jump[0] = 300.0  # the machine was suspended
    await asyncio.sleep(130)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert exported[0] == 60
    assert 180 not in exported
    assert exported == sorted(exported)
    assert lost.count("skipped") >= 3


@pytest.mark.looptime
async def test_a_failing_tick_is_counted_and_the_next_one_runs(caplog):
    source = Source()
    scrape = source.scrape

    async def failing(start: int, end: int) -> DataBatch:
        batch = await scrape(start, end)
        if end // S - EPOCH == 60:
            raise ScrapeError("nothing to be had")
        return batch

    source.scrape = failing  # type: ignore[method-assign]
    seen = await ticking(source, 130, resolution=60, offset=5)
    assert seen == {"exported": [120], "lost": ["failed"]}
    assert "nothing to be had" in caplog.text
