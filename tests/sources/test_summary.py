"""The summary decoder: every recorded answer cell by cell, and each rule on its own."""

import json
from typing import Any

import pytest

from collector.core.metrics import INDEX, METRICS, Kind
from collector.errors import DecodeError
from collector.sources.summary import decode_summary
from collector.sources.tolerant import MAX_FAULTS
from tests.sources.captures import EVERYTHING, POD_ONLY, SUMMARIES, summary_body, wrapped_pod
from tests.sources.observed import Entity, Key, batch_of, observed
from tests.sources.reference import reference

SECOND = 1_000_000_000
READ_AT = 1_790_000_000_123_456_789
NODE = ("node", "node-a")
POD = ("pod", "default", "web-1")
NGINX = ("pod_container", "default", "web-1", "nginx")


def entities_of(tree: Any) -> dict[Key, Entity]:
    body = tree if isinstance(tree, bytes) else json.dumps(tree).encode()
    found = observed(batch_of(decode_summary(body, READ_AT)))
    assert found == reference(body, READ_AT)
    return found


def answer(*containers: dict[str, Any], system: list[Any] | None = None, **node: Any) -> dict[str, Any]:
    """An answer with one pod of these containers."""
    pod = {"podRef": {"namespace": "default", "name": "web-1", "uid": "u"}, "containers": list(containers)}
    return {"node": {"nodeName": "node-a", "systemContainers": system, **node}, "pods": [pod]}


@pytest.mark.parametrize("name", SUMMARIES)
def test_every_cell_of_a_capture_equals_the_reference(name: str) -> None:
    found = entities_of(summary_body(name))
    assert sum(len(entity.metrics) for entity in found.values()) > 10


def test_a_lone_pod_is_no_answer_but_decodes_as_part_of_one() -> None:
    with pytest.raises(DecodeError, match=r"\$\.node is missing"):
        decode_summary(summary_body(POD_ONLY), READ_AT)
    found = entities_of(wrapped_pod())
    assert {kind for kind, *_ in found} == {"node", "pod", "pod_container"}


def test_every_field_that_is_read_reaches_its_cell() -> None:
    found = entities_of(EVERYTHING)
    assert len(found) == 1 + 4 + 2 * (1 + 2)
    read = {(Kind.NODE, name) for name in found[NODE].metrics} | {(Kind.POD, name) for name in found[POD].metrics}
    assert (Kind.NODE, "cpu/usage") in read
    assert (Kind.POD, "network/tx") in read


def test_the_table_of_metrics_reads_exactly_the_fields_of_the_behaviour_reference() -> None:
    everywhere = {Kind.NODE, Kind.SYS_CONTAINER, Kind.POD, Kind.POD_CONTAINER}
    heapsters = [metric for metric in METRICS if not metric.extended]
    assert {metric.name: set(metric.summary) for metric in heapsters if metric.summary} == {
        "cpu/usage": everywhere,
        "ephemeral_storage/usage": {Kind.NODE, Kind.POD},  # of containers it is a sum
        "memory/usage": everywhere,
        "memory/rss": everywhere,
        "memory/working_set": everywhere,
        "memory/page_faults": everywhere,
        "memory/major_page_faults": everywhere,
        "network/rx": {Kind.NODE, Kind.POD},
        "network/rx_errors": {Kind.NODE, Kind.POD},
        "network/tx": {Kind.NODE, Kind.POD},
        "network/tx_errors": {Kind.NODE, Kind.POD},
    }


def test_an_answer_without_what_kubelets_learned_late_has_no_column_for_it() -> None:
    late = {"swap/usage", "swap/available", *(f"{what}/pressure_some" for what in ("cpu", "memory", "io"))}
    columns = {
        name: {
            METRICS[m].name
            for block in (sample.node_block, sample.system_block, sample.pod_block, sample.container_block)
            for m in block.metrics
        }
        for name in ("k8s-1.24-linux-containerd-minikube-newrelic-2022.json", "live-v1.36.2-summary-1.json")
        for sample in [decode_summary(summary_body(name), READ_AT)]
    }
    old, new = columns.values()
    assert not late & old
    assert late <= new
    assert old < new


