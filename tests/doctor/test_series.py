"""What an InfluxDB sink would write, foretold: a real InfluxDB then counts the same."""

import json
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from collector.app import Collector
from collector.doctor.command import parsed
from collector.doctor.series import CLUSTER, document, preview, tally, text
from collector.sim import SimConfig, SimulatedCluster
from sinks.base import build
from sinks.influxdb import InfluxdbSink
from tests.doctor.setup import Ward, untouched
from tests.e2e.test_collector import running, window
from tests.e2e.test_kubelet_identity import options
from tests.servers import free_port, influxd


@pytest.fixture
async def cluster() -> AsyncIterator[SimulatedCluster]:
    async with SimulatedCluster(SimConfig(nodes=3, pods=6, containers=2, churn=0.0, housekeeping=1)) as started:
        yield started


@pytest.mark.parametrize("fields", ["false", "true"])
async def test_a_real_server_counts_the_same_series(cluster, tmp_path, fields):
    with influxd(tmp_path) as server:
        sink = build(f"influxdb:{server.url}?withfields={fields}")
        assert isinstance(sink, InfluxdbSink)
        async with running(Collector(options(cluster))) as collector:
            await collector.tick(window(0))
            batch = (await collector.tick(window(1))).batch
            found = tally("here", (chunk.body for chunk in sink.encode(batch)), 60 * 10**9)
            await sink.export(batch)
        await sink.stop()
        stored = Counter[tuple[str, str]]()
        for series in server.query('SHOW SERIES ON "k8s"'):
            for (key,) in series["values"]:
                measurement, *tags = key.split(",")
                namespaces = [tag.partition("=")[2] for tag in tags if tag.startswith("namespace_name=")]
                stored[measurement, namespaces[0] if namespaces else CLUSTER] += 1
    assert found.series == stored
    assert found.points.total() >= found.series.total() > 300


async def test_the_preview_has_rates_and_sends_nothing(cluster, tmp_path):
    (tmp_path / "state").mkdir()
    ward = Ward(cluster, tmp_path / "state")
    ward.flags["sink"] = f"influxdb:http://me:secret@127.0.0.1:{free_port()}"
    asked = parsed([*ward.arguments, "--series", "--output=json"])
    assert (asked.series, asked.output) == (True, "json")
    with untouched(ward.directory):
        (found,) = await preview(asked.options, pause_s=1.5)
    assert any(measurement == "cpu/usage_rate" for measurement, _ in found.series)
    shown = document(found)
    assert "secret" not in json.dumps(shown)
    assert shown["series"] == sum(each["series"] for each in shown["namespaces"])
    assert shown["series"] == sum(each["series"] for each in shown["measurements"])
    assert shown["points"] == sum(each["points"] for each in shown["cells"])
    said = "".join(text(found))
    assert f"{found.series.total():,} series" in said
    assert [line.split()[0] for line in said.splitlines() if line.endswith("share")] == ["namespace", "measurement"]


def test_a_series_of_several_lines_is_counted_once_and_names_are_unescaped():
    lines = (
        b"custom/a\\ b,namespace_name=x\\,y,type=pod value=1i 1\n"
        b"custom/a\\ b,namespace_name=x\\,y,type=pod value=2i 2\n"
        b"uptime,type=cluster value=1i 1\n"
    )
    found = tally("here", [lines], 10**9)
    assert found.series == {("custom/a b", "x,y"): 1, ("uptime", CLUSTER): 1}
    assert found.points == {("custom/a b", "x,y"): 2, ("uptime", CLUSTER): 1}
    assert found.by(1) == [(CLUSTER, 1, 1), ("x,y", 1, 2)]
    assert found.bytes == len(lines)
