"""The whole collector in this process, against a simulated cluster on real sockets."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from collector.app import Collector
from collector.core.entities import NULL
from collector.core.metrics import DYNAMIC_LIMIT, INDEX, Kind
from collector.errors import StartError, UsageError
from collector.history.influxdb import InfluxHistory
from collector.history.parquet import ParquetHistory
from collector.options import SECOND, Options
from collector.sim import SimConfig, SimulatedCluster
from collector.sim.clock import ManualClock

NODES, PODS, CONTAINERS = 4, 5, 2


@pytest.fixture
async def cluster() -> AsyncIterator[SimulatedCluster]:
    clock = ManualClock(float(int(time.time())))
    async with SimulatedCluster(
        SimConfig(nodes=NODES, pods=PODS, containers=CONTAINERS, clock=clock, housekeeping=1, churn=0.0)
    ) as running:
        yield running


def options(cluster: SimulatedCluster, **changed: object) -> Options:
    access = f"inClusterConfig=false&auth={cluster.kubeconfig}&kubeletHttps=true&kubeletPort={cluster.kubelet_port}"
    values = {
        "source": (f"kubernetes.summary_api:?{access}",),
        "listen_ip": "127.0.0.1",
        "heapster_port": 0,
        "node_timeout": 2 * SECOND,
        "scrape_timeout": 4 * SECOND,
        "kube_start_timeout": 20 * SECOND,
    }
    return Options(**{**values, **changed})  # type: ignore[arg-type]


@contextlib.asynccontextmanager
async def running(collector: Collector) -> AsyncIterator[Collector]:
    await collector.start()
    try:
        yield collector
    finally:
        await collector.stop()


def window(cycle: int) -> int:
    """The end of a window; the first of four lies far enough back for all to be over."""
    return (time.time_ns() // (60 * SECOND) + cycle - 3) * 60 * SECOND


async def two_ticks(collector: Collector, cluster: SimulatedCluster):
    """A minute of the cluster's time between two cycles."""
    await collector.tick(window(0))
    cluster.advance(60)
    return (await collector.tick(window(1))).batch


async def test_what_is_collected_is_what_the_kubelets_said(cluster):
    async with running(Collector(options(cluster))) as collector:
        batch = await two_ticks(collector, cluster)
    assert batch.count(Kind.NODE) == NODES
    entities, cpu = batch.entities, INDEX["cpu/usage"]
    checked = 0
    for name in cluster.node_names:
        truth = cluster.truth(name)
        node = entities.find_node(name)
        assert batch.value(node, cpu) == truth["node"]["cpu"]["usageCoreNanoSeconds"]
        for pod in truth["pods"]:
            row = entities.find_pod(pod["podRef"]["namespace"], pod["podRef"]["name"])
            assert batch.value(row, INDEX["memory/working_set"]) == pod["memory"]["workingSetBytes"]
            for container in pod["containers"]:
                inner = entities.find_child(row, container["name"])
                assert batch.value(inner, cpu) == container["cpu"]["usageCoreNanoSeconds"]
                checked += 1
    assert checked >= NODES * (PODS - 1) * CONTAINERS


async def test_rates_appear_with_the_second_cycle_and_the_sums_add_up(cluster):
    async with running(Collector(options(cluster))) as collector:
        batch = await two_ticks(collector, cluster)
    rate = INDEX["cpu/usage_rate"]
    pods = batch.rows_of(Kind.POD)
    assert batch.present[rate, pods].sum() > len(pods) // 2
    namespaces = batch.rows_of(Kind.NAMESPACE)
    with_rate = namespaces[batch.present[rate, namespaces]]
    assert batch.value(batch.entities.cluster, rate) == batch.column(rate)[with_rate].sum()
    assert batch.value(batch.entities.cluster, rate) == batch.column(rate)[pods[batch.present[rate, pods]]].sum()


