"""The directory over time: repeated and late ticks, hours, retention, leftovers, two writers, options."""

import logging
import random
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from collector.errors import ExportError, StartError, UsageError
from sinks.base import SinkUri, build
from sinks.history import HistorySink, store
from sinks.history.files import HistoryFile
from sinks.history.names import EntityNames
from sinks.history.schema import TICKS_KEY
from tests.history.batches import (
    HOUR,
    MINUTE,
    START,
    Fleet,
    expected_rows,
    files_of,
    ticks_in,
)
from tests.history.exports import TABLES, all_rows, everything, export, names_of

pytestmark = pytest.mark.usefixtures("small_fan_in")

# Ticks and hours.


async def test_ticks_become_an_hourly_file_once_their_hour_is_over(tmp_path: Path) -> None:
    fleet, sink = Fleet(), HistorySink(tmp_path)
    batches = [fleet.batch(START + k * 6 * MINUTE) for k in range(15)]
    await export(sink, batches[:10])
    assert [name[14:27] for name in names_of(tmp_path)] == [
        "000001-000004",
        "000005-000008",
        "000009-000009",
        "000010-000010",
    ]
    await export(sink, batches[10:])
    await sink.stop()
    assert names_of(tmp_path) == [
        "2026-11-23T00.000001-000010.parquet",
        "2026-11-23T01.000001-000004.parquet",
        "2026-11-23T01.000005-000005.parquet",
    ]
    assert everything(tmp_path) == all_rows(batches)


async def test_a_tick_that_comes_again_is_not_stored_again(tmp_path: Path) -> None:
    fleet = Fleet()
    batches = [fleet.batch(START + k * 7 * MINUTE) for k in range(12)]
    for _ in range(2):  # and neither by the next process, though some have been merged
        sink = HistorySink(tmp_path)
        for _ in range(2):
            await export(sink, batches)
        await sink.stop()
    assert everything(tmp_path) == all_rows(batches)


async def test_late_ticks_find_their_hour_and_it_is_made_whole_again(tmp_path: Path) -> None:
    fleet, sink = Fleet(), HistorySink(tmp_path)
    batches = [fleet.batch(START + k * 10 * MINUTE) for k in range(24)]
    late = [batches[3], batches[8]]
    await export(sink, [batch for batch in batches if batch not in late])
    await export(sink, late)
    await export(sink, [fleet.batch(START + 4 * HOUR + k * MINUTE) for k in range(6)])
    await sink.stop()
    assert [name for name in names_of(tmp_path) if "T0" in name and "T04" not in name] == [
        f"2026-11-23T0{hour}.000001-000006.parquet" for hour in range(4)
    ]
    assert [tick for tick in ticks_in(tmp_path) if tick < START + 4 * HOUR] == [batch.timestamp for batch in batches]


async def test_a_clock_that_steps_back_does_not_rewrite_the_hour_for_every_tick(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "FAN_IN", 12)
    fleet, sink = Fleet(), HistorySink(tmp_path)
    await export(sink, [fleet.batch(START + k * 20 * MINUTE) for k in range(12)])
    await export(sink, [fleet.batch(START + k * MINUTE + 1) for k in range(8)])
    assert len([name for name in names_of(tmp_path) if "T00" in name]) == 1 + 8
    await sink.stop()
    assert len(ticks_in(tmp_path)) == 20


async def test_a_restart_goes_on_where_the_last_process_ended(tmp_path: Path) -> None:
    fleet = Fleet()
    batches = [fleet.batch(START + k * MINUTE) for k in range(3)]
    for batch in batches:
        sink = HistorySink(tmp_path)
        await export(sink, [batch])
        await sink.stop()
    assert names_of(tmp_path) == [f"2026-11-23T00.{k:06}-{k:06}.parquet" for k in range(1, 4)]
    assert everything(tmp_path) == all_rows(batches)


async def test_leftovers_of_earlier_hours_are_merged_after_a_restart(tmp_path: Path) -> None:
    fleet = Fleet()
    sink = HistorySink(tmp_path)
    await export(sink, [fleet.batch(START + k * MINUTE) for k in range(5)])
    await sink.stop()
    sink = HistorySink(tmp_path)
    await export(sink, [fleet.batch(START + 9 * HOUR)])
    await sink.stop()
    assert names_of(tmp_path) == ["2026-11-23T00.000001-000005.parquet", "2026-11-23T09.000001-000001.parquet"]


