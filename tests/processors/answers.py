"""What kubelets and the API server answer in a scenario, built entity by entity in their own wire formats."""

from datetime import UTC, datetime
from typing import Any

import msgspec

JSON = dict[str, Any]

_FIELDS = {
    "cpu/usage": ("cpu", "usageCoreNanoSeconds"),
    "memory/usage": ("memory", "usageBytes"),
    "memory/working_set": ("memory", "workingSetBytes"),
    "memory/rss": ("memory", "rssBytes"),
    "memory/page_faults": ("memory", "pageFaults"),
    "memory/major_page_faults": ("memory", "majorPageFaults"),
    "network/rx": ("network", "rxBytes"),
    "network/rx_errors": ("network", "rxErrors"),
    "network/tx": ("network", "txBytes"),
    "network/tx_errors": ("network", "txErrors"),
    "memory/available": ("memory", "availableBytes"),
    "swap/usage": ("swap", "swapUsageBytes"),
    "swap/available": ("swap", "swapAvailableBytes"),
}
"""Metric -> (object, field) of the kubelet's summary (behaviour reference, section 3.5)."""

_EPHEMERAL = {
    "node": ("fs",),
    "pod": ("ephemeral-storage",),
    "container": ("rootfs", "logs"),
    "system": ("rootfs", "logs"),
}
"""Where `ephemeral_storage/usage` is: it is the sum of two objects for containers."""

CLOCKS = ("cpu", "memory", "network")


class UnknownNameError(ValueError):
    """A metric, clock or property that the wire format has no place for."""


class Kubelets:
    """The summaries of all kubelets at one moment; `read_at` is ns since the epoch."""

    def __init__(self, read_at: int) -> None:
        self.read_at = read_at
        self.captured: list[bytes] = []
        """Recorded answers that take part as they are."""
        self._summaries: dict[str, JSON] = {}
        self._pods: dict[str, JSON] = {}

    def bodies(self) -> list[bytes]:
        """One answer a node, in the order in which the nodes were first named."""
        return [*self.captured, *map(msgspec.json.encode, self._summaries.values())]

    def node(self, name: str, metrics: dict[str, str], times: dict[str, int | None]) -> None:
        """The machine itself."""
        self._summary(name)["node"] |= self._statistics("node", metrics, times)

    def system(self, path: str, metrics: dict[str, str], times: dict[str, int | None]) -> None:
        """The system container `path`: node/name."""
        node, _, name = path.partition("/")
        containers = self._summary(node)["node"].setdefault("systemContainers", [])
        containers.append({"name": name, **self._statistics("system", metrics, times)})

    def pod(self, path: str, node: str, uid: str, metrics: dict[str, str], times: dict[str, int | None]) -> None:
        """The pod `path`: namespace/name."""
        namespace, _, name = path.partition("/")
        reference = {"name": name, "namespace": namespace, "uid": uid}
        self._pods[path] = {"podRef": reference, **self._statistics("pod", metrics, times)}
        self._summary(node)["pods"].append(self._pods[path])

    def container(self, path: str, metrics: dict[str, str], times: dict[str, int | None]) -> None:
        """The container `path`, namespace/pod/name, of the pod that was named last under this path."""
        pod, _, name = path.rpartition("/")
        if pod not in self._pods:
            raise UnknownNameError(f"container {path} comes before its pod {pod}")
        containers = self._pods[pod].setdefault("containers", [])
        containers.append({"name": name, **self._statistics("container", metrics, times)})

    def _summary(self, node: str) -> JSON:
        return self._summaries.setdefault(node, {"node": {"nodeName": node}, "pods": []})

    def _statistics(self, kind: str, metrics: dict[str, str], times: dict[str, int | None]) -> JSON:
        """The JSON of these metrics; a time not given is that of the reading, and None leaves it out."""
        found: JSON = {}
        for name, text in metrics.items():
            if name.startswith("custom/"):
                custom = {"name": name.removeprefix("custom/"), "type": "gauge", "units": "", "value": float(text)}
                found.setdefault("userDefinedMetrics", []).append(custom)
            elif name == "ephemeral_storage/usage":
                amounts = (int(text), 0)
                found |= {part: {"usedBytes": each} for part, each in zip(_EPHEMERAL[kind], amounts, strict=False)}
            elif name in _FIELDS and (_FIELDS[name][0] != "network" or kind in {"node", "pod"}):
                part, field = _FIELDS[name]
                found.setdefault(part, {})[field] = int(text)
            else:
                raise UnknownNameError(f"a kubelet reports no {name} of a {kind}")
        for clock in CLOCKS:
            time = times.get(clock, self.read_at)
            if clock in found and time is not None:
                found[clock]["time"] = rfc3339(time)
        start = times.get("start")
        return found if start is None else {"startTime": rfc3339(start), **found}


def node_object(name: str, properties: dict[str, str]) -> JSON:
    """A core/v1 Node."""
    found: JSON = {"metadata": {"name": name}, "spec": {}, "status": {"addresses": []}}
    for key, value in properties.items():
        match key.partition("."):
            case ("hostname", "", ""):
                found["status"]["addresses"].append({"type": "Hostname", "address": value})
            case ("external-id", "", ""):
                found["spec"]["externalID"] = value
            case ("label" | "annotation" as group, ".", label):
                found["metadata"].setdefault(f"{group}s", {})[label] = value
            case ("capacity" | "allocatable" as group, ".", resource):
                found["status"].setdefault(group, {})[resource] = value
            case _:
                raise UnknownNameError(f"a node has no {key}")
    return found


def pod_object(path: str, properties: dict[str, str]) -> JSON:
    """A core/v1 Pod without containers."""
    namespace, _, name = path.partition("/")
    found: JSON = {"metadata": {"name": name, "namespace": namespace}, "spec": {"containers": []}, "status": {}}
    for key, value in properties.items():
        match key.partition("."):
            case ("uid", "", ""):
                found["metadata"]["uid"] = value
            case ("phase", "", ""):
                found["status"]["phase"] = value
            case ("host-network", "", ""):
                found["spec"]["hostNetwork"] = value == "true"
            case ("label", ".", label):
                found["metadata"].setdefault("labels", {})[label] = value
            case _:
                raise UnknownNameError(f"a pod has no {key}")
    return found


def add_container(pod: JSON, name: str, properties: dict[str, str]) -> None:
    """A container of the core/v1 Pod `pod`."""
    container: JSON = {"name": name}
    for key, value in properties.items():
        match key.partition("."):
            case ("image", "", ""):
                container["image"] = value
            case ("restarts", "", ""):
                status = {"name": name, "restartCount": int(value)}
                pod["status"].setdefault("containerStatuses", []).append(status)
            case ("request" | "limit" as group, ".", resource):
                container.setdefault("resources", {}).setdefault(f"{group}s", {})[resource] = value
            case _:
                raise UnknownNameError(f"a container has no {key}")
    pod["spec"]["containers"].append(container)


def namespace_object(name: str, properties: dict[str, str]) -> JSON:
    """A core/v1 Namespace."""
    if unknown := properties.keys() - {"uid"}:
        raise UnknownNameError(f"a namespace has no {', '.join(sorted(unknown))}")
    return {"metadata": {"name": name, **properties}}


def rfc3339(time: int) -> str:
    """`time`, ns since the epoch, as kubelets write it."""
    seconds, nanoseconds = divmod(time, 1_000_000_000)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{nanoseconds:09d}Z" if nanoseconds else f"{text}Z"
