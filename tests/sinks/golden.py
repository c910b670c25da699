"""Batches that the Go original made (tests/captures/golden), as DataBatches of ours, and what it sent to InfluxDB."""

import gzip
import json
from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from collector.core.batch import DataBatch
from collector.core.entities import NULL, EntityTable
from collector.core.metrics import GROUPS, Clock, Kind, LabeledGroup, MetricTable

GOLDEN = Path(__file__).parents[1] / "captures" / "golden"
NO_TIME = -6795364578871345152
SOURCES = ("summary", "kubelet")
DERIVED = {
    Kind.CLUSTER: ("type",),
    Kind.NODE: ("type", "nodename"),
    Kind.NAMESPACE: ("type", "namespace_name"),
    Kind.POD: ("type", "nodename", "hostname", "host_id", "pod_id", "pod_name", "namespace_name", "namespace_id"),
}
"""Labels of a kind that follow from names and parents; the rest are the entity's own."""


@cache
def recorded(source: str) -> list[dict[str, Any]]:
    """The recorded batches, by step: `step`, `timestamp`, `sets`."""
    found: list[dict[str, Any]] = json.loads(gzip.decompress((GOLDEN / source / "batches.json.gz").read_bytes()))
    return found


@cache
def written(source: str) -> list[list[str]]:
    """The lines of every write to InfluxDB, by step, sorted."""
    requests = [
        json.loads(line)
        for line in gzip.decompress((GOLDEN / source / "influx-wire.jsonl.gz").read_bytes()).splitlines()
    ]
    return [sorted(filter(None, one["body"].split("\n"))) for one in requests if one["path"] == "/write"]


@cache
def schema(source: str) -> dict[str, Any]:
    """What InfluxDB said of the recorded database: policies, and for each measurement field types, tags, series."""
    found: dict[str, Any] = json.loads(gzip.decompress((GOLDEN / source / "influx-schema.json.gz").read_bytes()))
    return found


def timestamp_of(step: Mapping[str, Any]) -> int:
    """The batch's time in ns."""
    return int(datetime.fromisoformat(step["timestamp"]).timestamp()) * 1_000_000_000


def build(step: Mapping[str, Any], entities: EntityTable, metrics: MetricTable) -> DataBatch:
    """The recorded batch as a frozen one of ours, with the same entities, labels and values."""
    batch = DataBatch(entities, metrics, timestamp_of(step))
    rows = {
        key: _place(entities, step["sets"], key) for key in sorted(step["sets"], key=lambda key: (key.count("/"), key))
    }
    batch.ensure_rows()
    labeled: defaultdict[str, defaultdict[tuple[int, int], dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    for key, row in rows.items():
        entity = step["sets"][key]
        batch.exists[row] = True
        batch.times[Clock.SCRAPE, row] = _time(entity["scrape_ns"])
        batch.times[Clock.START, row] = _time(entity["create_ns"])
        for name, value in entity["metrics"].items():
            m = metrics.find(name)
            assert m is not None, name
            batch.put(m, np.array([row]), np.array([value], metrics.descriptors[m].dtype))
        for one in entity["labeled"]:
            label = entities.labels.intern(tuple(one["labels"].items()))
            labeled[_group(one["name"]).name][row, label][one["name"]] = one["value"]
    for group in GROUPS:
        _append(batch, group, labeled[group.name])
    batch.freeze()
    return batch


def _append(batch: DataBatch, group: LabeledGroup, values: Mapping[tuple[int, int], Mapping[str, float]]) -> None:
    cells = np.full((len(group.metrics), len(values)), -1, np.int64)
    for k, named in enumerate(values.values()):
        for name, value in named.items():
            j = group.column(name)
            assert j is not None
            cells[j, k] = np.array([value], group.metrics[j].dtype).view(np.int64)[0]
    rows, labels = np.array([*values], np.int32).reshape(-1, 2).T
    batch.labeled[group.name].append(rows, labels, cells)


def _group(name: str) -> LabeledGroup:
    return next(group for group in GROUPS if group.column(name) is not None)


def _time(ns: int) -> int:
    return 0 if ns == NO_TIME else ns


def _place(entities: EntityTable, sets: Mapping[str, Any], key: str) -> int:
    """The row of the entity that Heapster calls `key`, its own labels set."""
    labels = sets[key]["labels"]
    names = [part.partition(":")[2] for part in key.split("/", 2)]
    node = entities.find_node(labels.get("nodename", ""))
    if key == "cluster":
        return entities.cluster
    if key.startswith("node:") and len(names) == 1:
        row, kind = entities.node_row(names[0]), Kind.NODE
    elif key.startswith("node:"):
        return entities.child_row(Kind.SYS_CONTAINER, node, names[1], node)
    elif len(names) == 1:
        row, kind = entities.namespace_row(names[0]), Kind.NAMESPACE
    elif len(names) == 2:
        row, kind = entities.pod_rows([names[0]], [names[1]], [labels["pod_id"]], node)[0], Kind.POD
        if node != NULL:
            entities.place(np.array([row], np.int32), np.array([node], np.int32))
    else:
        pod = entities.find_pod(names[0], names[1])
        row = entities.container_rows([pod], [1], [names[2]], node)[0]
        entities.place(np.array([row], np.int32), np.array([node], np.int32))
        from_pod = entities.label_set(pod) | {"container_name": names[2], "type": "pod_container"}
        entities.set_own_labels(row, {k: v for k, v in labels.items() if from_pod.get(k) != v})
        return row
    entities.set_own_labels(row, {k: v for k, v in labels.items() if k not in DERIVED[kind]})
    return row
