"""Section 5 of the behaviour reference in the slow and obvious way: dictionaries of dictionaries, one value at a time.

Written from the reference and from the headings of docs/compatibility.md that concern rates; it shares no code with
the product. The inputs are plain too:

    answers     [{key: set}], one dictionary a kubelet, in order of arrival; keys are Heapster's
                (`namespace:default/pod:web-1/container:nginx`), sets are as `reported` makes them
    nodes       name -> {hostname, host_id, labels, capacity, allocatable}; amounts by resource, absent when unknown
    pods        (namespace, name) -> {uid, labels, containers, restarts}; containers: name -> {image, requests, limits}
    namespaces  name -> uid

Two differences from Heapster lie in our data model: a container is labelled with the pod_id of its pod's newest
answer, and a node deleted in the API loses its host name at once.
"""

import math
from typing import Any

Set = dict[str, Any]
Batch = dict[str, Set]
Number = int | float
"""Which of the two matters: a metric is one or the other."""

RATES = {
    "cpu/usage": ("cpu/usage_rate", "cpu"),
    "memory/page_faults": ("memory/page_faults_rate", "memory"),
    "memory/major_page_faults": ("memory/major_page_faults_rate", "memory"),
    "network/rx": ("network/rx_rate", "network"),
    "network/rx_errors": ("network/rx_errors_rate", "network"),
    "network/tx": ("network/tx_rate", "network"),
    "network/tx_errors": ("network/tx_errors_rate", "network"),
}
"""Counter -> its rate, and the time it was read at."""

DISK_RATES = {
    "disk/io_read_bytes": "disk/io_read_bytes_rate",
    "disk/io_write_bytes": "disk/io_write_bytes_rate",
}
NOT_SUMMED_TO_PODS = {"uptime", *RATES}
NAMESPACE_METRICS = (
    "cpu/usage_rate",
    "memory/usage",
    "cpu/request",
    "cpu/limit",
    "memory/request",
    "memory/limit",
)
NODE_METRICS = (
    "cpu/request",
    "cpu/limit",
    "memory/request",
    "memory/limit",
    "ephemeral_storage/request",
    "ephemeral_storage/limit",
)
SPECIFIED = ("cpu", "memory", "ephemeral_storage")
USED = {"cpu": "cpu/usage_rate", "memory": "memory/usage", "ephemeral_storage": "ephemeral_storage/usage"}


def reported(
    kind: str, *, node: str, metrics: dict[str, Number], times: dict[str, int], labeled: list[Any], **names: str
) -> Set:
    """A set as a kubelet reports it.

    `kind` is the `type` label; `names` are `namespace`, `pod`, `container` and `uid` where they apply; `times` are ns
    (`start`, `scrape`, `cpu`, `memory`, `network`, absent when unknown); `labeled` is [(metric, label set, value)].
    """
    return {"kind": kind, "node": node, "metrics": metrics, "times": times, "labeled": labeled, **names}


class BruteForce:
    """Remembers the previous batch."""

    def __init__(self) -> None:
        self._previous: tuple[int, Batch] | None = None
        self._refused: tuple[int, Batch] | None = None
        """The latest one, if its timestamp was not later than the previous one's."""

    def tick(
        self,
        answers: list[Batch],
        nodes: dict[str, dict[str, Any]],
        pods: dict[tuple[str, str], dict[str, Any]],
        namespaces: dict[str, str],
        timestamp: int,
    ) -> Batch:
        """Everything that a batch at `timestamp` must hold: key -> set, each with its `labels`."""
        batch: Batch = {}
        for answer in answers:
            for key, found in answer.items():
                batch[key] = {**found, "metrics": dict(found["metrics"]), "labeled": list(found["labeled"])}
        self._rates(batch, timestamp)
        _enrich(batch, pods)
        _sum_pods(batch)
        _sum_namespaces(batch)
        _sum_nodes(batch)
        _sum_cluster(batch)
        _autoscale(batch, nodes)
        for found in batch.values():
            found["labels"] = _labels(found, batch, nodes, pods, namespaces)
        return batch

    def _rates(self, batch: Batch, timestamp: int) -> None:
        """5.1."""
        if self._previous is None:
            self._previous = (timestamp, batch)
            return
        before, previous = self._previous
        refused, self._refused = self._refused, None
        if timestamp <= before and refused is not None and timestamp > refused[0]:
            before, previous = refused  # the clock was set back, and stays there
        if timestamp <= before:
            self._refused = timestamp, batch
            return
        self._previous = (timestamp, batch)
        for key, new in batch.items():
            old = previous.get(key)
            if old is None or new["times"].get("start") != old["times"].get("start"):
                continue
            if "scrape" not in new["times"] or "scrape" not in old["times"]:
                continue
            for counter, (rate, clock) in RATES.items():
                if counter in new["metrics"] and counter in old["metrics"]:
                    grown = new["metrics"][counter] - old["metrics"][counter]
                    value = _rate(grown, _elapsed(new, old, clock), whole=rate == "cpu/usage_rate")
                    if value is not None:
                        new["metrics"][rate] = value
            _disk_rates(new, old)


