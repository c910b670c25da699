"""Disks that fail, exports that are cancelled, and an event loop that is never held up."""

import asyncio
import errno
import io
import itertools
import shutil
from pathlib import Path

import pytest
from blockbuster import blockbuster_ctx

from collector.errors import ExportError
from sinks.history import HistorySink, store
from sinks.history.files import Disk
from tests.history.batches import HOUR, MINUTE, START, Fleet, expected_counts, row_counts, ticks_in
from tests.history.disks import FailingDisk, FullDisk
from tests.history.exports import all_rows, everything, export, names_of, settle

pytestmark = pytest.mark.usefixtures("small_fan_in")


async def test_a_tick_is_stored_whole_or_not_at_all_wherever_the_disk_fails(tmp_path: Path) -> None:
    fleet = Fleet()
    batches = [fleet.batch(START + k * MINUTE) for k in range(2)]
    sink = HistorySink(tmp_path / "before")
    await export(sink, batches[:1])
    await sink.stop()
    told: list[bool] = []
    for fail_at in itertools.count():
        directory = tmp_path / str(fail_at)
        shutil.copytree(tmp_path / "before", directory)
        disk = FailingDisk(number=errno.EIO)
        sink = HistorySink(directory, disk=disk)
        sink.start()
        disk.fail_after(fail_at)
        expected = f"cannot be written to {directory}: Input/output error"
        try:
            await sink.export(batches[1])
        except ExportError as error:
            told.append(error.retryable and expected in str(error))
        failed = disk.failed
        disk.heal()
        await settle(sink)
        await sink.export(batches[1])
        await sink.stop()
        assert row_counts(directory) == expected_counts(batches)
        if not failed:
            break
    assert len(told) > 12
    assert all(told)


async def test_a_full_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    fleet = Fleet()
    disk = FullDisk()
    sink = HistorySink(tmp_path, disk=disk)
    await sink.export(fleet.batch(START))
    before = sorted(tmp_path.rglob("*"))
    disk.fail_after(4)
    with pytest.raises(ExportError, match="No space left on device"):
        await sink.export(fleet.batch(START + MINUTE))
    await settle(sink)
    assert sorted(tmp_path.rglob("*")) == before
    await sink.stop()


async def test_merging_loses_nothing_wherever_the_disk_fails(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "FAN_IN", 3)
    fleet = Fleet()
    batches = [fleet.batch(START + k * MINUTE) for k in range(4)]
    sink = HistorySink(tmp_path / "before")
    monkeypatch.setattr(sink, "_keep_up", lambda _: None)
    await export(sink, batches[:3])
    await sink.stop()
    for fail_at in itertools.count(step=2):
        directory = tmp_path / str(fail_at)
        shutil.copytree(tmp_path / "before", directory)
        disk = FailingDisk()
        sink = HistorySink(directory, disk=disk)
        sink.start()
        disk.fail_after(fail_at)
        sink._keep_up(batches[2].timestamp)
        await settle(sink)
        failed = disk.failed
        if fail_at % 4:  # the same process goes on when the disk is well again, or else another one does
            disk.heal()
            sink._keep_up(batches[2].timestamp)
            await settle(sink)
            assert len(names_of(directory)) == 1
        await sink.stop()
        sink = HistorySink(directory)
        await export(sink, batches[3:])
        await sink.stop()
        assert row_counts(directory) == expected_counts(batches)
        assert len(names_of(directory)) <= 2
        if not failed:
            break
    assert fail_at > 12
    assert "new ticks are stored nevertheless" in caplog.text


async def test_room_is_made_although_the_disk_is_full(tmp_path: Path) -> None:
    fleet, disk = Fleet(), FullDisk()
    sink = HistorySink(tmp_path, retention_s=3600, disk=disk)
    await export(sink, [fleet.batch(START)])
    disk.fail_after(0)
    with pytest.raises(ExportError):
        await sink.export(fleet.batch(START + 9 * HOUR))
    await settle(sink)
    assert names_of(tmp_path) == []
    await sink.stop()


async def test_no_file_is_touched_on_the_event_loop(tmp_path: Path) -> None:
    fleet, sink = Fleet(), HistorySink(tmp_path)
    batches = [fleet.batch(START + k * 15 * MINUTE) for k in range(8)]
    with blockbuster_ctx():
        await export(sink, batches)
    await sink.stop()
    assert len(ticks_in(tmp_path)) == 8


class SlowDisk(Disk):
    """Says when it is asked to sync, and waits until it may."""

    def __init__(self) -> None:
        self.asked, self.may = asyncio.Event(), asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def sync(self, file: io.FileIO) -> None:
        self._loop.call_soon_threadsafe(self.asked.set)
        asyncio.run_coroutine_threadsafe(self.may.wait(), self._loop).result(30)
        super().sync(file)


async def test_a_cancelled_export_leaves_no_thread_at_work(tmp_path: Path) -> None:
    fleet, disk = Fleet(), SlowDisk()
    sink = HistorySink(tmp_path, disk=disk)
    batch = fleet.batch(START)
    task = asyncio.create_task(sink.export(batch))
    await disk.asked.wait()
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    disk.may.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    await sink.export(batch)
    await sink.stop()
    assert ticks_in(tmp_path) == [START]


async def test_stop_does_not_wait_for_a_merge_to_end(tmp_path: Path) -> None:
    fleet, sink = Fleet(), HistorySink(tmp_path)
    batches = [fleet.batch(START + k * MINUTE) for k in range(store.FAN_IN)]
    await export(sink, batches[:-1])
    await sink.export(batches[-1])
    await sink.stop()  # the upkeep of the last export has hardly begun
    sink = HistorySink(tmp_path)
    sink.start()
    await sink.stop()
    assert everything(tmp_path) == all_rows(batches)
