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

from collector.api.families import KIND_LABELS
from collector.core.entities import FREE, NULL, EntityTable
from collector.core.metrics import Kind
from collector.core.slots import LabelTable

PIECE = 1024

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
        if piece is None:
            texts = [entity_text(entities, first + i) for i in range(len(versions))]
        elif len(versions) == len(piece.versions) and np.array_equal(versions, piece.versions):
            return piece.texts
        else:
            known = len(piece.versions)
            texts = piece.texts.to_pylist() + [""] * (len(versions) - known)
            changed = np.flatnonzero(versions[:known] != piece.versions).tolist()
            for i in (*changed, *range(known, len(versions))):
                texts[i] = entity_text(entities, first + i)
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


def entity_text(entities: EntityTable, row: int) -> str:
    """The text of one entity."""
    code = int(entities.kind[row])
    if code in {FREE, Kind.CLUSTER}:
        return ""
    kind, name = Kind(code), entities.name[row]
    values = {}
    node = int(entities.node[row])
    if node != NULL:
        values["node"] = entities.name[node]
    match kind:
        case Kind.NAMESPACE:
            values["namespace"] = name
        case Kind.SYS_CONTAINER:
            values["container"] = name
        case Kind.POD | Kind.POD_CONTAINER:
            pod = row if kind is Kind.POD else int(entities.parent[row])
            if kind is Kind.POD_CONTAINER:
                values["container"] = name
            values["pod"] = entities.name[pod]
            values["namespace"] = entities.name[int(entities.parent[pod])]
    return "{" + ",".join(label(key, values[key]) for key in KIND_LABELS[kind] if key in values)
