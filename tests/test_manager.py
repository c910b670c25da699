"""The tick in virtual time: an hour of cycles costs no time."""

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.cadence import MAX_TICKS, YEAR_1_NS, Cadence, Words
from collector.core.batch import DataBatch
from collector.core.entities import EntityTable
from collector.core.metrics import MetricTable
from collector.errors import ScrapeError
from collector.manager import SLICE_S, Manager
from collector.turns import Turns

S = 1_000_000_000
EPOCH = 1_800_000_000


def frozen(batch: DataBatch) -> Iterator[None]:
    yield
    batch.freeze()


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
        frozen,
        lambda batch: seen["exported"].append(batch.timestamp // S - EPOCH),
        resolution_ns=resolution * S,
        offset_ns=offset * S,
        lost=lambda outcome, windows: seen["lost"].extend([outcome] * windows),
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


@dataclass
class Stepped:
    """A manager whose wall clock is set while it runs."""

    resolution: int
    offset: int = 5
    exported: list[int] = field(default_factory=list)
    at: list[float] = field(default_factory=list)
    """When, in seconds of the loop."""
    lost: Counter[str] = field(default_factory=Counter)
    step: float = 0.0

    async def run(self, *stages: tuple[float, float]) -> None:
        """Let so many seconds pass, then set the clock by so many; and again."""
        loop = asyncio.get_running_loop()
        zero = loop.time()

        def export(batch: DataBatch) -> None:
            self.exported.append(batch.timestamp // S - EPOCH)
            self.at.append(round(loop.time() - zero, 2))

        manager = Manager(
            Source(),
            frozen,
            export,
            resolution_ns=self.resolution * S,
            offset_ns=self.offset * S,
            lost=lambda outcome, windows: self.lost.update({outcome: windows}),
            clock=lambda: EPOCH + loop.time() - zero + self.step,
        )
        running = asyncio.create_task(manager.run())
        for seconds, step in stages:
            await asyncio.sleep(seconds)
            self.step += step
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@pytest.mark.looptime
async def test_windows_slept_through_are_skipped_counted_and_never_caught_up(caplog):
    run = Stepped(60)
    await run.run((70, 300.0), (130, 0.0))  # the machine was suspended
    # At 125 of the loop it is 425: the window that ended at 420 is the one to collect.
    assert run.exported == [60, 420, 480]
    assert run.at == [65, 125, 185]
    assert run.lost == {"skipped": 5}
    assert caplog.text.count("have no batch") == 1


@pytest.mark.looptime
@pytest.mark.parametrize("hours", [1, 24 * 365 * 40])
async def test_a_clock_set_forwards_costs_the_windows_between_and_no_time(hours, caplog):
    run = Stepped(60)
    await run.run((70, hours * 3600.0), (185, 0.0))
    assert run.exported == [60, *(hours * 3600 + end for end in (120, 180, 240))]
    assert run.at == [65, 125, 185, 245]
    assert run.lost == {"skipped": hours * 60}
    assert caplog.text.count("set forwards") == 1


@pytest.mark.looptime
@pytest.mark.parametrize("resolution", [5, 60, 90])
async def test_a_clock_set_back_by_an_hour_is_followed_without_a_pause_of_an_hour(resolution, caplog):
    run = Stepped(resolution)
    await run.run((4 * resolution + 7, -3600.0), (4 * resolution, 0.0))
    assert "the clock was set back by about" in caplog.text
    assert caplog.text.count("set back") == 1
    (turn,) = [k for k in range(1, len(run.exported)) if run.exported[k] < run.exported[k - 1]]
    for part in (run.exported[:turn], run.exported[turn:]):
        assert part == list(range(part[0], part[-1] + resolution, resolution))
    gaps = [after - before for before, after in itertools.pairwise(run.at)]
    assert max(gaps) <= 2 * resolution
    assert min(gaps) > 0
    assert not run.lost


@pytest.mark.looptime
async def test_a_clock_set_back_a_little_repeats_no_window(caplog):
    run = Stepped(10, offset=0)
    await run.run((30.5, -3.0), (20, -0.7), (40, 0.0))
    assert run.exported == [10, 20, 30, 40, 50, 60, 70, 80]
    assert not run.lost
    assert not caplog.text


@pytest.mark.looptime
@pytest.mark.parametrize("resolution", [7, 90, 60, 3600, 86_400, 11_000])
async def test_windows_are_counted_from_year_1_as_go_counts_them(resolution):
    run = Stepped(resolution)
    await run.run((3 * resolution + 10, 0.0))
    assert len(run.exported) >= 3
    for end in run.exported:
        assert ((EPOCH + end) * S + YEAR_1_NS) % (resolution * S) == 0
    epoch_aligned = [(EPOCH + end) % resolution == 0 for end in run.exported]
    assert all(epoch_aligned) if 86_400 % resolution == 0 else not any(epoch_aligned)


@pytest.mark.parametrize("turns", range(12))
async def test_a_cadence_told_to_end_ends_whatever_it_awaits_just_then(turns):
    # Python 3.11's own wait_for swallows a cancellation that comes in the turn in which what it waits for is there.
    async def work(_end: int) -> None:
        await asyncio.sleep(0)

    cadence = Cadence(work, Words("ticks", "batch", "--metric-resolution", ""), resolution_ns=10**10, at_once=True)
    running = asyncio.create_task(cadence.run())
    for _ in range(turns):
        await asyncio.sleep(0)
    running.cancel()
    done, _ = await asyncio.wait([running], timeout=5)
    running.cancel()
    assert done
    assert running.cancelled()


def test_year_1_is_where_go_puts_it():
    assert date(1970, 1, 1).toordinal() - date(1, 1, 1).toordinal() == YEAR_1_NS // S // 86_400


@given(
    resolution_ms=st.integers(5_000, 4_000_000),
    offset_ms=st.integers(0, 9_000_000),
    stalls=st.lists(st.tuples(st.floats(0, 3e4), st.floats(-2e5, 2e5)), max_size=4),
)
@settings(max_examples=60, deadline=None)
def test_whatever_the_clock_does_windows_are_aligned_and_the_loop_rests(resolution_ms, offset_ms, stalls):
    resolution, offset = resolution_ms * 1_000_000, offset_ms * 1_000_000
    wakes, now = [], [EPOCH * S]
    steps = iter(stalls)

    class Clock:
        """Time that passes only in sleeps."""

        async def sleep(self, seconds: float) -> None:
            wakes.append(seconds)
            now[0] += round(seconds * 1e9)
            if (step := next(steps, None)) is not None:
                now[0] += round(step[0] * 1e9) + round(step[1] * 1e9)

    manager = Manager(
        Source(),
        lambda _batch: None,
        lambda _batch: None,
        resolution_ns=resolution,
        offset_ns=offset,
        clock=lambda: now[0] / 1e9,
    )

    async def follow() -> None:
        end = manager._cadence._window_start(manager._cadence._now()) + resolution
        for _ in range(8):
            end = await manager._cadence._wait_for(end)
            over = manager._cadence._now() - offset - end
            assert (end + YEAR_1_NS) % resolution == 0
            assert 0 <= over < resolution
            end += resolution

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("collector.cadence.asyncio.sleep", Clock().sleep)
        asyncio.run(follow())
    assert len(wakes) <= 8 + len(stalls)
    assert min(wakes) > 0
    assert max(wakes) * 1e9 <= 2 * resolution + offset


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


async def test_others_have_turns_while_a_batch_is_processed_and_nobody_sees_it_before():
    turns: list[int] = []
    exported: list[DataBatch] = []

    def slowly(batch: DataBatch) -> Iterator[None]:
        for step in range(5):
            time.sleep(2 * SLICE_S)
            assert len(turns) >= step
            assert exported == []
            yield
        batch.freeze()

    async def other() -> None:
        while True:
            turns.append(0)
            await asyncio.sleep(0)

    manager = Manager(Source(), slowly, exported.append, resolution_ns=60 * S, offset_ns=0)
    busy = asyncio.create_task(other())
    tick = await manager.tick(60 * S)
    busy.cancel()
    assert len(turns) >= 5
    assert exported == [tick.batch]
    assert 5 * 2 * SLICE_S <= tick.process_seconds < tick.seconds


async def test_each_step_ends_a_turn_while_a_client_waits_for_its_answer():
    turns, seen, passed = Turns(), [], [0]

    def quickly(batch: DataBatch) -> Iterator[None]:
        for _ in range(4):
            turns.asked()
            seen.append(passed[0])
            yield
        batch.freeze()

    async def other() -> None:
        while True:
            passed[0] += 1
            await asyncio.sleep(0)

    busy = asyncio.create_task(other())
    await Manager(Source(), quickly, lambda _: None, resolution_ns=60 * S, offset_ns=0, turns=turns).tick(60 * S)
    busy.cancel()
    assert sorted(set(seen)) == seen, "a turn between any two steps"


async def test_batches_of_overlapping_ticks_are_processed_one_after_the_other():
    under_way: list[int] = []
    processed: list[int] = []

    def steps(batch: DataBatch) -> Iterator[None]:
        under_way.append(batch.timestamp)
        for _ in range(3):
            time.sleep(2 * SLICE_S)
            assert under_way == [batch.timestamp]
            yield
        batch.freeze()
        under_way.clear()
        processed.append(batch.timestamp // S)

    manager = Manager(Source(), steps, lambda _batch: None, resolution_ns=60 * S, offset_ns=0)
    await asyncio.gather(manager.tick(60 * S), manager.tick(120 * S))
    assert processed == [60, 120]
