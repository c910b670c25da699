"""The shape of cAdvisor's JSON, as `POST /stats/container/` of an old kubelet gives it: the fields we read.

The answer is an object of container infos (behaviour reference, section 3.9). What a container has is said by the
switches `has_...` of its `spec`; where a switch is on, a missing number is zero, as in Go.
"""

from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from collector.sources.stats import Word

Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Text = Annotated[str, Meta(max_length=1024)]
"""A path, an image, a device."""


class _Part(Struct, frozen=True, gc=False):
    """A JSON object of which only the named fields are read."""


class Labels(_Part, frozen=True, gc=False):
    """Kubernetes' names of a container, as labels its runtime carries."""

    container: Word = msgspec.field(default="", name="io.kubernetes.container.name")
    namespace: Word = msgspec.field(default="", name="io.kubernetes.pod.namespace")
    pod: Word = msgspec.field(default="", name="io.kubernetes.pod.name")
    uid: Word = msgspec.field(default="", name="io.kubernetes.pod.uid")


class CustomSpec(_Part, frozen=True, gc=False):
    """What an application promises to report. Its name becomes a column, which is for ever."""

    name: Word = ""
    type: Text = ""
    format: Text = ""


class Spec(_Part, frozen=True, gc=False):
    """What a container is and has."""

    creation_time: str | None = None
    labels: Labels = Labels()
    image: Text = ""
    has_cpu: bool = False
    has_memory: bool = False
    has_network: bool = False
    has_filesystem: bool = False
    has_diskio: bool = False
    has_custom_metrics: bool = False
    custom_metrics: list[CustomSpec] | None = None


class CpuUsage(_Part, frozen=True, gc=False):
    """Processor time since the start, ns."""

    total: Count = 0


class Cpu(_Part, frozen=True, gc=False):
    """Processor."""

    usage: CpuUsage = CpuUsage()
    load_average: Count = 0


class Faults(_Part, frozen=True, gc=False):
    """Page faults so far."""

    pgfault: Count = 0
    pgmajfault: Count = 0


class Memory(_Part, frozen=True, gc=False):
    """Memory now, bytes."""

    usage: Count = 0
    cache: Count = 0
    rss: Count = 0
    working_set: Count = 0
    container_data: Faults = Faults()


class Interface(_Part, frozen=True, gc=False):
    """One network interface."""

    rx_bytes: Count = 0
    rx_errors: Count = 0
    tx_bytes: Count = 0
    tx_errors: Count = 0


class Network(_Part, frozen=True, gc=False):
    """All interfaces; the flat fields beside the list repeat one of them."""

    interfaces: list[Interface] | None = None


class Filesystem(_Part, frozen=True, gc=False):
    """One file system."""

    device: Text = ""
    usage: Count = 0
    capacity: Count = 0
    available: Count = 0
    has_inodes: bool = False
    inodes: Count = 0
    inodes_free: Count = 0


class DiskBytes(_Part, frozen=True, gc=False):
    """Bytes moved so far, by operation."""

    read: Count = msgspec.field(default=0, name="Read")
    write: Count = msgspec.field(default=0, name="Write")


class Disk(_Part, frozen=True, gc=False):
    """One device."""

    device: Text = ""
    major: Count = 0
    minor: Count = 0
    stats: DiskBytes = DiskBytes()


class DiskIo(_Part, frozen=True, gc=False):
    """Traffic of a container with its devices."""

    io_service_bytes: list[Disk] | None = None


class Accelerator(_Part, frozen=True, gc=False):
    """One GPU."""

    make: Text = ""
    model: Text = ""
    id: Text = ""
    memory_total: Count = 0
    memory_used: Count = 0
    duty_cycle: Count = 0


class CustomSample(_Part, frozen=True, gc=False):
    """One value of an application; which of the two counts is said by the metric's format."""

    timestamp: str | None = None
    int_value: int = 0
    float_value: float = 0.0


class Stats(_Part, frozen=True, gc=False):
    """One sample of a container."""

    timestamp: str | None = None
    cpu: Cpu = Cpu()
    memory: Memory = Memory()
    network: Network = Network()
    filesystem: list[Filesystem] | None = None
    diskio: DiskIo = DiskIo()
    accelerators: list[Accelerator] | None = None
    custom_metrics: dict[str, list[CustomSample]] | None = None


class ContainerInfo(_Part, frozen=True, gc=False):
    """One cgroup. `stats` are in the order of time."""

    name: Text = ""
    aliases: list[Text] | None = None
    spec: Spec = Spec()
    stats: list[Stats] | None = None


Answer = dict[str, ContainerInfo]
"""The whole answer, by cgroup."""
