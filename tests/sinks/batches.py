"""Batches made by hand for the sinks' tests: every kind of entity, plain, labelled and dynamic metrics, odd names."""

from collections.abc import Mapping

import numpy as np

from collector.core.batch import DataBatch
from collector.core.entities import EntityTable
from collector.core.metrics import ACCELERATOR, FILESYSTEM, METRICS, Clock, MetricTable
from collector.core.visibility import HEAPSTERS, Visibility

TIMESTAMP = 1_700_000_040_000_000_000
MINUTE = 60_000_000_000

ODD_LABELS = 'a=b, c:d "e" \\f\\, g=,h é世界🙂'
ODD_RESOURCE = "Volume:odd, name=x"


def empty_batch(timestamp: int = TIMESTAMP) -> DataBatch:
    """A frozen batch that holds nothing but the cluster entity."""
    batch = DataBatch(EntityTable(), MetricTable(), timestamp)
    batch.freeze()
    return batch


class Cluster:
    """A few entities whose batches can be made for any time."""

    def __init__(self, pods: int = 3, labels: str = ODD_LABELS) -> None:
        self.entities, self.metrics = EntityTable(), MetricTable()
        entities = self.entities
        node = entities.node_row("node-a")
        entities.set_own_labels(node, {"hostname": "host-a", "host_id": "i-1", "labels": "role:x,zone:é"})
        namespace = entities.namespace_row("default")
        entities.set_own_labels(namespace, {"namespace_id": "ns-1"})
        self.nodes, self.namespaces = [node], [namespace]
        self.pods = entities.pod_rows(
            ["default"] * pods, [f"web-{i}" for i in range(pods)], [f"uid-{i}" for i in range(pods)], node
        )
        own: Mapping[str, str] = {"labels": labels, "team": "blue green"}
        for pod in self.pods:
            entities.set_own_labels(pod, own)
        self.containers = entities.container_rows(self.pods, [2] * pods, ["nginx", "log,agent"] * pods, node)
        for container in self.containers:
            entities.set_own_labels(container, {"container_base_image": "nginx:1.13"})
        self.custom = self.metrics.custom("queue length")
        self.gpus = self.metrics.resource_request("nvidia.com/gpu")

    def batch(self, timestamp: int = TIMESTAMP, seed: int = 0) -> DataBatch:
        """A frozen batch with a value in every column that some entity may have; all differ by `seed`."""
        random = np.random.default_rng(seed)
        batch = DataBatch(self.entities, self.metrics, timestamp)
        plain = np.array([*self.nodes, *self.pods, *self.containers], np.int32)
        rows = np.array([self.entities.cluster, *self.namespaces, *plain], np.int32)
        batch.exists[rows] = True
        batch.times[Clock.SCRAPE, plain] = timestamp - 3_000_000_000
        batch.times[Clock.START, plain] = timestamp - 3_600_000_000_000
        for m, metric in enumerate(METRICS):
            where = np.array(self.nodes) if "/node_" in metric.name else plain
            if metric.is_float:
                batch.put(m, where, random.random(where.size) * 10.0 ** random.integers(-3, 6))
            else:
                batch.put(m, where, random.integers(0, 2**40, where.size))
        memory = self.metrics.find("memory/usage")
        assert memory is not None
        batch.put(memory, rows[:2], np.array([2**62, 0]))
        assert self.custom is not None
        assert self.gpus is not None
        batch.put(self.custom, np.array(self.containers), np.full(len(self.containers), 0.5 + seed))
        batch.put(self.gpus, np.array(self.pods), np.full(len(self.pods), seed))
        resource = self.entities.labels.resource
        for owners, label in ((self.containers, "/"), (self.containers, "logs"), (self.pods, ODD_RESOURCE)):
            self._append(batch, FILESYSTEM.name, owners, resource(label), random)
        gpu = self.entities.labels.intern((("make", "nvidia"), ("model", "a 100"), ("accelerator_id", "GPU-0")))
        self._append(batch, ACCELERATOR.name, self.containers[:1], gpu, random)
        batch.freeze()
        return batch

    @staticmethod
    def _append(batch: DataBatch, group: str, owners: list[int], label: int, random: np.random.Generator) -> None:
        table = batch.labeled[group]
        values = random.integers(0, 2**40, (len(table.group.metrics), len(owners)))
        values[-1, 0] = -1  # absent
        table.append(np.array(owners, np.int32), np.full(len(owners), label, np.int32), values)


Point = tuple[str, tuple[tuple[str, str], ...]]


def expected_points(
    batch: DataBatch, cluster_name: str = "default", visibility: Visibility = HEAPSTERS
) -> dict[Point, int | float]:
    """What must arrive of a batch: (metric, tags) -> value, by the slow road over objects."""
    found: dict[Point, int | float] = {}
    dropped = {"namespace_id", "pod_id", "hostname", "host_id"}
    for entity in batch.metric_sets(visibility).values():
        values = [(name, {}, value) for name, value in entity.metrics.items()]
        values += [(one.name, one.labels, one.value) for one in entity.labeled]
        for name, own, value in values:
            tags = {**entity.labels, **own, "cluster_name": cluster_name}
            kept = tuple(sorted((k, v) for k, v in tags.items() if v and k not in dropped))
            assert (name, kept) not in found
            found[name, kept] = value
    return found
