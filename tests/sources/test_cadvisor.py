"""cAdvisor's JSON: what each cgroup becomes, which values it has, and that nothing in an answer can do more harm.

The golden replay (tests/processors/test_golden_cadvisor.py) compares whole batches with Heapster's.
"""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.core.entities import EntityTable
from collector.core.metrics import Clock, MetricTable
from collector.core.sample import NodeSample
from collector.errors import DecodeError
from collector.sources.cadvisor import decode_cadvisor, request_body
from collector.sources.summary import decode_summary
from collector.sources.times import epoch_ns
from tests.sources.captures import EVERYTHING
from tests.sources.observed import Entity, Key, batch_of, observed

CAPTURES = Path(__file__).parents[1] / "captures" / "cadvisor-json"
FILES = sorted(path.name for path in CAPTURES.glob("*.json.gz"))
NOW = "2026-01-02T03:04:05.123456789Z"
READ_AT = epoch_ns("2026-01-02T03:04:06Z")
LABELS = ("container.name", "pod.name", "pod.namespace")


def decode(*infos: dict[str, Any], **options: Any) -> NodeSample:
    body = json.dumps({str(i): info for i, info in enumerate(infos)}).encode()
    return decode_cadvisor(body, "node-a", READ_AT, **{"schedulable": True, **options})


def seen(*infos: dict[str, Any], **options: Any) -> dict[Key, Entity]:
    return observed(batch_of(decode(*infos, **options)))


def info(name: str, /, *, labels: dict[str, str] | None = None, stats: Any = None, **spec: Any) -> dict[str, Any]:
    named = {f"io.kubernetes.{key}": value for key, value in (labels or {}).items()}
    return {
        "name": name,
        "spec": {"creation_time": "2026-01-01T00:00:00Z", "has_memory": True, "labels": named, **spec},
        "stats": [{"timestamp": NOW, "memory": {"usage": 7}, **(stats or {})}],
    }


def of_pod(container: str, pod: str = "web-1", namespace: str = "default", uid: str = "u-1") -> dict[str, str]:
    return {"container.name": container, "pod.namespace": namespace, "pod.name": pod, "pod.uid": uid}


def test_the_root_is_the_node_the_pause_container_the_pod_and_what_has_no_names_a_system_container() -> None:
    found = seen(
        info("/"),
        info("/docker/1", labels=of_pod("POD")),
        info("/docker/2", labels=of_pod("nginx"), image="nginx:1"),
        info("/system.slice/docker.service"),
        info("/kubepods/burstable", labels={"pod.name": "web-1", "pod.namespace": "default"}),
    )
    assert found.keys() == {
        ("node", "node-a"),
        ("pod", "default", "web-1"),
        ("pod_container", "default", "web-1", "nginx"),
        ("sys_container", "node-a", "system.slice/docker.service"),
        ("sys_container", "node-a", "kubepods/burstable"),
    }
    assert found["node", "node-a"].labels["schedulable"] == "true"
    assert found["pod", "default", "web-1"].labels["pod_id"] == "u-1"
    assert found["pod_container", "default", "web-1", "nginx"].labels["container_base_image"] == "nginx:1"
    assert found["sys_container", "node-a", "kubepods/burstable"].labels["container_name"] == "kubepods/burstable"


def test_a_cordoned_node_is_not_schedulable() -> None:
    assert seen(info("/"), schedulable=False)["node", "node-a"].labels["schedulable"] == "false"


def test_the_first_alias_is_the_name() -> None:
    aliased = info("/docker/1") | {"aliases": ["optimistic_lamarr", "1"]}
    assert ("sys_container", "node-a", "optimistic_lamarr") in seen(aliased)


def test_kubernetes_1_0_put_its_names_elsewhere() -> None:
    old = info("/docker/1", labels={"pod.name": "default/web-1"}) | {
        "aliases": ["k8s_nginx.7f9b83f6_web-1_default_9abfb0bd_e6841e8d"]
    }
    pause = info("/docker/2", labels={"pod.name": "default/web-1"}) | {"aliases": ["k8s_POD.7f9b83f6_web-1_default_9"]}
    assert seen(old, pause).keys() == {("pod", "default", "web-1"), ("pod_container", "default", "web-1", "nginx")}