async def test_the_model_api_answers_what_was_collected(cluster):
    async with running(Collector(options(cluster))) as collector, aiohttp.ClientSession() as session:
        batch = await two_ticks(collector, cluster)
        await asyncio.sleep(0)
        base = f"http://127.0.0.1:{collector.port}"
        namespaces = await (await session.get(f"{base}/api/v1/model/namespaces/")).json()
        assert namespaces == sorted(batch.entities.name[row] for row in batch.rows_of(Kind.NAMESPACE))
        series = await (await session.get(f"{base}/api/v1/model/metrics/cpu/usage_rate")).json()
        assert series["metrics"][-1]["value"] == batch.value(batch.entities.cluster, INDEX["cpu/usage_rate"])
        health = await session.get(f"{base}/healthz")
        assert (health.status, await health.text()) == (200, "ok")
        own = await (await session.get(f"{base}/metrics")).text()
        assert 'heapster_nodes{state="ok"} 4.0' in own


@pytest.mark.parametrize("extended", [False, True])
async def test_who_sees_the_metrics_heapster_did_not_have(cluster, caplog, extended):
    caplog.set_level("INFO", "sinks.log")
    asked = options(cluster, extended_metrics=extended, sink=("log:",))
    async with running(Collector(asked)) as collector, aiohttp.ClientSession() as session:
        await two_ticks(collector, cluster)
        base = f"http://127.0.0.1:{collector.port}"
        names = await (await session.get(f"{base}/api/v1/model/metrics/")).json()
        prometheus = await (await session.get(f"{base}/metrics/cluster")).text()
    assert ("memory/working_set" in names) is extended
    assert len(names) > 6 if extended else len(names) <= 6
    assert (" memory/available = " in caplog.text) is extended
    assert "      memory/working_set = " in caplog.text
    for family in ("cluster_memory_working_set_bytes", "container_swap_usage_bytes", "node_imagefs_usage_bytes"):
        assert f"\nheapster_{family}" in prometheus
    assert "\nheapster_pod_cpu_pressure_waiting_seconds_total{" in prometheus


@pytest.mark.parametrize("fault", ["down", "error", "garbage", "truncated", "hang"])
async def test_a_faulty_node_costs_its_own_rows_and_nothing_else(cluster, fault, caplog):
    caplog.set_level("INFO", "collector.sources.nodestate")
    async with running(Collector(options(cluster))) as collector:
        await collector.tick(window(0))
        bad, *good = cluster.node_names
        await cluster.set_fault(bad, fault)
        cluster.advance(60)
        batch = (await collector.tick(window(1))).batch
        entities = batch.entities
        assert not batch.exists[entities.find_node(bad)]
        rate = INDEX["cpu/usage_rate"]
        assert all(batch.value(entities.find_node(name), rate) is not None for name in good)
        assert (collector.report.answered, sum(collector.report.failed.values())) == (NODES - 1, 1)
        assert f"node {bad} is left out" in caplog.text
        # Said once, not with every cycle; and once more when it is over.
        cluster.advance(60)
        await collector.tick(window(2))
        assert caplog.text.count(f"node {bad} is left out") == 1
        await cluster.set_fault(bad, None)
        cluster.advance(60)
        batch = (await collector.tick(window(3))).batch
        assert batch.exists[entities.find_node(bad)]
        assert f"node {bad} answers again" in caplog.text


async def test_a_dead_sink_costs_no_cycle_and_the_log_sink_beside_it_is_served(cluster, caplog):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: refuses
        uri = f"influxdb:http://127.0.0.1:{taken.getsockname()[1]}"
        async with running(Collector(options(cluster, sink=(uri, "log:")))) as collector:
            for cycle in range(3):
                await collector.tick(window(cycle))
                cluster.advance(60)
            await asyncio.sleep(0.5)
            ledgers = {sink.name: sink for sink in collector.sinks.statistics()}
    for sink in ledgers.values():
        assert sink.offered == 3
        assert sink.offered == sink.delivered + sum(sink.dropped.values()) + sink.waiting + sink.exporting
    assert ledgers["InfluxDB Sink"].delivered == 0
    assert ledgers["Log Sink"].delivered + ledgers["Log Sink"].waiting + ledgers["Log Sink"].exporting >= 1
    assert ledgers["Metric Sink"].delivered == 3


