"""cAdvisor's text and JSON of the simulated kubelets: the form of real ones, and the truth of their summaries."""

import gzip
import json
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from collector.sim.access import FORBIDDEN_TOKEN
from collector.sim.cadvisor_text import go_float

CAPTURES = Path(__file__).parents[1] / "captures" / "cadvisor-text"
QUESTION = {
    "containerName": "/",
    "num_stats": 1,
    "start": "2026-11-23T00:33:45Z",
    "end": "2026-11-23T00:33:50Z",
    "subcontainers": True,
}


def families(text):
    """Name -> list of (labels, value, whether it has a time); by the names lines have."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value, sample.timestamp is not None))
    return found


def recorded(name):
    return families(gzip.decompress((CAPTURES / name).read_bytes()).decode())


async def text(simulation, node=0):
    answer = await simulation.kubelet(node, "/metrics/cadvisor")
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    return answer.body.decode()


async def containers(simulation, node=0, question=None, **options):
    url = simulation.url(node, "/stats/container/")
    async with simulation.session.post(url, data=json.dumps(question or QUESTION), **options) as response:
        return response.status, await response.read()


@pytest.mark.parametrize(
    ("old", "capture"),
    [
        (False, "k8s-1.34-linux-containerd-minikube-psi-newrelic.txt.gz"),
        (True, "k8s-1.10-linux-docker-kops-splunk.txt.gz"),
    ],
)
async def test_the_text_has_families_labels_and_times_as_a_recorded_kubelet(simulate, old, capture):
    simulation = await simulate(pods=10, containers=3, old_kubelets=old)
    simulation.cluster.advance(600)
    real, ours = recorded(capture), families(await text(simulation))
    assert len(ours) > 20
    for name, samples in ours.items():
        if name not in real:
            assert old  # a family that cAdvisor gained later
            continue
        assert {frozenset(labels) for labels, _, _ in samples} <= {frozenset(labels) for labels, _, _ in real[name]} | {
            frozenset()
        }, name
        if name.startswith("container_") and name != "container_scrape_error":
            assert {timed for _, _, timed in samples} == {timed for _, _, timed in real[name]}, name


async def test_the_text_shows_the_samples_of_the_summary(simulate):
    simulation = await simulate(pods=10)
    simulation.cluster.advance(600)
    found, truth = families(await text(simulation)), simulation.cluster.truth(0)

    def value(family, **wanted):
        [number] = [
            number for labels, number, _ in found[family] if all(labels[key] == text for key, text in wanted.items())
        ]
        return number

    assert value("container_cpu_usage_seconds_total", id="/") == pytest.approx(
        truth["node"]["cpu"]["usageCoreNanoSeconds"] / 1e9
    )
    for pod in truth["pods"]:
        named = {"namespace": pod["podRef"]["namespace"], "pod": pod["podRef"]["name"]}
        of_pod = {**named, "container": "", "name": ""}
        assert value("container_memory_working_set_bytes", **of_pod) == pod["memory"]["workingSetBytes"]
        for part in pod["containers"]:
            inner = {**named, "container": part["name"]}
            assert value("container_memory_usage_bytes", **inner) == part["memory"]["usageBytes"]
            assert value("container_cpu_usage_seconds_total", **inner) == pytest.approx(
                part["cpu"]["usageCoreNanoSeconds"] / 1e9, rel=1e-15
            )


async def test_the_same_moment_gives_the_same_bytes_and_counters_never_fall(simulate):
    one, other = await simulate(seed=5, churn=0.0), await simulate(seed=5, churn=0.0, network="127.78.0.0/16")
    other.cluster.config.clock.advance(one.cluster.config.clock() - other.cluster.config.clock())
    assert await text(one) == await text(other)
    last = {}
    for _ in range(4):
        one.cluster.advance(60)
        for name, samples in families(await text(one)).items():
            for labels, number, _ in samples if name.endswith("_total") else ():
                key = (name, *sorted(labels.items()))
                assert number >= last.get(key, 0), key
                last[key] = number
    assert len(last) > 100


async def test_an_old_kubelet_answers_the_question_of_heapster(simulate):
    simulation = await simulate(pods=8, old_kubelets=True)
    simulation.cluster.advance(600)
    status, body = await containers(simulation)
    truth, found = simulation.cluster.truth(0), json.loads(body)
    assert status == 200
    assert {"/", "/kubelet", "/docker-daemon", "/kubepods"} <= found.keys()
    usage = {}
    for path, info in found.items():
        assert info["name"] == path
        assert len(info["stats"]) == 1
        labels = info["spec"].get("labels")
        if labels:
            key = (labels["io.kubernetes.pod.namespace"], labels["io.kubernetes.pod.name"])
            usage[key] = usage.get(key, 0) + info["stats"][0]["memory"]["usage"]
            assert info["spec"]["image"]
            assert info["aliases"][0].startswith(f"k8s_{labels['io.kubernetes.container.name']}_")
    assert usage == {
        (pod["podRef"]["namespace"], pod["podRef"]["name"]): pod["memory"]["usageBytes"] for pod in truth["pods"]
    }
    nodes = await simulation.items("/api/v1/nodes")
    assert nodes[0]["status"]["nodeInfo"]["kubeletVersion"].startswith("v1.10.")


async def test_the_root_alone_can_be_asked_for_and_nonsense_is_refused(simulate):
    simulation = await simulate(old_kubelets=True)
    status, body = await containers(simulation, question=QUESTION | {"subcontainers": False})
    assert (status, list(json.loads(body))) == (200, ["/"])
    async with simulation.session.post(simulation.url(0, "/stats/container/"), data=b"{") as response:
        assert response.status == 400
    assert (await simulation.kubelet(0, "/stats/container/")).status == 405
    assert (await simulation.kubelet(0)).status == 200  # the connection goes on


async def test_current_kubelets_do_not_have_the_old_endpoint(simulate):
    simulation = await simulate()
    assert await containers(simulation) == (404, b"404: Page Not Found")
    status, body = await containers(simulation, headers={"Authorization": f"Bearer {FORBIDDEN_TOKEN}"})
    assert status == 403
    assert b"verb=create" in body


async def test_recordings_of_summaries_know_no_cadvisor(simulate, captures):
    simulation = await simulate(captures=captures)
    assert (await simulation.kubelet(0, "/metrics/cadvisor")).status == 404
    assert (await containers(simulation))[0] == 404


@pytest.mark.parametrize(
    ("number", "written"),
    [
        (0, "0"),
        (7, "7"),
        (999_999, "999999"),
        (1_000_000, "1e+06"),
        (16_229_008, "1.6229008e+07"),
        (2_374_340_608, "2.374340608e+09"),
        (4372.938620195, "4372.938620195"),
        (51_135_460.58893, "5.113546058893e+07"),
        (0.25, "0.25"),
    ],
)
def test_numbers_are_written_as_gos_encoder_writes_them(number, written):
    assert go_float(number) == written
