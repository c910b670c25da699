"""The objects of the resource metrics API: their versions, and what a document of each kind looks like.

    node   metadata, timestamp, window, usage {cpu, memory}
    pod    metadata, timestamp, window, containers [{name, usage {cpu, memory}}]

where it is known, and the light cadence runs, `usage` has `ephemeral-storage` and `swap`, too.

A document is described here once, with holes; `metrics_writer` lays it out once in each answer and fills the holes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from collector.api.route import Document
from collector.kube.objects import ContainerSpec, Pod

GROUP: Final = "metrics.k8s.io"

HOLE: Final = "\ue000"
"""Within a string of a document: text that comes later, already escaped."""

RAW: Final = "\ue001"
"""As a whole string: a value that comes later, already laid out."""


@dataclass(frozen=True, slots=True)
class Version:
    """One version of the API."""

    name: str
    """`v1beta1`; empty for Heapster's own API on the main port, whose objects name neither kind nor version."""
    self_links: bool = False
    """Whether objects have `metadata.selfLink`, which Kubernetes gave up with 1.20."""
    sampled: bool = False
    """As metrics-server: nanocores, the samples' own times, labels; else as Heapster: millicores, batch time, 1m0s."""

    @property
    def api_version(self) -> str:
        """The `apiVersion` of its objects, and what it is called in discovery."""
        return f"{GROUP}/{self.name}"

    @property
    def root(self) -> str:
        """The path that it is served below."""
        return f"/apis/{self.api_version}"

    def containers(self, pod: Pod) -> tuple[ContainerSpec, ...]:
        """The containers of a pod that count. Heapster knew nothing of sidecars; a kubelet reports them like others."""
        return pod.containers + pod.sidecars if self.sampled and pod.sidecars else pod.containers


HEAPSTER: Final = Version("")
"""Heapster's own API on the main port, whatever the path says."""

AGGREGATED: Final = (
    Version("v1", sampled=True),
    Version("v1beta1", sampled=True),
    Version("v1alpha1", self_links=True),
)
"""The versions of the second server, the preferred one first. `v1` has the schema of `v1beta1`."""


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind of object of the API."""

    plural: str
    """In paths and in discovery."""
    kind: str
    namespaced: bool

    @property
    def refused(self) -> str:
        """How refusals name it: metrics-server's objects are called by their kind there."""
        return self.kind.lower()


NODES: Final = Resource("nodes", "NodeMetrics", namespaced=False)
PODS: Final = Resource("pods", "PodMetrics", namespaced=True)

RESOURCES: Final = (
    ("cpu", "memory"),
    ("cpu", "ephemeral-storage", "memory"),
    ("cpu", "memory", "swap"),
    ("cpu", "ephemeral-storage", "memory", "swap"),
)
"""What `usage` may hold; the number of a row is 1 for ephemeral storage and 2 for swap, added up."""


def container_document(resources: Sequence[str]) -> Document:
    """A container. Holes: name, and an amount of each resource."""
    return {"name": HOLE, "usage": dict.fromkeys(resources, HOLE)}


def list_document(version: Version, resource: Resource, metadata: Mapping[str, Document]) -> Document:
    """A list with this metadata. Raw: the items."""
    return {**_head(version, f"{resource.kind}List"), "metadata": metadata, "items": RAW}


def metadata_document(
    version: Version, resource: Resource, stamps: Mapping[str, str], labelled: bool
) -> dict[str, Document]:
    """`metadata` of an object. Holes: name, namespace of a pod, with selfLink (namespace and) name, raw labels.

    `stamps` are what all objects of an answer have: version and creation.
    """
    path = f"namespaces/{HOLE}/{resource.plural}" if resource.namespaced else resource.plural
    link = {"selfLink": f"{version.root}/{path}/{HOLE}"} if version.self_links else {}
    names = {"name": HOLE, **({"namespace": HOLE} if resource.namespaced else {})}
    return {**names, **link, **stamps, **({"labels": RAW} if labelled else {})}


def node_document(version: Version, metadata: Document, alone: bool, resources: Sequence[str]) -> Document:
    """A node, alone or in a list. Holes: those of its metadata, time, window, amounts."""
    head = _head(version, NODES.kind) if alone else {}
    return {**head, "metadata": metadata, "timestamp": HOLE, "window": HOLE, "usage": dict.fromkeys(resources, HOLE)}


def pod_document(version: Version, metadata: Document, alone: bool) -> Document:
    """A pod, alone or in a list. Holes: those of its metadata, time, window, raw containers."""
    head = _head(version, PODS.kind) if alone else {}
    return {**head, "metadata": metadata, "timestamp": HOLE, "window": HOLE, "containers": RAW}


def gone_document(version: Version, resource: Resource, metadata: Document, moment: str) -> Document:
    """An object of which no more is known than that it is gone; it was there at `moment`."""
    rest: dict[str, Document] = {"containers": []} if resource.namespaced else {"usage": {}}
    return {**_head(version, resource.kind), "metadata": metadata, "timestamp": moment, "window": "0s", **rest}


def _head(version: Version, kind: str) -> dict[str, str]:
    return {"kind": kind, "apiVersion": version.api_version} if version.name else {}