@pytest.mark.parametrize("name", ["k8s.x", ".x", "k8s_.x", "a.b", "", "/", "k8s_", "."])
@given(labels=st.dictionaries(st.sampled_from(LABELS), st.sampled_from(["", "/", "a/b", "."])))
def test_no_name_can_do_harm(name: str, labels: dict[str, str]) -> None:
    """F33: Heapster crashed where the first dot came before the fourth character."""
    found = seen(info(name or "/x", labels=labels) | {"name": name})
    assert len(found) <= 1 or ("pod", *next(iter(found))[1:3]) in found


def test_an_empty_image_of_the_runtime_hides_the_images_of_the_specification() -> None:
    entities, metrics = EntityTable(), MetricTable()
    cgroups = (info("/1", labels=of_pod("nginx", pod="web-1")), info("/2", labels=of_pod("sidecar"), image="s:1"))
    batch = batch_of(decode(*cgroups), entities=entities, metrics=metrics)
    row = entities.find_child(entities.find_pod("default", "web-1"), "nginx")
    entities.set_own_labels(row, {"container_base_image": "nginx:1"})
    assert batch.metric_set(row).labels["container_base_image"] == ""
    version = int(entities.label_version[row])
    # The same node answers with a summary now, which knows no images: the specification's is back.
    summary = json.loads(EVERYTHING)
    summary["pods"] = [pod for pod in summary["pods"] if pod["podRef"]["name"] == "web-1"]
    again = batch_of(decode_summary(json.dumps(summary).encode(), READ_AT), entities=entities, metrics=metrics)
    assert again.metric_set(row).labels["container_base_image"] == "nginx:1"
    assert int(entities.label_version[row]) > version
    assert "schedulable" not in again.metric_set(entities.find_node("node-a")).labels


def test_the_switches_decide_what_there_is_and_missing_numbers_are_zero() -> None:
    assert seen(info("/", has_cpu=True, stats={"memory": {}}))["node", "node-a"].metrics == {
        **dict.fromkeys(("cpu/usage", "cpu/load", "memory/usage", "memory/cache", "memory/rss"), 0),
        **dict.fromkeys(("memory/working_set", "memory/page_faults", "memory/major_page_faults"), 0),
        "uptime": 97_446_000,
    }
    assert seen(info("/", has_memory=False, creation_time=None))["node", "node-a"].metrics == {}


def test_the_network_is_the_sum_of_the_interfaces() -> None:
    network = {
        "rx_bytes": 99,
        "interfaces": [{"rx_bytes": 1, "tx_bytes": 2, "tx_errors": 4}, {"rx_bytes": 10, "rx_errors": 8}],
    }
    metrics = seen(info("/", has_network=True, stats={"network": network}))["node", "node-a"].metrics
    assert {name: value for name, value in metrics.items() if name.startswith("network/")} == {
        "network/rx": 11,
        "network/rx_errors": 8,
        "network/tx": 2,
        "network/tx_errors": 4,
    }


@pytest.mark.parametrize("bad", [-1, 2**64, "x", 1.5])
def test_a_sum_of_which_a_part_is_unknown_is_unknown_and_the_rest_stays(bad: object) -> None:
    network = {"interfaces": [{"rx_bytes": bad, "tx_bytes": 2}, {"rx_bytes": 10}]}
    sample = decode(info("/", has_network=True, stats={"network": network}))
    metrics = observed(batch_of(sample))["node", "node-a"].metrics
    assert "network/rx" not in metrics
    assert metrics["network/tx"] == 2
    assert sample.faults


def test_file_systems_and_disks_are_named_by_their_devices() -> None:
    found = seen(
        info(
            "/",
            has_filesystem=True,
            has_diskio=True,
            stats={
                "filesystem": [
                    {"device": "/dev/sda1", "usage": 1, "capacity": 9, "available": 5, "has_inodes": True, "inodes": 3},
                    {"device": "tmpfs", "usage": 2, "capacity": 8, "available": 4, "has_inodes": False, "inodes": 3},
                ],
                "diskio": {
                    "io_service_bytes": [
                        {"device": "/dev/sda", "stats": {"Read": 7, "Write": 8}},
                        {"device": "", "major": 8, "minor": 16, "stats": {"Write": 9}},
                    ]
                },
            },
        )
    )["node", "node-a"]
    assert sorted(found.labeled) == [
        ("disk/io_read_bytes", (("resource_id", "/dev/sda"),), 7),
        ("disk/io_read_bytes", (("resource_id", "8:16"),), 0),
        ("disk/io_write_bytes", (("resource_id", "/dev/sda"),), 8),
        ("disk/io_write_bytes", (("resource_id", "8:16"),), 9),
        ("filesystem/available", (("resource_id", "/dev/sda1"),), 5),
        ("filesystem/available", (("resource_id", "tmpfs"),), 4),
        ("filesystem/inodes", (("resource_id", "/dev/sda1"),), 3),
        ("filesystem/inodes_free", (("resource_id", "/dev/sda1"),), 0),
        ("filesystem/limit", (("resource_id", "/dev/sda1"),), 9),
        ("filesystem/limit", (("resource_id", "tmpfs"),), 8),
        ("filesystem/usage", (("resource_id", "/dev/sda1"),), 1),
        ("filesystem/usage", (("resource_id", "tmpfs"),), 2),
    ]


