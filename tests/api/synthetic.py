"""A made-up cluster of any size, put into columns directly: for measurements and for tests of long answers."""

import numpy as np

from collector.core.batch import DataBatch
from collector.core.entities import EntityTable
from collector.core.metrics import DISK, FILESYSTEM, FLOAT64, METRICS, Clock, Kind, MetricTable

LEVELS = {
    Kind.CLUSTER: ("cpu/usage_rate", "memory/usage", "cpu/request", "cpu/limit", "memory/request", "memory/limit"),
    Kind.NAMESPACE: ("cpu/usage_rate", "memory/usage", "cpu/request", "cpu/limit", "memory/request", "memory/limit"),
    Kind.NODE: tuple(m.name for m in METRICS if m.name not in {"restart_count", "cpu/load", "memory/cache"}),
    Kind.POD: tuple(m.name for m in METRICS if "/node_" not in m.name and m.name not in {"cpu/load", "memory/cache"}),
    Kind.POD_CONTAINER: tuple(
        m.name
        for m in METRICS
        if "/node_" not in m.name and not m.name.startswith("network") and m.name not in {"cpu/load", "memory/cache"}
    ),
    Kind.SYS_CONTAINER: ("uptime", "cpu/usage", "cpu/usage_rate", "memory/usage", "memory/rss", "memory/working_set"),
}
"""The columns that each kind has, as with the summary source."""


def cluster(nodes: int, pods: int, containers: int, namespaces: int = 10) -> EntityTable:
    """Entities of `nodes` x `pods` x `containers`."""
    entities = EntityTable()
    for n in range(nodes):
        node = entities.node_row(f"node-{n:04d}")
        for name in ("kubelet", "docker-daemon", "pods"):
            entities.child_row(Kind.SYS_CONTAINER, node, name, node)
        for p in range(pods):
            pod = entities.pod_row(f"team-{p % namespaces}", f"web-frontend-{n * 7919 % 65521:05x}-{p:03d}", node)
            for c in range(containers):
                entities.child_row(Kind.POD_CONTAINER, pod, f"nginx-{c}", node)
    return entities


def batch(entities: EntityTable, timestamp: int = 1_790_000_000 * 10**9, seed: int = 7) -> DataBatch:
    """A frozen batch of every entity, with two file systems for each container and a disk for each node."""
    random = np.random.default_rng(seed)
    made = DataBatch(entities, MetricTable(), timestamp)
    for kind, names in LEVELS.items():
        rows = np.flatnonzero(entities.kind[: entities.size] == kind)
        made.exists[rows] = True
        made.times[Clock.SCRAPE, rows] = timestamp
        for name in names:
            m = made.metrics.find(name)
            assert m is not None
            if METRICS[m].is_float:
                made.put(m, rows, random.random(rows.size).astype(FLOAT64) * 1e6)
            else:
                made.put(m, rows, random.integers(0, 10**11, rows.size) * (1000 if name == "cpu/usage" else 1))
    containers = np.flatnonzero(entities.kind[: entities.size] == Kind.POD_CONTAINER).astype(np.int32)
    for resource in ("/", "logs"):
        _labeled(made, FILESYSTEM.name, containers, (("resource_id", resource),), random)
    nodes = np.flatnonzero(entities.kind[: entities.size] == Kind.NODE).astype(np.int32)
    _labeled(made, DISK.name, nodes, (("resource_id", "sda"),), random, metrics=2)
    made.freeze()
    return made


def _labeled(made, group, rows, pairs, random, metrics=5):
    label = np.full(rows.size, made.entities.labels.intern(pairs), np.int32)
    made.labeled[group].append(rows, label, random.integers(0, 10**12, (metrics, rows.size)))
