"""Recorded summaries as a cluster: every file of a directory becomes a node that serves its bytes.

Files that are consecutive scrapes of one node become one node, which serves them in turn, one step a request, and
stays at the last. Consecutive means, in the order of file names: the same node name, at least half of the pod uids
in common, and later sample times. Bytes are served as recorded, with one exception: a node's name, or a pod's name
within its namespace, that another node has already taken gets a suffix (`-2`, `-3`, ...). A file that holds a
single PodStats object is wrapped in a summary of one pod.
"""

import re
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from collector.errors import UsageError
from collector.sim.inventory import Collection, StaticCollection
from collector.sim.objects import namespace_object
from collector.sim.replay_objects import node_object, pod_object
from collector.sim.summary_light import cpu_and_memory

Json = dict[str, Any]
_NODE_NAME = re.compile(rb'("nodeName"\s*:\s*")([^"\\]*)(")')
_POD_REFERENCE = re.compile(rb'"podRef"\s*:\s*\{[^{}]*\}')
_POD_NAME = re.compile(rb'("name"\s*:\s*")([^"\\]*)(")')
_POD_NAMESPACE = re.compile(rb'"namespace"\s*:\s*"([^"\\]*)"')
_VERSION = re.compile(r"(?:k8s-|v)(\d+)\.0*(\d+)")


@dataclass
class Recording:
    """One file: its bytes, and what is needed to name and order it."""

    stem: str
    body: bytes
    summary: Json

    @property
    def node_name(self) -> str:
        """The node's name, or the file's when it has none."""
        name = self.summary["node"].get("nodeName")
        return name if isinstance(name, str) and name else self.stem

    @property
    def pods(self) -> list[Json]:
        """Pods that can be told apart."""
        pods = self.summary.get("pods") or []
        return [pod for pod in pods if isinstance(pod.get("podRef"), dict) and pod["podRef"].get("name")]

    @property
    def uids(self) -> frozenset[str]:
        """The uids of its pods."""
        return frozenset(str(pod["podRef"].get("uid")) for pod in self.pods)

    @property
    def latest(self) -> datetime | None:
        """The newest sample time in it, None when it has no times."""
        times = [moment for text in _times(self.summary) if (moment := _moment(text)) is not None]
        return max(times, default=None)

    def follows(self, earlier: "Recording") -> bool:
        """Whether this is a later scrape of the node that `earlier` shows."""
        common = len(self.uids & earlier.uids)
        if self.node_name != earlier.node_name or common * 2 < max(1, min(len(self.uids), len(earlier.uids))):
            return False
        return earlier.latest is not None and self.latest is not None and self.latest > earlier.latest


@dataclass
class ReplayedNode:
    """A node and its recordings; `step` is the one served next."""

    name: str
    recordings: list[Recording]
    bodies: list[bytes] = field(default_factory=list)
    step: int = 0

    def serve(self) -> bytes:
        """The next body; the last one again and again."""
        body = self.bodies[self.step]
        self.step = min(self.step + 1, len(self.bodies) - 1)
        return body


class ReplayedWorld:
    """The nodes recorded in `directory`. UsageError names what cannot be read."""

    def __init__(self, directory: Path, origin: int) -> None:
        self._origin = origin
        self._nodes = _nodes(directory)
        self.node_names = tuple(node.name for node in self._nodes)

    def summary(self, node: int, *, only_cpu_and_memory: bool) -> bytes:
        """The next recorded body."""
        body = self._nodes[node].serve()
        return cpu_and_memory(body) if only_cpu_and_memory else body

    def summary_at(self, node: int, now: float) -> bytes:
        """The body that the next request gets: recordings know no clock."""
        del now
        replayed = self._nodes[node]
        return replayed.bodies[replayed.step]

    def resource(self, node: int) -> None:
        """Nothing: the recordings are of the summary, as on a kubelet without the light endpoint."""
        del node

    def cadvisor(self, node: int) -> None:
        """Nothing either."""
        del node

    def containers(self, node: int, question: bytes) -> None:
        """Nothing either."""
        del node, question

    def collections(self, addresses: tuple[str, ...], kubelet_port: int) -> dict[str, Collection]:
        """Nodes, pods and namespaces, synthesised from what the recordings name."""
        nodes = [
            node_object(node.name, row, addresses[row], kubelet_port, _kubelet_version(node), self._origin)
            for row, node in enumerate(self._nodes)
        ]
        pods: list[Json] = []
        for row, node in enumerate(self._nodes):
            seen: dict[tuple[str, str], Json] = {}
            for body in node.bodies:
                for pod in Recording("", body, msgspec.json.decode(body)).pods:
                    seen[str(pod["podRef"].get("namespace")), str(pod["podRef"]["name"])] = pod
            pods += [
                pod_object(pod, len(pods) + place, node.name, addresses[row], self._origin)
                for place, pod in enumerate(seen.values())
            ]
        names = sorted({pod["metadata"]["namespace"] for pod in pods} | {"default", "kube-system"})
        namespaces = [namespace_object(name, row, self._origin) for row, name in enumerate(names)]
        return {
            "nodes": StaticCollection("Node", nodes),
            "pods": StaticCollection("Pod", pods),
            "namespaces": StaticCollection("Namespace", namespaces),
        }


