"""The families of /metrics/resource: names, help texts and order are those of a recorded 1.36.2 kubelet."""

from dataclasses import dataclass
from enum import Enum, auto


class Subject(Enum):
    """What a family has a line for each of."""

    CONTAINER = auto()
    POD = auto()
    NODE = auto()


class Reading(Enum):
    """What its lines say."""

    CPU = auto()
    MEMORY = auto()
    SWAP = auto()
    START = auto()


@dataclass(frozen=True)
class Family:
    """One of them."""

    name: str
    stability: str
    text: str
    kind: str
    subject: Subject
    reading: Reading

    @property
    def head(self) -> str:
        """The two lines in front of its samples."""
        return _head(self.name, self.stability, self.text, self.kind)


def _head(name: str, stability: str, text: str, kind: str) -> str:
    return f"# HELP {name} [{stability}] {text}\n# TYPE {name} {kind}\n"


FAMILIES = (
    Family(
        "container_cpu_usage_seconds_total",
        "STABLE",
        "Cumulative cpu time consumed by the container in core-seconds",
        "counter",
        Subject.CONTAINER,
        Reading.CPU,
    ),
    Family(
        "container_memory_working_set_bytes",
        "STABLE",
        "Current working set of the container in bytes",
        "gauge",
        Subject.CONTAINER,
        Reading.MEMORY,
    ),
    Family(
        "container_start_time_seconds",
        "STABLE",
        "Start time of the container since unix epoch in seconds",
        "gauge",
        Subject.CONTAINER,
        Reading.START,
    ),
    Family(
        "container_swap_usage_bytes",
        "ALPHA",
        "Current amount of the container swap usage in bytes. Reported only on non-windows systems",
        "gauge",
        Subject.CONTAINER,
        Reading.SWAP,
    ),
    Family(
        "node_cpu_usage_seconds_total",
        "STABLE",
        "Cumulative cpu time consumed by the node in core-seconds",
        "counter",
        Subject.NODE,
        Reading.CPU,
    ),
    Family(
        "node_memory_working_set_bytes",
        "STABLE",
        "Current working set of the node in bytes",
        "gauge",
        Subject.NODE,
        Reading.MEMORY,
    ),
    Family(
        "node_swap_usage_bytes",
        "ALPHA",
        "Current swap usage of the node in bytes. Reported only on non-windows systems",
        "gauge",
        Subject.NODE,
        Reading.SWAP,
    ),
    Family(
        "pod_cpu_usage_seconds_total",
        "STABLE",
        "Cumulative cpu time consumed by the pod in core-seconds",
        "counter",
        Subject.POD,
        Reading.CPU,
    ),
    Family(
        "pod_memory_working_set_bytes",
        "STABLE",
        "Current working set of the pod in bytes",
        "gauge",
        Subject.POD,
        Reading.MEMORY,
    ),
    Family(
        "pod_swap_usage_bytes",
        "ALPHA",
        "Current amount of the pod swap usage in bytes. Reported only on non-windows systems",
        "gauge",
        Subject.POD,
        Reading.SWAP,
    ),
)
END = (
    _head(
        "resource_scrape_error",
        "STABLE",
        "1 if there was an error while getting container metrics, 0 otherwise",
        "gauge",
    )
    + "resource_scrape_error 0\n"
)
"""What stands behind them: no error."""
