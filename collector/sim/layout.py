"""The one layout all answers of a cluster share: constant bytes, and the places where something varies.

The answer is indented like a kubelet's (one space a level). What varies is a slot of whole lanes (see digits.py),
aligned by spaces where JSON allows them, so that the slots of an answer are filled by one indexed assignment. A
tree of dicts, lists and the leaves below describes the answer; `build_layout` turns it into a `Layout`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from collector.sim.digits import LANE, TIME_LANES, Lanes


@dataclass(frozen=True)
class Number:
    """An integer of up to `4 * lanes` digits: cell `index` of `field`."""

    field: str
    index: int
    lanes: int


@dataclass(frozen=True)
class OptionalNumber:
    """A number whose key disappears with it; it must not be the last of its object."""

    field: str
    index: int
    lanes: int


@dataclass(frozen=True)
class Time:
    """An RFC 3339 time to the second."""

    field: str
    index: int


@dataclass(frozen=True)
class Text:
    """A string of up to `4 * lanes - 2` bytes; `last` tells that no comma follows."""

    field: str
    index: int
    lanes: int
    last: bool = False


@dataclass(frozen=True)
class Records:
    """A list whose items may be left out of an answer: `name` is how their extents are found again."""

    name: str
    items: tuple["Tree", ...]


Tree = dict[str, "Tree"] | list["Tree"] | str | int | Number | OptionalNumber | Time | Text | Records


@dataclass(frozen=True)
class Field:
    """A column of the answer: `positions` (cells, lanes) are lane numbers in the template, `kind` the leaf's class.

    `cells` (cells,) are the indexes that a leaf names, rising.
    """

    name: str
    kind: type
    cells: NDArray[np.int64]
    positions: NDArray[np.int64]
    key: bytes = b""
    """For an optional number: its key, as written."""


@dataclass(frozen=True)
class Layout:
    """`template` is a whole number of lanes: the answer's `size` bytes, and spaces up to the end of a lane.

    `extents[name]` (items, 2) holds where each record begins and ends, its comma included; the last record's comma
    is a space.
    """

    template: Lanes
    size: int
    fields: dict[str, Field]
    extents: dict[str, NDArray[np.int64]]


class _LayoutWriter:
    def __init__(self) -> None:
        self.text = bytearray()
        self.cells: dict[str, dict[int, list[int]]] = {}
        self.kinds: dict[str, type] = {}
        self.keys: dict[str, bytes] = {}
        self.extents: dict[str, list[tuple[int, int]]] = {}

    def write(self, tree: Tree, depth: int) -> None:
        if isinstance(tree, dict):
            self._write_dict(tree, depth)
        elif isinstance(tree, list):
            self._write_list(tree, depth)
        elif isinstance(tree, Records):
            self._write_records(tree, depth)
        elif isinstance(tree, str):
            self.text += b'"%b"' % tree.encode()
        elif isinstance(tree, int):
            self.text += b"%d" % tree
        elif isinstance(tree, Number):
            self.align(0)
            self._reserve(tree.field, tree.index, tree.lanes, Number)
        elif isinstance(tree, Time):
            self.align(1)
            self.text += b'"'
            self._reserve(tree.field, tree.index, TIME_LANES, Time)
            self.text += b'"'
        elif isinstance(tree, Text):
            self.align(1)
            self.text += b'"'
            self._reserve(tree.field, tree.index, tree.lanes, Text)
        else:
            raise TypeError(f"{tree!r} has no place of its own")

    def _write_dict(self, tree: dict[str, Tree], depth: int) -> None:
        self.text += b"{"
        remaining = len(tree)
        for key, child in tree.items():
            remaining -= 1
            self._newline(depth + 1)
            if isinstance(child, OptionalNumber):
                self._write_optional(key, child)
                continue
            self.text += b'"%b": ' % key.encode()
            self.write(child, depth + 1)
            if remaining and not isinstance(child, Text):
                self.text += b","
        self._newline(depth)
        self.text += b"}"

    def _write_optional(self, key: str, child: OptionalNumber) -> None:
        written = b'"%b":' % key.encode()
        written = written.ljust(-(-len(written) // LANE) * LANE)
        self.keys[child.field] = written
        self.align(0)
        name, index = child.field, child.index
        self._reserve(f"{name}?", index, len(written) // LANE, OptionalNumber)
        self._reserve(name, index, child.lanes, Number)
        self._reserve(f"{name}?", index, 1, OptionalNumber)

    def _write_list(self, tree: list[Tree], depth: int) -> None:
        self.text += b"["
        for place, child in enumerate(tree):
            self._newline(depth + 1)
            self.write(child, depth + 1)
            if place < len(tree) - 1:
                self.text += b","
        self._newline(depth)
        self.text += b"]"

    def _write_records(self, records: Records, depth: int) -> None:
        self.text += b"["
        extents = self.extents.setdefault(records.name, [])
        for place, item in enumerate(records.items):
            begin = len(self.text)
            self._newline(depth + 1)
            self.write(item, depth + 1)
            self.text += b"," if place < len(records.items) - 1 else b" "
            extents.append((begin, len(self.text)))
        self._newline(depth)
        self.text += b"]"

    def _newline(self, depth: int) -> None:
        self.text += b"\n" + b" " * depth

    def align(self, ahead: int) -> None:
        """Write spaces until the place `ahead` bytes on begins a lane."""
        self.text += b" " * (-(len(self.text) + ahead) % LANE)

    def _reserve(self, field: str, index: int, lanes: int, kind: type) -> None:
        first = len(self.text) // LANE
        self.kinds[field] = kind
        self.cells.setdefault(field, {}).setdefault(index, []).extend(range(first, first + lanes))
        self.text += b" " * (lanes * LANE)


def build_layout(tree: Tree) -> Layout:
    """Lay out `tree`."""
    writer = _LayoutWriter()
    writer.write(tree, 0)
    size = len(writer.text)
    writer.align(0)
    template = np.frombuffer(bytes(writer.text), dtype=np.uint32)
    fields = {}
    for name, positions in writer.cells.items():
        cells = sorted(positions)
        table = np.array([positions[index] for index in cells])
        fields[name] = Field(name, writer.kinds[name], np.array(cells), table, writer.keys.get(name.rstrip("?"), b""))
    extents = {name: np.array(pairs).reshape(-1, 2) for name, pairs in writer.extents.items()}
    return Layout(template, size, fields, extents)
