"""ParquetHistory: the embedded history, answered from its files by DuckDB."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from collector.core.metrics import GROUPS, INDEX, Kind
from collector.history.aggregate import aggregate
from collector.history.contracts import Aggregation, Bucket, EntityKey, Series
from collector.history.database import Database, Query, Rows
from collector.history.layout import LABEL_COLUMNS, METRICS_TABLE, TABLE_OF_LABELED

_COLUMNS = {
    "namespace": "namespace_name",
    "pod": "pod_name",
    "container": "container_name",
    "node": "nodename",
    "pod_id": "pod_id",
}
"""Field of EntityKey -> column."""

_NAMED_BY: Mapping[Kind, tuple[str, ...]] = {
    Kind.CLUSTER: (),
    Kind.NODE: ("node",),
    Kind.NAMESPACE: ("namespace",),
    Kind.POD: ("namespace", "pod"),
    Kind.POD_CONTAINER: ("namespace", "pod", "container"),
    Kind.SYS_CONTAINER: ("node", "container"),
}
"""The fields that name an entity of a kind."""

_METRICS_OF = {
    METRICS_TABLE: tuple(INDEX),
    **{group.name: tuple(metric.name for metric in group.metrics) for group in GROUPS},
}
"""Table -> its metric columns."""

_DYNAMIC = ("dynamic_int", "dynamic_float")


class ParquetHistory:
    """The History that the history sink writes below `directory`; it need not be there yet."""

    def __init__(
        self, directory: Path, *, memory_limit: str = "256MB", threads: int = 2, deadline_s: float = 30.0
    ) -> None:
        self._database = Database(directory, memory_limit=memory_limit, threads=threads, deadline_s=deadline_s)

    async def stop(self) -> None:
        """See History."""
        self._database.close()

    async def entities(
        self, kind: Kind, start: int, end: int, *, namespace: str = "", pod: str = "", node: str = ""
    ) -> list[EntityKey]:
        """See History."""
        fields = _NAMED_BY[kind]
        columns = ", ".join(["type", *(_COLUMNS[name] for name in fields)])
        conditions, parameters = _matching([EntityKey(kind, namespace=namespace, pod=pod, node=node)])
        query = Query(f"DISTINCT {columns}", conditions, parameters)
        rows = await self._database.rows(METRICS_TABLE, start, end, lambda _: query)
        return [] if rows is None else sorted(EntityKey(kind, **dict(names)) for names in _named(rows, fields))

    async def metric_names(self, key: EntityKey, start: int, end: int) -> list[str]:
        """See History."""
        names: set[str] = set()
        conditions, parameters = _matching([key])
        for table, metrics in _METRICS_OF.items():

            def counts(there: frozenset[str], metrics: tuple[str, ...] = metrics) -> Query:
                columns = [f"count({_quoted(name)}) AS {_quoted(name)}" for name in metrics if name in there]
                columns += [f"flatten(list(DISTINCT map_keys({name}))) AS {name}" for name in _DYNAMIC if name in there]
                return Query(", ".join(columns), conditions, parameters)

            rows = await self._database.rows(table, start, end, counts)
            for name, column in () if rows is None else rows.items():
                if name in _DYNAMIC:
                    lists: list[NDArray[Any]] = list(np.ma.asarray(column, dtype=object).compressed())
                    names.update(*(found.tolist() for found in lists))
                elif column[0]:
                    names.add(name)
        return sorted(names)

    async def series(
        self, keys: Sequence[EntityKey], metric: str, start: int, end: int, labels: Mapping[str, str] | None = None
    ) -> list[Series]:
        """See History."""
        if not keys:
            return []
        table = TABLE_OF_LABELED.get(metric, METRICS_TABLE)
        labels = labels or {}
        if not labels.keys() <= set(LABEL_COLUMNS.get(table, ())):
            return [Series.empty() for _ in keys]
        conditions, parameters = _matching(keys)
        conditions += tuple(f"{name} = $label_{name}" for name in labels)
        parameters |= {f"label_{name}": value for name, value in labels.items()}

        def points(there: frozenset[str]) -> Query | None:
            values = _values(metric, table, there)
            if values is None:
                return None
            identity = [] if len(keys) == 1 else list(_COLUMNS.values())
            columns = ["epoch_ns(time) AS tick", *(f"{text} AS {name}" for name, text in values.items()), *identity]
            found = " OR ".join(f"{text} IS NOT NULL" for text in values.values())
            return Query(
                ", ".join(columns),
                (*conditions, f"({found})"),
                {**parameters, **({"metric": metric} if _DYNAMIC[0] in values else {})},
                "ORDER BY tick",
            )

        rows = await self._database.rows(table, start, end, points)
        if rows is None:
            return [Series.empty() for _ in keys]
        whole = _series(rows)
        return [whole] if len(keys) == 1 else [_of(key, rows, whole) for key in keys]

    async def aggregate(
        self,
        keys: Sequence[EntityKey],
        metric: str,
        aggregations: Collection[Aggregation],
        start: int,
        end: int,
        *,
        bucket_ns: int = 0,
        labels: Mapping[str, str] | None = None,
    ) -> list[list[Bucket]]:
        """See History."""
        found = await self.series(keys, metric, start, end, labels)
        return [aggregate(series, aggregations, start, bucket_ns) for series in found]


def _matching(keys: Sequence[EntityKey]) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Conditions that hold for the rows of all `keys`, which are of one kind, and maybe for some others."""
    (kind,) = {key.kind for key in keys}
    conditions = ["type = $type"]
    parameters: dict[str, Any] = {"type": kind.label}
    for name, column in _COLUMNS.items():
        wanted = sorted({getattr(key, name) for key in keys})
        if len(wanted) == 1 and wanted[0]:
            conditions.append(f"{column} = ${name}")
            parameters[name] = wanted[0]
        elif all(wanted):
            conditions.append(f"list_contains(${name}, {column})")
            parameters[name] = wanted
    return tuple(conditions), parameters


