"""Warm restart: what is read back is what was written, and damage costs what is damaged, no more."""

import asyncio
import random
import shutil
from pathlib import Path

import numpy as np
import pytest

from collector.core.batch import DataBatch
from collector.core.entities import EntityTable
from collector.core.light import ARRIVED, CPU, FIELDS, GENERATION, OWNER, TIME, LightStore
from collector.core.metrics import INDEX, Clock, MetricTable
from collector.core.store import LONG_METRICS, MetricStore
from collector.errors import ExportError, StartError
from collector.processors.rate import RateCalculator
from sinks.warm import Restored, WarmSink, files, restore
from sinks.warm import sink as sink_module
from tests.sinks.batches import MINUTE, TIMESTAMP, Cluster

SECOND = 1_000_000_000


class Life:
    """One process: its rows, its store, and what the process before left to it."""

    def __init__(self, directory: Path, now: int) -> None:
        self.directory, self.now = directory, now
        self.entities, self.metrics = EntityTable(), MetricTable()
        self.store = MetricStore(clock=lambda: self.now / 1e9)
        self.restored = Restored()

    async def began(self) -> "Life":
        self.restored = await restore(self.directory, self.entities, self.metrics, self.store, now=self.now)
        return self


def contents(batch: DataBatch) -> object:
    return batch.timestamp, batch.metric_sets()


async def left(directory: Path, cluster: Cluster, minutes: int, *, light: LightStore | None = None) -> list[DataBatch]:
    """The batches of one process that was killed after so many ticks."""
    sink = WarmSink(directory, light=lambda: light)
    sink.start()
    batches = [cluster.batch(TIMESTAMP + i * MINUTE, seed=i) for i in range(minutes)]
    for batch in batches:
        await sink.export(batch)
    assert sink._lock is not None
    sink._lock.release()  # as the kernel does
    return batches


async def test_a_new_process_knows_the_last_batches_to_the_value(tmp_path: Path) -> None:
    batches = await left(tmp_path, Cluster(), 5)
    life = await Life(tmp_path, batches[-1].timestamp + SECOND).began()
    assert list(map(contents, life.restored.batches)) == list(map(contents, batches[-3:]))
    assert [batch.timestamp for batch in life.store.batches] == [batch.timestamp for batch in batches[-3:]]
    latest, old = life.restored.batches[-1], batches[-1]
    row, before = life.entities.find_pod("default", "web-1"), old.entities.find_pod("default", "web-1")
    assert (latest.times[:, row] == old.times[:, before]).all()
    assert life.entities.label_set(row) == old.entities.label_set(before)


async def test_the_window_of_fifteen_minutes_comes_back(tmp_path: Path) -> None:
    cluster = Cluster()
    batches = await left(tmp_path, cluster, 20)
    life = await Life(tmp_path, batches[-1].timestamp + SECOND).began()
    row, before = life.entities.find_pod("default", "web-0"), cluster.entities.find_pod("default", "web-0")
    for name in LONG_METRICS:
        times, values = life.store.series(row, INDEX[name], 0, 2**62)
        assert times == [batch.timestamp for batch in batches[-15:]]
        assert values == [batch.value(before, INDEX[name]) for batch in batches[-15:]]


async def test_a_second_restart_still_knows_the_window(tmp_path: Path) -> None:
    first = await left(tmp_path, Cluster(), 5)
    cluster = Cluster(pods=4)
    sink = WarmSink(tmp_path)
    sink.start()
    await sink.export(cluster.batch(TIMESTAMP + 5 * MINUTE, seed=5))
    await sink.stop()
    life = await Life(tmp_path, TIMESTAMP + 5 * MINUTE + SECOND).began()
    times, _ = life.store.series(life.entities.find_pod("default", "web-0"), INDEX[LONG_METRICS[0]], 0, 2**62)
    assert times == [*(batch.timestamp for batch in first), TIMESTAMP + 5 * MINUTE]


async def test_the_first_rates_are_those_of_a_process_that_went_on(tmp_path: Path) -> None:
    def tick(entities: EntityTable, metrics: MetricTable, i: int) -> DataBatch:
        node = entities.node_row("n")
        (pod,) = entities.pod_rows(["d"], ["p"], ["u"], node)
        batch = DataBatch(entities, metrics, TIMESTAMP + i * MINUTE)
        rows = np.array([node, pod])
        batch.ensure_rows()
        batch.exists[rows] = True
        batch.times[Clock.START, rows] = TIMESTAMP - MINUTE
        batch.times[Clock.SCRAPE, rows] = batch.times[Clock.CPU, rows] = batch.timestamp - SECOND
        batch.put(INDEX["cpu/usage"], rows, np.array([i, 3 * i]) * 30 * SECOND)
        return batch

    entities, metrics = EntityTable(), MetricTable()
    before = tick(entities, metrics, 1)
    before.freeze()
    sink = WarmSink(tmp_path)
    sink.start()
    await sink.export(before)
    await sink.stop()
    life = await Life(tmp_path, TIMESTAMP + 2 * MINUTE).began()
    batch = tick(life.entities, life.metrics, 2)
    for _ in RateCalculator(life.restored.batches[-1]).steps(batch):
        pass
    rate = INDEX["cpu/usage_rate"]
    assert batch.value(life.entities.find_node("n"), rate) == 500
    assert batch.value(life.entities.find_pod("d", "p"), rate) == 1500


