"""Who owns which row, as lines that are only ever added."""

import contextlib
from collections.abc import Iterable, Iterator

import msgspec
import numpy as np
from numpy.typing import NDArray

from collector.core.entities import NULL, EntityTable
from collector.core.metrics import Kind

ABOVE_FIRST = (Kind.CLUSTER, Kind.NODE, Kind.NAMESPACE, Kind.POD, Kind.SYS_CONTAINER, Kind.POD_CONTAINER)
"""Kinds, each behind those that its entities lie below or run on."""

MOST_ROWS = 1 << 24
"""A row beyond this is a damaged number: thirty times the largest cluster that Kubernetes allows."""


class Line(msgspec.Struct, array_like=True, frozen=True):
    """The owner of a row; `parent` and `node` are rows, -1 for none."""

    row: int
    kind: int
    parent: int
    node: int
    name: str
    uid: str
    own_labels: dict[str, str]
    source_labels: dict[str, str]
    invented: bool
    host_network: bool


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Line)


def encode(entities: EntityTable, rows: Iterable[int]) -> bytes:
    """The lines of `rows`."""
    return b"".join(_encoded(_line(entities, row)) for row in rows)


def _line(entities: EntityTable, row: int) -> Line:
    return Line(
        row,
        int(entities.kind[row]),
        int(entities.parent[row]),
        int(entities.node[row]),
        entities.name[row],
        entities.uid[row],
        dict(entities.own_labels(row)),
        dict(entities.source_labels(row)),
        bool(entities.invented[row]),
        bool(entities.host_network[row]),
    )


def _encoded(line: Line) -> bytes:
    try:
        return _encoder.encode(line) + b"\n"
    except UnicodeEncodeError:
        # Half of a surrogate pair: no name that Kubernetes allows. Its entity starts cold.
        return b""


def decode(lines: Iterable[bytes]) -> Iterator[Line]:
    """The owners that `lines` tell of; what is no line of ours tells of none."""
    for text in lines:
        with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError):
            line = _decoder.decode(text)
            if 0 <= line.row < MOST_ROWS:
                yield line


class Owners:
    """The rows of an earlier process, made rows of this one.

    `owners` is the last line of each old row. Creating them takes about 2 µs each: do it in pieces.
    """

    def __init__(self, owners: dict[int, Line], entities: EntityTable) -> None:
        self._entities = entities
        self._rows: NDArray[np.int32] = np.full(max(owners, default=-1) + 2, NULL, np.int32)
        by_kind: dict[int, list[Line]] = {}
        for line in owners.values():
            by_kind.setdefault(line.kind, []).append(line)
        self._waiting = [line for kind in ABOVE_FIRST for line in by_kind.get(kind, ())]
        self._waiting.reverse()

    def create(self, most: int) -> None:
        """Create `most` of those that are left."""
        entities, made = self._entities, []
        for _ in range(min(most, len(self._waiting))):
            line = self._waiting.pop()
            row = self._rows[line.row] = self._create(line)
            if row != NULL:
                made.append((row, line))
        rows = [row for row, _ in made]
        entities.set_many_own_labels(rows, [line.own_labels for _, line in made])
        entities.set_source_labels(rows, [line.source_labels for _, line in made])
        for row, line in made:
            entities.uid[row] = line.uid
            entities.invented[row] = line.invented
            entities.host_network[row] = line.host_network

    def of(self, rows: NDArray[np.int32]) -> NDArray[np.int32]:
        """The rows in this process of `rows` in the earlier one, NULL for those whose owner is not known."""
        last = self._rows.size - 1  # NULL's
        return self._rows[np.where((rows >= 0) & (rows < last), rows, last)]

    def _create(self, line: Line) -> int:
        entities, kind = self._entities, Kind(line.kind)
        if kind is Kind.CLUSTER:
            return entities.cluster
        if kind is Kind.NODE:
            return entities.node_row(line.name)
        if kind is Kind.NAMESPACE:
            return entities.namespace_row(line.name)
        parent, node = self._row(line.parent), self._row(line.node)
        return NULL if parent == NULL else entities.child_row(kind, parent, line.name, node)

    def _row(self, old: int) -> int:
        return int(self._rows[old]) if 0 <= old < self._rows.size - 1 else NULL
