"""The shape of the kubelet's summary: Kubernetes' `stats/v1alpha1`, the fields we read. Missing counts are ABSENT.

Fields stand in the order the kubelet writes them: each is then found at the first comparison.
"""

from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from collector.core.sample import ABSENT

Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
MAX_NAME = 253
"""Characters of Kubernetes' longest names, DNS subdomains. What has a longer one is left out."""
Name = Annotated[str, Meta(min_length=1, max_length=MAX_NAME)]
Word = Annotated[str, Meta(max_length=MAX_NAME)]
"""A name or another text that is kept, possibly empty."""


class _Part(Struct, frozen=True, gc=False, rename="camel"):
    """A JSON object of which only the named fields are read; a missing count is ABSENT, a missing time is empty."""


class Stall(_Part, frozen=True, gc=False, rename="camel"):
    """How long tasks waited so far: microseconds, as the kernel counts them, whatever Kubernetes' own text says."""

    total: Count = ABSENT


_NO_STALL = Stall()


class Pressure(_Part, frozen=True, gc=False, rename="camel"):
    """Pressure stall information (kubelets from 1.33 on): waits of some tasks, and of all that could have run."""

    full: Stall = _NO_STALL
    some: Stall = _NO_STALL


_NO_PRESSURE = Pressure()


class CPU(_Part, frozen=True, gc=False, rename="camel"):
    """Processor time."""

    time: str = ""
    usage_core_nano_seconds: Count = ABSENT
    psi: Pressure = _NO_PRESSURE


class Memory(_Part, frozen=True, gc=False, rename="camel"):
    """Memory now and faults so far."""

    time: str = ""
    available_bytes: Count = ABSENT
    usage_bytes: Count = ABSENT
    working_set_bytes: Count = ABSENT
    rss_bytes: Count = ABSENT
    page_faults: Count = ABSENT
    major_page_faults: Count = ABSENT
    psi: Pressure = _NO_PRESSURE


class IO(_Part, frozen=True, gc=False, rename="camel"):
    """Input and output: its pressure only."""

    psi: Pressure = _NO_PRESSURE


class Swap(_Part, frozen=True, gc=False, rename="camel"):
    """Swap space (kubelets from 1.28 on)."""

    swap_available_bytes: Count = ABSENT
    swap_usage_bytes: Count = ABSENT


class Network(_Part, frozen=True, gc=False, rename="camel"):
    """The default interface only: the fields of the others, in `interfaces`, are not Heapster's."""

    time: str = ""
    rx_bytes: Count = ABSENT
    rx_errors: Count = ABSENT
    tx_bytes: Count = ABSENT
    tx_errors: Count = ABSENT


class Filesystem(_Part, frozen=True, gc=False, rename="camel"):
    """Room and inodes of one file system."""

    used_bytes: Count = ABSENT
    capacity_bytes: Count = ABSENT
    available_bytes: Count = ABSENT
    inodes: Count = ABSENT
    inodes_free: Count = ABSENT
    inodes_used: Count = ABSENT


class Volume(Filesystem, frozen=True, gc=False, rename="camel"):
    """A file system mounted into a pod."""

    name: Word = ""


class Accelerator(_Part, frozen=True, gc=False, rename="camel"):
    """One GPU of a container; a value the kubelet leaves out is zero, as in Heapster."""

    make: Word = ""
    model: Word = ""
    id: Word = ""
    memory_total: Count = 0
    memory_used: Count = 0
    duty_cycle: Count = 0


class UserDefinedMetric(_Part, frozen=True, gc=False, rename="camel"):
    """A metric of the application itself (kubelets before 1.12). Its name becomes a column, which is for ever."""

    name: Word = ""
    type: str = ""
    value: float = 0.0


class ProcessStats(_Part, frozen=True, gc=False, rename="camel"):
    """Processes of a pod."""

    process_count: Count = msgspec.field(default=ABSENT, name="process_count")


class Rlimit(_Part, frozen=True, gc=False, rename="camel"):
    """Process numbers of the node."""

    maxpid: Count = ABSENT
    curproc: Count = ABSENT


_NO_CPU, _NO_MEMORY, _NO_NETWORK, _NO_FILESYSTEM = CPU(), Memory(), Network(), Filesystem()
_NO_IO, _NO_SWAP, _NO_PROCESSES, _NO_RLIMIT = IO(), Swap(), ProcessStats(), Rlimit()

LATE_PARTS = {"cpu.psi": _NO_PRESSURE, "memory.psi": _NO_PRESSURE, "io": _NO_IO, "swap": _NO_SWAP}
"""Parts of every entity that kubelets learned to report late: attribute path -> what stands for its absence."""


class Runtime(_Part, frozen=True, gc=False, rename="camel"):
    """File systems of the container runtime."""

    image_fs: Filesystem = _NO_FILESYSTEM
    container_fs: Filesystem = _NO_FILESYSTEM


_NO_RUNTIME = Runtime()


class Container(_Part, frozen=True, gc=False, rename="camel"):
    """A container's, or a system container's, statistics."""

    name: Name
    start_time: str | None = None
    cpu: CPU = _NO_CPU
    memory: Memory = _NO_MEMORY
    io: IO = _NO_IO
    accelerators: list[Accelerator] | None = None
    rootfs: Filesystem = _NO_FILESYSTEM
    logs: Filesystem = _NO_FILESYSTEM
    user_defined_metrics: list[UserDefinedMetric] | None = None
    swap: Swap = _NO_SWAP


class PodReference(_Part, frozen=True, gc=False, rename="camel"):
    """Which pod."""

    name: Name
    namespace: Name
    uid: Word = ""


class PodStats(_Part, frozen=True, gc=False, rename="camel"):
    """One pod."""

    pod_ref: PodReference
    start_time: str | None = None
    containers: list[Container] | None = None
    cpu: CPU = _NO_CPU
    memory: Memory = _NO_MEMORY
    io: IO = _NO_IO
    network: Network = _NO_NETWORK
    volume: list[Volume] | None = None
    ephemeral_storage: Filesystem = msgspec.field(default=_NO_FILESYSTEM, name="ephemeral-storage")
    process_stats: ProcessStats = msgspec.field(default=_NO_PROCESSES, name="process_stats")
    swap: Swap = _NO_SWAP


class NodeStats(_Part, frozen=True, gc=False, rename="camel"):
    """The machine."""

    node_name: Name
    system_containers: list[Container] | None = None
    start_time: str | None = None
    cpu: CPU = _NO_CPU
    memory: Memory = _NO_MEMORY
    io: IO = _NO_IO
    network: Network = _NO_NETWORK
    fs: Filesystem = _NO_FILESYSTEM
    runtime: Runtime = _NO_RUNTIME
    rlimit: Rlimit = _NO_RLIMIT
    swap: Swap = _NO_SWAP


class Summary(_Part, frozen=True, gc=False, rename="camel"):
    """The whole answer."""

    node: NodeStats
    pods: list[PodStats] | None = None
