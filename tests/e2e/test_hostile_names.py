"""Names as an enemy would choose them, from the bytes of a kubelet's answer to everything that is made of them.

FUZZ_EXAMPLES sets how many answers are made up: `make fuzz` asks for many.
"""

import asyncio
import json
import os
import re
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from collector.api.exposition import ClusterText
from collector.core.batch import DataBatch
from collector.core.entities import EntityTable
from collector.core.intake import Intake
from collector.core.metrics import Kind, MetricTable
from collector.core.sample import NodeSample
from collector.errors import DecodeError
from collector.sources.pins import FILE_NAME, Pins
from collector.sources.projection import AVAILABLE, decode_together
from collector.sources.summary import decode_summary
from sinks.base import build
from sinks.history import HistorySink
from sinks.influxdb import InfluxdbSink
from sinks.runner.place import directory_name
from sinks.warm import WarmSink
from tests.servers import influxd
from tests.sinks.lines import COUNTING, INFLUXDB, parse
from tests.sinks.test_influxdb_text import written

EXAMPLES = max(10, int(os.environ.get("FUZZ_EXAMPLES", "40")))
MINUTE = 60_000_000_000
NOW = time.time_ns() // MINUTE * MINUTE

NASTY = (
    *("..", "../..", "../../etc/passwd", "/etc/passwd", "a/b", "~", ".", "-rf", "con", "a\x00b", "\x00", "\\", '\\"'),
    *('"', "\n", "\r\n", "a\nb 1 2\n# TYPE x counter", "}", "{", 'x"} 1\ny{z="', ",", "=", " ", "a=b,c d", "a\\", "#"),
    *(
        "\u2028",
        "\u202e",
        "\ud800",
        "\udfff",
        "é",
        "世",
        "\U0001f600",
        "%2e%2e",
        "%s%n",
        "$HOME",
        "`id`",
        "''",
        "'; --",
    ),
    *("x" * 253, "é" * 253, "x" * 300, "\x1b[2J", "\ufeff", "\x85", "${jndi:ldap://x}", "<script>", "\t", "a\tb"),
)
NAMES = st.one_of(
    st.sampled_from(NASTY),
    st.text(st.sampled_from("./\\\"\n\r\t\0,= {}#'\ud800aé"), min_size=1, max_size=8),
    st.text(st.characters(), min_size=1, max_size=8),
)


def answer(node: str, names: list[str], metric: str) -> bytes:
    """A kubelet's answer in which everything bears one of these names; halves of surrogate pairs are escapes."""
    containers = [
        {
            "name": name,
            "cpu": {"time": "2026-11-23T00:00:00Z", "usageCoreNanoSeconds": 7},
            "rootfs": {"usedBytes": 3},
            "userDefinedMetrics": [{"name": metric, "type": "gauge", "value": 1.5}],
        }
        for name in names[:3]
    ]
    pods = [
        {
            "podRef": {"name": name, "namespace": names[-1 - i], "uid": name},
            "containers": containers,
            "network": {"time": "2026-11-23T00:00:00Z", "rxBytes": 5},
            "volume": [{"name": name, "usedBytes": 1}],
        }
        for i, name in enumerate(names)
    ]
    machine = {"nodeName": node, "memory": {"usageBytes": 9}, "systemContainers": containers[:1]}
    return json.dumps({"node": machine, "pods": pods}).encode()


def batch_of(*samples: NodeSample) -> DataBatch:
    """A frozen batch of these samples; all of its entities bear labels with their names."""
    batch = DataBatch(EntityTable(), MetricTable(), NOW)
    intake = Intake(batch)
    for sample in samples:
        intake.add(sample)
    intake.flush()
    batch.freeze()
    return batch


async def text_of(batch: DataBatch, *, openmetrics: bool) -> str:
    chunks = ClusterText().write(batch, frozenset(Kind), openmetrics=openmetrics)
    return b"".join([chunk async for chunk in chunks]).decode()


def names_in(batch: DataBatch) -> set[str]:
    """The names of nodes, pods and containers in a batch."""
    kinds = (Kind.NODE, Kind.POD, Kind.POD_CONTAINER)
    return {batch.entities.name[row] for kind in kinds for row in batch.rows_of(kind).tolist()}


