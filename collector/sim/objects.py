"""Nodes, pods and namespaces as the API server gives them, rendered for one second from the plan.

Objects hold what a real object holds as far as clients of the metrics world read it; `managedFields` are left out.
"""

import hashlib
from functools import lru_cache
from typing import Any

import msgspec

from collector.sim.digits import rfc3339
from collector.sim.identity import PodIdentity, make_uid, node_uid, pod_identity
from collector.sim.life import Lives
from collector.sim.plan import DAY, Plan
from collector.sim.versions import event_version
from collector.sim.workloads import ContainerSpec, Kind, Workload

KUBELET_VERSION = "v1.36.2"
OLD_KUBELET_VERSION = "v1.10.13"
HEARTBEAT_SECONDS = 300
Json = dict[str, Any]


def namespace_object(name: str, row: int, origin: int) -> Json:
    """An active namespace, created sixty days before the origin and not changed since."""
    created = -60 * DAY
    return {
        "metadata": {
            "name": name,
            "uid": make_uid("namespace", name),
            "resourceVersion": str(event_version(created, row)),
            "creationTimestamp": rfc3339(origin + created),
            "labels": {"kubernetes.io/metadata.name": name},
        },
        "spec": {"finalizers": ["kubernetes"]},
        "status": {"phase": "Active"},
    }


