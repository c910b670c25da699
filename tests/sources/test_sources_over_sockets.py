"""The three sources against kubelets on real sockets: what is asked, the fallback to the summary, the merge."""

import asyncio
import gzip
import json
from collections import Counter
from pathlib import Path

import pytest

from collector.core.batch import MetricSet
from collector.core.entities import EntityTable
from collector.core.metrics import MetricTable
from collector.kube.listers import NodeLister
from collector.kube.objects import Node
from collector.processors.rate import RateCalculator
from collector.sources.endpoints import plan_of
from collector.sources.kubelet import KubeletClient, KubeletOptions
from collector.sources.scrape import ScrapeManager
from collector.sources.settings import SourceSettings
from tests.sources.fake_kubelet import Asked, FakeKubelet, response

pytestmark = pytest.mark.usefixtures("nothing_left")

CAPTURES = Path(__file__).parents[1] / "captures"
MINUTE = 60_000_000_000
START, END = 1795397610_000_000_000, 1795397640_000_000_000

SUMMARY = [json.loads((CAPTURES / "summary" / f"live-v1.36.2-summary-{n}.json").read_bytes()) for n in (1, 2)]
TEXT = [gzip.decompress((CAPTURES / "cadvisor-text" / f"live-v1.36.2-{n}.txt.gz").read_bytes()) for n in (1, 2)]
CONTAINERS = json.loads(gzip.decompress((CAPTURES / "golden" / "inputs" / "step-00.json.gz").read_bytes()))["kubelets"][
    "node-0000"
]["cadvisor"]["body"].encode()
NAME = SUMMARY[0]["node"]["nodeName"]


class Kubelet:
    """One kubelet: what it says to each method and path; 404 otherwise."""

    def __init__(self, **answers: tuple[str, bytes]) -> None:
        self.answers = {
            "POST /stats/container/": answers.get("containers"),
            "GET /stats/summary": answers.get("summary"),
            "GET /stats/summary/": answers.get("below"),
            "GET /metrics/cadvisor": answers.get("text"),
        }
        self.asked: list[Asked] = []
        self.slow: set[str] = set()

    async def script(self, asked: Asked, writer: asyncio.StreamWriter) -> None:
        self.asked.append(asked)
        if asked.path in self.slow:
            await asyncio.Event().wait()
        status, body = self.answers.get(f"{asked.method} {asked.path}") or ("404 Not Found", b"404: Page Not Found")
        writer.write(response(status, body))
        await writer.drain()

    def counted(self) -> Counter[str]:
        """What was asked since the last call."""
        asked = Counter(f"{each.method} {each.path}" for each in self.asked)
        self.asked.clear()
        return asked


class Cluster:
    """One node, a source, and what it makes of it."""

    def __init__(self, source: str, client: KubeletClient, port: int, *, timeout_s: float = 20) -> None:
        self.labels: list[tuple[str, str | None]] = []
        self.nodes = NodeLister()
        self.node()
        self.manager = ScrapeManager(
            client.fetch,
            self.nodes,
            EntityTable(),
            MetricTable(),
            port=port,
            timeout_s=timeout_s,
            concurrency=8,
            plan=plan_of(SourceSettings.parse(source, {})),
            scraped=lambda label, _node, _seconds, reason: self.labels.append((label.rpartition(":")[0], reason)),
        )
        self.rates = RateCalculator()
        self.end = END

    def node(self, version: str = "v1.10.0", uid: str = "u-1", *, unschedulable: bool = False) -> None:
        addresses = (("InternalIP", "127.0.0.1"),)
        node = Node(NAME, uid=uid, addresses=addresses, kubelet_version=version, unschedulable=unschedulable)
        self.nodes.replace([node])

    async def tick(self) -> dict[str, MetricSet]:
        batch = await self.manager.scrape(START, self.end)
        self.rates.process(batch)
        batch.freeze()
        self.end += MINUTE
        return batch.metric_sets()


def options() -> KubeletOptions:
    return KubeletOptions(https=False, time_limit_s=10)


def ok(document: object) -> tuple[str, bytes]:
    return "200 OK", document if isinstance(document, bytes) else json.dumps(document).encode()


