"""What metric-export exports, as `/api/v1/metric-export-schema` describes it (behaviour reference, 4.3 and 8.5).

Agents were written against these texts, so they are Heapster's to the letter, its slips included: inodes counted in
bytes, millicores and rates without a unit. METRICS says the same in our words; nothing else is exported.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from collector.api.route import Document

LabelRow = tuple[str, str]
"""A label's key and description."""

RESOURCE: tuple[LabelRow, ...] = (("resource_id", "Identifier(s) specific to a metric"),)
ACCELERATOR: tuple[LabelRow, ...] = (
    ("make", "Make of the accelerator (nvidia, amd, google etc.)"),
    ("model", "Model of the accelerator (tesla-p100, tesla-k80 etc.)"),
    ("accelerator_id", "ID of the accelerator"),
)
COMMON_LABELS: tuple[LabelRow, ...] = (
    ("nodename", "nodename where the container ran"),
    ("hostname", "Hostname where the container ran"),
    ("host_id", "Identifier specific to a host. Set by cloud provider or user"),
    ("container_name", "User-provided name of the container or full container name for system containers"),
    ("container_base_image", "User-defined image name that is run inside the container"),
)
POD_LABELS: tuple[LabelRow, ...] = (
    ("pod_name", "The name of the pod"),
    ("pod_id", "The unique ID of the pod"),
    ("namespace_id", "The UID of namespace of the pod"),
    ("labels", "Comma-separated list of user-provided labels"),
)


@dataclass(frozen=True, slots=True)
class Exported:
    """One metric that is exported."""

    name: str
    description: str
    unit: str = ""
    cumulative: bool = False
    double: bool = False
    labels: tuple[LabelRow, ...] = ()

    @property
    def since_start(self) -> bool:
        """Whether its points begin with the entity's life. Heapster's points of disk counters do not."""
        return self.cumulative and not self.labels


EXPORTED: tuple[Exported, ...] = (
    Exported("uptime", "Number of milliseconds since the container was started", "ms", cumulative=True),
    Exported("cpu/usage", "Cumulative CPU usage on all cores", "ns", cumulative=True),
    Exported("cpu/load", "CPU load"),
    Exported("ephemeral_storage/usage", "Ephemeral storage usage", "bytes"),
    Exported("memory/usage", "Total memory usage", "bytes"),
    Exported("memory/rss", "RSS memory", "bytes"),
    Exported("memory/cache", "Cache memory", "bytes"),
    Exported(
        "memory/working_set",
        "Total working set usage. Working set is the memory being used and not easily dropped by the kernel",
        "bytes",
    ),
    Exported("memory/page_faults", "Number of page faults", cumulative=True),
    Exported("memory/major_page_faults", "Number of major page faults", cumulative=True),
    Exported("network/rx", "Cumulative number of bytes received over the network", "bytes", cumulative=True),
    Exported("network/rx_errors", "Cumulative number of errors while receiving over the network", cumulative=True),
    Exported("network/tx", "Cumulative number of bytes sent over the network", "bytes", cumulative=True),
    Exported("network/tx_errors", "Cumulative number of errors while sending over the network", cumulative=True),
    Exported("cpu/limit", "CPU hard limit in millicores."),
    Exported("memory/limit", "Memory hard limit in bytes.", "bytes"),
    Exported(
        "disk/io_read_bytes", "Cumulative number of bytes read over disk", "bytes", cumulative=True, labels=RESOURCE
    ),
    Exported(
        "disk/io_read_bytes_rate", "Rate of bytes read over disk in bytes per second", double=True, labels=RESOURCE
    ),
    Exported(
        "disk/io_write_bytes", "Cumulative number of bytes write over disk", "bytes", cumulative=True, labels=RESOURCE
    ),
    Exported(
        "disk/io_write_bytes_rate", "Rate of bytes written over disk in bytes per second", double=True, labels=RESOURCE
    ),
    Exported("filesystem/usage", "Total number of bytes consumed on a filesystem", "bytes", labels=RESOURCE),
    Exported("filesystem/limit", "The total size of filesystem in bytes", "bytes", labels=RESOURCE),
    Exported(
        "filesystem/available",
        "The number of available bytes remaining in a the filesystem",
        "bytes",
        labels=RESOURCE,
    ),
    Exported("filesystem/inodes", "Total number of inodes on a filesystem", "bytes", labels=RESOURCE),
    Exported("filesystem/inodes_free", "Free number of inodes on a filesystem", "bytes", labels=RESOURCE),
    Exported("accelerator/memory_total", "Total accelerator memory (in bytes)", "bytes", labels=ACCELERATOR),
    Exported("accelerator/memory_used", "Total accelerator memory allocated (in bytes)", "bytes", labels=ACCELERATOR),
    Exported(
        "accelerator/duty_cycle",
        "Percent of time over the past sample period (10s) during which the accelerator was actively processing",
        labels=ACCELERATOR,
    ),
)
"""In the order of the schema."""


def schema() -> Document:
    """The answer of `/api/v1/metric-export-schema`."""
    return {
        "metrics": [dict(_fields(metric)) for metric in EXPORTED],
        "common_labels": _labels(COMMON_LABELS),
        "pod_labels": _labels(POD_LABELS),
    }


def _fields(metric: Exported) -> Iterator[tuple[str, Document]]:
    yield "name", metric.name
    yield "description", metric.description
    if metric.labels:
        yield "labels", _labels(metric.labels)
    yield "type", "cumulative" if metric.cumulative else "gauge"
    yield "value_type", "double" if metric.double else "int64"
    if metric.unit:
        yield "units", metric.unit


def _labels(rows: tuple[LabelRow, ...]) -> list[Document]:
    return [{"key": key, "description": description} for key, description in rows]
