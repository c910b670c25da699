"""Cells to lines: the hot loop of the sink, in C (`_lines.c`) or, where that was not built, in Python.

    cpu,cluster_name=default,...,type=pod usage=9i,usage_rate=249i 1795393855000000000

`write_in_c` and `write_plainly` take the same and write the same bytes; the tests hold them against each other. Entity
by entity, series by series: the tags of the line before are what a compressor, and a server's cache, still remember.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from sinks.influxdb.text import float_text, float_texts

try:
    from sinks.influxdb import _lines as extension
except ImportError:  # no compiler when it was installed
    AVAILABLE = False
else:
    AVAILABLE = True


class Field(NamedTuple):
    """One metric of a series."""

    name: bytes
    """Escaped, with its equals sign."""
    column: int
    is_float: bool


class Series(NamedTuple):
    """A line of every entity that has at least one of its fields."""

    measurement: bytes
    """Escaped."""
    fields: tuple[Field, ...]


class Made(NamedTuple):
    """A block's lines in Python, one a position, empty where there is none; bytes of each, values omitted in each."""

    lines: list[bytes]
    lengths: NDArray[np.int64]
    omitted: NDArray[np.int64]


@dataclass(slots=True)
class Block:
    """Some rows of one table, and what to write of them."""

    series: tuple[Series, ...]
    tail: bytes
    """The end of each line: a space, the time, a line feed."""
    tags: list[bytes]
    """(n,) `,key=value,...` of each row."""
    rows: NDArray[np.int64]
    """(n,) rows of `cells` and `present`."""
    cells: NDArray[np.int64]
    """(metrics, rows); a float metric as the bits of float64."""
    present: NDArray[np.bool_]
    """(metrics or more, rows)."""
    places: NDArray[np.int32] | None = None
    """(n,) where in the tags those of `own` go; None: nowhere."""
    own: list[bytes] | None = None
    made: Made | None = None
    """What `write_plainly` has made of it, for the next chunk."""


class Written(NamedTuple):
    """How far it came."""

    at: int
    """Bytes of the buffer in use."""
    next: int
    """Where to go on: position n x series + s is series s of the block's n-th row."""
    lines: int
    omitted: int
    """Values that no line can hold: not finite."""


class Write(Protocol):
    """Writes whole lines of `block` from position `next` on into `out[at:]`: `most`, or as many as fit."""

    def __call__(self, block: Block, out: bytearray, at: int, next_: int, most: int) -> Written:
        """How far it came; short of the block's end when `out` is full or `most` are written."""
        ...


def write_in_c(block: Block, out: bytearray, at: int, next_: int, most: int) -> Written:
    """Write with the extension: some 15 ns a value and a copy of the tags."""
    return Written(
        *extension.write(
            block.series,
            block.tail,
            block.tags,
            block.rows,
            block.cells,
            block.present,
            block.places,
            block.own,
            out,
            at,
            next_,
            most,
            float_text,
        )
    )


def write_plainly(block: Block, out: bytearray, at: int, next_: int, most: int) -> Written:
    """Write in Python: the reference, some 0.5 µs a value."""
    made = block.made
    if made is None:
        made = block.made = _made(block)
    lines, lengths = made.lines[next_:], made.lengths[next_:]
    fitting = np.searchsorted(np.cumsum(lengths), len(out) - at, "right")
    # Up to and without the first line too many; what is empty behind the last one fits in any case.
    count = int(min(fitting, np.searchsorted(np.cumsum(lengths > 0), most, "right")))
    text = b"".join(lines[:count])
    out[at : at + len(text)] = text
    omitted = int(np.sum(made.omitted[next_ : next_ + count]))
    return Written(at + len(text), next_ + count, int(np.count_nonzero(lengths[:count])), omitted)


def _made(block: Block) -> Made:
    tags = block.tags
    if block.own is not None and block.places is not None:
        places = block.places.tolist()
        tags = [text[:place] + own + text[place:] for text, place, own in zip(tags, places, block.own, strict=True)]
    columns, omitted = zip(*(_lines(series, block, tags) for series in block.series), strict=True)
    lines = list(chain.from_iterable(zip(*columns, strict=True)))
    lengths = np.fromiter(map(len, lines), np.int64, len(lines))
    return Made(lines, lengths, np.column_stack(omitted).ravel())


def _lines(series: Series, block: Block, tags: Sequence[bytes]) -> tuple[list[bytes], NDArray[np.int64]]:
    """Each row's line, empty where it has no value, and how many values are left out."""
    omitted = np.zeros(block.rows.size, np.int64)
    every = [_texts(field, block, omitted) for field in series.fields]
    columns = [column for column in every if column is not None]
    if not columns:
        return [b""] * block.rows.size, omitted
    fields = columns[0] if len(columns) == 1 else map("".join, zip(*columns, strict=True))
    head, tail = series.measurement, block.tail
    return [
        b"%b%b %b%b" % (head, tag, text[1:].encode(), tail) if text else b""
        for tag, text in zip(tags, fields, strict=True)
    ], omitted


def _texts(field: Field, block: Block, omitted: NDArray[np.int64]) -> list[str] | None:
    """`,name=value` of each row, empty where it has none; those that no line can hold are added to `omitted`."""
    values: NDArray[Any] = block.cells[field.column][block.rows]
    there = block.present[field.column][block.rows]
    if not there.any():
        return None
    name, end = f",{field.name.decode()}", "i"
    if field.is_float:
        values, end = values.view(np.float64), ""
        finite = np.isfinite(values)
        omitted += there & ~finite
        there &= finite
    given = values[there].tolist()
    texts = [f"{name}{text}{end}" for text in (float_texts(given) if field.is_float else given)]
    if len(texts) == block.rows.size:
        return texts
    column = np.full(block.rows.size, "", object)
    column[there] = texts
    return column.tolist()


WRITE: Final[Write] = write_in_c if AVAILABLE else write_plainly
