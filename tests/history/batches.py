"""Batches from recorded kubelet answers, and the rows that must be read back of them, by the slow road over objects."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from collector.core.batch import DataBatch
from collector.core.entities import EntityTable
from collector.core.intake import Intake
from collector.core.metrics import ACCELERATOR, DISK, GROUPS, INDEX, METRICS, Kind, MetricTable
from collector.core.sample import NodeSample
from collector.sources.summary import decode_summary

CAPTURES = Path(__file__).parents[1] / "captures" / "summary"
SMALL = ("k8s-1.18-linux-metrics-server-2020.json",)
SEVERAL = (
    "k8s-1.16-windows-docker-eks-datadog-2020.json",
    "k8s-1.18-linux-baremetal-pvc-honeycomb-2020.json",
    "k8s-1.20-linux-docker-minikube-scalyr-2021.json",
    "k8s-1.26-linux-containerd-aks-ms-2023-scrape1.json",
)

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
START = 1_795_392_000 * SECOND  # 2026-11-23T00:00:00Z

LABELS = {
    "type",
    "namespace_name",
    "pod_name",
    "container_name",
    "nodename",
    "pod_id",
    "namespace_id",
    "hostname",
    "host_id",
    "labels",
    "container_base_image",
    "schedulable",
}
IDENTITY = ("type", "namespace_name", "pod_name", "container_name", "nodename", "pod_id")

Row = dict[str, Any]


@cache
def sample(name: str) -> NodeSample:
    return decode_summary((CAPTURES / name).read_bytes(), START)


class Fleet:
    """A cluster whose nodes answer as recorded; other columns, the kubelets' counters too, move with every tick."""

    def __init__(self, captures: Sequence[str] = SMALL) -> None:
        self.entities, self.metrics = EntityTable(), MetricTable()
        self._samples = [sample(name) for name in captures]
        self.ticks = 0

    def batch(self, timestamp: int) -> DataBatch:
        """A frozen batch: part of the columns of part of the entities is present, the values differ by tick."""
        self.ticks += 1
        random = np.random.default_rng(self.ticks)
        batch = DataBatch(self.entities, self.metrics, timestamp)
        intake = Intake(batch)
        for one in self._samples:
            intake.add(one)
        intake.flush()
        self._label()
        batch.ensure_rows()
        batch.exists[self.entities.cluster] = True
        batch.exists[list(self.entities.namespaces.values())] = True
        for m, metric in enumerate(METRICS):
            rows = np.flatnonzero(batch.exists[: batch.rows] & (random.random(batch.rows) < 0.7))
            rows = rows[~batch.presence(m)[rows]] if metric.summary else rows
            if metric.is_float:
                batch.put(m, rows, random.choice([0.0, -0.0, 0.1, 1e-300, 2.5e17, 3.0], rows.size))
            else:
                batch.put(m, rows, random.choice([0, 1, -1, 2**63 - 1, -(2**63), self.ticks], rows.size))
        usage = INDEX["cpu/usage"]
        rows = batch.rows_with(usage)
        batch.put(usage, rows, batch.column(usage)[rows] // 2 + self.ticks)
        self._put_dynamic(batch, random)
        self._put_labeled(batch, random)
        batch.freeze()
        return batch

    def _label(self) -> None:
        entities = self.entities
        for name, row in entities.nodes.items():
            entities.set_own_labels(row, {"hostname": f"host-{name}", "host_id": "", "labels": "a:b"})
        for row in entities.namespaces.values():
            entities.set_own_labels(row, {"namespace_id": f"id-{row}"})
            for pod in entities.children(row).values():
                if pod % 2:
                    entities.set_own_labels(pod, {"labels": "app:x,tier:y", "team": "blue", "app": f"app {pod % 4}"})

    def _put_dynamic(self, batch: DataBatch, random: np.random.Generator) -> None:
        for name, metric in (
            ("queries", self.metrics.custom("queries")),
            ("idle", self.metrics.custom("idle")),
            ("gpu", self.metrics.resource_request("nvidia.com/gpu")),
        ):
            assert metric is not None
            rows = batch.rows_of(Kind.POD)[:: 2 if name == "queries" else 3]
            if name == "gpu":
                batch.put(metric, rows, np.full(rows.size, 2**53 + 1))
            elif name == "queries":
                batch.put(metric, rows, random.random(rows.size))

    def _put_labeled(self, batch: DataBatch, random: np.random.Generator) -> None:
        labels = self.entities.labels
        rows = batch.rows_of(Kind.POD_CONTAINER).astype(np.int32)
        for device in ("8:0", "/dev/sda"):
            values = random.integers(-1, 2**62, (len(DISK.metrics), rows.size))
            batch.labeled[DISK.name].append(rows, np.full(rows.size, labels.resource(device), np.int32), values)
        for number in range(2):
            gpu = labels.intern((("make", "nvidia"), ("model", "tesla"), ("accelerator_id", f"GPU-{number}")))
            values = random.integers(-1, 100, (len(ACCELERATOR.metrics), 1))
            batch.labeled[ACCELERATOR.name].append(rows[:1], np.array([gpu], np.int32), values)


def expected_rows(batch: DataBatch) -> dict[str, list[Row]]:
    """Table -> the rows that must be read back of a batch; an absent value is no key of its row."""
    tables: dict[str, list[Row]] = {"metrics": [], **{group.name: [] for group in GROUPS}}
    group_of = {metric.name: group.name for group in GROUPS for metric in group.metrics}
    for entity in batch.metric_sets().values():
        known = {name: value for name, value in entity.metrics.items() if name in INDEX}
        further = {name: value for name, value in entity.metrics.items() if name not in INDEX}
        row: Row = {"time": batch.timestamp, **known}
        row |= {name: text for name, text in entity.labels.items() if name in LABELS}
        row |= _unless_empty("stored_labels", {n: text for n, text in entity.labels.items() if n not in LABELS})
        row |= _unless_empty("dynamic_int", {n: value for n, value in further.items() if isinstance(value, int)})
        row |= _unless_empty("dynamic_float", {n: value for n, value in further.items() if isinstance(value, float)})
        row |= {"start_time": entity.start_time} if entity.start_time else {}
        row |= {"scrape_time": entity.scrape_time} if entity.scrape_time else {}
        tables["metrics"].append(row)
        found: dict[tuple[str, str], Row] = {}
        for one in entity.labeled:
            labeled = found.setdefault((group_of[one.name], repr(one.labels)), {"time": batch.timestamp, **one.labels})
            labeled |= {name: row[name] for name in IDENTITY if name in row}
            labeled[one.name] = one.value
        for (table, _), labeled in found.items():
            tables[table].append(labeled)
    return {table: in_order(rows) for table, rows in tables.items()}


def _unless_empty(name: str, values: Mapping[str, object]) -> Row:
    return {name: values} if values else {}


def rows_by_arrow(paths: Sequence[Path]) -> list[Row]:
    """The rows of these files, read by pyarrow."""
    rows: list[Row] = []
    for path in paths:
        table = pq.read_table(path)
        for name in table.schema.names:
            if pa.types.is_timestamp(table.schema.field(name).type):
                at = table.schema.get_field_index(name)
                table = table.set_column(at, name, table.column(name).cast(pa.int64()))
        rows += [
            {
                name: dict(value) if isinstance(value, list) else value
                for name, value in row.items()
                if value is not None
            }
            for row in table.to_pylist()
        ]
    return in_order(rows)


def rows_by_duckdb(paths: Sequence[Path]) -> list[Row]:
    """The same read by DuckDB."""
    with duckdb.connect(":memory:") as connection:
        files = {"files": [str(path) for path in paths]}
        connection.execute("DESCRIBE SELECT * FROM read_parquet($files)", files)
        times = [name for name, kind, *_ in connection.fetchall() if "TIMESTAMP" in kind]
        replaced = ", ".join(f"epoch_ns({name}) AS {name}" for name in times)
        connection.execute(f"SELECT * REPLACE ({replaced}) FROM read_parquet($files)", files)
        names = [column[0] for column in connection.description or ()]
        found = [dict(zip(names, row, strict=True)) for row in connection.fetchall()]
    return in_order([{name: value for name, value in row.items() if value is not None} for row in found])


def in_order(rows: list[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: (row["time"], sorted((k, v) for k, v in row.items() if isinstance(v, str))))


def exactly(rows: list[Row]) -> list[dict[str, tuple[type, str]]]:
    """Rows whose values are equal only if their types are too, and -0.0 is not 0.0."""
    return [
        {
            name: (type(value), repr(sorted(value.items()) if isinstance(value, dict) else value))
            for name, value in row.items()
        }
        for row in rows
    ]


def files_of(directory: Path, table: str) -> list[Path]:
    return sorted((directory / table).glob("*.parquet"))


def ticks_in(directory: Path) -> list[int]:
    """The tick of every row of the cluster: repeats mean that a tick is there twice."""
    found: list[int] = []
    for path in files_of(directory, "metrics"):
        rows = pq.read_table(path, columns=["time", "type"], filters=[("type", "=", "cluster")])
        found += rows["time"].cast(pa.int64()).to_pylist()
    return sorted(found)


def row_counts(directory: Path) -> dict[str, Counter[int]]:
    """Table -> how many rows each tick has."""
    counts: dict[str, Counter[int]] = {}
    for table in ("metrics", *(group.name for group in GROUPS)):
        times = [pq.read_table(path, columns=["time"])["time"] for path in files_of(directory, table)]
        counts[table] = Counter(tick for column in times for tick in column.cast(pa.int64()).to_pylist())
    return counts


def expected_counts(batches: Iterable[DataBatch]) -> dict[str, Counter[int]]:
    """What row_counts must find of these batches."""
    counts: dict[str, Counter[int]] = {"metrics": Counter(), **{group.name: Counter() for group in GROUPS}}
    for batch in batches:
        counts["metrics"][batch.timestamp] = int(np.count_nonzero(batch.exists))
        for name, table in batch.labeled.items():
            counts[name] += Counter({batch.timestamp: len(table)})
    return counts
