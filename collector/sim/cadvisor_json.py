"""Writes the answer to `POST /stats/container/` of an old kubelet: cAdvisor's JSON, from the same cgroups."""

from datetime import UTC, datetime
from typing import Any

import msgspec

from collector.sim.cgroups import DEVICE, MAJOR, MINOR, Cgroup
from collector.sim.sample_columns import FS_CAPACITY, FS_INODES

Json = dict[str, Any]


def answer(question: bytes, cgroups: list[Cgroup]) -> bytes | None:
    """The body for a request; None when the request is no question a kubelet understands.

    Every cgroup has one sample, its newest, whatever window was asked for: the kubelet keeps few.
    """
    try:
        asked = msgspec.json.decode(question)
    except msgspec.DecodeError:
        return None
    if not isinstance(asked, dict) or asked.get("containerName", "/") != "/":
        return None
    told = cgroups if asked.get("subcontainers") else cgroups[:1]
    return msgspec.json.encode({cgroup.path: _info(cgroup) for cgroup in told})


def _info(cgroup: Cgroup) -> Json:
    aliases = {"aliases": [cgroup.name, cgroup.path.rpartition("/")[2]], "namespace": "docker"} if cgroup.name else {}
    labels = {
        "io.kubernetes.container.name": cgroup.container,
        "io.kubernetes.pod.name": cgroup.pod,
        "io.kubernetes.pod.namespace": cgroup.namespace,
        "io.kubernetes.pod.uid": cgroup.uid,
    }
    spec: Json = {
        "creation_time": _time(cgroup.started * 1000),
        "has_cpu": True,
        "cpu": {"limit": 1024, "max_limit": 0, "mask": "0-3"},
        "has_memory": True,
        "memory": {"limit": 2**64 - 1, "swap_limit": 2**64 - 1},
        "has_network": bool(cgroup.interfaces),
        "has_filesystem": cgroup.fs_used >= 0,
        "has_diskio": True,
        "has_custom_metrics": False,
    }
    if cgroup.name:
        spec |= {"labels": labels, "image": cgroup.image}
    return {"name": cgroup.path, **aliases, "spec": spec, "stats": [_stats(cgroup)]}


def _stats(cgroup: Cgroup) -> Json:
    stats: Json = {
        "timestamp": _time(cgroup.milliseconds),
        "cpu": {
            "usage": {"total": cgroup.cpu, "per_cpu_usage": [cgroup.cpu], "user": cgroup.cpu, "system": 0},
            "cfs": {"periods": max(0, cgroup.periods), "throttled_periods": 0, "throttled_time": 0},
            "load_average": cgroup.load,
        },
        "diskio": _disk(cgroup),
        "memory": {
            "usage": cgroup.usage,
            "cache": cgroup.cache,
            "rss": cgroup.rss,
            "swap": 0,
            "working_set": cgroup.working_set,
            "failcnt": 0,
            "container_data": {"pgfault": cgroup.page_faults, "pgmajfault": cgroup.major_page_faults},
            "hierarchical_data": {"pgfault": cgroup.page_faults, "pgmajfault": cgroup.major_page_faults},
        },
        "network": _network(cgroup),
        "task_stats": {"nr_sleeping": 0, "nr_running": 0, "nr_stopped": 0, "nr_uninterruptible": 0, "nr_io_wait": 0},
    }
    if cgroup.fs_used >= 0:
        stats["filesystem"] = [
            {
                "device": f"{DEVICE}1",
                "type": "vfs",
                "capacity": FS_CAPACITY,
                "usage": cgroup.fs_used,
                "base_usage": 0,
                "available": FS_CAPACITY - cgroup.fs_used,
                "has_inodes": True,
                "inodes": FS_INODES,
                "inodes_free": cgroup.inodes_free,
            }
        ]
    return stats


def _disk(cgroup: Cgroup) -> Json:
    if cgroup.read < 0:
        return {}
    moved = {"Async": 0, "Read": cgroup.read, "Sync": 0, "Total": cgroup.read + cgroup.written, "Write": cgroup.written}
    return {"io_service_bytes": [{"device": DEVICE, "major": MAJOR, "minor": MINOR, "stats": moved}]}


def _network(cgroup: Cgroup) -> Json:
    interfaces = [
        {
            "name": interface.name,
            "rx_bytes": interface.rx,
            "rx_packets": 0,
            "rx_errors": interface.rx_errors,
            "rx_dropped": 0,
            "tx_bytes": interface.tx,
            "tx_packets": 0,
            "tx_errors": 0,
            "tx_dropped": 0,
        }
        for interface in cgroup.interfaces
    ]
    flat = interfaces[0] if interfaces else {"name": "", "rx_bytes": 0, "tx_bytes": 0}
    return {**flat, "interfaces": interfaces} if interfaces else flat


def _time(milliseconds: int) -> str:
    """RFC 3339 with what Go leaves of a fraction."""
    seconds, rest = divmod(milliseconds, 1000)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return (f"{text}.{rest:03d}".rstrip("0") if rest else text) + "Z"
