"""The JSON of lists and watches: the few fields needed, every one of which may be missing or null.

Unknown fields are skipped by msgspec without becoming Python objects. These structs live only while one page or one
watch event is being read; what is kept is built from them in `build`.
"""

from typing import Generic, TypeVar

import msgspec
from msgspec import Struct, field

R = TypeVar("R")

Quantities = dict[str, str | int | float | None]
"""Resource name to quantity. The API server writes strings; a bare number is legal JSON for a quantity too."""


class ObjectMeta(Struct, gc=False):
    """The part of an object's metadata that every kind shares."""

    name: str | None = None
    namespace: str | None = None
    uid: str | None = None
    labels: dict[str, str | None] | None = None
    resource_version: str | None = field(default=None, name="resourceVersion")


class PodAnnotations(Struct, gc=False):
    """The one annotation of a pod that is read; the others are often larger than the rest of the pod."""

    config_hash: str | None = field(default=None, name="kubernetes.io/config.hash")


class PodMeta(ObjectMeta, gc=False):
    """`metadata` of a pod."""

    annotations: PodAnnotations | None = None


class NodeMeta(ObjectMeta, gc=False):
    """`metadata` of a node."""

    annotations: dict[str, str | None] | None = None


class ResourceRequirements(Struct, gc=False):
    """`resources` of a container."""

    requests: Quantities | None = None
    limits: Quantities | None = None


class Container(Struct, gc=False, rename="camel"):
    """An entry of `spec.containers` or `spec.initContainers`."""

    name: str | None = None
    image: str | None = None
    resources: ResourceRequirements | None = None
    restart_policy: str | None = None


class PodSpec(Struct, gc=False, rename="camel"):
    """`spec` of a pod."""

    node_name: str | None = None
    host_network: bool | None = None
    containers: list[Container | None] | None = None
    init_containers: list[Container | None] | None = None


class Stated(Struct, gc=False):
    """An object of which only its being there counts."""


class ContainerState(Struct, gc=False):
    """`state` of a container: one of these, or `running`."""

    waiting: Stated | None = None
    terminated: Stated | None = None


class ContainerStatus(Struct, gc=False, rename="camel"):
    """An entry of `status.containerStatuses`."""

    name: str | None = None
    restart_count: int | None = None
    state: ContainerState | None = None


class PodStatus(Struct, gc=False, rename="camel"):
    """`status` of a pod."""

    phase: str | None = None
    start_time: str | None = None
    container_statuses: list[ContainerStatus | None] | None = None
    init_container_statuses: list[ContainerStatus | None] | None = None


class PodObject(Struct, gc=False):
    """A pod on the wire."""

    metadata: PodMeta | None = None
    spec: PodSpec | None = None
    status: PodStatus | None = None


class Address(Struct, gc=False):
    """An entry of `status.addresses`."""

    type: str | None = None
    address: str | None = None


class Condition(Struct, gc=False):
    """An entry of `status.conditions`."""

    type: str | None = None
    status: str | None = None


class Endpoint(Struct, gc=False):
    """`kubeletEndpoint`: the field is spelled with a capital letter."""

    port: int | None = field(default=None, name="Port")


class DaemonEndpoints(Struct, gc=False, rename="camel"):
    """`status.daemonEndpoints`."""

    kubelet_endpoint: Endpoint | None = None


class NodeSystem(Struct, gc=False, rename="camel"):
    """`status.nodeInfo`."""

    kubelet_version: str | None = None


class Taint(Struct, gc=False):
    """An entry of `spec.taints`."""

    key: str | None = None


class NodeSpec(Struct, gc=False):
    """`spec` of a node."""

    unschedulable: bool | None = None
    taints: list[Taint | None] | None = None
    external_id: str | None = field(default=None, name="externalID")


class NodeStatus(Struct, gc=False, rename="camel"):
    """`status` of a node."""

    capacity: Quantities | None = None
    allocatable: Quantities | None = None
    addresses: list[Address | None] | None = None
    conditions: list[Condition | None] | None = None
    daemon_endpoints: DaemonEndpoints | None = None
    node_info: NodeSystem | None = None


class NodeObject(Struct, gc=False):
    """A node on the wire."""

    metadata: NodeMeta | None = None
    spec: NodeSpec | None = None
    status: NodeStatus | None = None


class NamespaceObject(Struct, gc=False):
    """A namespace on the wire."""

    metadata: ObjectMeta | None = None


class AnyObject(Struct, gc=False):
    """Any object, read for its name only: used to say which one could not be read."""

    metadata: ObjectMeta | None = None


class ListMeta(Struct, gc=False):
    """`metadata` of a list, and of a Status, which may carry the token to go on with."""

    resource_version: str | None = field(default=None, name="resourceVersion")
    continue_token: str | None = field(default=None, name="continue")


class ObjectList(Struct, Generic[R], gc=False):
    """One page of a list; `R` is the object's struct."""

    metadata: ListMeta | None = None
    items: list[R | None] | None = None


class RawList(Struct, gc=False):
    """The same page, its objects not read yet: one of them may be unreadable."""

    metadata: ListMeta | None = None
    items: list[msgspec.Raw] | None = None


class WatchEvent(Struct, gc=False):
    """One line of a watch. `object` is a Status when `type` is ERROR."""

    type: str = ""
    object: msgspec.Raw = msgspec.Raw(b"null")


class Status(Struct, gc=False):
    """What the API server answers instead of an object when it refuses."""

    code: int | None = None
    reason: str | None = None
    message: str | None = None
    metadata: ListMeta | None = None