def _rate(grown: int, elapsed: int, *, whole: bool) -> Number | None:
    """Millicores as an integer, anything else a second as a float; None where there is none."""
    if elapsed <= 0 or grown < 0:
        return None
    if not whole:
        return 1e9 * float(grown) / float(elapsed)
    return None if 1000 * grown >= 2**63 else 1000 * grown // elapsed


def _elapsed(new: Set, old: Set, clock: str) -> int:
    """By the counter's own time where both sides have it, else by the time of the entity."""
    if clock not in new["times"] or clock not in old["times"]:
        clock = "scrape"
    elapsed: int = new["times"][clock] - old["times"][clock]
    return elapsed


def _disk_rates(new: Set, old: Set) -> None:
    for counter, labels, value in list(new["labeled"]):
        for old_counter, old_labels, old_value in old["labeled"]:
            if counter in DISK_RATES and counter == old_counter and labels == old_labels:
                rate = _rate(value - old_value, _elapsed(new, old, "disk"), whole=False)
                if rate is not None:
                    new["labeled"].append((DISK_RATES[counter], labels, rate))


def _enrich(batch: Batch, pods: dict[tuple[str, str], dict[str, Any]]) -> None:
    """5.2: requests, limits, restarts; stub sets."""
    for found in list(batch.values()):
        if found["kind"] not in {"pod", "pod_container"}:
            continue
        pod = pods.get((found["namespace"], found["pod"]))
        if pod is None:
            continue
        pod_key = f"namespace:{found['namespace']}/pod:{found['pod']}"
        if pod_key not in batch:
            batch[pod_key] = {**_bare("pod", found), "uid": found["uid"]}
        for name, container in pod["containers"].items():
            key = f"{pod_key}/container:{name}"
            if key not in batch:
                batch[key] = {**_bare("pod_container", batch[pod_key]), "container": name, "stub": True}
            amounts = batch[key]["metrics"]
            for resource in SPECIFIED:
                amounts[f"{resource}/request"] = container["requests"].get(resource, 0)
                amounts[f"{resource}/limit"] = container["limits"].get(resource, 0)
            for resource, amount in container["requests"].items():
                amounts[f"{resource}/request"] = amount
            if name in pod["restarts"] and "stub" not in batch[key]:
                amounts["restart_count"] = pod["restarts"][name]


def _bare(kind: str, like: Set) -> Set:
    return {**like, "kind": kind, "metrics": {}, "times": {}, "labeled": []}


def _sum_pods(batch: Batch) -> None:
    """5.4: containers into pods; what the pod has already is kept."""
    given: dict[str, set[str]] = {}
    for key, container in list(batch.items()):
        if container["kind"] != "pod_container":
            continue
        pod_key = key.rpartition("/container:")[0]
        pod = batch.setdefault(pod_key, _bare("pod", container))
        own = given.setdefault(pod_key, set(pod["metrics"]))
        for name, value in container["metrics"].items():
            if name not in NOT_SUMMED_TO_PODS and name not in own:
                _add(pod, name, value)


def _sum_namespaces(batch: Batch) -> None:
    """5.5: pods into namespaces."""
    for pod in [each for each in batch.values() if each["kind"] == "pod"]:
        key = f"namespace:{pod['namespace']}"
        namespace = batch.setdefault(key, {**_bare("ns", {}), "namespace": pod["namespace"]})
        for name in NAMESPACE_METRICS:
            if name in pod["metrics"]:
                _add(namespace, name, pod["metrics"][name])


def _sum_nodes(batch: Batch) -> None:
    """5.6: pods into nodes, where those are in the batch."""
    for pod in [each for each in batch.values() if each["kind"] == "pod"]:
        node = batch.get(f"node:{pod['node']}")
        for name in NODE_METRICS:
            if node is not None and name in pod["metrics"]:
                _add(node, name, pod["metrics"][name])


def _sum_cluster(batch: Batch) -> None:
    """5.7: namespaces into the cluster."""
    cluster = _bare("cluster", {})
    for namespace in [each for each in batch.values() if each["kind"] == "ns"]:
        for name in NAMESPACE_METRICS:
            if name in namespace["metrics"]:
                _add(cluster, name, namespace["metrics"][name])
    batch["cluster"] = cluster