async def test_light_samples_come_back_with_their_ages(tmp_path: Path) -> None:
    cluster = Cluster()
    light = LightStore(cluster.entities, resolution_ns=15 * SECOND, keep_ns=MINUTE)
    light.begin(TIMESTAMP)
    rows = np.array([*cluster.nodes, *cluster.containers])
    fields = np.arange(FIELDS * rows.size, dtype=np.int64).reshape(FIELDS, -1) + TIMESTAMP
    fields[OWNER] = cluster.nodes[0]
    light.resume(rows.astype(np.int32), fields)
    await left(tmp_path, cluster, 1, light=light)
    life = await Life(tmp_path, TIMESTAMP + 20 * SECOND).began()
    again = LightStore(life.entities, resolution_ns=15 * SECOND, keep_ns=MINUTE)
    life.restored.light(again)
    containers = [life.entities.find_child(life.entities.find_pod("default", f"web-{i}"), "nginx") for i in range(3)]
    read = again.read(np.array(containers), TIMESTAMP + 20 * SECOND)
    expected = light.read(np.array(cluster.containers[::2]), TIMESTAMP + 20 * SECOND)
    kept = [field for field in range(FIELDS) if field not in {OWNER, GENERATION}]
    assert (read[kept] == expected[kept]).all()
    assert (read[TIME] > 0).all()
    assert (read[CPU] > 0).all()
    assert (read[OWNER] == life.entities.find_node("node-a")).all()
    too_old = int(fields[ARRIVED].max()) + MINUTE + SECOND
    assert not again.read(np.array(containers), too_old)[TIME].any()


async def test_what_is_too_old_is_left_where_it_is(tmp_path: Path) -> None:
    batches = await left(tmp_path, Cluster(), 2)
    life = await Life(tmp_path, batches[-1].timestamp + 3600 * SECOND).began()
    assert life.restored.batches == []
    assert life.entities.count == 1
    early = await Life(tmp_path, batches[0].timestamp - SECOND).began()  # the clock was set back
    assert early.restored.batches == []


async def test_rows_that_change_hands_are_told_of_and_the_file_of_names_does_not_grow_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sink_module, "SLACK", 20)
    sink = WarmSink(tmp_path)
    sink.start()
    cluster = Cluster(pods=1)
    store = MetricStore(clock=lambda: batch.timestamp / 1e9)
    for i in range(30):
        cluster.pods = cluster.entities.pod_rows(["default"], [f"pod-{i}"], [f"uid-{i}"], cluster.nodes[0])
        cluster.containers = cluster.entities.container_rows(cluster.pods, [1], ["c"], cluster.nodes[0])
        batch = cluster.batch(TIMESTAMP + i * MINUTE, seed=i)
        store.add(batch)
        await sink.export(batch)
    await sink.stop()
    (run,) = files.runs(tmp_path)
    assert len((run / files.NAMES).read_bytes().splitlines()) <= 2 * cluster.entities.count + 20 + 3
    life = await Life(tmp_path, batch.timestamp + SECOND).began()
    assert list(map(contents, life.restored.batches)) == list(map(contents, store.batches[-3:]))


async def test_the_directory_holds_few_files_however_often_a_process_ends(tmp_path: Path) -> None:
    for _ in range(8):
        await left(tmp_path, Cluster(), 2)
    assert len(files.runs(tmp_path)) == 1 + files.KEPT_RUNS
    for run in files.runs(tmp_path):
        assert len(list(run.iterdir())) == 1 + 2 + 2


async def test_any_damage_costs_what_is_damaged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = tmp_path / "whole"
    cluster = Cluster()
    light = LightStore(cluster.entities, resolution_ns=15 * SECOND, keep_ns=MINUTE)
    batches = await left(source, cluster, 3, light=light)
    whole = {batch.timestamp: batch.metric_sets() for batch in batches}
    dice = random.Random(1)
    for number in range(150):
        copy = tmp_path / str(number)
        shutil.copytree(source, copy)
        victim = dice.choice(sorted(path for path in copy.rglob("*") if path.is_file() and path.stat().st_size))
        content = bytearray(victim.read_bytes())
        if number % 3 == 0:
            del content[dice.randrange(len(content)) :]
        for _ in range(dice.randint(1, 20) if number % 3 else 0):
            content[dice.randrange(len(content))] = dice.randrange(256)
        victim.write_bytes(content)
        life = await Life(copy, batches[-1].timestamp + SECOND).began()
        again = LightStore(life.entities, resolution_ns=15 * SECOND, keep_ns=MINUTE)
        life.restored.light(again)
        if victim.name != files.NAMES:  # a damaged name is another name
            for batch in life.restored.batches:
                assert batch.metric_sets() == whole[batch.timestamp]
        shutil.rmtree(copy)
    assert "damaged or of another version" in caplog.text


async def test_another_version_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sinks.warm.columns.LAYOUT", 2)
    batches = await left(tmp_path, Cluster(), 2)
    monkeypatch.undo()
    life = await Life(tmp_path, batches[-1].timestamp + SECOND).began()
    assert life.restored.batches == []


async def test_a_directory_in_use_is_named(tmp_path: Path) -> None:
    first, second = WarmSink(tmp_path), WarmSink(tmp_path)
    first.start()
    with pytest.raises(StartError, match="in use by another collector"):
        second.start()
    await first.stop()
    second.start()
    await second.stop()


async def test_a_full_disk_costs_one_tick_and_is_used_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster()
    sink = WarmSink(tmp_path)
    sink.start()
    append = files.append

    def full(path: Path, lines: bytes) -> None:
        append(path, lines[: len(lines) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "append", full)
    with pytest.raises(ExportError, match="No space left on device; make room"):
        await sink.export(cluster.batch())
    monkeypatch.undo()
    batch = cluster.batch(TIMESTAMP + MINUTE)
    await sink.export(batch)
    await asyncio.gather(sink.stop())
    life = await Life(tmp_path, batch.timestamp + SECOND).began()
    assert list(map(contents, life.restored.batches)) == [contents(batch)]
