"""Kubelets' identity through the whole collector: simulated kubelets that check tokens, and flags as they are given."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import yaml

from collector.app import Collector
from collector.core.metrics import Kind
from collector.errors import UsageError
from collector.kubelets import ca_files, identity_of
from collector.options import SECOND, Options, parse
from collector.sim import SimConfig, SimulatedCluster
from collector.sources.pins import FILE_NAME
from collector.sources.settings import SourceSettings
from tests.e2e.test_collector import running, window

NODES = 3


@pytest.fixture
async def cluster() -> AsyncIterator[SimulatedCluster]:
    async with SimulatedCluster(SimConfig(nodes=NODES, pods=2, containers=1, churn=0.0)) as started:
        yield started


def options(cluster: SimulatedCluster, kubeconfig: Path | None = None, **changed: object) -> Options:
    access = f"inClusterConfig=false&auth={kubeconfig or cluster.kubeconfig}&kubeletHttps=true"
    values = {
        "source": (f"kubernetes.summary_api:?{access}&kubeletPort={cluster.kubelet_port}",),
        "listen_ip": "127.0.0.1",
        "heapster_port": 0,
        "scrape_jitter": 0,
        "kube_start_timeout": 20 * SECOND,
    }
    return Options(**{**values, **changed})  # type: ignore[arg-type]


async def kubelets_of(collector: Collector) -> dict[str, dict[str, object]]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{collector.port}/api/v1/kubelets") as answer,
    ):
        return {each["node"]: each for each in (await answer.json())["kubelets"]}


def gauge(collector: Collector, name: str, **labels: str) -> float | None:
    return collector.metrics.registry.get_sample_value(name, labels)


async def test_a_token_that_is_rotated_all_the_time_costs_no_scrape(cluster, tmp_path):
    """Each new token makes the one before worthless at once, which no API server is so strict about."""
    config = yaml.safe_load(cluster.kubeconfig.read_text())
    config["users"][0]["user"] = {"tokenFile": str(cluster.token_file)}
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
    rotations = 0

    async def rotate() -> None:
        nonlocal rotations
        while True:
            await asyncio.sleep(0.2)
            rotations += 1
            cluster.rotate_token(f"token-{rotations}")

    async with running(Collector(options(cluster, tmp_path / "kubeconfig"))) as collector:
        rotating = asyncio.create_task(rotate())
        ticks = 0
        until = time.monotonic() + 3
        while time.monotonic() < until:
            await collector.tick(window(ticks % 3))
            assert not collector.report.failed, collector.report.failed
            assert collector.report.answered == NODES
            ticks += 1
        rotating.cancel()
        await asyncio.gather(rotating, return_exceptions=True)
    assert rotations >= 5
    assert ticks > rotations


async def test_pins_outlive_the_collector_and_another_cluster_in_its_place_is_refused(cluster, tmp_path, caplog):
    caplog.set_level("INFO")
    pinned = {"kubelet_identity": "pin", "kubelet_pin_dir": str(tmp_path)}
    async with running(Collector(options(cluster, **pinned))) as collector:
        await collector.tick(window(0))
        assert collector.report.answered == NODES
        assert gauge(collector, "heapster_kubelet_identity", mode="pin") == 1
        assert gauge(collector, "heapster_kubelet_identity", mode="verify") == 0
    lines = [line for line in (tmp_path / FILE_NAME).read_text().splitlines() if not line.startswith("#")]
    assert [line.split()[1] for line in lines] == sorted(cluster.node_names)
    spoilt = [f"{uid} {node} sha256:{'0' * 64} {since}" for uid, node, _, since in map(str.split, lines)]
    (tmp_path / FILE_NAME).write_text("\n".join([*spoilt[:2], *lines[2:]]) + "\n")
    first, second, _ = sorted(cluster.node_names)
    async with running(Collector(options(cluster, **pinned, kubelet_repin=(second,)))) as collector:
        await collector.tick(window(0))
        assert dict(collector.report.failed) == {"pin": 1}
        assert collector.report.answered == NODES - 1
        known = await kubelets_of(collector)
    assert (known[first]["state"], known[first]["reason"], known[first]["identity"]) == ("failing", "pin", "pin")
    assert known[second]["state"] == "ok"
    assert f"node {second}: its pin is forgotten" in caplog.text


@pytest.mark.parametrize(("directory", "kept"), [("auto", True), ("off", False)])
async def test_pins_lie_in_the_state_directory_unless_they_shall_not(cluster, tmp_path, monkeypatch, directory, kept):
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    flags = {"kubelet_identity": "pin", "kubelet_pin_dir": directory, "sink": ("log",)}
    async with running(Collector(options(cluster, **flags))) as collector:
        await collector.tick(window(0))
        assert collector.report.answered == NODES
    assert (tmp_path / FILE_NAME).exists() == kept


async def test_insecure_is_loud_once_and_shows_in_a_gauge(cluster, caplog):
    async with running(Collector(options(cluster, kubelet_insecure_tls=True))) as collector:
        for cycle in (0, 1):
            await collector.tick(window(cycle))
        assert collector.report.answered == NODES
        assert gauge(collector, "heapster_kubelet_identity", mode="insecure") == 1
    assert caplog.text.count("certificates are NOT verified") == 1


async def test_nodes_that_are_not_asked_show_in_gauge_and_list(cluster):
    collector = Collector(options(cluster))
    async with running(collector):
        nodes = collector.context.listers.nodes
        name, other, _ = cluster.node_names
        down = nodes.get(name)
        nodes.apply([(name, type(down)(name, down.uid, down.addresses, ready=False))])
        nodes.apply([(other, type(down)(other, "uid", down.addresses, ready=True, virtual=True))])
        batch = (await collector.tick(window(0))).batch
        known = await kubelets_of(collector)
        counts = {state: gauge(collector, "heapster_nodes", state=state) for state in ("ok", "not_ready", "virtual")}
    assert batch.count(Kind.NODE) == 1
    assert counts == {"ok": 1, "not_ready": 1, "virtual": 1}
    assert [known[each]["state"] for each in cluster.node_names] == ["not_ready", "virtual", "ok"]


@pytest.mark.parametrize(
    ("flags", "uri", "expected"),
    [
        ([], "kubeletHttps=true", "verify"),
        (["--kubelet-identity=pin"], "kubeletHttps=true", "pin"),
        (["--kubelet-identity=insecure"], "kubeletHttps=true", "insecure"),
        (["--kubelet-insecure-tls"], "kubeletHttps=true", "insecure"),
        ([], "insecure=true", "insecure"),  # as in Heapster
        ([], "inClusterConfig=false&auth=x&insecure=true", "verify"),
        (["--kubelet-identity=pin"], "insecure=true", "pin"),
    ],
)
def test_which_identity_flags_and_uri_ask_for(flags, uri, expected):
    source = f"kubernetes.summary_api:?{uri}"
    assert identity_of(parse([f"--source={source}", *flags]), SourceSettings.parse(source)) == expected


def test_flags_that_contradict_each_other_are_refused():
    source = "kubernetes.summary_api:"
    contradiction = parse([f"--source={source}", "--kubelet-insecure-tls", "--kubelet-identity=pin"])
    with pytest.raises(UsageError, match="--kubelet-insecure-tls means --kubelet-identity=insecure"):
        identity_of(contradiction, SourceSettings.parse(source))


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ([], ("api.crt",)),
        (["--kubelet-ca-file=a,b"], ("api.crt", "a", "b")),
        (["--kubelet-certificate-authority=c", "--kubelet-certificate-authority=d,e"], ("c", "d", "e")),
        (["--kubelet-certificate-authority=c", "--kubelet-ca-file=a"], ("c", "a")),
    ],
)
def test_who_may_sign_the_kubelets_certificates(flags, expected):
    assert ca_files(parse(["--source=kubernetes:", *flags]), "api.crt") == expected
