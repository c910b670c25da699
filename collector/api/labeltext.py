"""Label text, kept from batch to batch and made again only where labels changed.

Texts are kept in pieces of 4,096 neighbouring numbers, so that making one again takes a few milliseconds at most.
450,000 entities take about 50 MB.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from collector.core.entities import NULL, EntityTable
from collector.core.metrics import Kind
from collector.core.slots import LabelTable

PIECE = 4096

Texts: TypeAlias = Any
"""A pyarrow StringArray; the stubs do not follow it through the string kernels."""

_SPECIAL = re.compile('[\\\\"\n\ud800-\udfff]')
_ESCAPES = {"\\": r"\\", '"': r"\"", "\n": r"\n"}


def label(name: str, value: str) -> str:
    """One label, its value escaped as the exposition formats ask."""
    return f'{name}="{escaped(value)}"'


def escaped(value: str) -> str:
    """A label value as it stands between quotes; what is no Unicode becomes U+FFFD."""
    if not _SPECIAL.search(value):
        return value
    return _SPECIAL.sub(lambda match: _ESCAPES.get(match[0], "\ufffd"), value)


@dataclass(slots=True)
class _Piece:
    versions: NDArray[np.int64]
    texts: Texts


class RowTexts:
    """The labels of each entity, with the brace before them and without the one behind: `{node="a"`.

    Of the cluster, which has none: nothing at all.
    """

    def __init__(self) -> None:
        self._pieces: dict[int, _Piece] = {}

    def take(self, entities: EntityTable, rows: NDArray[np.integer]) -> Texts:
        """The texts of `rows`, which lie in one piece."""
        number = int(rows[0]) // PIECE
        return self._piece(entities, number).take(pa.array(rows - number * PIECE))

    def _piece(self, entities: EntityTable, number: int) -> Texts:
        first = number * PIECE
        versions = entities.label_version[first : min(first + PIECE, entities.size)]
        piece = self._pieces.get(number)
        known = 0 if piece is None else len(piece.versions)
        if piece is not None and known == len(versions) and np.array_equal(versions, piece.versions):
            return piece.texts
        texts = ([] if piece is None else piece.texts.to_pylist()) + [""] * (len(versions) - known)
        changed = np.ones(len(versions), np.bool_)
        if piece is not None:
            changed[:known] = versions[:known] != piece.versions
        rows = np.flatnonzero(changed)
        for i, text in zip(rows.tolist(), entity_texts(entities, rows + first), strict=True):
            texts[i] = text
        piece = self._pieces[number] = _Piece(versions.copy(), pa.array(texts, pa.string()))
        return piece.texts


class GroupTexts:
    """The labels of the labelled values of one group, with what joins them to an entity's: `,device="sda"} `."""

    def __init__(self, rename: Callable[[str], str]) -> None:
        self._rename = rename
        self._pairs: list[tuple[tuple[str, str], ...] | None] = []
        self._texts: list[str] = []

    def refresh(self, table: LabelTable, numbers: NDArray[np.int32]) -> Iterator[None]:
        """Bring the texts of `numbers` up to date, in bites: each step of the iteration is one."""
        used = np.zeros(len(table.pairs), np.bool_)
        used[numbers] = True
        grown = len(table.pairs) - len(self._pairs)
        self._pairs += [None] * grown
        self._texts += [""] * grown
        for first in range(0, len(table.pairs), PIECE):
            for i in (np.flatnonzero(used[first : first + PIECE]) + first).tolist():
                pairs = table.pairs[i]
                if pairs is not self._pairs[i]:
                    self._pairs[i] = pairs
                    own = ",".join(label(self._rename(key), value) for key, value in pairs or ())
                    self._texts[i] = f",{own}}} " if own else "} "
            yield

    def take(self, numbers: NDArray[np.int32]) -> Texts:
        """The texts of label sets."""
        texts = self._texts
        return pa.array([texts[i] for i in numbers.tolist()], pa.string())


def entity_texts(entities: EntityTable, rows: NDArray[np.intp]) -> list[str]:
    """The texts of `rows`; the order of the labels is that of KIND_LABELS."""
    names = [entities.name[row] for row in rows.tolist()]
    if _SPECIAL.search("".join(names)):
        names = [escaped(name) for name in names]
    parents = entities.parent[rows]
    columns = (entities.kind[rows], parents, entities.parent[parents], entities.node[rows])
    of_row = _LabelOf(entities)
    texts = []
    for name, kind, parent, grandparent, node in zip(names, *(column.tolist() for column in columns), strict=True):
        if kind == Kind.POD_CONTAINER:
            texts.append(
                f'{{{of_row["namespace", grandparent]}{of_row["pod", parent]}container="{name}"{of_row["node", node]}'
            )
        elif kind == Kind.POD:
            texts.append(f'{{{of_row["namespace", parent]}pod="{name}"{of_row["node", node]}')
        elif kind == Kind.SYS_CONTAINER:
            texts.append(f'{{container="{name}"{of_row["node", node]}')
        elif kind in _SINGLE:
            texts.append(f'{{{_SINGLE[kind]}="{name}"')
        else:
            texts.append("")
    return texts


_SINGLE = {int(Kind.NODE): "node", int(Kind.NAMESPACE): "namespace"}


class _LabelOf(dict[tuple[str, int], str]):
    """(label name, row) -> the label as others carry it: with a comma behind it, a node's with one before it."""

    def __init__(self, entities: EntityTable) -> None:
        super().__init__()
        self._entities = entities

    def __missing__(self, key: tuple[str, int]) -> str:
        name, row = key
        if row == NULL:
            text = ""
        elif name == "node":
            text = "," + label(name, self._entities.name[row])
        else:
            text = label(name, self._entities.name[row]) + ","
        self[key] = text
        return text