async def test_the_old_source_posts_heapsters_question_and_labels_what_it_finds() -> None:
    kubelet = Kubelet(containers=ok(CONTAINERS))
    async with FakeKubelet(kubelet.script) as server, KubeletClient(options()) as client:
        cluster = Cluster("kubernetes:", client, server.port)
        sets = await cluster.tick()
        [asked] = kubelet.asked
        cluster.node(unschedulable=True)
        again = await cluster.tick()
    assert (asked.method, asked.path) == ("POST", "/stats/container/")
    assert asked.headers["content-type"] == "application/json"
    assert asked.body == (
        b'{"containerName":"/","num_stats":1,"start":"2026-11-23T01:33:30Z","end":"2026-11-23T01:34:00Z",'
        b'"subcontainers":true}'
    )
    assert sets[f"node:{NAME}"].labels["schedulable"] == "true"  # named by the target: the answer does not say
    assert again[f"node:{NAME}"].labels["schedulable"] == "false"
    assert f"node:{NAME}/container:docker-daemon" in sets
    assert cluster.labels == [("kubelet:127.0.0.1", None)] * 2


@pytest.mark.parametrize(
    "refusal",
    [
        ("404 Not Found", b"404: Page Not Found"),
        ("405 Method Not Allowed", b"405: Method Not Allowed"),
        ("403 Forbidden", b"Forbidden (user=x, verb=create, resource=nodes, subresource=stats)"),
    ],
)
async def test_a_kubelet_without_the_old_endpoint_is_read_by_its_summary_and_that_is_said_once(
    caplog: pytest.LogCaptureFixture, refusal: tuple[str, bytes]
) -> None:
    kubelet = Kubelet(containers=refusal, summary=ok(SUMMARY[0]))
    async with FakeKubelet(kubelet.script) as server, KubeletClient(options()) as client:
        cluster = Cluster("kubernetes:", client, server.port)
        sets = await cluster.tick()
        assert kubelet.counted() == {"POST /stats/container/": 1, "GET /stats/summary": 1}
        for _ in range(2):
            assert (await cluster.tick()).keys() == sets.keys()
        assert kubelet.counted() == {"GET /stats/summary": 2}
    assert f"node:{NAME}" in sets
    assert "schedulable" not in sets[f"node:{NAME}"].labels
    assert cluster.manager.report.answered == 1
    assert cluster.labels == [("kubelet_summary:127.0.0.1", None)] * 3
    assert caplog.text.count("/stats/container/, /stats/summary is read instead") == 1
    if refusal[0].startswith("403"):
        assert 'verb "create" on resource "nodes/stats"' in caplog.text


@pytest.mark.parametrize("change", [{"version": "v1.9.0"}, {"uid": "u-2"}])
async def test_another_kubelet_is_asked_for_the_old_endpoint_again(change: dict[str, str]) -> None:
    kubelet = Kubelet(summary=ok(SUMMARY[0]))
    async with FakeKubelet(kubelet.script) as server, KubeletClient(options()) as client:
        cluster = Cluster("kubernetes:", client, server.port)
        await cluster.tick()
        cluster.node(unschedulable=True)  # the same kubelet in a changed Node object
        await cluster.tick()
        kubelet.counted()
        cluster.node(**change)
        kubelet.answers["POST /stats/container/"] = ok(CONTAINERS)
        sets = await cluster.tick()
        assert kubelet.counted() == {"POST /stats/container/": 1}
    assert sets[f"node:{NAME}"].labels["schedulable"] == "true"
    assert f"node:{NAME}/container:docker-daemon" in sets


async def test_only_what_says_so_leads_to_the_summary(caplog: pytest.LogCaptureFixture) -> None:
    kubelet = Kubelet(containers=("500 Internal Server Error", b"broken"), summary=ok(SUMMARY[0]))
    async with FakeKubelet(kubelet.script) as server, KubeletClient(options()) as client:
        cluster = Cluster("kubernetes:", client, server.port)
        assert (await cluster.tick()).keys() == {"cluster"}
        assert kubelet.counted() == {"POST /stats/container/": 1}
    assert cluster.manager.report.failed == {"status": 1}
    assert "is read instead" not in caplog.text


async def test_where_the_summary_fails_too_nothing_is_remembered() -> None:
    kubelet = Kubelet()
    async with FakeKubelet(kubelet.script) as server, KubeletClient(options()) as client:
        cluster = Cluster("kubernetes:", client, server.port)
        for _ in range(2):
            await cluster.tick()
            assert kubelet.counted() == {"POST /stats/container/": 1, "GET /stats/summary": 1}
    assert cluster.manager.report.failed == {"not_found": 1}