@pytest.mark.parametrize("node", ["node-1", *NASTY])
@given(st.lists(NAMES, min_size=1, max_size=6), NAMES)
@settings(deadline=None, max_examples=max(2, EXAMPLES // 20))
async def test_whatever_a_kubelet_calls_things_reads_back_from_every_text(
    node: str, names: list[str], metric: str
) -> None:
    body = answer(node, names, metric)
    if AVAILABLE:
        decode_together([body], NOW)  # takes it or leaves it; the process goes on
    try:
        sample = decode_summary(body, NOW)
    except DecodeError:
        assert not 0 < len(node) <= 253 or re.search("[\ud800-\udfff]", node)
        return
    batch = batch_of(sample)
    assert all(len(name) <= 253 and name.encode() for name in names_in(batch))
    for openmetrics, parser in ((False, parse_text), (True, parse_openmetrics)):
        values = {
            value
            for family in parser(await text_of(batch, openmetrics=openmetrics))
            for found in family.samples
            for value in found.labels.values()
        }
        assert names_in(batch) <= values
    pods = {written(batch.entities.name[row]) for row in batch.rows_of(Kind.POD).tolist()}
    sink = build("influxdb:http://127.0.0.1:1?withfields=true")
    assert isinstance(sink, InfluxdbSink)
    for chunk in sink.encode(batch):
        body = bytes(chunk.body)
        for dialect in (INFLUXDB, COUNTING):
            tags = [dict(line.tags) for line in parse(body, dialect)]
            assert {one["pod_name"] for one in tags if "pod_name" in one} <= pods
    await sink.stop()


async def test_the_database_finds_every_series_under_the_name_that_was_sent(tmp_path: Path) -> None:
    good = [name for name in NASTY if not re.search("[\ud800-\udfff]", name) and len(name) <= 253]
    batch = batch_of(decode_summary(answer("node-1", good, "m"), NOW))
    expected = {written(batch.entities.name[row]) for row in batch.rows_of(Kind.POD).tolist()}
    with influxd(tmp_path) as server:
        sink = build(f"influxdb:{server.url}?db=names")
        await sink.export(batch)
        await sink.stop()
        found = {
            value
            for one in server.query('SHOW TAG VALUES WITH KEY = "pod_name"', "names")
            for _, value in one["values"]
        }
    assert found == expected


# Names and files.


def made_in(directory: Path) -> set[str]:
    """Everything below `directory`, relative to it."""
    return {str(path.relative_to(directory)) for path in directory.rglob("*")}


OURS = re.compile(
    rf"history|warm|{FILE_NAME}|history/(\.?[a-z]+)(/[-_.0-9TZa-z]+\.parquet)?"
    r"|warm/(\.?[a-z]+|\d+(/(\d+\.(window|batch)\.npz|[a-z]+\.[a-z]+))?)"
)


async def test_no_name_becomes_a_path() -> None:
    good = [name for name in NASTY if not re.search("[\ud800-\udfff]", name) and len(name) <= 253]
    samples = [decode_summary(answer(node, good, name), NOW) for node, name in zip(good, reversed(good), strict=True)]
    batch = batch_of(*samples)
    with tempfile.TemporaryDirectory() as outer:
        root = Path(outer) / "a" / "b" / "c"
        root.mkdir(parents=True)
        history, warm = HistorySink(root / "history"), WarmSink(root / "warm")
        for sink in (history, warm):
            await asyncio.to_thread(sink.start)
            await sink.export(batch)
            await sink.stop()
        pins = Pins(root / FILE_NAME)
        pins.load()
        for name in good:
            pins.check(f"uid-{name}", name, "f" * 64)
        await pins.close()
        found = made_in(root)
        assert len(found) > 6
        assert [name for name in found if not OURS.fullmatch(name)] == []
        assert made_in(Path(outer)) - {f"a/b/c/{name}" for name in found} == {"a", "a/b", "a/b/c"}


@pytest.mark.parametrize("identity", NASTY)
def test_a_spools_directory_is_one_harmless_name(identity: str) -> None:
    name = directory_name(f"influxdb:{identity}")
    assert re.fullmatch(r"[A-Za-z0-9-]{1,80}", name)
    assert name != directory_name(f"influxdb:{identity}x")
