"""Many summaries at once, bytes to columns, by the C extension `_projection`. Pure; not for several threads.

Which field feeds which column is not written here either: the fields and their order come from `stats`, the columns
from METRICS (`summary` paths). This module lays the columns out and turns what comes back into a SampleGroup.

The projection refuses answers with anything unusual, and then `decode_summary` reads them. Where the extension was not
built, it reads them all (docs/decisions/0008).
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from msgspec import inspect
from numpy.typing import NDArray

from collector.core.metrics import FILESYSTEM, INDEX, METRICS, Clock, Kind
from collector.core.sample import ABSENT
from collector.core.samplegroup import Entities, Labels, Names, SampleGroup
from collector.sources.stats import Summary
from collector.sources.summary import SCRAPE_CLOCKS, SYSTEM_NAMES

try:
    from collector.sources import _projection as extension
except ImportError:  # no compiler when it was installed
    AVAILABLE = False
else:
    AVAILABLE = True

_NODE, _SYSTEM, _POD, _CONTAINER, _VOLUME = range(5)
"""The tables."""

_TIMES = {"startTime": Clock.START, "cpu.time": Clock.CPU, "memory.time": Clock.MEMORY, "network.time": Clock.NETWORK}
_CLOCKS = len(Clock)
_EPHEMERAL_USAGE = INDEX["ephemeral_storage/usage"]
_USED = FILESYSTEM.summary.index("usedBytes")


class _Layout:
    """The columns of one table: first the times, by Clock, then one that nobody reads, then the counts."""

    def __init__(
        self,
        kind: Kind | None,
        texts: Sequence[str],
        filesystems: Sequence[str] = (),
        tables: Mapping[str, int] | None = None,
        *,
        inherits: bool = False,
    ) -> None:
        self.texts = texts
        """JSON paths of the texts."""
        self.tables = tables or {}
        """JSON path of an array -> the table of its objects."""
        self.inherits = inherits
        self.counts: dict[str, int] = {}
        """JSON path -> column."""
        self.metrics = {
            m: self._column(metric.summary[kind])
            for m, metric in enumerate(METRICS)
            if kind is not None and kind in metric.summary
        }
        self.filesystems = [[self._column(f"{part}{name}") for name in FILESYSTEM.summary] for part in filesystems]

    def _column(self, path: str) -> int:
        return self.counts.setdefault(path, _CLOCKS + 1 + len(self.counts))

    @property
    def table(self) -> tuple[tuple[int, ...], int, bool]:
        """As the extension wants it."""
        return (0,) * _CLOCKS + (ABSENT,) * (1 + len(self.counts)), len(self.texts), self.inherits


_LAYOUTS: Final = (
    _Layout(Kind.NODE, ("nodeName",), ("fs.",), {"systemContainers": _SYSTEM}),
    _Layout(Kind.SYS_CONTAINER, ("name",), ("rootfs.", "logs."), inherits=True),
    _Layout(
        Kind.POD,
        ("podRef.namespace", "podRef.name", "podRef.uid"),
        tables={"containers": _CONTAINER, "volume": _VOLUME},
    ),
    _Layout(Kind.POD_CONTAINER, ("name",), ("rootfs.", "logs."), inherits=True),
    _Layout(None, ("name",), ("",)),
)


def _shape(struct: inspect.Type, layout: _Layout, prefix: str = "") -> tuple[Any, ...]:
    """The fields of `struct` as the extension wants them; each is read, with or without a column of its own."""
    assert isinstance(struct, inspect.StructType)
    fields: list[tuple[Any, ...]] = []
    for field in struct.fields:
        name, path = field.encode_name, prefix + field.encode_name
        kind, slot, inner = _read(field.type, path, layout)
        fields.append((name, kind, slot, inner, field.required))
    return tuple(fields)


def _read(wanted: inspect.Type, path: str, layout: _Layout) -> tuple[int, int, Any]:
    """Kind, slot and inner shape of one field."""
    match wanted:
        case inspect.UnionType():  # only `X | None` occurs
            return _read(wanted.types[0], path, layout)
        case inspect.IntType():
            return extension.INTEGER, layout.counts.get(path, _CLOCKS), None
        case inspect.StrType() if path in _TIMES:
            return extension.TIME, _TIMES[path], None
        case inspect.StrType():
            return extension.TEXT, layout.texts.index(path), None
        case inspect.StructType():
            return extension.OBJECT, 0, _shape(wanted, layout, f"{path}.")
        case inspect.ListType() if path in layout.tables:
            table = layout.tables[path]
            return extension.ROWS, table, _shape(wanted.item_type, _LAYOUTS[table])
        case _:
            return extension.NOTHING, 0, None


def _document() -> tuple[Any, ...]:
    """The shape of the whole answer: its row is the node's."""
    summary = inspect.type_info(Summary)
    assert isinstance(summary, inspect.StructType)
    fields = {field.encode_name: field.type for field in summary.fields}
    pods = _Layout(None, (), tables={"pods": _POD})
    return (
        ("node", extension.OBJECT, 0, _shape(fields["node"], _LAYOUTS[_NODE]), True),
        ("pods", *_read(fields["pods"], "pods", pods), False),
    )


