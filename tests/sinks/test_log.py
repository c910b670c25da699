"""The log sink writes Heapster's text, byte for byte, and does not hold up the loop over a large batch."""

import asyncio
import logging
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.core.batch import DataBatch
from collector.core.entities import EntityTable
from collector.core.metrics import ACCELERATOR, FILESYSTEM, INDEX, Clock, MetricTable
from collector.core.visibility import EVERYTHING
from sinks.log import LogSink, batch_texts, go_time
from tests.sinks.batches import Cluster, empty_batch
from tests.sinks.golden import build, recorded

EXPECTED = """\
DataBatch     Timestamp: 2026-11-23 00:31:00 +0000 UTC

MetricSet: cluster
   Scrape time: 0001-01-01 00:00:00 +0000 UTC -6795364578871345152
   Create time: 0001-01-01 00:00:00 +0000 UTC -6795364578871345152
   Labels:
      type = cluster
   Metrics:
   Labeled Metrics:

MetricSet: namespace:default/pod:web-1
   Scrape time: 2026-11-23 00:31:00.25 +0000 UTC 1795393860250000000
   Create time: 2026-11-22 23:30:22 +0000 UTC 1795390222000000000
   Labels:
      host_id =\x20
      hostname = host-a
      labels =\x20
      namespace_name = default
      nodename = node-a
      pod_id = u-1
      pod_name = web-1
      type = pod
   Metrics:
      cpu/usage_rate = 499
      memory/page_faults_rate = 0.285714
      network/rx = 9223372036854775807
      network/rx_rate = 1000000.000000
   Labeled Metrics:
      accelerator/duty_cycle = 7
         make = nvidia
         model = a100
      filesystem/usage = 5368709120
         resource_id = /
      filesystem/inodes_free = 3
         resource_id = /

"""


def sample() -> DataBatch:
    entities = EntityTable()
    node = entities.node_row("node-a")
    entities.set_own_labels(node, {"hostname": "host-a"})
    pod = entities.pod_rows(["default"], ["web-1"], ["u-1"], node)[0]
    entities.set_own_labels(pod, {"labels": ""})
    batch = DataBatch(entities, MetricTable(), 1_795_393_860_000_000_000)
    row = np.array([pod], np.int32)
    batch.exists[row] = True
    batch.times[Clock.SCRAPE, row] = 1_795_393_860_250_000_000
    batch.times[Clock.START, row] = 1_795_390_222_000_000_000
    for name, value in (("cpu/usage_rate", 499), ("network/rx", 2**63 - 1)):
        batch.put(INDEX[name], row, np.array([value]))
    for name, rate in (("network/rx_rate", 1e6), ("memory/page_faults_rate", 2 / 7)):
        batch.put(INDEX[name], row, np.array([rate]))
    labels = entities.labels
    root = np.array([labels.resource("/")], np.int32)
    batch.labeled[FILESYSTEM.name].append(row, root, np.array([[5368709120], [-1], [-1], [-1], [3]]))
    gpu = np.array([labels.intern((("make", "nvidia"), ("model", "a100")))], np.int32)
    batch.labeled[ACCELERATOR.name].append(row, gpu, np.array([[-1], [-1], [7]]))
    batch.freeze()
    return batch


def test_the_text_of_a_batch_is_heapsters_byte_for_byte() -> None:
    assert "".join(batch_texts(sample())) == EXPECTED


def test_what_heapster_did_not_have_is_logged_when_it_is_asked_for() -> None:
    batch = Cluster().batch()
    heapsters, everything = "".join(batch_texts(batch)), "".join(batch_texts(batch, visibility=EVERYTHING))
    further = ("swap/usage", "cpu/pressure_full", "process/count", "filesystem/inodes_used")
    assert not any(f" {name} = " in heapsters for name in further)
    assert all(f" {name} = " in everything for name in further)
    left = [line for line in everything.splitlines() if line in heapsters.splitlines()]
    assert [line for line in heapsters.splitlines() if line not in left] == []


def test_the_text_is_the_same_however_it_is_cut() -> None:
    batch = Cluster(pods=20).batch()
    whole = list(batch_texts(batch, 10_000))
    assert len(whole) == 1
    for entities in (1, 7, 50):
        pieces = list(batch_texts(batch, entities))
        assert "".join(pieces) == whole[0]
        assert len(pieces) > 1
        assert all(piece.count("MetricSet: ") <= entities and piece.endswith("\n\n") for piece in pieces)


def test_recorded_batches_are_written_with_every_set_label_and_value() -> None:
    step = recorded("summary")[1]
    text = "".join(batch_texts(build(step, EntityTable(), MetricTable())))
    sets = text.split("MetricSet: ")[1:]
    assert [one.partition("\n")[0] for one in sets] == sorted(step["sets"])
    for one in sets:
        key, _, rest = one.partition("\n")
        expected = step["sets"][key]
        lines = rest.splitlines()
        shown = [f"      {name} = {value}" for name, value in sorted(expected["labels"].items())]
        assert lines[2 : 3 + len(shown)] == ["   Labels:", *shown]
        assert lines[0].endswith(f" {expected['scrape_ns']}")
        assert lines[1].endswith(f" {expected['create_ns']}")
        values = [
            f"      {name} = {value:.6f}" if isinstance(value, float) else f"      {name} = {value}"
            for name, value in sorted(expected["metrics"].items())
        ]
        assert lines[3 + len(shown) : 4 + len(shown) + len(values)] == ["   Metrics:", *values]
        assert sum(line.startswith("      filesystem/") for line in lines) == len(expected["labeled"])


async def test_a_batch_is_logged_at_info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    sink = LogSink()
    await sink.export(sample())
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [(logging.INFO, EXPECTED)]
    await sink.export(empty_batch())
    assert caplog.records[-1].getMessage().startswith("DataBatch     Timestamp: 2023-11-14 22:14:00 +0000 UTC\n\n")


async def test_others_run_while_a_large_batch_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    batch = Cluster(pods=400).batch()
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counter = asyncio.create_task(count(), name="counter")
    await LogSink().export(batch)
    counter.cancel()
    assert turns >= len(caplog.records) == 5
    assert "".join(record.getMessage() for record in caplog.records) == "".join(batch_texts(batch, 10_000))


async def test_nothing_is_written_for_a_log_that_does_not_want_it(monkeypatch: pytest.MonkeyPatch) -> None:
    logger = logging.getLogger("quiet")
    logger.setLevel(logging.WARNING)
    monkeypatch.setattr("sinks.log.batch_texts", lambda _: pytest.fail("was written"))
    await LogSink(logger).export(sample())


@settings(deadline=None)
@given(st.integers(0, 2**63 - 1))
def test_times_are_written_as_go_writes_them(ns: int) -> None:
    text = go_time(ns)
    day, clock, zone, name = text.split(" ")
    assert (zone, name) == ("+0000", "UTC")
    whole, _, fraction = clock.partition(".")
    seconds = int(datetime.fromisoformat(f"{day}T{whole}").replace(tzinfo=UTC).timestamp())
    assert seconds * 1_000_000_000 + int(fraction.ljust(9, "0") or 0) == ns
    assert not fraction.endswith("0")
    assert not clock.endswith(".")