async def test_names_of_entities_that_are_gone_are_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sinks.history.names.SLACK", 0)
    fleet, sink, batches = Fleet(), HistorySink(tmp_path), []
    for k in range(6):
        batches.append(fleet.batch(START + k * MINUTE))
        await export(sink, batches[-1:])
        for row in fleet.entities.namespaces.values():
            for number, pod in enumerate(fleet.entities.children(row).values()):
                fleet.entities.set_own_labels(pod, {"labels": f"generation:{k},number:{number}", f"own-{k}": "x"})
    names = sink._names
    assert isinstance(names, EntityNames)
    assert max(len(one) for one in (*names.texts, names.extras)) <= 2 * len(expected_rows(batches[0])["metrics"])
    await sink.stop()


# Time and space.


async def test_hours_past_their_time_are_removed_whole(tmp_path: Path) -> None:
    fleet, sink = Fleet(), HistorySink(tmp_path, retention_s=2 * 3600)
    await export(sink, [fleet.batch(START + k * 30 * MINUTE) for k in range(13)])
    await sink.stop()
    for table in TABLES:
        hours = sorted({name.partition(".")[0] for name in names_of(tmp_path, table)})
        assert hours == ["2026-11-23T04", "2026-11-23T05", "2026-11-23T06"]


async def test_the_oldest_hours_go_when_the_bound_in_bytes_is_reached(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fleet, sink = Fleet(), HistorySink(tmp_path)
    await export(sink, [fleet.batch(START + k * 20 * MINUTE) for k in range(15)])
    await sink.stop()
    sizes = sum(path.stat().st_size for path in tmp_path.rglob("*.parquet"))
    caplog.set_level(logging.INFO)
    sink = HistorySink(tmp_path, max_bytes=sizes // 2)
    await export(sink, [fleet.batch(START + 5 * HOUR)])
    await sink.stop()
    assert sum(path.stat().st_size for path in tmp_path.rglob("*.parquet")) <= sizes // 2
    hours = sorted({name.partition(".")[0] for name in names_of(tmp_path)})
    assert hours[-1] == "2026-11-23T05"
    assert "2026-11-23T00" not in hours
    assert "max_bytes" in caplog.text


async def test_the_hour_being_written_stays_whatever_the_bound(tmp_path: Path) -> None:
    fleet, sink = Fleet(), HistorySink(tmp_path, max_bytes=1)
    await export(sink, [fleet.batch(START + k * MINUTE) for k in range(3)])
    await sink.stop()
    assert len(ticks_in(tmp_path)) == 3


# One writer.


async def test_a_second_writer_is_refused_and_told_why(tmp_path: Path) -> None:
    fleet, first, second = Fleet(), HistorySink(tmp_path), HistorySink(tmp_path)
    await first.export(fleet.batch(START))
    batch = fleet.batch(START + MINUTE)
    with pytest.raises(ExportError, match=r"in use by another collector \(process \d+\)") as caught:
        await second.export(batch)
    assert caught.value.retryable
    with pytest.raises(StartError, match="its own directory, or stop the other"):
        second.start()
    await first.stop()
    second.start()
    await second.export(batch)
    await second.stop()
    assert ticks_in(tmp_path) == [START, START + MINUTE]


def test_a_directory_that_cannot_be_is_told_at_start(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    sink = HistorySink(tmp_path / "file" / "history")
    with pytest.raises(StartError, match="file/history: Not a directory; make room or repair"):
        sink.start()


# What is left of bad times.


async def test_unfinished_and_superseded_files_are_cleared_away_at_start(tmp_path: Path) -> None:
    fleet, sink = Fleet(), HistorySink(tmp_path)
    batches = [fleet.batch(START + k * MINUTE) for k in range(store.FAN_IN + 1)]
    await export(sink, batches[: store.FAN_IN - 1])
    parts = {path: path.read_bytes() for table in TABLES for path in files_of(tmp_path, table)}
    await export(sink, batches[store.FAN_IN - 1 :])
    await sink.stop()
    for path, content in parts.items():  # as if the process had died before it removed what it had merged
        path.write_bytes(content)
    (tmp_path / "metrics" / ".2026-11-23T00.000099-000099.parquet.tmp").write_bytes(b"half")
    foreign = tmp_path / "metrics" / "notes.txt"
    foreign.write_text("mine")
    sink = HistorySink(tmp_path)
    sink.start()
    await sink.stop()
    assert everything(tmp_path) == all_rows(batches)
    assert sorted(path.name for path in (tmp_path / "metrics").iterdir()) == [
        "2026-11-23T00.000001-000004.parquet",
        "2026-11-23T00.000005-000005.parquet",
        "notes.txt",
    ]


async def test_labelled_files_of_a_tick_whose_metrics_never_came_do_not_count(tmp_path: Path) -> None:
    fleet = Fleet()
    batches = [fleet.batch(START + k * MINUTE) for k in range(3)]
    sink = HistorySink(tmp_path)
    await export(sink, batches)
    await sink.stop()
    (tmp_path / "metrics" / HistoryFile(START // HOUR, 3, 3).name).unlink()
    sink = HistorySink(tmp_path)
    await export(sink, batches)
    await sink.stop()
    assert everything(tmp_path) == all_rows(batches)


@pytest.mark.parametrize("damage", [b"", b"PAR1", None])
async def test_a_broken_file_is_set_aside_and_loses_no_other(
    damage: bytes | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fleet, sink = Fleet(), HistorySink(tmp_path)
    batches = [fleet.batch(START + k * MINUTE) for k in range(3)]
    await export(sink, batches)
    await sink.stop()
    broken = files_of(tmp_path, "metrics")[1]
    content = bytearray(broken.read_bytes())
    content[200:2000] = b"\xff" * 1800
    broken.write_bytes(content if damage is None else damage)
    sink = HistorySink(tmp_path)
    await export(sink, [fleet.batch(START + 9 * HOUR)])
    await sink.stop()
    assert "set aside" in caplog.text
    assert ticks_in(tmp_path) == [START, START + 2 * MINUTE, START + 9 * HOUR]
    assert [path.name for path in tmp_path.rglob("*.broken")] == [f".{broken.name}.broken"]


async def test_whatever_byte_of_a_file_is_another_ticks_are_stored_and_merged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A parquet footer has no checksum: its names, types, sizes and ticks may be anything."""
    monkeypatch.setattr(HistorySink, "_keep_up", lambda *_: None)
    fleet, before = Fleet(), tmp_path / "before"
    batches = [fleet.batch(START + k * MINUTE) for k in range(3)]
    sink = HistorySink(before)
    await export(sink, batches[:2])
    await sink.stop()
    name = files_of(before, "metrics")[0].name
    whole = (before / "metrics" / name).read_bytes()
    footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    chance = random.Random(6)
    ticks = [footer + at for at in (whole[footer:].index(TICKS_KEY.encode()) + k for k in range(40))]
    for at in [*ticks, *(chance.randrange(footer, len(whole)) for _ in range(120))]:
        directory = tmp_path / "now"
        shutil.copytree(before, directory)
        damaged = bytearray(whole)
        damaged[at] = (damaged[at] + chance.randrange(1, 256)) % 256
        (directory / "metrics" / name).write_bytes(damaged)
        sink = HistorySink(directory)
        await sink.export(batches[2])
        assert sink._store.holds(START + 2 * MINUTE)
        sink._store.upkeep(START + 2 * MINUTE, set(), lambda: False)
        await sink.stop()
        assert len(files_of(directory, "metrics")) == 1
        assert {START + MINUTE, START + 2 * MINUTE} <= set(ticks_in(directory))
        shutil.rmtree(directory)


async def test_a_file_whose_columns_are_of_other_types_is_set_aside(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fleet, sink = Fleet(), HistorySink(tmp_path)
    await export(sink, [fleet.batch(START + k * MINUTE) for k in range(2)])
    await sink.stop()
    other = files_of(tmp_path, "metrics")[0]
    table = pq.read_table(other)
    at = table.column_names.index("cpu/usage")
    pq.write_table(table.set_column(at, "cpu/usage", table["cpu/usage"].cast(pa.string())), other)
    sink = HistorySink(tmp_path)
    await export(sink, [fleet.batch(START + 9 * HOUR)])
    await sink.stop()
    assert "cpu/usage is of another type" in caplog.text
    assert ticks_in(tmp_path) == [START + MINUTE, START + 9 * HOUR]


# URIs.


def test_options_of_the_uri(tmp_path: Path) -> None:
    sink = build(f"history:{tmp_path}/a%20b?retention=36h&max_bytes=1000000")
    assert isinstance(sink, HistorySink)
    assert sink.directory == tmp_path / "a b"
    assert sink._store._retention_ns == 36 * HOUR
    assert sink._store._max_bytes == 1_000_000
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("history", "needs a directory"),
        ("history:", "needs a directory"),
        ("history://host/path", "needs a directory"),
        ("history:/x?retention=soon", "option retention"),
        ("history:/x?retention=59m", "at least 1h"),
        ("history:/x?max_bytes=-1", "option max_bytes"),
        ("history:/x?max_bytes=1GB", "option max_bytes"),
    ],
)
def test_a_bad_uri_is_a_usage_error(uri: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        HistorySink.from_uri(SinkUri.parse(uri))
