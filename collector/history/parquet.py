"""ParquetHistory: the embedded history, answered from its files by DuckDB."""

import asyncio
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from collector.core.metrics import GROUPS, INDEX, Kind
from collector.errors import HistoryError
from collector.history.aggregate import aggregate
from collector.history.contracts import MAX_NAMES, MAX_POINTS, Aggregation, Bucket, EntityKey, Series
from collector.history.database import Database, Query, Rows
from collector.history.layout import LABEL_COLUMNS, METRICS_TABLE, TABLE_OF_LABELED
from collector.history.naming import LABELS, NAMED_BY

_METRICS_OF = {
    METRICS_TABLE: tuple(INDEX),
    **{group.name: tuple(metric.name for metric in group.metrics) for group in GROUPS},
}
"""Table -> its metric columns."""

_DYNAMIC = ("dynamic_int", "dynamic_float")

MAX_AGGREGATED = 5_000_000
"""Most points one question aggregates: some 250 MB while it is answered."""


class ParquetHistory:
    """The History that the history sink writes below `directory`; it need not be there yet."""

    without_pod_ids = ""

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
        fields = NAMED_BY[kind]
        columns = ", ".join(["type", *(LABELS[name] for name in fields)])
        conditions, parameters = _matching([EntityKey(kind, namespace=namespace, pod=pod, node=node)])
        query = Query(f"DISTINCT {columns}", conditions, parameters, f"LIMIT {MAX_NAMES + 1}")
        rows = await self._database.rows(METRICS_TABLE, start, end, lambda _: query)
        if rows is not None and len(rows["type"]) > MAX_NAMES:
            raise HistoryError(f"the history holds more than {MAX_NAMES} entities of type {kind.label}")
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
        return await self._points(keys, metric, start, end, labels or {}, MAX_POINTS)

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
        found = await self._points(keys, metric, start, end, labels or {}, MAX_AGGREGATED)
        return await asyncio.to_thread(lambda: [aggregate(series, aggregations, start, bucket_ns) for series in found])

    async def _points(
        self, keys: Sequence[EntityKey], metric: str, start: int, end: int, labels: Mapping[str, str], limit: int
    ) -> list[Series]:
        table = TABLE_OF_LABELED.get(metric, METRICS_TABLE)
        if not keys or not labels.keys() <= set(LABEL_COLUMNS.get(table, ())):
            return [Series.empty() for _ in keys]
        fields = [name for name in LABELS if any(getattr(key, name) for key in keys)]
        conditions, parameters = _matching(keys)
        conditions += tuple(f"{name} = $label_{name}" for name in labels)
        parameters |= {f"label_{name}": value for name, value in labels.items()}

        def points(there: frozenset[str]) -> Query | None:
            values = _values(metric, table, there)
            if values is None:
                return None
            identity = ["type", *(LABELS[name] for name in fields)]
            lists = [
                f"list({what}) FILTER ({text} IS NOT NULL) AS {prefix}{name}"
                for name, text in values.items()
                for prefix, what in (("tick_", "epoch_ns(time)"), ("", text))
            ]
            found = " OR ".join(f"{text} IS NOT NULL" for text in values.values())
            return Query(
                ", ".join([*identity, *lists]),
                (*conditions, f"({found})"),
                {**parameters, **({"metric": metric} if _DYNAMIC[0] in values else {})},
                f"GROUP BY {', '.join(identity)}",
                limit + 1,
            )

        rows = await self._database.rows(table, start, end, points)
        found = [] if rows is None else _series(rows)
        if sum(map(len, found)) > limit:
            raise HistoryError(
                f"there are more than {limit} points of {metric} in that range; ask for a shorter one or for fewer "
                "entities"
            )
        return [Series.empty() for _ in keys] if rows is None else _of(keys, rows, fields, found)


def _matching(keys: Sequence[EntityKey]) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Conditions that hold for the rows of all `keys`, which are of one kind, and maybe for some others."""
    (kind,) = {key.kind for key in keys}
    conditions = ["type = $type"]
    parameters: dict[str, Any] = {"type": kind.label}
    for name, column in LABELS.items():
        wanted = sorted({getattr(key, name) for key in keys})
        if len(wanted) == 1 and wanted[0]:
            conditions.append(f"{column} = ${name}")
            parameters[name] = wanted[0]
        elif all(wanted):
            conditions.append(f"{column} IN (SELECT unnest(${name}))")
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


def _series(rows: Rows) -> list[Series]:
    """The points of every row, which is one entity."""
    if "value" in rows:
        pairs = zip(_lists(rows["tick_value"]), _lists(rows["value"]), strict=True)
        return [Series.ordered(ticks, values) for ticks, values in pairs]
    # A metric whose name only the cluster knows is of one type; had it ever changed, no point is lost.
    integers, floats = ([_lists(rows[f"{prefix}{name}"]) for prefix in ("tick_", "")] for name in _DYNAMIC)
    of_integers, of_floats = (map(Series, *lists) for lists in (integers, floats))
    return [_joined([part for part in parts if len(part)]) for parts in zip(of_integers, of_floats, strict=True)]


def _lists(column: NDArray[Any]) -> list[NDArray[Any]]:
    """A column of lists, null as empty."""
    absent = np.ma.getmaskarray(column).tolist()
    return [
        np.empty(0, np.int64) if is_absent else np.ma.getdata(one)
        for one, is_absent in zip(np.ma.getdata(column), absent, strict=True)
    ]


def _of(keys: Sequence[EntityKey], rows: Rows, fields: Sequence[str], found: Sequence[Series]) -> list[Series]:
    """The series of each of `keys`, out of those of all rows, which have the columns of `fields`."""
    names = [_texts(rows[LABELS[name]]).tolist() for name in fields]
    answers: dict[EntityKey, Series] = {}
    by_shape: dict[tuple[str, ...], dict[tuple[str, ...], list[Series]]] = {}
    for key in keys:
        shape = tuple(name for name in fields if getattr(key, name))
        if shape not in by_shape:
            owners = by_shape[shape] = defaultdict(list)
            for *own, series in zip(*(names[fields.index(name)] for name in shape), found, strict=True):
                owners[tuple(own)].append(series)
        mine = by_shape[shape].get(tuple(getattr(key, name) for name in shape), [])
        answers[key] = _joined(mine)
    return [answers[key] for key in keys]


def _joined(parts: Sequence[Series]) -> Series:
    if not parts:
        return Series.empty()
    times, values = (np.concatenate(arrays) for arrays in zip(*((one.times, one.values) for one in parts), strict=True))
    return Series.ordered(times, values)


def _named(rows: Rows, fields: Sequence[str]) -> list[list[tuple[str, str]]]:
    """Field and name of every row, for EntityKey; a name that is null is empty."""
    names = [_texts(rows[LABELS[name]]).tolist() for name in fields]
    return (
        [list(zip(fields, row, strict=True)) for row in zip(*names, strict=True)]
        if fields
        else [[]] * len(rows["type"])
    )


def _texts(column: NDArray[Any]) -> NDArray[np.object_]:
    """A text column, null as empty."""
    return np.ma.filled(np.ma.asarray(column, dtype=object), "")
