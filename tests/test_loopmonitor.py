"""The event loop's blocks are seen, at their length."""

import asyncio
import time

from collector.loopmonitor import BUSY_S, NOTABLE_S, REST_S, LoopMonitor
from collector.selfmetrics import SelfMetrics


async def test_a_block_is_reported_short_by_one_period_at_most():
    seen: list[float] = []
    monitor = LoopMonitor(seen.append)
    monitor.start()
    for _ in range(3):  # somebody keeps the loop busy
        time.sleep(0.02)
        await asyncio.sleep(0)
    seen.clear()
    time.sleep(0.3)
    await asyncio.sleep(2 * BUSY_S)
    await monitor.stop()
    assert 0.3 - REST_S <= max(seen) < 10


async def test_a_stopped_monitor_reports_nothing():
    seen: list[float] = []
    monitor = LoopMonitor(seen.append)
    monitor.start()
    await monitor.stop()
    time.sleep(0.1)
    await asyncio.sleep(0.1)
    assert seen == []


def test_the_longest_block_stays_known():
    metrics = SelfMetrics("test")
    for seconds in (NOTABLE_S, 0.4, 0.02):
        metrics.loop_blocked(seconds)
    assert metrics.registry.get_sample_value("heapster_event_loop_longest_block_seconds") == 0.4
    assert metrics.registry.get_sample_value("heapster_event_loop_blocked_seconds_count") == 3