@pytest.mark.parametrize("refusal", [None, ("301 Moved Permanently", b"<a href=/stats/summary/>")])
async def test_a_summary_that_is_only_where_heapster_asked_is_found_there(refusal: tuple[str, bytes] | None) -> None:
    kubelet = Kubelet(below=ok(SUMMARY[0]), **({} if refusal is None else {"summary": refusal}))
    async with FakeKubelet(kubelet.script) as server, KubeletClient(options()) as client:
        cluster = Cluster("kubernetes.summary_api:", client, server.port)
        assert f"node:{NAME}" in await cluster.tick()
        assert kubelet.counted() == {"GET /stats/summary": 1, "GET /stats/summary/": 1}
        assert f"node:{NAME}" in await cluster.tick()
        assert kubelet.counted() == {"GET /stats/summary/": 1}


async def test_with_cadvisor_the_summary_gains_what_it_lacks_and_loses_nothing() -> None:
    kubelet = Kubelet(summary=ok(SUMMARY[0]), text=ok(TEXT[0]))
    async with FakeKubelet(kubelet.script) as server, KubeletClient(options()) as client:
        alone = await Cluster("kubernetes.summary_api:", client, server.port).tick()
        assert kubelet.counted() == {"GET /stats/summary": 1}
        merged_cluster = Cluster("kubernetes.summary_api:?cadvisor=true", client, server.port)
        merged = await merged_cluster.tick()
        assert kubelet.counted() == {"GET /stats/summary": 1, "GET /metrics/cadvisor": 1}
    assert merged.keys() == alone.keys()
    added: Counter[str] = Counter()
    for key, metric_set in merged.items():
        before = alone[key]
        assert (metric_set.labels, metric_set.start_time) == (before.labels, before.start_time)
        assert metric_set.scrape_time == before.scrape_time
        kept = {name: value for name, value in metric_set.metrics.items() if name in before.metrics}
        assert kept | {"uptime": 0} == before.metrics | {"uptime": 0}, key
        assert [each for each in metric_set.labeled if not each.name.startswith("disk/")] == list(before.labeled)
        added.update(metric_set.metrics.keys() - before.metrics.keys())
    throttling = {"cpu/throttled_time", "cpu/cfs_periods", "cpu/throttled_periods"}
    assert added.keys() == {"cpu/load", "memory/cache", *throttling}
    assert added["memory/cache"] == len(merged) - 1  # the node, `pods`, pods and containers: all but the cluster
    assert added["cpu/throttled_time"] > 5
    assert merged_cluster.labels == [("kubelet_summary:127.0.0.1", None), ("kubelet_cadvisor:127.0.0.1", None)]


def with_disks(text: bytes, read: int, at_ms: int) -> bytes:
    """The text with counters of a disk of the node and of one container."""
    caches = (line for line in text.decode().splitlines() if line.startswith('container_memory_cache{container="busy"'))
    labels = next(caches).partition("{")[2].partition("}")[0]
    return (
        text
        + (
            f'container_fs_reads_bytes_total{{device="/dev/vda",id="/"}} {read} {at_ms}\n'
            f'container_fs_writes_bytes_total{{device="/dev/vda",id="/"}} {2 * read} {at_ms}\n'
            f'container_fs_reads_bytes_total{{{labels},device="/dev/vdb"}} {3 * read} {at_ms}\n'
        ).encode()
    )


async def test_a_disks_rate_divides_by_the_texts_own_time() -> None:
    kubelet = Kubelet(summary=ok(SUMMARY[0]), text=ok(with_disks(TEXT[0], 1_000, 1_795_398_720_500)))
    async with FakeKubelet(kubelet.script) as server, KubeletClient(options()) as client:
        cluster = Cluster("kubernetes.summary_api:?cadvisor=true", client, server.port)
        await cluster.tick()
        kubelet.answers["GET /stats/summary"] = ok(SUMMARY[1])
        kubelet.answers["GET /metrics/cadvisor"] = ok(with_disks(TEXT[1], 11_000, 1_795_398_728_500))
        sets = await cluster.tick()
    disks = {(each.name, each.labels["resource_id"]): each.value for each in sets[f"node:{NAME}"].labeled}
    assert disks["disk/io_read_bytes", "/dev/vda"] == 11_000
    assert disks["disk/io_read_bytes_rate", "/dev/vda"] == 10_000 / 8
    assert disks["disk/io_write_bytes_rate", "/dev/vda"] == 20_000 / 8
    [busy] = [each for key, each in sets.items() if key.endswith("/container:busy")]
    assert ("disk/io_read_bytes_rate", 30_000 / 8) in {(each.name, each.value) for each in busy.labeled}


