"""Writes /metrics/cadvisor: cAdvisor's families in the Prometheus text format, as a kubelet of today or an old one.

Names, help texts, labels and their order are those of recorded kubelets (1.34, and 1.10 for old ones: other names of
pod and container, no times).
"""

from collections.abc import Callable, Iterator

from collector.sim.cgroups import DEVICE, MAJOR, MINOR, Cgroup
from collector.sim.sample_columns import FS_CAPACITY, FS_INODES

_NANO = 1_000_000_000
_VERSION = (
    "# TYPE cadvisor_version_info gauge\n"
    'cadvisor_version_info{cadvisorRevision="",cadvisorVersion="",dockerVersion="",kernelVersion="6.12",osVersion=""} 1'
)

Value = tuple[dict[str, str], int | float]
"""Labels of its own, and a number: a series of one cgroup."""


def write_cadvisor_text(cgroups: list[Cgroup], *, old: bool) -> bytes:
    """The whole answer."""
    namings = [_naming(cgroup, old=old) for cgroup in cgroups]
    lines = [_VERSION]
    for name, kind, text, values in FAMILIES:
        found = []
        for cgroup, naming in zip(cgroups, namings, strict=True):
            # The start has no time of its own in any kubelet's answer.
            stamp = "" if old or name == "container_start_time_seconds" else f" {cgroup.milliseconds}"
            for own, number in values(cgroup):
                labels = _labels({**naming, **_spelled(own, old=old)}) if own else _labels(naming)
                found.append(f"{name}{{{labels}}} {go_float(number)}{stamp}")
        if found:
            lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}", *found]
    lines += ["# TYPE container_scrape_error gauge", "container_scrape_error 0", ""]
    return "\n".join(lines).encode()


def _naming(cgroup: Cgroup, *, old: bool) -> dict[str, str]:
    pod, container = ("pod_name", "container_name") if old else ("pod", "container")
    return {
        container: cgroup.container,
        "id": cgroup.path,
        "image": cgroup.image,
        "name": cgroup.name,
        "namespace": cgroup.namespace,
        pod: cgroup.pod,
    }


def _spelled(own: dict[str, str], *, old: bool) -> dict[str, str]:
    return {"type" if old and name == "failure_type" else name: text for name, text in own.items()}


def _labels(labels: dict[str, str]) -> str:
    """Sorted by name, as Go's encoder writes them; no name of the simulated cluster needs an escape."""
    return ",".join(f'{name}="{labels[name]}"' for name in sorted(labels))


def go_float(number: float) -> str:
    """A count below 10^16 as Go's encoder writes it: shortest, with an exponent from a million on."""
    written = repr(number).removesuffix(".0")
    if number < 1_000_000:
        return written
    whole, _, fraction = written.partition(".")
    digits = (whole + fraction).rstrip("0")
    mantissa = f"{digits[0]}.{digits[1:]}" if len(digits) > 1 else digits
    return f"{mantissa}e+{len(whole) - 1:02d}"


def _plain(read: Callable[[Cgroup], int | float]) -> Callable[[Cgroup], Iterator[Value]]:
    def values(cgroup: Cgroup) -> Iterator[Value]:
        number = read(cgroup)
        if number >= 0:
            yield {}, number

    return values


def _device(read: Callable[[Cgroup], int]) -> Callable[[Cgroup], Iterator[Value]]:
    def values(cgroup: Cgroup) -> Iterator[Value]:
        if read(cgroup) >= 0:
            yield {"device": DEVICE}, read(cgroup)

    return values


def _file_system(read: Callable[[Cgroup], int]) -> Callable[[Cgroup], Iterator[Value]]:
    return _device(lambda cgroup: read(cgroup) if cgroup.fs_used >= 0 else -1)


def _operations(cgroup: Cgroup) -> Iterator[Value]:
    for operation, moved in (("Read", cgroup.read), ("Write", cgroup.written)):
        if moved >= 0:
            yield {"device": DEVICE, "major": str(MAJOR), "minor": str(MINOR), "operation": operation}, moved


def _interface(counter: str) -> Callable[[Cgroup], Iterator[Value]]:
    def values(cgroup: Cgroup) -> Iterator[Value]:
        for interface in cgroup.interfaces:
            yield {"interface": interface.name}, getattr(interface, counter) if counter else 0

    return values


