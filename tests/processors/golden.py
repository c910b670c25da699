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
from collector.sources.endpoints import SUMMARY, Decode, plan_of
from collector.sources.settings import SourceSettings
from tests.processors.rig import SECOND, Rig

GOLDEN = Path(__file__).parents[1] / "captures" / "golden"
NO_TIME = -6795364578871345152
"""Go's zero time in ns since the epoch, as Heapster's log sink prints it; absent times are 0 here."""

UPTIME_TOLERANCE_MS = 1_000
"""`uptime` counts up to the moment of decoding, which differed by milliseconds from recording to recording."""

SCRAPE_OFFSET = 5 * SECOND
"""Heapster asks the kubelets this long after the batch's time stamp."""


ANSWERS: dict[str, tuple[str, Decode]] = {
    "summary": ("summary", SUMMARY.decode),
    "kubelet": ("cadvisor", plan_of(SourceSettings.parse("kubernetes:", {})).first.decode),
}
"""Recorded source -> which of the recorded answers it read, and what reads it here."""


@dataclass(frozen=True)
class Step:
    """One step: what we made of the inputs, and what Heapster made of them."""

    number: int
    ours: dict[str, MetricSet]
    heapsters: dict[str, Any]
    """Key -> `labels`, `metrics`, `labeled`, `scrape_ns`, `create_ns`, as recorded."""


def replay(source: str = "summary") -> Iterator[Step]:
    """Every recorded step of `source` (`summary` or `kubelet`), in order."""
    recorded = json.loads(gzip.decompress((GOLDEN / source / "batches.json.gz").read_bytes()))
    timeline = json.loads((GOLDEN / source / "timeline.json").read_text())["timeline"]
    answer, decode = ANSWERS[source]
    rig = Rig()
    builders = {plural: Builder(Oddities(plural)) for plural in ("nodes", "pods", "namespaces")}
    for number, (moment, heapsters) in enumerate(zip(timeline, recorded, strict=True)):
        assert moment["step"] == heapsters["step"] == number
        timestamp = int(datetime.fromisoformat(moment["batch"]).timestamp()) * SECOND
        inputs = json.loads(gzip.decompress((GOLDEN / "inputs" / f"step-{number:02d}.json.gz").read_bytes()))
        _list(rig, builders, inputs)
        samples = [
            decode(answers[answer]["body"].encode(), rig.nodes.items[name], timestamp + SCRAPE_OFFSET)
            for name, answers in sorted(inputs["kubelets"].items())
            if answers[answer]["mode"] == "ok" and _is_asked(rig, name)
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


def differing(
    ours: MetricSet, recorded: dict[str, int | float]
) -> Iterator[tuple[str, int | float | None, int | float | None]]:
    """Name, our value and Heapster's, None where absent, of every metric that is not the same."""
    for name in sorted(ours.metrics.keys() | recorded.keys()):
        mine, heapsters = ours.metrics.get(name), recorded.get(name)
        if mine is None or heapsters is None or type(mine) is not type(heapsters):
            same = False
        elif name == "uptime":
            same = abs(mine - heapsters) <= UPTIME_TOLERANCE_MS
        elif isinstance(mine, float):
            same = f"{mine:.6f}" == f"{heapsters:.6f}"
        else:
            same = mine == heapsters
        if not same:
            yield name, mine, heapsters
