"""The spool before real servers: killed, frozen, restarted and refusing; and a collector killed at any moment."""

import asyncio
import json
import os
import random
import select
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.servers import Influxd, victoria_metrics
from tests.sinks.batches import TIMESTAMP
from tests.sinks.delivery import Delivery, counted, counted_by_victoria_metrics

KILLS = int(os.environ.get("SOAK_KILLS", "20"))
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
async def delivery(tmp_path: Path) -> AsyncIterator[Callable[[str], Delivery]]:
    async with AsyncExitStack() as stack:

        def make(uri: str) -> Delivery:
            made = Delivery(uri, tmp_path / "spool")
            stack.push_async_callback(made.manager.stop, 5)
            return made

        yield make


async def test_killed_frozen_and_restarted_under_load(
    own_influxd: Influxd, delivery: Callable[[str], Delivery]
) -> None:
    one = delivery(f"influxdb:{own_influxd.url}?db=faults&timeout=1s&concurrency=3")
    what: dict[int, Callable[[], object]] = {
        8: lambda: own_influxd.stop(signal.SIGKILL),
        16: own_influxd.start,
        24: own_influxd.freeze,
        34: own_influxd.thaw,
        42: own_influxd.stop,
        46: own_influxd.start,
    }
    for tick in range(50):
        if tick in what:
            await asyncio.to_thread(what[tick])
        await one.tick()
        await asyncio.sleep(0.05)
    ledger = await one.until(lambda ledger: not ledger.points.queued)
    assert ledger.points.delivered == 50 * one.points
    assert ledger.ticks.delivered == 50
    assert counted(own_influxd, "faults") == dict.fromkeys(range(50), one.points)


async def test_the_2x_api_of_a_victoria_metrics_killed_frozen_and_restarted_under_load(
    tmp_path_factory: pytest.TempPathFactory, delivery: Callable[[str], Delivery], tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("secret\n")
    given = f"api=v2&org=o&bucket=b&token_file={token}&timeout=1s&concurrency=3"
    with victoria_metrics(tmp_path_factory.mktemp("victoria")) as victoria:
        one = delivery(f"influxdb:{victoria.url}?{given}")

        def settle_and_freeze() -> None:
            """It says that it has points a while before it writes them, which is out of our hands."""
            victoria.stop()
            victoria.start()
            victoria.freeze()

        what: dict[int, Callable[[], object]] = {
            6: settle_and_freeze,
            12: lambda: victoria.stop(signal.SIGKILL, thaw=False),
            18: victoria.start,
            24: victoria.freeze,
            32: victoria.thaw,
            38: victoria.stop,
            42: victoria.start,
        }
        for tick in range(46):
            if tick == 6:
                await one.until(lambda ledger: not ledger.points.queued)
            if tick in what:
                await asyncio.to_thread(what[tick])
            await one.tick()
            await asyncio.sleep(0.05)
        ledger = await one.until(lambda ledger: not ledger.points.queued)
        assert (ledger.ticks.delivered, ledger.points.delivered) == (46, 46 * one.points)
        assert not ledger.points.dropped
        series = await asyncio.to_thread(victoria.export)
    assert counted_by_victoria_metrics(series) == dict.fromkeys(range(46), one.points)


async def test_points_of_another_type_are_found_and_their_neighbours_arrive(
    shared_influxd: Influxd, delivery: Callable[[str], Delivery], tmp_path: Path
) -> None:
    shared_influxd.query("CREATE DATABASE refusing")
    shared_influxd.write("refusing", f"memory/usage,type=x value=0.5 {TIMESTAMP}")
    one = delivery(f"influxdb:{shared_influxd.url}?db=refusing")
    await one.tick()
    ledger = await one.until(lambda ledger: not ledger.points.queued)
    refused = ledger.points.dropped["refused"]
    assert refused == ledger.points.scraped - ledger.points.delivered > 1
    await one.manager.stop(5)
    letters = (tmp_path / "spool" / "dead-letters").read_text().splitlines()
    lines = [line for line in letters if not line.startswith("#")]
    assert len(lines) == refused
    assert all(line.startswith("memory/usage,") for line in lines)
    assert any("field type conflict" in line for line in letters)
    assert counted(shared_influxd, "refusing") == {0: one.points - refused + 1}


class Child:
    """The process that is killed."""

    def __init__(self, uri: str, directory: Path, first: int, *mode: str) -> None:
        command = (sys.executable, "-m", "tests.sinks.spooling_child", uri, str(directory), str(first), *mode)
        self._process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE)

    def read_for(self, seconds: float) -> bytes:
        """What it says from its first words on for so long, until it is killed."""
        process = self._process
        assert process.stdout is not None
        ready, _, _ = select.select([process.stdout], [], [], 60)
        assert ready, "the child says nothing"
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        return process.communicate()[0]

    def read(self) -> bytes:
        """All it says until it ends by itself."""
        said, _ = self._process.communicate(timeout=120)
        assert self._process.returncode == 0
        return said


def test_killed_at_any_moment_it_loses_no_tick_that_it_called_kept(shared_influxd: Influxd, tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    uri = f"influxdb:{shared_influxd.url}?db=killed"
    kept: dict[int, int] = {}
    first = 0
    for _ in range(KILLS):
        said = Child(uri, tmp_path, first).read_for(chance.random() * 0.3).decode()
        for line in said.splitlines():
            _, tick, points = line.split()
            kept[int(tick)] = int(points)
        first = max(kept) + 2  # the one after the last may be there in part
    said = Child(uri, tmp_path, first, "drain").read().decode()
    ledger = json.loads(said.removeprefix("drained "))
    assert ledger["balanced"]
    assert ledger["points"]["queued"] == 0
    assert ledger["points"]["dropped"] == {}
    found = counted(shared_influxd, "killed")
    assert {tick: found.get(tick) for tick in kept} == kept, f"seed {seed}"
    assert all(count <= max(kept.values()) for count in found.values()), "a point came under two names"