def test_accelerators_are_there_zeros_included() -> None:
    gpu = {"make": "nvidia", "model": "k80", "id": "gpu-0", "memory_total": 8}
    labels = (("make", "nvidia"), ("model", "k80"), ("accelerator_id", "gpu-0"))
    assert seen(info("/1", labels=of_pod("nginx"), stats={"accelerators": [gpu]}))[
        "pod_container", "default", "web-1", "nginx"
    ].labeled == [
        ("accelerator/memory_total", labels, 8),
        ("accelerator/memory_used", labels, 0),
        ("accelerator/duty_cycle", labels, 0),
    ]


def test_custom_metrics_are_the_newest_value_in_the_type_they_promise() -> None:
    promised = [
        {"name": "queue", "type": "gauge", "format": "int", "units": "things"},
        {"name": "ratio", "type": "cumulative", "format": "float"},
        {"name": "change", "type": "delta", "format": "int"},
        {"name": "unsaid", "type": "gauge", "format": "int"},
        {"name": "odd", "type": "gauge", "format": "text"},
    ]
    values = {
        "queue": [{"timestamp": NOW, "int_value": -3}, {"timestamp": "2026-01-02T03:04:04Z", "int_value": 9}],
        "ratio": [{"timestamp": NOW, "float_value": 1.5}],
        "change": [{"timestamp": NOW, "int_value": 1}],
        "odd": [{"timestamp": NOW, "int_value": 1}],
    }
    metrics = seen(
        info(
            "/1",
            labels=of_pod("nginx"),
            has_custom_metrics=True,
            custom_metrics=promised,
            stats={"custom_metrics": values},
        )
    )["pod_container", "default", "web-1", "nginx"].metrics
    assert {name: value for name, value in metrics.items() if name.startswith("custom/")} == {
        "custom/queue": -3,
        "custom/ratio": 1.5,
    }
    assert isinstance(metrics["custom/queue"], int)


def test_a_column_keeps_the_type_its_name_first_came_with() -> None:
    def reporting(form: str, value: dict[str, float]) -> NodeSample:
        promised = [{"name": "queue", "type": "gauge", "format": form}]
        stats = {"custom_metrics": {"queue": [{"timestamp": NOW, **value}]}}
        return decode(info("/", has_custom_metrics=True, custom_metrics=promised, stats=stats))

    entities, metrics = EntityTable(), MetricTable()
    batch_of(reporting("int", {"int_value": 3}), entities=entities, metrics=metrics)
    later = batch_of(reporting("float", {"float_value": 2.75}), entities=entities, metrics=metrics)
    assert observed(later)["node", "node-a"].metrics["custom/queue"] == 2


def test_of_two_pause_containers_or_containers_the_later_counts() -> None:
    def started(hour: int, container: str, usage: int) -> dict[str, Any]:
        return info(
            f"/{hour}-{container}",
            labels=of_pod(container, uid=f"u-{hour}"),
            creation_time=f"2026-01-01T{hour:02d}:00:00Z",
            stats={"memory": {"usage": usage}},
        )

    found = seen(started(2, "POD", 20), started(1, "POD", 10), started(2, "nginx", 200), started(1, "nginx", 100))
    assert found["pod", "default", "web-1"].metrics["memory/usage"] == 20
    assert found["pod", "default", "web-1"].labels["pod_id"] == "u-2"
    assert found["pod_container", "default", "web-1", "nginx"].metrics["memory/usage"] == 200


