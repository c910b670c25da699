"""The wall clock set back by an hour, forwards by two and into windows that have been, under the whole collector."""

import asyncio
import socket
import time
from pathlib import Path

import pyarrow.parquet as pq

from collector.app import Collector
from collector.manager import Tick
from collector.options import SECOND
from collector.sim import SimConfig, SimulatedCluster
from sinks.history.files import HOUR_NS, HistoryFile
from tests.e2e.test_collector import options, running
from tests.e2e.test_light import usage
from tests.servers import influxd

RESOLUTION_S = 5
STEPS = (-3600, 7200, -3600 - 4 * RESOLUTION_S)
TICKS = 2
"""Between two steps."""


async def test_ticks_spool_history_and_ledger_follow_the_clock_and_lose_nothing(tmp_path: Path) -> None:
    step = 0.0
    seen: list[int] = []
    rates: list[int | float] = []
    more = asyncio.Event()

    def ticked(tick: Tick) -> None:
        assert all(sink.balanced for sink in collector.sinks.ledger())
        seen.append(tick.batch.timestamp)
        rates.append(tick.batch.metric_sets()["cluster"].metrics.get("cpu/usage_rate", 0))
        more.set()

    with influxd(tmp_path) as database:
        await asyncio.to_thread(database.stop)
        async with SimulatedCluster(SimConfig(nodes=2, pods=2, housekeeping=1, churn=0)) as cluster:
            history = tmp_path / "history"
            given = options(
                cluster,
                sink=(f"influxdb:{database.url}?db=clock", f"history:{history}"),
                spool_dir=str(tmp_path / "spool"),
                metric_resolution=RESOLUTION_S * SECOND,
                scrape_offset=0,
                stop_timeout=20 * SECOND,
            )
            collector = Collector(given, clock=lambda: time.time() + step, ticked=ticked)
            async with running(collector):
                ticking = asyncio.create_task(collector.run())
                for after in (*STEPS, 0):
                    for _ in range(TICKS):
                        more.clear()
                        async with asyncio.timeout(4 * RESOLUTION_S):
                            await more.wait()
                    assert rates[-1] > 0, "a clock that is set costs one tick its rates, no more"
                    # Its windows are those of the clock as it is now.
                    assert 0 <= time.time() + step - seen[-1] / 1e9 < 2 * RESOLUTION_S
                    step += after
                ticking.cancel()
                await asyncio.gather(ticking, return_exceptions=True)
                spooled, stored = collector.sinks.ledger()[:2]
                assert spooled.ticks.scraped == stored.ticks.scraped == len(seen) == TICKS * (len(STEPS) + 1)
                assert not spooled.points.dropped
                await asyncio.to_thread(database.start)
                async with asyncio.timeout(60):
                    while collector.sinks.ledger()[0].points.queued:
                        await asyncio.sleep(0.1)
            spooled, stored = collector.sinks.ledger()[:2]
        assert (spooled.ticks.delivered, stored.ticks.delivered) == (len(seen), len(seen))
        points = database.query("SELECT value FROM \"memory/usage\" WHERE type = 'node' GROUP BY nodename", "clock")
        assert {len(series["values"]) for series in points} == {len(set(seen))}
    hours: dict[int, int] = {}
    for path in (history / "metrics").iterdir():
        if (file := HistoryFile.parse(path.name)) is not None:
            times = pq.read_table(path, columns=["time"])["time"].unique().cast("int64").to_pylist()
            hours[file.hour] = hours.get(file.hour, 0) + len(times)
            assert {at // HOUR_NS for at in times} == {file.hour}
    expected = set(seen)
    assert hours == {hour: sum(at // HOUR_NS == hour for at in expected) for hour in {at // HOUR_NS for at in expected}}
    assert len(hours) >= 3


LATE_S = 2.0
"""What a round may take here beside its cadence."""

MOST_NANOCORES = 1_000 * 10**9
"""Of a node or container; a difference taken over a step of the clock would be negative, or none at all."""


async def test_the_light_cadence_goes_on_after_each_step_and_shows_no_rate_that_is_none(tmp_path: Path) -> None:
    """A clock set back changes nothing for who asks; one set forwards makes all too old, for one round."""
    step, done = 0.0, 0
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    async with SimulatedCluster(SimConfig(nodes=2, pods=2, housekeeping=1, churn=0)) as cluster:
        given = options(
            cluster,
            api_server=True,
            secure_port=port,
            bind_address="127.0.0.1",
            cert_dir=str(tmp_path / "pair"),
            light_resolution=RESOLUTION_S * SECOND,
        )
        collector = Collector(given, clock=lambda: time.time() + step)
        async with running(collector):
            running_on = asyncio.create_task(collector.run())
            shown: list[tuple[float, int, int]] = []
            """When, after how many steps, how many rates."""

            async def look() -> int:
                found = await usage(collector)
                assert all(0 < nano < MOST_NANOCORES and memory >= 0 for nano, memory in found.values()), found
                shown.append((time.monotonic(), done, len(found)))
                await asyncio.sleep(0.1)
                return len(found)

            async with asyncio.timeout(6 * RESOLUTION_S):
                while not await look():
                    pass
            every = shown[-1][2]
            assert every > len(cluster.node_names)
            for step_by in STEPS:
                step, done = step + step_by, done + 1
                until = time.monotonic() + 2 * RESOLUTION_S + LATE_S
                while time.monotonic() < until:
                    assert not running_on.done()
                    await look()
            running_on.cancel()
            await asyncio.gather(running_on, return_exceptions=True)
    for number, step_by in enumerate(STEPS, 1):
        seen = [(at, count) for at, after, count in shown if after == number]
        missing = [at for at, count in seen if count != every]
        assert seen[-1][1] == every
        if step_by < 0:
            assert not missing
        else:
            assert max(missing, default=seen[0][0]) - seen[0][0] < RESOLUTION_S + LATE_S
