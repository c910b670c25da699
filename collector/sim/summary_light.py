"""/stats/summary?only_cpu_and_memory=true: the sections a kubelet leaves in, taken from the whole answer."""

from typing import Any

import msgspec

_NODE_KEYS = frozenset({"nodeName", "systemContainers", "startTime", "cpu", "memory", "swap"})
_POD_KEYS = frozenset({"podRef", "startTime", "containers", "cpu", "memory", "swap"})
_CONTAINER_KEYS = frozenset({"name", "startTime", "cpu", "memory", "swap"})


def cpu_and_memory(body: bytes | memoryview) -> bytes:
    """The small form of a whole answer (keys as a recorded 1.36.2 kubelet keeps them), indented as the whole one is."""
    whole: dict[str, Any] = msgspec.json.decode(body)
    node = _kept(whole["node"], _NODE_KEYS)
    node["systemContainers"] = [_kept(part, _CONTAINER_KEYS) for part in node.get("systemContainers", [])]
    pods = [_kept(pod, _POD_KEYS) for pod in whole["pods"]]
    for pod in pods:
        pod["containers"] = [_kept(part, _CONTAINER_KEYS) for part in pod.get("containers", [])]
    return msgspec.json.format(msgspec.json.encode({"node": node, "pods": pods}), indent=1)


def _kept(section: dict[str, Any], keys: frozenset[str]) -> dict[str, Any]:
    return {key: value for key, value in section.items() if key in keys}