def _add(to: Set, name: str, value: Number) -> None:
    """Integers wrap at 64 bits, as everywhere in the pipeline."""
    total = to["metrics"].get(name, 0) + value
    to["metrics"][name] = total if isinstance(total, float) else (total + 2**63) % 2**64 - 2**63


def _autoscale(batch: Batch, nodes: dict[str, dict[str, Any]]) -> None:
    """5.8: nodes against their capacity."""
    for name, node in nodes.items():
        found = batch.get(f"node:{name}")
        if found is None:
            continue
        metrics = found["metrics"]
        for resource in SPECIFIED:
            capacity, allocatable = node["capacity"].get(resource), node["allocatable"].get(resource)
            if resource == "ephemeral_storage" and None in {capacity, allocatable}:
                continue
            metrics[f"{resource}/node_capacity"] = float(capacity or 0)
            metrics[f"{resource}/node_allocatable"] = float(allocatable or 0)
            if allocatable:
                metrics[f"{resource}/node_utilization"] = float(metrics.get(USED[resource], 0)) / float(allocatable)
                requested = metrics.get(f"{resource}/request", 0)
                metrics[f"{resource}/node_reservation"] = float(requested) / float(allocatable)


def _labels(
    found: Set,
    batch: Batch,
    nodes: dict[str, dict[str, Any]],
    pods: dict[tuple[str, str], dict[str, Any]],
    namespaces: dict[str, str],
) -> dict[str, str]:
    """Section 6.1."""
    labels = {"type": found["kind"]}
    if found["kind"] == "cluster":
        return labels
    if found["kind"] == "ns":
        name = found["namespace"]
        return labels | {"namespace_name": name, "namespace_id": namespaces.get(name, "")}
    node = nodes.get(found["node"], {"hostname": found["node"], "host_id": ""})
    labels |= {"nodename": found["node"], "hostname": node["hostname"], "host_id": node["host_id"]}
    if found["kind"] == "node":
        return labels | _copied(node["labels"]) if "labels" in node else labels
    if found["kind"] == "sys_container":
        return labels | {"container_name": found["container"]}
    pod = pods.get((found["namespace"], found["pod"]))
    uid = batch[f"namespace:{found['namespace']}/pod:{found['pod']}"]["uid"]
    labels |= {"pod_id": uid, "pod_name": found["pod"], "namespace_name": found["namespace"]}
    if found["namespace"] in namespaces:
        labels["namespace_id"] = namespaces[found["namespace"]]
    if pod is not None:
        labels |= _copied(pod["labels"])
        if pod["uid"]:
            labels["pod_id"] = pod["uid"]
    if found["kind"] == "pod_container":
        labels["container_name"] = found["container"]
        if pod is not None and found["container"] in pod["containers"]:
            labels["container_base_image"] = pod["containers"][found["container"]].get("image", "")
    return labels


def _copied(labels: dict[str, str]) -> dict[str, str]:
    """Section 6.2, without options."""
    return {"labels": ",".join(sorted(f"{name}:{value}" for name, value in labels.items()))}


def differences(wanted: Batch, got: dict[str, Any]) -> list[str]:
    """What differs between a batch of BruteForce and MetricSets by key, one line each.

    Floats are equal when they differ by the order of a sum at most.
    """
    found = [f"{key}: not there" for key in wanted.keys() - got.keys()]
    found += [f"{key}: should not be there" for key in got.keys() - wanted.keys()]
    for key in wanted.keys() & got.keys():
        one, other = wanted[key], got[key]
        times = one["times"].get("scrape", 0), one["times"].get("start", 0)
        if (other.scrape_time, other.start_time) != times:
            found.append(f"{key}: times {times}, got {(other.scrape_time, other.start_time)}")
        if one["labels"] != other.labels:
            found.append(f"{key}: labels {one['labels']}, got {other.labels}")
        labeled = sorted((name, tuple(labels.items()), value) for name, labels, value in one["labeled"])
        got_labeled = sorted((each.name, tuple(each.labels.items()), each.value) for each in other.labeled)
        if labeled != got_labeled:
            found.append(f"{key}: labelled values {labeled}, got {got_labeled}")
        for name in one["metrics"].keys() | other.metrics.keys():
            value, got_value = one["metrics"].get(name), other.metrics.get(name)
            if not _same(value, got_value):
                found.append(f"{key}: {name} {value!r}, got {got_value!r}")
    return sorted(found)


def _same(one: Number | None, other: Number | None) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-12)
    return type(one) is type(other) and one == other
