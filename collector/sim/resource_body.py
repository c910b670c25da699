"""The one body all answers of the light endpoint are written into, one after another.

Every line has its place, as long as the longest labels and numbers need; what shorter ones leave is NUL. An answer is
the body without its NULs, copied run by run.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from collector.sim.http import Sheet
from collector.sim.resource_families import END, FAMILIES, Family, Reading, Subject
from collector.sim.resource_numbers import (
    BYTES_LANES,
    NODE_SECONDS_LANES,
    SECONDS_LANES,
    START_LANES,
    ZERO_LANES,
)
from collector.sim.sample_columns import Bools

Text = NDArray[np.uint8]

LANES = {
    Reading.CPU: SECONDS_LANES,
    Reading.MEMORY: BYTES_LANES,
    Reading.SWAP: ZERO_LANES,
    Reading.START: START_LANES,
}
"""Of what follows the labels; CPU of the node needs more."""
_BYTES = np.dtype(np.uint32).itemsize


@dataclass(frozen=True)
class Extent:
    """How many lines a subject has, and how many bytes their labels have at most, braces and blank included."""

    lines: int
    labels: int


@dataclass(frozen=True)
class _Block:
    """A family's part of the body: views."""

    family: Family
    head: Text
    rows: Text
    """(lines, bytes)"""
    labels: Text
    """(lines, bytes)"""
    numbers: Text
    """(lines, bytes)"""


def lanes_of(family: Family) -> int:
    """How many lanes follow the labels."""
    node_seconds = family.subject is Subject.NODE and family.reading is Reading.CPU
    return NODE_SECONDS_LANES if node_seconds else LANES[family.reading]


class ResourceBody:
    """Bytes that change with every `write`: whoever keeps an answer copies it."""

    def __init__(self, extents: dict[Subject, Extent]) -> None:
        prefixes = [f"{each.name}{' ' if each.subject is Subject.NODE else '{'}".encode() for each in FAMILIES]
        widths = [
            len(prefix) + extents[each.subject].labels + lanes_of(each) * _BYTES
            for each, prefix in zip(FAMILIES, prefixes, strict=True)
        ]
        sizes = [
            len(each.head) + extents[each.subject].lines * width for each, width in zip(FAMILIES, widths, strict=True)
        ]
        self._text: Text = np.zeros(sum(sizes) + len(END), np.uint8)
        self._text[sum(sizes) :] = np.frombuffer(END.encode(), np.uint8)
        self._kept: Bools = np.empty(self._text.shape, np.bool_)
        self._sheet = Sheet(self._text.nbytes)
        self._blocks: list[_Block] = []
        begin = 0
        for family, prefix, width, size in zip(FAMILIES, prefixes, widths, sizes, strict=True):
            first, end = begin + len(family.head), begin + size
            rows = self._text[first:end].reshape(-1, width)
            numbers = width - lanes_of(family) * _BYTES
            self._text[begin:first] = np.frombuffer(family.head.encode(), np.uint8)
            rows[:, : len(prefix)] = np.frombuffer(prefix, np.uint8)
            head, labels = self._text[begin:first], rows[:, len(prefix) : numbers]
            self._blocks.append(_Block(family, head, rows, labels, rows[:, numbers:]))
            begin = end
        self._kept_blocks = [self._kept_of(block) for block in self._blocks]
        self._labelled = [block for block in self._blocks if block.family.subject is not Subject.NODE]

    def write(
        self,
        labels: dict[Subject, Text],
        numbers: list[Text],
        row: int,
        hidden: dict[Subject, Bools] | None = None,
    ) -> memoryview:
        """The answer of node `row`: its labels (n, lines, bytes), and numbers (n, lines, bytes) of each family.

        Lines that are `hidden` (lines,) are left out, and the head of a family without lines.
        """
        for block in self._labelled:
            block.labels[:] = labels[block.family.subject][row]
        for block, table in zip(self._blocks, numbers, strict=True):
            block.numbers[:] = table[row]
        np.not_equal(self._text, 0, out=self._kept)
        if hidden is not None:
            for block, (head, rows) in zip(self._blocks, self._kept_blocks, strict=True):
                gone = hidden.get(block.family.subject)
                if gone is not None:
                    rows[gone] = False
                    head[:] = not gone.all()
        text = self._text[self._kept]
        body = self._sheet.body(len(text))
        body[:] = text.data
        return body

    def _kept_of(self, block: _Block) -> tuple[Bools, Bools]:
        """Head and lines of the same family in the mask."""
        first, origin = (part.__array_interface__["data"][0] for part in (block.head, self._text))
        begin = first - origin
        end = begin + block.head.size
        return self._kept[begin:end], self._kept[end : end + block.rows.size].reshape(block.rows.shape)