@pytest.mark.parametrize(
    "part",
    [
        {"cpu": {"psi": {"some": {"total": 5}}}},
        {"memory": {"psi": {"full": {"total": 5}}}},
        {"io": {"psi": {"full": {"total": 5}}}},
        {"swap": {"swapUsageBytes": 5}},
    ],
)
def test_one_late_part_of_one_container_is_found(part: dict[str, Any]) -> None:
    found = entities_of(answer({"name": "a"}, {"name": "b", **part}, {"name": "c"}))
    given = {key[-1]: entity.metrics for key, entity in found.items() if key[0] == "pod_container"}
    assert (given["a"], list(given["b"].values()), given["c"]) == ({}, [5], {})


def test_pressure_is_counted_in_microseconds() -> None:
    """The capture of the same kubelet's cAdvisor text shows 38.512654 and 40.304182 seconds."""
    found = observed(
        batch_of(decode_summary(summary_body("k8s-1.34-linux-containerd-minikube-psi-newrelic-2026-01.json"), READ_AT))
    )
    assert found["node", "datagen-1-34"].metrics["cpu/pressure_full"] == 38_512_654
    assert found["sys_container", "datagen-1-34", "pods"].metrics["cpu/pressure_full"] == 40_304_182
    assert METRICS[INDEX["cpu/pressure_full"]].unit == "us"


def test_system_containers_carry_heapsters_names() -> None:
    found = entities_of(answer(system=[{"name": name} for name in ("kubelet", "runtime", "misc", "pods", "other")]))
    names = [key[2] for key in found if key[0] == "sys_container"]
    assert names == ["kubelet", "docker-daemon", "system", "pods", "other"]


def test_a_number_keeps_all_its_digits() -> None:
    for value in (0, 1, 2**53 + 1, 2**63 - 1):
        found = entities_of(answer({"name": "nginx", "cpu": {"usageCoreNanoSeconds": value}}))
        assert found[NGINX].metrics == {"cpu/usage": value}


@pytest.mark.parametrize("value", [-1, 2**63, 2**64 - 1, 10**40, 1.0, 1e3, 0.5, "5", True, [], {}, None, "\ud800"])
def test_what_is_no_count_is_absent_and_its_neighbours_stay(value: Any) -> None:
    tree = answer({"name": "nginx", "memory": {"usageBytes": value, "rssBytes": 3}}, {"name": "sidecar", "cpu": {}})
    sample = decode_summary(json.dumps(tree).encode(), READ_AT)
    found = entities_of(tree)
    assert found[NGINX].metrics == {"memory/rss": 3}
    assert (*POD[1:], "sidecar") in [key[1:] for key in found]
    assert len(sample.faults) == (value is not None)
    assert all("$.pods[0].containers[0].memory.usageBytes is " in fault for fault in sample.faults)


def test_null_is_the_same_as_missing_everywhere() -> None:
    empty = {"name": "nginx", "startTime": None, "cpu": None, "memory": {"time": None}, "rootfs": None, "logs": None}
    tree = answer(
        empty | {"accelerators": None, "userDefinedMetrics": None}, system=None, cpu=None, network=None, fs=None
    )
    found = entities_of(tree)
    assert found[NGINX] == Entity({**found[POD].labels, "type": "pod_container", "container_name": "nginx"})
    assert found[NODE].metrics == found[NODE].times == {}
    assert list(decode_summary(json.dumps(tree).encode(), READ_AT).faults) == []
    assert set(entities_of({"node": {"nodeName": "node-a"}, "pods": None})) == {NODE}


def test_an_object_without_its_name_is_left_out_and_its_neighbours_stay() -> None:
    tree = answer(
        {"name": ""}, {"name": 5}, {}, {"name": "n" * 254}, {"name": "nginx"}, system=[{}, {"name": "kubelet"}, 3]
    )
    tree["pods"] += [{}, {"podRef": {"name": "x"}}, {"podRef": {"namespace": "y"}}, {"podRef": None}, None, "pod"]
    found = entities_of(tree)
    assert set(found) == {NODE, POD, NGINX, ("sys_container", "node-a", "kubelet")}
    assert len(decode_summary(json.dumps(tree).encode(), READ_AT).faults) == 12


