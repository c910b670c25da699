"""A database whose disk is full: what it cannot store waits, and is there once when somebody has freed the disk."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.smalldisk import SmallDisk, small_disk
from tests.servers import Influxd, VictoriaMetrics, influxd, victoria_metrics
from tests.sinks.delivery import Delivery, counted, counted_by_victoria_metrics

FEW = 4
"""Ticks before the disk is full, and after the first that could not be stored."""
LEFT = 16 << 20
"""VictoriaMetrics takes nothing when less than it was told is left; when there is nothing at all, it ends itself."""


@contextmanager
def database(kind: str, directory: Path, disk: SmallDisk) -> Iterator[tuple[Influxd | VictoriaMetrics, str]]:
    """The server, and the URI of a sink that writes to it."""
    if kind == "influxd":
        with influxd(directory, disk=disk) as server:
            yield server, f"influxdb:{server.url}?db=full&timeout=5s"
    else:
        with victoria_metrics(directory, f"-storage.minFreeDiskSpaceBytes={3 * LEFT}", disk=disk) as victoria:
            yield victoria, f"influxdb:{victoria.url}?api=v2&org=o&bucket=b&token=t&timeout=5s"


@pytest.mark.parametrize("kind", ["influxd", "victoria-metrics"])
async def test_points_wait_while_the_databases_disk_is_full_and_arrive_when_it_is_freed(
    kind: str, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk", "96m") as disk, database(kind, tmp_path, disk) as (server, uri):
        one = Delivery(uri, tmp_path / "spool")
        try:
            for _ in range(FEW):
                await one.tick()
            await one.until(lambda ledger: not ledger.points.queued)
            disk.fill(0 if kind == "influxd" else LEFT)
            async with asyncio.timeout(60):  # what is taken until the server looks at its disk is stored as well
                while one.manager.ledger()[0].trouble is None:
                    await one.tick()
                    await asyncio.sleep(0.2)
            for _ in range(FEW):
                await one.tick()
            full = await one.until(lambda ledger: ledger.points.queued >= FEW * one.points)
            assert not full.points.dropped
            disk.free()
            if kind == "influxd":  # its log of writes keeps the error until it is opened anew
                await asyncio.to_thread(server.stop)
                await asyncio.to_thread(server.start)
            ledger = await one.until(lambda ledger: not ledger.points.queued)
        finally:
            await one.manager.stop(5)
        assert not ledger.points.dropped
        assert ledger.points.delivered == one.ticks * one.points
        if isinstance(server, Influxd):
            found = counted(server, "full")
        else:
            found = counted_by_victoria_metrics(await asyncio.to_thread(server.export))
        assert found == dict.fromkeys(range(one.ticks), one.points)
