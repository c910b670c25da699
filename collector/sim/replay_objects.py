"""API objects for replayed nodes: what a recording does not tell is filled in with plain values."""

from typing import Any

from collector.sim.digits import rfc3339
from collector.sim.identity import make_uid
from collector.sim.plan import DAY
from collector.sim.versions import event_version

Json = dict[str, Any]
_CREATED = -30 * DAY


def node_object(name: str, row: int, address: str, kubelet_port: int, kubelet_version: str, origin: int) -> Json:
    """A ready node with eight cores and 32 GiB."""
    created = rfc3339(origin + _CREATED)
    return {
        "metadata": {
            "name": name,
            "uid": make_uid("replayed node", name),
            "resourceVersion": str(event_version(_CREATED, row)),
            "creationTimestamp": created,
            "labels": {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"},
        },
        "spec": {},
        "status": {
            "capacity": {"cpu": "8", "memory": "32Gi", "pods": "110", "ephemeral-storage": "200Gi"},
            "allocatable": {"cpu": "7800m", "memory": "31Gi", "pods": "110", "ephemeral-storage": "180Gi"},
            "conditions": [
                {
                    "type": "Ready",
                    "status": "True",
                    "lastHeartbeatTime": rfc3339(origin),
                    "lastTransitionTime": created,
                    "reason": "KubeletReady",
                    "message": "kubelet is posting ready status",
                }
            ],
            "addresses": [{"type": "InternalIP", "address": address}, {"type": "Hostname", "address": name}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": kubelet_port}},
            "nodeInfo": {
                "kubeletVersion": kubelet_version,
                "operatingSystem": "linux",
                "architecture": "amd64",
                "containerRuntimeVersion": "containerd://1.7.0",
                "osImage": "recorded",
                "kernelVersion": "6.1.0",
            },
        },
    }


def pod_object(pod: Json, row: int, node_name: str, address: str, origin: int) -> Json:
    """A running pod with the containers that `pod`, a PodStats object, names."""
    reference = pod["podRef"]
    started = pod.get("startTime") or rfc3339(origin + _CREATED)
    names = dict.fromkeys(str(part["name"]) for part in pod.get("containers") or [] if part.get("name"))
    return {
        "metadata": {
            "name": str(reference["name"]),
            "namespace": str(reference.get("namespace") or "default"),
            "uid": str(reference.get("uid") or make_uid("replayed pod", row)),
            "resourceVersion": str(event_version(_CREATED, row)),
            "creationTimestamp": started,
            "labels": {"replayed": "true"},
        },
        "spec": {
            "nodeName": node_name,
            "containers": [{"name": name, "image": f"example.com/{name}:recorded", "resources": {}} for name in names],
        },
        "status": {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": started}],
            "hostIP": address,
            "startTime": started,
            "containerStatuses": [
                {
                    "name": name,
                    "state": {"running": {"startedAt": started}},
                    "lastState": {},
                    "ready": True,
                    "restartCount": 0,
                    "image": f"example.com/{name}:recorded",
                }
                for name in names
            ],
        },
    }