def test_text_that_is_no_unicode_is_left_out_and_its_neighbours_stay() -> None:
    body = json.dumps(answer({"name": "odd"}, {"name": "nginx"})).encode()
    for bad in (b"\xff", b"\xed\xa0\x80", b"\\ud800", b"\\udc00\\ud800"):
        assert set(entities_of(body.replace(b'"odd"', b'"o%sd"' % bad))) == {NODE, POD, NGINX}
        elsewhere = b'{"note": "%s", ' % bad + body[1:]
        assert {NODE, POD, NGINX} < set(entities_of(elsewhere))


def test_of_two_containers_of_one_name_the_one_that_started_later_counts() -> None:
    def container(second: int, usage: int) -> dict[str, Any]:
        return {
            "name": "nginx",
            "startTime": f"2026-01-01T00:00:0{second}Z",
            "cpu": {"usageCoreNanoSeconds": usage},
            "userDefinedMetrics": [{"name": f"of-{usage}", "type": "gauge", "value": 1}],
            "accelerators": [{"id": f"gpu-{usage}"}],
        }

    for seconds, winner in (((1, 2), 1), ((2, 1), 0), ((1, 1), 1), ((1, 3, 2), 1), ((3, 1, 3), 2)):
        found = entities_of(answer(*(container(second, usage) for usage, second in enumerate(seconds))))
        metrics = found[NGINX].metrics
        assert {name for name in metrics if name != "uptime"} == {"cpu/usage", f"custom/of-{winner}"}
        assert metrics["cpu/usage"] == winner
        assert {dict(labels)["accelerator_id"] for _, labels, _ in found[NGINX].labeled} == {f"gpu-{winner}"}


def test_of_two_pods_of_one_name_the_later_in_the_list_counts() -> None:
    tree = answer({"name": "nginx", "startTime": "2026-01-01T00:00:01Z", "cpu": {"usageCoreNanoSeconds": 1}})
    tree["pods"][0] |= {
        "startTime": "2026-01-01T00:00:09Z",
        "memory": {"rssBytes": 1},
        "volume": [{"name": "a", "inodes": 1}],
    }
    again = json.loads(json.dumps(tree["pods"][0]))
    again |= {"startTime": "2026-01-01T00:00:00Z", "memory": {"usageBytes": 2}, "volume": []}
    again["podRef"]["uid"] = "again"
    again["containers"] = [{"name": "nginx", "startTime": "2026-01-01T00:00:00Z"}, {"name": "new"}]
    found = entities_of(tree | {"pods": [tree["pods"][0], again]})
    assert found[POD].labels["pod_id"] == found[NGINX].labels["pod_id"] == "again"
    assert set(found[POD].metrics) == {"uptime", "memory/usage"}
    assert found[POD].labeled == []
    assert found[NGINX].metrics["cpu/usage"] == 1  # the earlier pod's container started later
    assert (*NGINX[:3], "new") in found


def test_ephemeral_storage_of_a_container_is_the_sum_of_both_parts_or_absent() -> None:
    def usage(rootfs: Any, logs: Any) -> int | float | None:
        found = entities_of(answer({"name": "nginx", "rootfs": rootfs, "logs": logs}))
        return found[NGINX].metrics.get("ephemeral_storage/usage")

    assert usage({"usedBytes": 1}, {"usedBytes": 2}) == 3
    assert usage({"usedBytes": 0}, {"usedBytes": 0}) == 0
    assert usage({"usedBytes": 2**62}, {"usedBytes": 2**62 - 1}) == 2**63 - 1
    assert usage({"usedBytes": 2**62}, {"usedBytes": 2**62}) is None
    assert usage({"usedBytes": 2**63 - 1}, {"usedBytes": 2**63 - 1}) is None
    assert usage({"usedBytes": 1}, {"inodes": 2}) is None
    assert usage({}, {"usedBytes": 1}) is None
    assert usage({"usedBytes": 1}, None) is None


