"""The recorded steps of a small cluster (tests/captures/golden) through decoder, listers and pipeline."""

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from collector.core.batch import MetricSet
from collector.core.visibility import HEAPSTERS
from collector.kube import wire
from collector.kube.build import Builder, Oddities
from collector.sources.summary import decode_summary
from tests.processors.rig import SECOND, Rig

GOLDEN = Path(__file__).parents[1] / "captures" / "golden"
SCRAPE_OFFSET = 5 * SECOND
"""Heapster asks the kubelets this long after the batch's time stamp."""


@dataclass(frozen=True)
class Step:
    """One step: what we made of the inputs, and what Heapster made of them."""

    number: int
    ours: dict[str, MetricSet]
    heapsters: dict[str, Any]
    """Key -> `labels`, `metrics`, `labeled`, `scrape_ns`, `create_ns`, as recorded."""


def replay() -> Iterator[Step]:
    """Every recorded step, in order."""
    recorded = json.loads(gzip.decompress((GOLDEN / "summary" / "batches.json.gz").read_bytes()))
    timeline = json.loads((GOLDEN / "summary" / "timeline.json").read_text())["timeline"]
    rig = Rig()
    builders = {plural: Builder(Oddities(plural)) for plural in ("nodes", "pods", "namespaces")}
    for number, (moment, heapsters) in enumerate(zip(timeline, recorded, strict=True)):
        assert moment["step"] == heapsters["step"] == number
        timestamp = int(datetime.fromisoformat(moment["batch"]).timestamp()) * SECOND
        inputs = json.loads(gzip.decompress((GOLDEN / "inputs" / f"step-{number:02d}.json.gz").read_bytes()))
        _list(rig, builders, inputs)
        samples = [
            decode_summary(answers["summary"]["body"].encode(), timestamp + SCRAPE_OFFSET)
            for name, answers in sorted(inputs["kubelets"].items())
            if answers["summary"]["mode"] == "ok" and _is_asked(rig, name)
        ]
        yield Step(number, rig.tick(samples, timestamp).metric_sets(HEAPSTERS), heapsters["sets"])


def _list(rig: Rig, builders: dict[str, Builder], inputs: dict[str, Any]) -> None:
    """The API objects of one step as three whole lists."""
    nodes, pods, namespaces = builders["nodes"], builders["pods"], builders["namespaces"]
    rig.nodes.replace([nodes.node(msgspec.convert(each, wire.NodeObject)) for each in inputs["nodes"]])
    rig.pods.replace([pods.pod(msgspec.convert(each, wire.PodObject)) for each in inputs["pods"]])
    rig.namespaces.replace(
        [namespaces.namespace(msgspec.convert(each, wire.NamespaceObject)) for each in inputs["namespaces"]]
    )


def _is_asked(rig: Rig, name: str) -> bool:
    node = rig.nodes.get(name)
    return node is not None and node.ready is not False
