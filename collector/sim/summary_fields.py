"""From samples to the fields of the summary's layout: which column each number and each time is taken from."""

from collector.sim.hashing import I64
from collector.sim.sample_columns import CLAIM_CAPACITY, FS_CAPACITY, FS_INODES, NodeSamples, PodSamples, Samples


def number_fields(samples: Samples) -> dict[str, I64]:
    """Every number field of the layout that is not a copy of another, by name."""
    container = samples.containers
    return {
        **_node_numbers(samples.nodes),
        **_pod_numbers(samples.pods),
        "container.cpu": container.cpu,
        "container.cpu_rate": container.cpu_rate,
        "container.available": container.available,
        "container.usage": container.usage,
        "container.working_set": container.working_set,
        "container.rss": container.rss,
        "container.page_faults": container.page_faults,
        "container.major_page_faults": container.major_page_faults,
        "container.rootfs_used": container.rootfs_used,
        "container.rootfs_inodes": container.rootfs_inodes,
        "container.logs_used": container.logs_used,
        "container.logs_inodes": container.logs_inodes,
    }


def _node_numbers(node: NodeSamples) -> dict[str, I64]:
    return {
        "node.cpu": node.cpu,
        "node.cpu_rate": node.cpu_rate,
        "node.available": node.available,
        "node.usage": node.usage,
        "node.working_set": node.working_set,
        "node.rss": node.rss,
        "node.page_faults": node.page_faults,
        "node.major_page_faults": node.major_page_faults,
        "node.rx": node.rx,
        "node.tx": node.tx,
        "node.rx_errors": node.rx_errors,
        "node.fs_available": FS_CAPACITY - node.fs_used,
        "node.fs_inodes_free": FS_INODES - node.inodes_used,
        "node.fs_used": node.fs_used,
        "node.fs_inodes": node.inodes_used,
        "node.image_used": node.image_fs_used,
        "node.image_inodes": node.inodes_used // 4,
        "node.processes": node.processes,
        "node.pods_available": node.pods_available,
        "system.cpu": node.system_cpu,
        "system.cpu_rate": node.system_cpu_rate,
        "system.usage": node.system_usage,
        "system.working_set": node.system_working_set,
        "system.rss": node.system_rss,
        "system.page_faults": node.system_page_faults,
    }


def _pod_numbers(pod: PodSamples) -> dict[str, I64]:
    return {
        "pod.cpu": pod.cpu,
        "pod.cpu_rate": pod.cpu_rate,
        "pod.available": pod.available,
        "pod.usage": pod.usage,
        "pod.working_set": pod.working_set,
        "pod.rss": pod.rss,
        "pod.rx": pod.rx,
        "pod.tx": pod.tx,
        "pod.storage_used": pod.storage_used,
        "pod.storage_inodes": pod.storage_inodes,
        "pod.claim_used": pod.claim_used,
        "pod.claim_available": CLAIM_CAPACITY - pod.claim_used,
        "pod.processes": pod.processes,
    }


def sampled_times(samples: Samples) -> list[tuple[I64, tuple[str, ...]]]:
    """The times of the samples, seconds since 1970, each with the fields that show it, as in TIMES_SAMPLED."""
    times = (
        samples.nodes.milliseconds,
        samples.nodes.system_milliseconds,
        samples.pods.milliseconds,
        samples.containers.milliseconds,
        samples.pods.network_milliseconds,
    )
    return [(milliseconds // 1000, names) for milliseconds, names in zip(times, _SHOWN, strict=True)]


_SHOWN = (
    (*(f"node.{name}_time" for name in ("cpu", "memory", "io", "swap")), "node.network_time", "node.fs_time"),
    *(
        tuple(f"{table}.{name}_time" for name in ("cpu", "memory", "io", "swap"))
        for table in ("system", "pod", "container")
    ),
    ("pod.network_time",),
)
TIMES_SAMPLED = tuple(name for names in _SHOWN for name in names)
"""Fields that show when something was sampled."""
TIMES_ASKED = (
    "node.image_time", "node.container_fs_time", "node.rlimit_time", "pod.storage_time", "pod.config_time",
    "pod.token_time", "pod.claim_time", "container.rootfs_time", "container.logs_time",
)  # fmt: skip
"""Fields that show the tick."""
COPIES = {
    "node.interface_rx": "node.rx",
    "node.interface_tx": "node.tx",
    "node.interface_rx_errors": "node.rx_errors",
    "node.image_available": "node.fs_available",
    "node.image_inodes_free": "node.fs_inodes_free",
    "node.container_fs_available": "node.fs_available",
    "node.container_fs_inodes_free": "node.fs_inodes_free",
    "node.container_fs_used": "node.image_used",
    "node.container_fs_inodes": "node.image_inodes",
    "pod.interface_rx": "pod.rx",
    "pod.interface_tx": "pod.tx",
    "pod.storage_available": "node.fs_available",
    "pod.storage_inodes_free": "node.fs_inodes_free",
    "pod.config_available": "node.fs_available",
    "pod.config_inodes_free": "node.fs_inodes_free",
    "container.rootfs_available": "node.fs_available",
    "container.rootfs_inodes_free": "node.fs_inodes_free",
    "container.logs_available": "node.fs_available",
    "container.logs_inodes_free": "node.fs_inodes_free",
}
"""Number fields that repeat another: its digits are copied to every cell."""