async def test_with_a_spool_a_dead_sink_loses_nothing_and_the_ledger_is_served(cluster, tmp_path: Path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        uri = f"influxdb:http://127.0.0.1:{taken.getsockname()[1]}"
        given = options(cluster, sink=(uri, "log:"), spool_dir=str(tmp_path), stop_timeout=10 * SECOND)
        async with running(Collector(given)) as collector, aiohttp.ClientSession() as session:
            for cycle in range(3):
                await collector.tick(window(cycle))
                cluster.advance(60)
                assert all(sink.balanced for sink in collector.sinks.ledger())
            await asyncio.sleep(0.5)
            async with session.get(f"http://127.0.0.1:{collector.port}/api/v1/ledger") as response:
                assert response.status == 200
                influxdb, log, metric = (await response.json())["sinks"]
            async with session.get(f"http://127.0.0.1:{collector.port}/metrics") as response:
                text = await response.text()
    assert influxdb["keeps"] == "disk"
    assert influxdb["ticks"] == {"scraped": 3, "recovered": 0, "delivered": 0, "queued": 3, "dropped": {}}
    assert influxdb["points"]["queued"] == influxdb["points"]["scraped"] > 3 * NODES * PODS * CONTAINERS
    assert "cannot be reached" in influxdb["trouble"]
    assert (log["keeps"], metric["ticks"]["delivered"], metric["points"]["queued"]) == ("none", 3, 0)
    assert metric["points"]["delivered"] == metric["points"]["scraped"] > 0
    assert 'heapster_exporter_offered_points_total{exporter="InfluxDB Sink"}' in text
    again = Collector(given)
    async with running(again):
        assert again.sinks.ledger()[0].ticks.recovered == 3
        assert again.sinks.ledger()[0].points.recovered == influxdb["points"]["queued"]


async def test_an_unreachable_api_server_is_named_with_its_cause(tmp_path: Path, cluster):
    text = cluster.kubeconfig.read_text().replace(cluster.api_url, "https://127.0.0.1:1")
    (tmp_path / "kubeconfig").write_text(text)
    source = f"kubernetes.summary_api:?inClusterConfig=false&auth={tmp_path / 'kubeconfig'}"
    with pytest.raises(StartError, match=r"127\.0\.0\.1:1"):
        async with running(Collector(options(cluster, source=(source,), kube_start_timeout=2 * SECOND))):
            pass


async def test_a_wrong_ca_of_the_kubelets_is_said_with_the_flag_to_turn(cluster, caplog, tmp_path: Path):
    import trustme

    (tmp_path / "other.pem").write_bytes(trustme.CA().cert_pem.bytes())
    collector = Collector(options(cluster, kubelet_certificate_authority=(str(tmp_path / "other.pem"),)))
    async with running(collector):
        batch = (await collector.tick(window(0))).batch
    assert batch.count(Kind.NODE) == 0
    assert batch.exists[batch.entities.cluster]
    assert "--kubelet-ca-file" in caplog.text or "--kubelet-insecure-tls" in caplog.text


async def test_a_taken_port_is_said_with_the_flag_to_turn(cluster):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(StartError, match=rf"{port}.*--heapster-port"):
            async with running(Collector(options(cluster, heapster_port=port))):
                pass


async def test_a_history_another_collector_writes_is_refused_at_start(cluster, tmp_path: Path):
    sink = (f"history:{tmp_path / 'history'}",)
    async with running(Collector(options(cluster, sink=sink))):
        with pytest.raises(StartError, match=r"history"):
            async with running(Collector(options(cluster, sink=sink))):
                pass


async def test_without_the_metric_sink_no_batch_stays_in_memory(cluster):
    async with running(Collector(options(cluster, disable_metric_sink=True))) as collector:
        entities = (await collector.tick(window(0))).batch.entities
        await cluster.set_fault(cluster.node_names[0], "down")
        for cycle in range(1, 4):
            cluster.advance(60)
            await collector.tick(window(cycle))
            # This batch, and the one before that the rate calculator compares it with.
            assert len(entities.pins._live) <= 2
    assert entities.find_node(cluster.node_names[0]) == NULL
    assert entities.find_node(cluster.node_names[1]) != NULL
    assert collector.store.batches == ()
    assert collector.sinks.statistics() == ()


async def test_a_metric_sink_that_is_asked_for_is_kept_all_the_same(cluster):
    both = options(cluster, disable_metric_sink=True, sink=("metric",))
    async with running(Collector(both)) as collector, aiohttp.ClientSession() as session:
        await collector.tick(window(0))
        await asyncio.sleep(0)
        assert len(collector.store.batches) == 1
        answer = await session.get(f"http://127.0.0.1:{collector.port}/api/v1/model/namespaces/")
        assert answer.status == 200


@pytest.mark.parametrize("named", [True, False])
async def test_the_past_is_asked_of_the_sink_that_keeps_it(cluster, tmp_path: Path, named, monkeypatch):
    monkeypatch.setenv("PAST", str(tmp_path))
    sink = "history:$PAST/here?retention=2h&max_bytes=0"
    source = f"history:{tmp_path}/here?max_bytes=0&retention=2h" if named else ""
    collector = Collector(options(cluster, sink=("log", sink), historical_source=source))
    async with running(collector), aiohttp.ClientSession() as session:
        batch = await two_ticks(collector, cluster)
        base = f"http://127.0.0.1:{collector.port}/api/v1/historical"
        rows = batch.rows_of(Kind.POD)
        row = int(rows[batch.present[INDEX["cpu/usage_rate"], rows]][0])
        uid, rate = batch.entities.label_set(row)["pod_id"], batch.value(row, INDEX["cpu/usage_rate"])
        url = f"{base}/pod-id/{uid}/metrics/cpu/usage_rate?start=2020-01-01T00:00:00Z&end=2100-01-01T00:00:00Z"
        async with asyncio.timeout(30):
            while (answer := await session.get(url)).status == 404:
                await asyncio.sleep(0.05)
        assert [point["value"] for point in (await answer.json())["metrics"]] == [rate]
        nodes = await (await session.get(f"{base}/nodes/")).json()
        assert nodes == sorted(cluster.node_names)


async def test_without_a_past_the_historical_api_is_not_there(cluster):
    async with running(Collector(options(cluster, sink=("log",)))) as collector, aiohttp.ClientSession() as session:
        answer = await session.get(f"http://127.0.0.1:{collector.port}/api/v1/historical/nodes")
        assert (answer.status, await answer.text()) == (404, "404 page not found\n")


def test_which_sink_keeps_the_past(tmp_path: Path, monkeypatch):
    def past(*sinks: str, source: str = "") -> object:
        values = Options(source=("kubernetes:http://a?inClusterConfig=false",), sink=sinks, historical_source=source)
        return Collector(values).history

    influx, history = "influxdb:http://u:secret@db:8086?db=k8s&pw=$PW", f"history:{tmp_path}"
    monkeypatch.setenv("PW", "word")
    assert past() is None
    assert past("log", influx) is None, "an InfluxDB answers only when it is named, as in Heapster"
    assert isinstance(past(influx, history), ParquetHistory)
    assert isinstance(past(influx, history, source=influx), InfluxHistory)
    assert isinstance(past(history, influx, source="influxdb:http://u:secret@db:8086?pw=word&db=k8s"), InfluxHistory)
    for source, words in (
        ("influxdb:http://u:secret@db:8086?db=other&pw=word", "is none of the sinks"),
        ("influxdb:http://u:secret@db:8086", "is none of the sinks"),
        ("log", "cannot be asked about the past"),
        ("influxdb:http://db?api=v2&org=o&token=secret", "cannot be asked about the past"),
    ):
        with pytest.raises(UsageError, match=words) as caught:
            past(influx, "log", "influxdb:http://db?api=v2&org=o&token=secret", source=source)
        assert "secret" not in str(caught.value)
        assert "word" not in str(caught.value)


async def test_names_beyond_what_is_kept_are_told_once(cluster, caplog):
    async with running(Collector(options(cluster))) as collector:
        metrics = (await collector.tick(window(0))).batch.metrics
        for number in range(DYNAMIC_LIMIT + 2):
            metrics.custom(f"m{number:03}")
        for cycle in (1, 2):
            await collector.tick(window(cycle))
    told = [
        record.getMessage() for record in caplog.records if "are left out, such as custom/m0" in record.getMessage()
    ]
    assert len(told) == 1
    assert f"than the {DYNAMIC_LIMIT} that are kept" in told[0]
