"""Every sink of SINKS keeps the contract of collector.core.contracts.Sink. A new sink only adds a row to CASES."""

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from collector.core.batch import DataBatch
from collector.core.contracts import Sink
from collector.errors import ExportError, UsageError
from sinks import SINKS
from sinks.base import build
from sinks.manager import SinkManager
from tests.servers import Influxd
from tests.sinks.batches import MINUTE, TIMESTAMP, Cluster, empty_batch


@dataclass(frozen=True)
class Case:
    """How to try one sink."""

    uri: str
    """One that works; `{influxd}` and `{directory}` are filled in."""
    dead: str = ""
    """One whose other side is not there; empty for sinks without another side."""
    bad: tuple[str, ...] = ()
    """Malformed ones; none for sinks without options."""


CASES = {
    "log": Case("log"),
    "metric": Case("metric"),
    "influxdb": Case(
        "influxdb:{influxd}?db=conformance",
        "influxdb:http://127.0.0.1:1?timeout=1s",
        ("influxdb:?concurrency=none", "influxdb:?withfields=2", "influxdb:?retention=soon"),
    ),
    "history": Case("history:{directory}/history", "", ("history:{directory}/h?retention=soon",)),
}


@pytest.fixture
def uri(shared_influxd: Influxd, tmp_path: Path) -> Callable[[str], str]:
    return lambda text: text.format(influxd=shared_influxd.url, directory=tmp_path)


def test_every_sink_has_a_case() -> None:
    assert CASES.keys() == SINKS.keys()


@pytest.mark.parametrize("name", CASES)
def test_the_constructor_opens_no_connection_and_no_file(
    name: str, uri: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a connection is opened before the first export")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket.socket, "connect_ex", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    sink = build(uri(CASES[name].uri))
    assert sink.name
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", CASES)
async def test_batches_are_taken_one_after_the_other(name: str, uri: Callable[[str], str]) -> None:
    sink, cluster = build(uri(CASES[name].uri)), Cluster()
    await sink.export(empty_batch())
    for i in range(3):
        await sink.export(cluster.batch(TIMESTAMP + i * MINUTE, seed=i))
    await sink.export(cluster.batch(TIMESTAMP + 2 * MINUTE, seed=2))
    await sink.stop()


@pytest.mark.parametrize("name", CASES)
async def test_the_batch_is_not_changed(name: str, uri: Callable[[str], str]) -> None:
    sink, cluster = build(uri(CASES[name].uri)), Cluster()
    batch = cluster.batch()
    before = snapshot(batch)
    await sink.export(batch)
    await sink.stop()
    after = snapshot(batch)
    assert before[0] == after[0]
    assert all(np.array_equal(one, other) for one, other in zip(before[1], after[1], strict=True))


def snapshot(batch: DataBatch) -> tuple[object, list[np.ndarray]]:
    arrays = [batch.cells, batch.present, batch.exists, batch.times]
    for table in batch.labeled.values():
        arrays += [table.row, table.label, table.values, table.present]
    return batch.metric_sets(), [array.copy() for array in arrays]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("exports", [0, 1])
async def test_stop_may_be_called_at_any_time_and_twice(name: str, exports: int, uri: Callable[[str], str]) -> None:
    sink = build(uri(CASES[name].uri))
    for _ in range(exports):
        await sink.export(Cluster().batch())
    await sink.stop()
    await sink.stop()


@pytest.mark.parametrize(("name", "bad"), [(name, bad) for name, case in CASES.items() for bad in case.bad])
def test_a_bad_option_is_a_usage_error_that_names_the_sink(name: str, bad: str, uri: Callable[[str], str]) -> None:
    with pytest.raises(UsageError, match=f"sink {name}: option "):
        build(uri(bad))


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.dead])
async def test_an_absent_other_side_is_an_export_error_to_be_tried_again(name: str, uri: Callable[[str], str]) -> None:
    sink = build(uri(CASES[name].dead))
    for _ in range(2):
        with pytest.raises(ExportError) as caught:
            await sink.export(Cluster().batch())
        assert caught.value.retryable
    await sink.stop()


@pytest.mark.parametrize("name", CASES)
async def test_the_manager_delivers_through_it(name: str, uri: Callable[[str], str]) -> None:
    sink: Sink = build(uri(CASES[name].uri))
    manager, cluster = SinkManager([sink, build("metric")]), Cluster()
    manager.start()
    for i in range(2):
        manager.export(cluster.batch(TIMESTAMP + i * MINUTE))
        async with asyncio.timeout(30):
            while any(one.waiting or one.exporting for one in manager.statistics()):
                await asyncio.sleep(0.002)
    await manager.stop(30)
    assert [(one.delivered, one.dropped) for one in manager.statistics()] == [(2, {}), (2, {})]