_projection: Any = None


def _made() -> Any:
    global _projection  # noqa: PLW0603  made once, and only where it is used
    if _projection is None:
        tables = tuple(layout.table for layout in _LAYOUTS)
        _projection = extension.Projection(tables, _document(), secrets.token_bytes(16))
    return _projection


@dataclass(frozen=True, slots=True)
class _Table:
    """What came back for one table: columns (width, n), owners (n,), spans (n, texts, 2), identities (n, 2)."""

    values: NDArray[np.int64]
    owners: NDArray[np.int32]
    spans: NDArray[np.uint32]
    identities: NDArray[np.uint64]


def decode_together(bodies: Sequence[bytes | memoryview], read_at: int) -> tuple[SampleGroup, list[bool]]:
    """Kubelets' answers as one group, and which of them are in it; the others are for `decode_summary`.

    `read_at` is when they were read, ns since the epoch. Raises nothing of its own.
    """
    if not AVAILABLE:
        raise RuntimeError("the extension collector.sources._projection was not built: docs/decisions/0008")
    projection = _made()
    accepted = [projection.add(body) for body in bodies]
    text, taken = projection.take()
    return _group(
        text, [_table(layout, *found) for layout, found in zip(_LAYOUTS, taken, strict=True)], read_at
    ), accepted


def _table(layout: _Layout, values: bytearray, owners: bytearray, spans: bytearray, identities: bytearray) -> _Table:
    width = len(layout.table[0])
    return _Table(
        np.frombuffer(values, np.int64).reshape(width, -1),
        np.frombuffer(owners, np.int32),
        np.frombuffer(spans, np.uint32).reshape(-1, len(layout.texts), 2),
        np.frombuffer(identities, np.uint64).reshape(-1, 2),
    )


def _group(text: bytes, tables: Sequence[_Table], read_at: int) -> SampleGroup:
    node, system, pod, container, volume = tables
    everyone = np.arange(len(node.owners), dtype=np.int32)
    none = np.empty((0, 2), np.uint64)
    labels = [Labels(FILESYSTEM, Kind.NODE, everyone, "/", none, _nameless, _filesystem(_NODE, node, 0))]
    for kind, number, table in ((Kind.SYS_CONTAINER, _SYSTEM, system), (Kind.POD_CONTAINER, _CONTAINER, container)):
        owners = np.arange(len(table.owners), dtype=np.int32)
        for i, label in enumerate(("/", "logs")):
            labels.append(Labels(FILESYSTEM, kind, owners, label, none, _nameless, _filesystem(number, table, i)))
    volumes = _names(text, volume, _volume_label)
    labels.append(
        Labels(FILESYSTEM, Kind.POD, volume.owners, None, volume.identities, volumes, _filesystem(_VOLUME, volume, 0))
    )
    return SampleGroup(
        read_at,
        _entities(Kind.NODE, _NODE, node, everyone, _names(text, node)),
        _entities(Kind.SYS_CONTAINER, _SYSTEM, system, system.owners, _names(text, system, _system_name)),
        _entities(Kind.POD, _POD, pod, pod.owners, _names(text, pod)),
        _entities(Kind.POD_CONTAINER, _CONTAINER, container, container.owners, _names(text, container)),
        labels,
    )


def _entities(kind: Kind, number: int, table: _Table, owners: NDArray[np.int32], names: Names) -> Entities:
    layout = _LAYOUTS[number]
    times = table.values[:_CLOCKS]
    first, *others = SCRAPE_CLOCKS[kind]
    times[Clock.SCRAPE] = times[first]
    for clock in others:
        np.copyto(times[Clock.SCRAPE], times[clock], where=times[Clock.SCRAPE] == 0)
    metrics = list(layout.metrics)
    columns = [table.values[column] for column in layout.metrics.values()]
    if kind in {Kind.SYS_CONTAINER, Kind.POD_CONTAINER}:
        rootfs, logs = (table.values[columns_of[_USED]] for columns_of in layout.filesystems)
        # A sum above 2^63 wraps below zero and so is absent too.
        metrics.append(_EPHEMERAL_USAGE)
        columns.append(np.where((rootfs | logs) < 0, ABSENT, rootfs + logs))
    return Entities(kind, owners, table.identities, names, metrics, columns, times)


def _filesystem(number: int, table: _Table, i: int) -> NDArray[np.int64]:
    """The values of the table's i-th file system, (metrics, n)."""
    columns = _LAYOUTS[number].filesystems[i]
    first = columns[0]
    if columns == list(range(first, first + len(columns))):  # no copy
        return table.values[first : first + len(columns)]
    return table.values[columns]


def _names(text: bytes, table: _Table, meant: Any = lambda name: name) -> Names:
    def names(i: int) -> tuple[str, ...]:
        return tuple(meant(text[begin:end].decode()) for begin, end in table.spans[i].tolist())

    return names


def _nameless(_: int) -> tuple[str, ...]:
    raise LookupError("all of these have one label")


def _system_name(name: str) -> str:
    return SYSTEM_NAMES.get(name, name)


def _volume_label(name: str) -> str:
    return f"Volume:{name}"