def _cpu(cgroup: Cgroup) -> Iterator[Value]:
    yield {"cpu": "total"}, cgroup.cpu / _NANO


def _failures(cgroup: Cgroup) -> Iterator[Value]:
    for kind, count in (("pgfault", cgroup.page_faults), ("pgmajfault", cgroup.major_page_faults)):
        for scope in ("container", "hierarchy"):
            yield {"failure_type": kind, "scope": scope}, count


FAMILIES: tuple[tuple[str, str, str, Callable[[Cgroup], Iterator[Value]]], ...] = (
    (
        "container_blkio_device_usage_total",
        "counter",
        "Blkio Device bytes usage",
        _operations,
    ),
    (
        "container_cpu_cfs_periods_total",
        "counter",
        "Number of elapsed enforcement period intervals.",
        _plain(lambda cgroup: cgroup.periods),
    ),
    (
        "container_cpu_cfs_throttled_periods_total",
        "counter",
        "Number of throttled period intervals.",
        _plain(lambda cgroup: cgroup.throttled_periods),
    ),
    (
        "container_cpu_cfs_throttled_seconds_total",
        "counter",
        "Total time duration the container has been throttled.",
        _plain(lambda cgroup: cgroup.throttled / _NANO),
    ),
    (
        "container_cpu_load_average_10s",
        "gauge",
        "Value of container cpu load average over the last 10 seconds.",
        _plain(lambda cgroup: cgroup.load),
    ),
    ("container_cpu_usage_seconds_total", "counter", "Cumulative cpu time consumed in seconds.", _cpu),
    (
        "container_fs_inodes_free",
        "gauge",
        "Number of available Inodes",
        _file_system(lambda cgroup: cgroup.inodes_free),
    ),
    ("container_fs_inodes_total", "gauge", "Number of Inodes", _file_system(lambda _cgroup: FS_INODES)),
    (
        "container_fs_limit_bytes",
        "gauge",
        "Number of bytes that can be consumed by the container on this filesystem.",
        _file_system(lambda _cgroup: FS_CAPACITY),
    ),
    (
        "container_fs_reads_bytes_total",
        "counter",
        "Cumulative count of bytes read",
        _device(lambda cgroup: cgroup.read),
    ),
    (
        "container_fs_usage_bytes",
        "gauge",
        "Number of bytes that are consumed by the container on this filesystem.",
        _device(lambda cgroup: cgroup.fs_used),
    ),
    (
        "container_fs_writes_bytes_total",
        "counter",
        "Cumulative count of bytes written",
        _device(lambda cgroup: cgroup.written),
    ),
    (
        "container_memory_cache",
        "gauge",
        "Number of bytes of page cache memory.",
        _plain(lambda cgroup: cgroup.cache),
    ),
    (
        "container_memory_failures_total",
        "counter",
        "Cumulative count of memory allocation failures.",
        _failures,
    ),
    ("container_memory_rss", "gauge", "Size of RSS in bytes.", _plain(lambda cgroup: cgroup.rss)),
    (
        "container_memory_usage_bytes",
        "gauge",
        "Current memory usage in bytes, including all memory regardless of when it was accessed",
        _plain(lambda cgroup: cgroup.usage),
    ),
    (
        "container_memory_working_set_bytes",
        "gauge",
        "Current working set in bytes.",
        _plain(lambda cgroup: cgroup.working_set),
    ),
    (
        "container_network_receive_bytes_total",
        "counter",
        "Cumulative count of bytes received",
        _interface("rx"),
    ),
    (
        "container_network_receive_errors_total",
        "counter",
        "Cumulative count of errors encountered while receiving",
        _interface("rx_errors"),
    ),
    (
        "container_network_transmit_bytes_total",
        "counter",
        "Cumulative count of bytes transmitted",
        _interface("tx"),
    ),
    (
        "container_network_transmit_errors_total",
        "counter",
        "Cumulative count of errors encountered while transmitting",
        _interface(""),
    ),
    (
        "container_start_time_seconds",
        "gauge",
        "Start time of the container since unix epoch in seconds.",
        _plain(lambda cgroup: cgroup.started),
    ),
)
"""Name, type, help text and what a cgroup says, in the order of a recorded answer."""
