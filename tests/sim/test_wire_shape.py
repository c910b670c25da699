"""The invented summary against one recorded from a real 1.36.2 kubelet."""

import json

import pytest

from collector.sim import ManualClock, SimConfig, SimulatedCluster

OPTIONAL = {"availableBytes", "usageNanoCores", "swapAvailableBytes", "volume"}
NOT_RECORDED = {"pvcRef"}  # the recorded node had no persistent volume


def shape(part):
    """Nested key sets and types; a list is the union of its items."""
    if isinstance(part, dict):
        return {key: shape(child) for key, child in part.items() if key not in OPTIONAL | NOT_RECORDED}
    if isinstance(part, list):
        merged = {}
        for item in part:
            merged |= shape(item)
        return [merged]
    return type(part).__name__


def key_orders(part, path=()):
    """Every object's keys in order, by the path of keys to it."""
    if isinstance(part, dict):
        yield path, [key for key in part if key not in OPTIONAL | NOT_RECORDED]
        for key, child in part.items():
            yield from key_orders(child, (*path, key))
    elif isinstance(part, list):
        for item in part:
            yield from key_orders(item, path)


@pytest.fixture(scope="module")
def cluster():
    clock = ManualClock()
    cluster = SimulatedCluster(SimConfig(nodes=2, pods=30, clock=clock))
    clock.advance(300)
    return cluster


@pytest.fixture
def recorded(captures):
    return json.loads((captures / "live-v1.36.2-summary-1.json").read_bytes())


def test_a_summary_has_the_keys_and_types_of_a_recorded_one(cluster, recorded):
    invented, real = cluster.truth(0), recorded
    volume = next(pod["volume"] for pod in real["pods"] if "volume" in pod)

    assert shape(invented["node"]) == shape(real["node"])
    assert shape(invented["pods"]) == shape(real["pods"])
    assert shape(next(pod["volume"] for pod in invented["pods"] if "volume" in pod)) == shape(volume)


def test_keys_stand_in_the_order_of_a_recorded_summary(cluster, recorded):
    known = {}
    for path, keys in key_orders(recorded):
        known.setdefault(path, keys)

    for path, keys in key_orders(cluster.truth(0)):
        if path in known:
            assert keys == known[path], path


def test_a_summary_is_indented_as_a_recorded_one(cluster, captures):
    recorded = (captures / "live-v1.36.2-summary-1.json").read_bytes().splitlines()
    invented = bytes(cluster.world.summary(0, only_cpu_and_memory=False)).splitlines()

    assert invented[:3] == [b"{", b' "node": {', b'  "nodeName": "sim-node-00000",']
    assert recorded[:3] == [b"{", b' "node": {', b'  "nodeName": "real-0",']
    assert invented[-2:] == recorded[-2:] == [b" ]", b"}"]


def test_times_are_whole_seconds_of_a_cluster_that_is_sampled_in_turn(cluster):
    sampled = set()
    for pod in cluster.truth(0)["pods"]:
        sampled |= {pod["cpu"]["time"], pod["network"]["time"]}
        for container in pod["containers"]:
            assert container["cpu"]["time"] == container["memory"]["time"] == container["swap"]["time"]
            sampled.add(container["cpu"]["time"])
    assert len(sampled) > 5
    assert all(len(time) == 20 and time.endswith("Z") for time in sampled)


def test_without_psi_a_summary_has_the_shape_of_a_kubelet_before_1_34(captures):
    real = json.loads((captures / "k8s-1.33-linux-containerd-minikube-newrelic-2025.json").read_bytes())
    cluster = SimulatedCluster(SimConfig(nodes=1, pods=30, psi=False, clock=ManualClock()))

    assert shape(cluster.truth(0)["pods"]) == shape(real["pods"])


async def test_the_small_form_has_the_sections_of_a_recorded_one(simulate, captures):
    recorded = json.loads((captures / "live-v1.36.2-summary-cpu-mem.json").read_bytes())
    simulation = await simulate(nodes=1)

    answer = await simulation.kubelet(0, "/stats/summary?only_cpu_and_memory=true")

    assert shape(answer.decoded()) == shape(recorded)


def test_host_network_pods_report_the_nodes_interfaces(cluster):
    summary = cluster.truth(1)
    network = summary["node"]["network"]
    proxy = next(pod for pod in summary["pods"] if pod["podRef"]["name"].startswith("kube-proxy"))

    assert proxy["network"] == network | {"rxErrors": 0, "interfaces": proxy["network"]["interfaces"]}
    assert [part["name"] for part in proxy["network"]["interfaces"]] == ["tunl0", "eth0"]
    assert "volume" not in proxy


def test_a_large_answer_is_as_large_as_a_real_one(cluster):
    body = cluster.world.summary(0, only_cpu_and_memory=False)

    assert 180_000 < len(body) < 230_000


async def test_the_light_endpoint_has_the_families_of_a_recorded_kubelet(simulate):
    simulation = await simulate(nodes=1)
    simulation.cluster.advance(30)

    answer = await simulation.kubelet(0, "/metrics/resource")

    lines = answer.body.decode().splitlines()
    families = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert families == [
        "container_cpu_usage_seconds_total",
        "container_memory_working_set_bytes",
        "container_start_time_seconds",
        "container_swap_usage_bytes",
        "node_cpu_usage_seconds_total",
        "node_memory_working_set_bytes",
        "node_swap_usage_bytes",
        "pod_cpu_usage_seconds_total",
        "pod_memory_working_set_bytes",
        "pod_swap_usage_bytes",
        "resource_scrape_error",
    ]
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8; escaping=underscores"


async def test_the_light_endpoint_shows_the_samples_of_the_summary(simulate):
    simulation = await simulate(nodes=1)
    simulation.cluster.advance(30)
    summary = simulation.cluster.truth(0)

    text = (await simulation.kubelet(0, "/metrics/resource")).body.decode()

    for pod in summary["pods"]:
        reference = pod["podRef"]
        for container in pod["containers"]:
            series = (
                f'container_cpu_usage_seconds_total{{container="{container["name"]}",'
                f'namespace="{reference["namespace"]}",pod="{reference["name"]}"}} '
            )
            value, _time = text.partition(series)[2].partition("\n")[0].split()
            assert round(float(value) * 1e9) == pytest.approx(container["cpu"]["usageCoreNanoSeconds"], rel=1e-12)
