"""The hot functions on the way in: decode, fill, rate, aggregate. The library's way keeps an object per entity."""

import json
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, TypeAlias

from benchmarks.material import Material
from benchmarks.timing import Function
from collector.core.metrics import METRICS, Kind
from collector.processors import run_pipeline
from collector.processors.aggregate import ClusterAggregator, NamespaceAggregator, NodeAggregator, PodAggregator
from collector.processors.rate import RateCalculator
from collector.sources.summary import decode_summary

Sets: TypeAlias = dict[str, dict[str, Any]]
"""Key -> labels and metrics, as Heapster's MetricSets."""


def functions(material: Material) -> Iterator[Function]:
    """Each with the library's way behind it."""
    bodies = material.bodies(0)
    size = sum(map(len, bodies)) / 1e6
    on = f"{len(bodies)} summaries of {1000 * size / len(bodies):.0f} KB"

    def decode(_: object) -> None:
        for body in bodies:
            decode_summary(body, 1)

    def load(_: object) -> None:
        for body in bodies:
            json.loads(body)

    yield Function("decode_together", on, size, "MB", lambda _: material.groups_of(bodies, 1))
    yield Function("json.loads alone", on, size, "MB", load, beside="decode_together")
    yield Function("decode_summary", on, size, "MB", decode, beside="decode_together")
    samples = material.two_minutes[1]
    first = material.placed(material.two_minutes[0])
    entities = material.entities.count
    on = f"{entities:,} entities"
    decoded = [json.loads(body) for body in bodies]
    groups = material.groups(1)
    material.placed_groups(groups)  # rows are found by hashes from the second time on
    yield Function("Intake of groups", on, entities, "entities", lambda _: material.placed_groups(groups))
    yield Function("Intake", on, entities, "entities", lambda _: material.placed(samples), beside="Intake of groups")
    yield Function(
        "a dict per entity", on, entities, "entities", lambda _: [_sets(one) for one in decoded], beside="Intake"
    )

    def rated() -> tuple[RateCalculator, Any]:
        calculator = RateCalculator()
        calculator.process(first)
        return calculator, material.placed(samples)

    yield Function("RateCalculator", on, entities, "entities", lambda given: given[0].process(given[1]), rated)
    before, after = _merged(decoded), _merged([json.loads(body) for body in material.bodies(1)])
    yield Function("rates of dicts", on, entities, "entities", lambda _: _rates(before, after), beside="RateCalculator")
    aggregators = (PodAggregator(), NamespaceAggregator(), NodeAggregator(), ClusterAggregator())
    yield Function(
        "four aggregators",
        on,
        entities,
        "entities",
        lambda batch: [aggregator.process(batch) for aggregator in aggregators],
        lambda: material.placed(samples),
    )
    yield Function("sums of dicts", on, entities, "entities", lambda _: _sums(after), beside="four aggregators")
    yield Function(
        "all processors and freeze",
        on,
        entities,
        "entities",
        lambda batch: run_pipeline(material.pipeline, batch),
        lambda: material.placed(samples),
    )


_CUMULATIVE = {metric.name for metric in METRICS if metric.rate is not None}


def _sets(summary: dict[str, Any]) -> Sets:
    """What one answer says, an object per entity."""
    node = summary["node"]
    found = {f"node:{node['nodeName']}": _set({"type": Kind.NODE.label}, node)}
    for pod in summary["pods"]:
        ref = pod["podRef"]
        key = f"namespace:{ref['namespace']}/pod:{ref['name']}"
        labels = {"pod_name": ref["name"], "namespace_name": ref["namespace"], "nodename": node["nodeName"]}
        found[key] = _set({"type": Kind.POD.label, **labels}, pod)
        for container in pod["containers"]:
            own = {"type": Kind.POD_CONTAINER.label, "container_name": container["name"], **labels}
            found[f"{key}/container:{container['name']}"] = _set(own, container)
    return found


def _set(labels: dict[str, str], said: dict[str, Any]) -> dict[str, Any]:
    metrics: dict[str, int] = {}
    if cpu := said.get("cpu"):
        metrics["cpu/usage"] = cpu.get("usageCoreNanoSeconds", 0)
    if memory := said.get("memory"):
        metrics["memory/usage"] = memory.get("usageBytes", 0)
        metrics["memory/working_set"] = memory.get("workingSetBytes", 0)
        metrics["memory/rss"] = memory.get("rssBytes", 0)
        metrics["memory/page_faults"] = memory.get("pageFaults", 0)
        metrics["memory/major_page_faults"] = memory.get("majorPageFaults", 0)
    if network := said.get("network"):
        metrics["network/rx"] = network.get("rxBytes", 0)
        metrics["network/tx"] = network.get("txBytes", 0)
        metrics["network/rx_errors"] = network.get("rxErrors", 0)
        metrics["network/tx_errors"] = network.get("txErrors", 0)
    return {"labels": labels, "metrics": metrics, "time": said.get("startTime", "")}


def _merged(decoded: list[dict[str, Any]]) -> Sets:
    return {key: found for one in decoded for key, found in _sets(one).items()}


def _rates(before: Sets, after: Sets) -> None:
    for key, found in after.items():
        old = before.get(key)
        if old is None:
            continue
        metrics, earlier = found["metrics"], old["metrics"]
        for name in _CUMULATIVE & metrics.keys():
            if name in earlier and metrics[name] >= earlier[name]:
                metrics[f"{name}_rate"] = 1000 * (metrics[name] - earlier[name]) // 60_000_000_000


def _sums(found: Sets) -> Sets:
    into: Sets = defaultdict(lambda: {"labels": {}, "metrics": defaultdict(int)})
    for key, one in found.items():
        above = key.rpartition("/")[0] if one["labels"]["type"] == Kind.POD_CONTAINER.label else ""
        for target in (above, f"namespace:{one['labels'].get('namespace_name', '')}", "cluster") if above else ():
            sums = into[target]["metrics"]
            for name, value in one["metrics"].items():
                sums[name] += value
    return into