def _nodes(directory: Path) -> list[ReplayedNode]:
    nodes: list[ReplayedNode] = []
    for path in sorted(directory.glob("*.json")):
        recording = _read(path)
        before = next((node for node in reversed(nodes) if recording.follows(node.recordings[-1])), None)
        if before is None:
            nodes.append(ReplayedNode(recording.node_name, [recording]))
        else:
            before.recordings.append(recording)
    if not nodes:
        raise UsageError(f"--captures {directory}: holds no *.json file")
    _name_apart(nodes)
    return nodes


def _read(path: Path) -> Recording:
    """One file. UsageError when it is neither a summary nor a PodStats."""
    try:
        body = path.read_bytes()
        content = msgspec.json.decode(body)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"--captures: {path} cannot be read as JSON: {error}") from error
    if isinstance(content, dict) and isinstance(content.get("podRef"), dict):
        body = b'{"node":{"nodeName":%b},"pods":[%b]}' % (msgspec.json.encode(path.stem), body)
        content = msgspec.json.decode(body)
    if not isinstance(content, dict) or not isinstance(content.get("node"), dict):
        raise UsageError(f"--captures: {path} is neither a kubelet's summary nor a PodStats object; move it away")
    if not isinstance(content.get("pods") or [], list):
        raise UsageError(f"--captures: {path} has pods that are no list; move it away")
    return Recording(path.stem, body, content)


def _name_apart(nodes: list[ReplayedNode]) -> None:
    """Give every node a name of its own, and every pod one within its namespace; writes `bodies`."""
    node_names: set[str] = set()
    taken: dict[str, set[str]] = {}
    for node in nodes:
        node.name = _free(node.name, node_names)
        node_names.add(node.name)
        pods = sorted({_key(pod) for recording in node.recordings for pod in recording.pods})
        renamed: dict[tuple[str, str], str] = {}
        for namespace, name in pods:
            inside = taken.setdefault(namespace, set())
            free = _free(name, inside)
            if free != name:
                renamed[namespace, name] = free
            inside.add(free)
        node.bodies = [_rename(recording.body, node.name, renamed) for recording in node.recordings]


def _free(name: str, taken: AbstractSet[str]) -> str:
    """`name`, or the first of `name-2`, `name-3`, ... that is not taken."""
    wanted, number = name, 1
    while wanted in taken:
        number += 1
        wanted = f"{name}-{number}"
    return wanted


def _rename(body: bytes, node_name: str, renamed: dict[tuple[str, str], str]) -> bytes:
    """`body` with other names and every other byte as it was."""

    def rename_pod(reference: re.Match[bytes]) -> bytes:
        text = reference.group()
        name, namespace = _POD_NAME.search(text), _POD_NAMESPACE.search(text)
        if name is None:
            return text
        key = (namespace.group(1).decode() if namespace else "", name.group(2).decode())
        return _POD_NAME.sub(lambda found: found[1] + renamed.get(key, key[1]).encode() + found[3], text, count=1)

    body = _NODE_NAME.sub(lambda found: found[1] + node_name.encode() + found[3], body, count=1)
    return _POD_REFERENCE.sub(rename_pod, body) if renamed else body


def _key(pod: Json) -> tuple[str, str]:
    return str(pod["podRef"].get("namespace") or ""), str(pod["podRef"]["name"])


def _kubelet_version(node: ReplayedNode) -> str:
    """The version the file's name tells (`k8s-1.26-...`), else a recent one."""
    found = _VERSION.search(node.recordings[0].stem)
    return f"v{found[1]}.{found[2]}.0" if found else "v1.36.2"


def _times(part: Any) -> Iterator[str]:
    """Every `time` in a document."""
    if isinstance(part, dict):
        if isinstance(part.get("time"), str):
            yield part["time"]
        for child in part.values():
            yield from _times(child)
    elif isinstance(part, list):
        for child in part:
            yield from _times(child)


def _moment(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