class ClusterObjects:
    """Renders the objects of `plan`; `addresses` are the nodes' addresses, `kubelet_port` the port of all of them."""

    def __init__(self, plan: Plan, addresses: tuple[str, ...], kubelet_port: int) -> None:
        self._plan = plan
        self._addresses = addresses
        self._kubelet_port = kubelet_port
        self.pods_per_node = len(plan.classes)
        self._encoded_specs: dict[int, msgspec.Raw] = {}
        self._owners: dict[int, Json] = {}

    def namespaces(self) -> list[Json]:
        """The namespaces of all workloads and Kubernetes' own."""
        names = {workload.namespace for workload in self._plan.workloads} | {"default", "kube-system", "kube-public"}
        return [namespace_object(name, row, self._plan.origin) for row, name in enumerate(sorted(names))]

    def last_heartbeat(self, node: int, second: int) -> int:
        """When the node's status was written last, at `second`: every five minutes, at the node's own second."""
        offset = node * 37 % HEARTBEAT_SECONDS
        return (second - offset) // HEARTBEAT_SECONDS * HEARTBEAT_SECONDS + offset

    def node(self, node: int, second: int) -> Json:
        """The node at `second`."""
        plan = self._plan
        name, boot = plan.node_names[node], int(plan.nodes.boot[node])
        beat = self.last_heartbeat(node, second)
        machine, old = make_uid(plan.config.seed, "machine", node), plan.config.old_kubelets
        return {
            "metadata": {
                "name": name,
                "uid": node_uid(plan, node),
                "resourceVersion": str(event_version(beat, node)),
                "creationTimestamp": self._time(boot + 20),
                "labels": self._node_labels(node),
                "annotations": {"volumes.kubernetes.io/controller-managed-attach-detach": "true"},
            },
            "spec": {"podCIDR": f"10.{node // 256}.{node % 256}.0/24", "providerID": f"sim:///{name}"},
            "status": {
                "capacity": self._capacity(node, reserved=False),
                "allocatable": self._capacity(node, reserved=True),
                "conditions": self._node_conditions(beat, boot),
                "addresses": [
                    {"type": "InternalIP", "address": self._addresses[node]},
                    {"type": "Hostname", "address": name},
                ],
                "daemonEndpoints": {"kubeletEndpoint": {"Port": self._kubelet_port}},
                "nodeInfo": {
                    "machineID": machine.replace("-", ""),
                    "systemUUID": machine,
                    "bootID": make_uid(plan.config.seed, "boot", node),
                    "kernelVersion": "6.12.9-cloud-amd64",
                    "osImage": "Debian GNU/Linux 13 (trixie)",
                    "containerRuntimeVersion": "docker://17.3.2" if old else "containerd://2.1.4",
                    "kubeletVersion": OLD_KUBELET_VERSION if old else KUBELET_VERSION,
                    "kubeProxyVersion": "",
                    "operatingSystem": "linux",
                    "architecture": "amd64",
                },
            },
        }

    def pod(self, node: int, slot: int, second: int, alive: Lives, row: int) -> Json:
        """The pod that fills `slot` at `second`; its life stands in row `row` of `alive`."""
        plan = self._plan
        workload_row = int(plan.slots.workload[node, slot])
        workload = plan.workloads[workload_row]
        identity = pod_identity(plan, node, slot, int(alive.generation[row, slot]))
        birth, ready = int(alive.birth[row, slot]), int(alive.birth[row, slot] + plan.slots.delay[node, slot])
        started: list[int] = alive.started[row, slot].tolist()
        restarts: list[int] = alive.restarts[row, slot].tolist()
        running = second >= ready
        changed = max(started) if running else birth
        metadata: Json = {
            "name": identity.name,
            "namespace": identity.namespace,
            "uid": identity.uid,
            "resourceVersion": str(event_version(changed, node * self.pods_per_node + slot)),
            "creationTimestamp": self._time(birth),
            "labels": workload.labels,
            "ownerReferences": [self._owner(workload_row, node)],
        }
        if workload.kind is Kind.DEPLOYMENT:
            metadata["generateName"] = f"{workload.name}-{workload.template_hash}-"
        if workload.kind is Kind.STATIC:
            metadata["annotations"] = {
                "kubernetes.io/config.hash": identity.kubelet_uid,
                "kubernetes.io/config.mirror": identity.kubelet_uid,
                "kubernetes.io/config.seen": self._time(birth),
                "kubernetes.io/config.source": "file",
            }
        if workload.kind is Kind.STATEFUL:
            ordinal = identity.name.rpartition("-")[2]
            metadata["labels"] = {**workload.labels, "apps.kubernetes.io/pod-index": ordinal}
        status = self._pod_status(node, slot, workload, identity, birth, ready, started, restarts, second)
        return {"metadata": metadata, "spec": self._pod_spec(node, workload_row, identity), "status": status}

    def _node_labels(self, node: int) -> Json:
        cores, name = int(self._plan.nodes.cores[node]), self._plan.node_names[node]
        labels = {
            "kubernetes.io/arch": "amd64",
            "kubernetes.io/hostname": name,
            "kubernetes.io/os": "linux",
            "node.kubernetes.io/instance-type": f"sim.{cores}",
            "topology.kubernetes.io/region": "sim-1",
            "topology.kubernetes.io/zone": f"sim-1{'abc'[node % 3]}",
        }
        if node == 0:
            labels["node-role.kubernetes.io/control-plane"] = ""
        return labels

    def _capacity(self, node: int, *, reserved: bool) -> Json:
        cores, memory = int(self._plan.nodes.cores[node]), int(self._plan.nodes.memory[node])
        return {
            "cpu": f"{cores * 1000 - 80}m" if reserved else str(cores),
            "ephemeral-storage": "193273528320" if reserved else "209715200Ki",
            "hugepages-1Gi": "0",
            "hugepages-2Mi": "0",
            "memory": f"{memory // 1024 - (700 * 1024 if reserved else 0)}Ki",
            "pods": str(max(110, self.pods_per_node)),
        }

    def _node_conditions(self, beat: int, boot: int) -> list[Json]:
        heartbeat, since = self._time(beat), self._time(boot + 40)
        pressure = (
            ("MemoryPressure", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
            ("DiskPressure", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
            ("PIDPressure", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
            ("Ready", "KubeletReady", "kubelet is posting ready status"),
        )
        return [
            {
                "type": kind,
                "status": "True" if kind == "Ready" else "False",
                "lastHeartbeatTime": heartbeat,
                "lastTransitionTime": since,
                "reason": reason,
                "message": message,
            }
            for kind, reason, message in pressure
        ]

    def _owner(self, workload_row: int, node: int) -> Json:
        """The controller of a workload's pods; of a static pod it is the node."""
        workload = self._plan.workloads[workload_row]
        if workload.kind is Kind.STATIC:
            return _reference("v1", "Node", self._plan.node_names[node], node_uid(self._plan, node))
        owner = self._owners.get(workload_row)
        if owner is None:
            deployed = workload.kind is Kind.DEPLOYMENT
            kind = "ReplicaSet" if deployed else workload.kind.value
            name = f"{workload.name}-{workload.template_hash}" if deployed else workload.name
            uid = make_uid(self._plan.config.seed, kind, workload.namespace, name)
            owner = self._owners[workload_row] = _reference("apps/v1", kind, name, uid)
        return owner

    def _pod_spec(self, node: int, workload_row: int, identity: PodIdentity) -> Json:
        workload = self._plan.workloads[workload_row]
        spec: Json = {
            "containers": self._container_specs(workload_row),
            "restartPolicy": "Always",
            "terminationGracePeriodSeconds": 30,
            "dnsPolicy": "ClusterFirst",
            "serviceAccountName": "default",
            "serviceAccount": "default",
            "nodeName": self._plan.node_names[node],
            "securityContext": {},
            "schedulerName": "default-scheduler",
            "priority": 0,
        }
        if workload.host_network:
            spec["hostNetwork"] = True
        if workload.kind is Kind.STATEFUL:
            spec["hostname"] = identity.name
            claim = {"claimName": f"data-{identity.name}"}
            spec["volumes"] = [{"name": "data", "persistentVolumeClaim": claim}]
        return spec

    def _container_specs(self, workload_row: int) -> msgspec.Raw:
        """The containers of a workload's pods, encoded: the same for all of them."""
        encoded = self._encoded_specs.get(workload_row)
        if encoded is None:
            specs = [_container_spec(container) for container in self._plan.workloads[workload_row].containers]
            encoded = self._encoded_specs[workload_row] = msgspec.Raw(msgspec.json.encode(specs))
        return encoded

    def _pod_status(
        self,
        node: int,
        slot: int,
        workload: Workload,
        identity: PodIdentity,
        birth: int,
        ready: int,
        started: list[int],
        restarts: list[int],
        second: int,
    ) -> Json:
        running = second >= ready
        host = self._addresses[node]
        status: Json = {
            "phase": "Running" if running else "Pending",
            "conditions": self._pod_conditions(birth, ready if running else birth, ready=running),
            "hostIP": host,
            "startTime": self._time(birth),
            "containerStatuses": [
                self._container_status(spec, identity, begun, count, running=running, leaks=workload.leaks)
                for spec, begun, count in zip(workload.containers, started, restarts, strict=True)
            ],
            "qosClass": "Burstable" if any(spec.requests for spec in workload.containers) else "BestEffort",
        }
        if running or workload.host_network:
            address = host if workload.host_network else f"10.{node // 256}.{node % 256}.{slot % 250 + 2}"
            status["podIP"] = address
            status["podIPs"] = [{"ip": address}]
        return status

    def _pod_conditions(self, birth: int, since: int, *, ready: bool) -> list[Json]:
        turned = {"Initialized": birth, "Ready": since, "ContainersReady": since, "PodScheduled": birth}
        return [
            {
                "type": kind,
                "status": "True" if ready or "Ready" not in kind else "False",
                "lastProbeTime": None,
                "lastTransitionTime": self._time(second),
            }
            for kind, second in turned.items()
        ]

    def _container_status(
        self, spec: ContainerSpec, identity: PodIdentity, begun: int, count: int, *, running: bool, leaks: bool
    ) -> Json:
        state: Json = {"waiting": {"reason": "ContainerCreating"}}
        last: Json = {}
        digits = hashlib.blake2b(f"{identity.uid}/{spec.name}/{count}".encode(), digest_size=32).hexdigest()
        if running:
            state = {"running": {"startedAt": self._time(begun)}}
            if count:
                code, reason = (137, "OOMKilled") if leaks else (1, "Error")
                last = {"terminated": {"exitCode": code, "reason": reason, "finishedAt": self._time(begun - 1)}}
        return {
            "name": spec.name,
            "state": state,
            "lastState": last,
            "ready": running,
            "restartCount": count,
            "image": spec.image,
            "imageID": _image_id(spec.image),
            "started": running,
            **({"containerID": f"containerd://{digits}"} if running else {}),
        }

    def _time(self, second: int) -> str:
        return rfc3339(self._plan.origin + second)


def _reference(version: str, kind: str, name: str, uid: str) -> Json:
    return {
        "apiVersion": version,
        "kind": kind,
        "name": name,
        "uid": uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


@lru_cache(maxsize=50_000)
def _image_id(image: str) -> str:
    return f"sha256:{hashlib.blake2b(image.encode(), digest_size=32).hexdigest()}"


def _container_spec(spec: ContainerSpec) -> Json:
    resources: Json = {}
    if spec.limits:
        resources["limits"] = spec.limits
    if spec.requests:
        resources["requests"] = spec.requests
    return {
        "name": spec.name,
        "image": spec.image,
        "resources": resources,
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
        "imagePullPolicy": "IfNotPresent",
    }
