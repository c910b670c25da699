"""What a cluster costs in memory is what the page says, and a budget that is too small gives up the past first."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import numpy as np
import pytest
from e2e.test_collector import cluster, options, running, window

from collector.app import Collector
from collector.budget import STEPS
from collector.core.batch import DataBatch
from collector.core.footprint import CELL, ENTITY, LABELED
from collector.core.metrics import INDEX, Kind
from collector.errors import MemoryShortError
from collector.sim import SimulatedCluster

__all__ = ["cluster"]

PAGE = Path(__file__).parents[2] / "docs" / "performance.md"
NAMES = [step.name for step in STEPS]


def cost(batch: DataBatch, kind: Kind) -> int:
    """The most bytes of one entity of a kind in a batch."""
    rows = batch.rows_of(kind)
    spent = ENTITY + CELL * batch.present[:, rows].sum(axis=0)
    for name, table in batch.labeled.items():
        spent = spent + LABELED[name] * np.bincount(table.row, minlength=batch.rows)[rows]
    return int(spent.max())


def documented(what: str) -> int:
    """The bytes that the page gives for one of these."""
    [row] = re.findall(rf"^\| {what}, in a batch \|.*\| ([\d,]+) \|$", PAGE.read_text("utf-8"), re.MULTILINE)
    return int(row.replace(",", ""))


async def test_the_page_says_what_an_entity_costs(cluster: SimulatedCluster) -> None:
    async with running(Collector(options(cluster))) as collector:
        for cycle in range(2):
            cluster.advance(60)
            batch = (await collector.tick(window(cycle))).batch
    found = {kind.label: cost(batch, kind) for kind in (Kind.POD_CONTAINER, Kind.POD, Kind.NODE)}
    assert found == {
        Kind.POD_CONTAINER.label: documented("container"),
        Kind.POD.label: documented("pod"),
        Kind.NODE.label: documented("node"),
    }


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as made:
        yield made


async def gauges(session: aiohttp.ClientSession, url: str) -> dict[str, float]:
    async with session.get(f"{url}/metrics") as answer:
        found = re.findall(r"^(heapster_memory_\S+) (\S+)$", await answer.text(), re.MULTILINE)
    return {name: float(value) for name, value in found}


async def test_each_step_is_told_and_answers_stay_right(
    cluster: SimulatedCluster,
    session: aiohttp.ClientSession,
) -> None:
    async with running(Collector(options(cluster, memory_budget="1Gi"))) as collector:
        url = f"http://127.0.0.1:{collector.port}"
        used = [0]
        collector.room.budget._used = lambda: used[0]
        await collector.tick(window(0))
        told = await gauges(session, url)
        assert told["heapster_memory_budget_bytes"] == 1 << 30
        assert [told[f'heapster_memory_shed{{step="{name}"}}'] for name in NAMES] == [0] * 5
        for count in range(1, len(NAMES)):
            cluster.advance(10)
            # Too much, until one step more is taken. It is looked at twice before, and then once a step.
            order = iter([2 << 30] * 2)
            collector.room.budget._used = lambda order=order: next(order, 0)  # type: ignore[misc]
            batch = (await collector.tick(window(0) + count)).batch
            told = await gauges(session, url)
            assert [told[f'heapster_memory_shed{{step="{name}"}}'] for name in NAMES] == [1] * count + [0] * (5 - count)
            async with session.get(f"{url}/api/v1/model/metrics/memory/usage") as answer:
                series = (await answer.json())["metrics"]
            assert series[-1]["value"] == batch.value(batch.entities.cluster, INDEX["memory/usage"])
            assert told["heapster_memory_needed_bytes"] > 0
        collector.room.budget._used = lambda: 2 << 30
        with pytest.raises(MemoryShortError):
            await collector.tick(window(0) + 10)
        assert (await gauges(session, url))['heapster_memory_shed{step="scraping"}'] == 1
        async with session.get(f"{url}/api/v1/model/nodes") as answer:
            assert len(await answer.json()) == 4, "what is there is served"
        collector.room.budget._used = lambda: 0
        cluster.advance(10)
        for extra in range(20):
            await collector.tick(window(0) + 20 + extra)
        told = await gauges(session, url)
        assert [told[f'heapster_memory_shed{{step="{name}"}}'] for name in NAMES] == [0] * 5