def _values(metric: str, table: str, there: frozenset[str]) -> dict[str, str] | None:
    """What to select for the values of `metric`: name in the answer -> SQL; None when there is nothing to select."""
    if metric in _METRICS_OF[table]:
        return {"value": _quoted(metric)} if metric in there else None
    return {name: f"{name}[$metric]" for name in _DYNAMIC} if there.issuperset(_DYNAMIC) else None


def _quoted(metric: str) -> str:
    """A metric of the metric tables as a column name."""
    assert metric in INDEX or metric in TABLE_OF_LABELED
    return f'"{metric}"'


def _series(rows: Rows) -> Series:
    times = np.ma.getdata(rows["tick"]).astype(np.int64, copy=False)
    if "value" in rows:
        return Series(times, np.ma.getdata(rows["value"]))
    integers, floats = (np.ma.asarray(rows[name]) for name in _DYNAMIC)
    if floats.count() == 0:
        return Series(times, np.ma.getdata(integers))
    values = np.ma.filled(floats, 0.0)
    integer = ~np.ma.getmaskarray(integers)  # a metric is of one type; had it ever changed, no point is lost
    values[integer] = np.ma.getdata(integers)[integer]
    return Series(times, values)


def _of(key: EntityKey, rows: Rows, whole: Series) -> Series:
    """The points of one of several entities."""
    mine = np.ones(len(whole), np.bool_)
    for name, column in _COLUMNS.items():
        if wanted := getattr(key, name):
            mine &= _texts(rows[column]) == wanted
    return Series(whole.times[mine], whole.values[mine])


def _named(rows: Rows, fields: Sequence[str]) -> list[list[tuple[str, str]]]:
    """Field and name of every row, for EntityKey; a name that is null is empty."""
    names = [_texts(rows[_COLUMNS[name]]).tolist() for name in fields]
    return (
        [list(zip(fields, row, strict=True)) for row in zip(*names, strict=True)]
        if fields
        else [[]] * len(rows["type"])
    )


def _texts(column: NDArray[Any]) -> NDArray[np.object_]:
    """A text column, null as empty."""
    return np.ma.filled(np.ma.asarray(column, dtype=object), "")