def test_each_kind_takes_its_scrape_time_from_its_own_clocks() -> None:
    times = {"cpu": 1, "memory": 2, "network": 3}

    def scrape_times(*given: str) -> list[int | None]:
        parts = {part: {"time": f"1970-01-01T00:00:0{times[part]}Z"} for part in given}
        tree = answer({"name": "nginx", **parts}, system=[{"name": "kubelet", **parts}], **parts)
        tree["pods"][0] |= parts
        found = entities_of(tree)
        scrapes = [found[key].times.get("scrape") for key in (NODE, ("sys_container", "node-a", "kubelet"), POD, NGINX)]
        return [scrape if scrape is None else scrape // SECOND for scrape in scrapes]

    assert scrape_times("cpu", "memory", "network") == [1, 1, 3, 1]
    assert scrape_times("memory", "network") == [2, 2, 3, 2]
    assert scrape_times("network") == [3, None, 3, None]
    assert scrape_times("cpu", "memory") == [1, 1, None, 1]
    assert scrape_times() == [None, None, None, None]


def test_uptime_counts_whole_milliseconds_up_to_the_time_of_reading() -> None:
    def uptime(start: str | None) -> int | float | None:
        return entities_of(answer({"name": "nginx", "startTime": start}))[NGINX].metrics.get("uptime")

    assert uptime("2026-09-21T14:13:20.123456789Z") == 0
    assert uptime("2026-09-21T14:13:19.123456790Z") == 999
    assert uptime("2026-09-21T14:13:20.123456790Z") is None  # starts a nanosecond from now
    assert uptime(None) is None
    assert uptime("yesterday") is None


def test_a_missing_value_of_an_accelerator_is_zero_and_a_broken_one_absent() -> None:
    found = entities_of(
        answer({"name": "nginx", "accelerators": [{"make": "m", "memoryUsed": -5, "dutyCycle": None}, 7]})
    )
    labels = (("make", "m"), ("model", ""), ("accelerator_id", ""))
    assert found[NGINX].labeled == [("accelerator/memory_total", labels, 0), ("accelerator/duty_cycle", labels, 0)]


def test_metrics_of_applications_are_floats_under_custom() -> None:
    given = [
        {"name": "gauge", "type": "gauge", "value": 3},
        {"name": "gauge", "type": "gauge", "value": 4},
        {"name": "delta", "type": "delta", "value": -0.5},
        {"name": "counter", "type": "cumulative"},
        {"name": "histogram", "type": "histogram", "value": 1},
        {"name": "broken", "type": "gauge", "value": "x"},
        {"name": "huge", "type": "gauge", "value": 10**400},
        {"name": "", "type": "gauge", "value": 1},
        {"name": "n" * 254, "type": "gauge", "value": 1},
        {"type": "gauge", "value": 1},
    ]
    metrics = entities_of(answer({"name": "nginx", "userDefinedMetrics": given}))[NGINX].metrics
    assert metrics == {"custom/gauge": 4.0, "custom/delta": -0.5, "custom/counter": 0.0}
    assert all(isinstance(value, float) for value in metrics.values())


def test_label_sets_keep_the_order_in_which_they_were_reported() -> None:
    found = entities_of(
        answer(
            {
                "name": "nginx",
                "logs": {"usedBytes": 2, "inodes": 3},
                "rootfs": {"inodesFree": 1},
                "accelerators": [{"id": "0", "memoryTotal": 9}],
            }
        )
    )
    assert [(name, labels[-1][1]) for name, labels, _ in found[NGINX].labeled] == [
        ("accelerator/memory_total", "0"),
        ("accelerator/memory_used", "0"),
        ("accelerator/duty_cycle", "0"),
        ("filesystem/inodes_free", "/"),
        ("filesystem/usage", "logs"),
        ("filesystem/inodes", "logs"),
    ]


def test_faults_are_described_up_to_a_limit_and_then_counted() -> None:
    tree = answer(*({"name": f"c{i}", "cpu": -i} for i in range(1, 101)))
    faults = decode_summary(json.dumps(tree).encode(), READ_AT).faults
    assert len(faults) == MAX_FAULTS + 1
    assert faults[0] == "$.pods[0].containers[0].cpu is -1"
    assert faults[-1] == f"{100 - MAX_FAULTS} more"


def test_the_recording_with_a_number_beyond_int64_says_so() -> None:
    body = summary_body("k8s-1.05-linux-docker-gke-beats-2017-inodesfree-uint64max.json")
    assert list(decode_summary(body, READ_AT).faults) == [
        "$.node.fs.inodesFree is 18446744073709551615",
        "$.node.runtime.imageFs.inodesFree is 18446744073709551615",
    ]


def test_no_other_recording_has_a_fault() -> None:
    faulty = [name for name in SUMMARIES if decode_summary(summary_body(name), READ_AT).faults]
    assert faulty == ["k8s-1.05-linux-docker-gke-beats-2017-inodesfree-uint64max.json"]