def test_a_cgroup_without_a_sample_is_left_out_and_the_last_sample_counts() -> None:
    old = {"timestamp": "2026-01-02T03:04:04Z", "memory": {"usage": 1}}
    several = info("/")
    several["stats"].insert(0, old)
    sample = decode(several, info("/idle") | {"stats": []}, info("/null") | {"stats": None})
    found = observed(batch_of(sample))
    assert found.keys() == {("node", "node-a")}
    assert found["node", "node-a"].metrics["memory/usage"] == 7
    assert sample.node_block.times[0, Clock.SCRAPE] == epoch_ns(NOW)
    assert len(set(sample.node_block.times[0, Clock.SCRAPE :].tolist())) == 1


def test_an_answer_without_a_root_is_an_answer_about_its_containers() -> None:
    assert seen(info("/1", labels=of_pod("nginx"))).keys() >= {("pod_container", "default", "web-1", "nginx")}


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"<html>", b'{"a":', b"7", b"[" * 100_000])
def test_what_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_cadvisor(body, "node-a", READ_AT, schedulable=True)


def test_a_breach_in_one_cgroup_leaves_the_others_alone() -> None:
    good, bad = info("/good"), info("/bad", has_cpu=True)
    bad["stats"][0] |= {"cpu": {"usage": {"total": -5}, "load_average": None}, "memory": "none"}
    sample = decode(good, bad, {"name": 7}, {"spec": []})
    found = observed(batch_of(sample))
    assert found["sys_container", "node-a", "good"].metrics["memory/usage"] == 7
    assert "cpu/usage" not in found["sys_container", "node-a", "bad"].metrics
    assert found["sys_container", "node-a", "bad"].metrics["cpu/load"] == 0
    assert len(sample.faults) >= 3


def test_cgroups_can_be_filtered() -> None:
    found = seen(info("/"), info("/a"), info("/b/c"), info("/1", labels=of_pod("nginx")), keep=lambda name: name == "a")
    assert [key for key in found if key[0] == "sys_container"] == [("sys_container", "node-a", "a")]
    assert ("pod_container", "default", "web-1", "nginx") in found


def test_the_question_is_the_one_heapster_asked() -> None:
    start, end = epoch_ns("2026-11-23T00:33:45Z"), epoch_ns("2026-11-23T00:33:50Z")
    assert request_body(start, end) == (
        b'{"containerName":"/","num_stats":1,"start":"2026-11-23T00:33:45Z","end":"2026-11-23T00:33:50Z",'
        b'"subcontainers":true}'
    )
    assert b'"end":"2026-11-23T00:33:50.05Z"' in request_body(start, end + 50_000_000)


@pytest.mark.parametrize("name", FILES)
def test_every_recording_decodes(name: str) -> None:
    """Recorded at cAdvisor's other paths too, which answer with a list or a single container."""
    document = json.loads(gzip.decompress((CAPTURES / name).read_bytes()))
    if isinstance(document, list):
        document = {each["name"]: each for each in document}
    elif "name" in document:
        document = {document["name"]: document}
    sample = decode_cadvisor(json.dumps(document).encode(), "node-a", READ_AT, schedulable=True)
    assert not sample.faults
    found = observed(batch_of(sample))
    with_stats = [each for each in document.values() if each["stats"]]
    assert len(FILES) == 6
    kinds = ("node", "sys_container", "pod_container")
    pauses = sum(each["spec"].get("labels", {}).get("io.kubernetes.container.name") == "POD" for each in with_stats)
    if "1.1" not in name:  # whose pause containers are known by docker's names only
        assert sum(key[0] in kinds for key in found) == len(with_stats) - pauses
    for key, entity in found.items():
        if key[0] == "pod" and "container-eks" in name:
            assert not entity.times  # without its pause container it is there for its containers only
            continue
        assert entity.times["scrape"] > entity.times["start"] > 0, key
        assert entity.metrics["memory/working_set"] > 0, key


def test_a_recording_of_kubernetes_1_1_has_its_pods() -> None:
    document = json.loads(gzip.decompress((CAPTURES / "api-v1.3-subcontainers-k8s-1.1-datadog.json.gz").read_bytes()))
    found = seen(*document)
    pods = {key for key in found if key[0] == "pod"}
    assert ("pod", "default", "propjoe-lkc3l") in pods
    assert any(key[0] == "pod_container" for key in found)
    assert ("sys_container", "node-a", "kubelet") in found
