"""How many series the schemas cost: the table in docs/sinks.md, measured on a simulated cluster."""

import re
from collections.abc import Mapping
from pathlib import Path

from collector.core.batch import DataBatch
from collector.core.entities import EntityTable
from collector.core.intake import Intake
from collector.core.metrics import Kind, MetricTable
from collector.kube.listers import NamespaceLister, NodeLister, PodLister
from collector.kube.objects import ContainerSpec, Pod
from collector.processors import build_pipeline, run_pipeline
from collector.processors.labels import LabelCopier
from collector.sim.config import SimConfig
from collector.sim.world import InventedWorld
from collector.sources.summary import decode_summary
from sinks.influxdb.encoder import LineEncoder
from sinks.influxdb.tags import Tagging
from tests.sinks.lines import parse

ORIGIN = 1_800_000_000
ENCODERS = {
    "heapster": LineEncoder,
    "fields": lambda: LineEncoder(with_fields=True),
    "lean": lambda: LineEncoder(with_fields=True, tagging=Tagging(lean=True), cluster_name=""),
}


class World:
    """100 pods of two containers on 5 nodes."""

    def __init__(self) -> None:
        self._world = InventedWorld(SimConfig(nodes=5, pods=20, containers=2, clock=lambda: float(ORIGIN)), ORIGIN)
        self._entities, self._metrics, self._pods = EntityTable(), MetricTable(), PodLister()
        self._pipeline = build_pipeline(self._pods, NamespaceLister(), NodeLister(), LabelCopier())

    def batch(self, minute: int, labels: Mapping[str, str]) -> DataBatch:
        """A finished batch, all pods of which have `labels`."""
        at = ORIGIN + 60 * minute
        batch = DataBatch(self._entities, self._metrics, at * 1_000_000_000)
        intake = Intake(batch)
        for node in range(5):
            intake.add(decode_summary(bytes(self._world.summary_at(node, float(at))), at * 1_000_000_000))
        intake.flush()
        self._pods.replace([self._pod(row, labels) for row in batch.rows_of(Kind.POD).tolist()])
        run_pipeline(self._pipeline, batch)
        return batch

    def _pod(self, row: int, labels: Mapping[str, str]) -> Pod:
        entities = self._entities
        namespace = entities.name[entities.parent[row]]
        containers = tuple(ContainerSpec(name, "example.com/image:1") for name in entities.children(row))
        return Pod(namespace, entities.name[row], entities.uid[row], labels=dict(labels), containers=containers)


def test_the_table_of_series_is_what_is_measured() -> None:
    world, encoders = World(), {name: make() for name, make in ENCODERS.items()}
    keys: dict[str, set[object]] = {name: set() for name in encoders}
    sizes: dict[str, list[int]] = {name: [] for name in encoders}
    for minute in range(4):
        batch = world.batch(minute, {"app": "web", "release": "one" if minute < 2 else "two"})
        for name, encoder in encoders.items():
            for chunk in encoder.encode(batch):
                keys[name].update(line.key for line in parse(chunk.body))
            if minute % 2:
                sizes[name].append(len(keys[name]))
    text = (Path(__file__).parents[2] / "docs" / "sinks.md").read_text("utf-8")
    rows = re.findall(r"^\| `(heapster|fields|lean)` .*\| ([\d,]+) \| ([\d,]+) \|$", text, re.MULTILINE)
    assert {name: [int(one.replace(",", "")), int(two.replace(",", ""))] for name, one, two in rows} == sizes