async def test_an_addition_that_fails_costs_what_it_adds_and_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    kubelet = Kubelet(summary=ok(SUMMARY[0]))
    async with FakeKubelet(kubelet.script) as server, KubeletClient(options()) as client:
        cluster = Cluster("kubernetes.summary_api:?cadvisor=true", client, server.port)
        for _ in range(2):
            sets = await cluster.tick()
        assert "memory/usage" in sets[f"node:{NAME}"].metrics
        assert "memory/cache" not in sets[f"node:{NAME}"].metrics
        assert cluster.manager.report.answered == 1
        assert not cluster.manager.report.failed
        kubelet.answers["GET /metrics/cadvisor"] = ok(TEXT[0])
        assert "memory/cache" in (await cluster.tick())[f"node:{NAME}"].metrics
    assert caplog.text.count(f"what /metrics/cadvisor adds to node {NAME} is left out") == 1
    assert ("kubelet_cadvisor:127.0.0.1", "not_found") in cluster.labels


async def test_an_addition_that_is_late_does_not_cost_the_summary() -> None:
    kubelet = Kubelet(summary=ok(SUMMARY[0]), text=ok(TEXT[0]))
    kubelet.slow = {"/metrics/cadvisor"}
    async with FakeKubelet(kubelet.script) as server, KubeletClient(options()) as client:
        cluster = Cluster("kubernetes.summary_api:?cadvisor=true", client, server.port, timeout_s=0.5)
        sets = await cluster.tick()
    assert "memory/usage" in sets[f"node:{NAME}"].metrics
    report = cluster.manager.report
    assert (report.answered, report.late, dict(report.failed)) == (1, 0, {})


async def test_an_addition_may_come_before_what_it_is_added_to() -> None:
    kubelet = Kubelet(summary=ok(SUMMARY[0]), text=ok(TEXT[0]))
    arrived = asyncio.Event()

    async def script(asked: Asked, writer: asyncio.StreamWriter) -> None:
        if asked.path == "/stats/summary":
            await arrived.wait()
        await kubelet.script(asked, writer)
        if asked.path == "/metrics/cadvisor":
            asyncio.get_running_loop().call_later(0.2, arrived.set)

    async with FakeKubelet(script) as server, KubeletClient(options()) as client:
        sets = await Cluster("kubernetes.summary_api:?cadvisor=true", client, server.port).tick()
    assert "memory/cache" in sets[f"node:{NAME}"].metrics


async def test_cadvisors_json_gains_the_throttling_only() -> None:
    text = b'container_cpu_cfs_throttled_seconds_total{id="/"} 1.5\ncontainer_memory_cache{id="/"} 1\n'
    kubelet = Kubelet(containers=ok(CONTAINERS), text=ok(text))
    async with FakeKubelet(kubelet.script) as server, KubeletClient(options()) as client:
        alone = await Cluster("kubernetes:", client, server.port).tick()
        merged = await Cluster("kubernetes:?cadvisor=true", client, server.port).tick()
    node = f"node:{NAME}"
    assert merged[node].metrics.pop("cpu/throttled_time") == 1_500_000_000
    assert merged[node].metrics | {"uptime": 0} == alone[node].metrics | {"uptime": 0}
    assert merged[node].labeled == alone[node].labeled


async def test_the_text_alone_is_a_source() -> None:
    kubelet = Kubelet(text=ok(TEXT[0]))
    async with FakeKubelet(kubelet.script) as server, KubeletClient(options()) as client:
        cluster = Cluster("kubernetes.cadvisor:?cgroups=kubepods(/burstable)?", client, server.port)
        await cluster.tick()
        kubelet.answers["GET /metrics/cadvisor"] = ok(TEXT[1])
        sets = await cluster.tick()
        assert kubelet.counted() == {"GET /metrics/cadvisor": 2}
    assert {key for key in sets if key.startswith(f"node:{NAME}/")} == {
        f"node:{NAME}/container:kubepods",
        f"node:{NAME}/container:kubepods/burstable",
    }
    for pod in SUMMARY[0]["pods"]:
        reference = pod["podRef"]
        assert f"namespace:{reference['namespace']}/pod:{reference['name']}" in sets
    rates = [each.metrics["cpu/usage_rate"] for each in sets.values() if "cpu/usage_rate" in each.metrics]
    assert len(rates) > 20
    assert cluster.labels == [("kubelet_cadvisor:127.0.0.1", None)] * 2
