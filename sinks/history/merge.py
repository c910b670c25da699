"""Writing Parquet, and making one file of many in bounded memory.

Every file is in the order of its sort columns, so files are merged as sorted runs: a few pieces of each are held, and
all rows up to the smallest last row of what is held can be put in order and written.
"""

import bisect
import contextlib
import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from sinks.history.arrow import NONE, ArrowArray, Codes, combined, text_ranks, trimmed
from sinks.history.columns import PIECE_ROWS
from sinks.history.schema import SCHEMAS, TICKS_KEY, VERSION, VERSION_KEY, sort_columns, writer_options

HOUR_ROWS = 8 * PIECE_ROWS
"""Rows of a row group of a whole hour: a query for one entity reads one of them, and its footer stays small."""

BUFFER_BYTES = 1 << 20

SortKey = tuple[tuple[bool, str] | int, ...]

UNREADABLE = (pa.ArrowException, OSError, ValueError, LookupError, TypeError, OverflowError, RecursionError)
"""What reading a damaged file may end with: its names, its types, its list of ticks may be anything."""


class StoppedError(Exception):
    """The merge was asked to stop; nothing is lost, its files are still there."""


def write_parquet(target: Any, schema: pa.Schema, groups: Iterable[pa.Table], ticks: Iterable[int]) -> None:
    """Write `groups`, one row group each, to the Arrow stream `target`."""
    with pq.ParquetWriter(target, schema, **writer_options(schema)) as writer:
        for group in groups:
            writer.write_table(group, row_group_size=len(group))
        writer.add_key_value_metadata({VERSION_KEY: VERSION, TICKS_KEY: json.dumps(sorted(ticks))})


def parquet_bytes(schema: pa.Schema, groups: Iterable[pa.Table], ticks: Iterable[int]) -> pa.Buffer:
    """The same as one buffer, for files as small as a tick."""
    stream = pa.BufferOutputStream()
    write_parquet(stream, schema, groups, ticks)
    return stream.getvalue()


def ticks_of(path: Path) -> set[int]:
    """The ticks a file holds, ns since the epoch, read from its footer."""
    return _ticks(pq.read_metadata(path))


def merge(
    table: str, paths: Sequence[Path], *, group_rows: int, stop: Callable[[], bool]
) -> Callable[[io.RawIOBase], None]:
    """What writes the union of these files of `table` to a file, in order, in row groups of `group_rows`.

    A row that is in two of them comes once. Raises OSError, pyarrow.ArrowException, and StoppedError once `stop()`.
    """

    def fill(file: io.RawIOBase) -> None:
        with contextlib.ExitStack() as opened:
            runs = [opened.enter_context(_Run(table, path)) for path in paths]
            schema = _schema(table, runs)
            ticks = set().union(*(run.ticks for run in runs))
            target = opened.enter_context(pa.BufferedOutputStream(pa.PythonFile(file, "w"), BUFFER_BYTES))
            write_parquet(target, schema, _groups(_ordered(table, runs, stop), schema, group_rows), ticks)
        pa.default_memory_pool().release_unused()

    return fill


def _ticks(metadata: pq.FileMetaData) -> set[int]:
    found = json.loads((metadata.metadata or {}).get(TICKS_KEY.encode(), b"[]"))
    if not all(type(tick) is int for tick in found):
        raise pa.ArrowInvalid("its list of ticks is none")
    return set(found)


def check(table: str, path: Path) -> None:
    """Read a file of `table` as a merge does. Raises one of UNREADABLE."""
    with _Run(table, path) as run:
        bound: SortKey | None = ()
        while bound is not None:
            bound = run.bound()
            for _ in run.take(bound):
                pass


class _Run:
    """One sorted file, read a piece at a time."""

    def __init__(self, table: str, path: Path) -> None:
        self._sort = (*sort_columns(table), "time")
        texts = [field.name for field in SCHEMAS[table] if pa.types.is_dictionary(field.type)]
        self._file = pq.ParquetFile(path, read_dictionary=texts, pre_buffer=False)
        self.schema = self._file.schema_arrow
        for field in SCHEMAS[table]:
            if field.name in self.schema.names and _stored(self.schema.field(field.name).type) != _stored(field.type):
                raise pa.ArrowInvalid(f"its column {field.name} is of another type")
        self.ticks = _ticks(self._file.metadata)
        self._unread = list(range(self._file.num_row_groups))
        self._held: list[pa.Table] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._held.clear()
        self._file.close()

    def bound(self) -> SortKey | None:
        """The last row held, after reading on where little is held; None when there is no more to read."""
        while self._unread and sum(map(len, self._held)) < PIECE_ROWS // 2:
            # Read as a whole: a damaged footer is an error here, while asked for by itself what it says of a column
            # is taken on trust, and ends the process.
            piece = self._file.read_row_group(self._unread.pop(0), use_threads=False)
            self._held.append(piece.select(self._filled(piece)))
        return self._key(self._held[-1], len(self._held[-1]) - 1) if self._unread else None

    def take(self, bound: SortKey | None) -> Iterator[pa.Table]:
        """The rows up to and with `bound`; all that is held for None."""
        while self._held:
            piece = self._held[0]
            if bound is not None and self._key(piece, len(piece) - 1) > bound:
                cut = bisect.bisect_right(range(len(piece)), bound, key=lambda at: self._key(piece, at))
                self._held[0] = piece.slice(cut)
                yield piece.slice(0, cut)
                return
            yield self._held.pop(0)

    def _key(self, piece: pa.Table, at: int) -> SortKey:
        *texts, time = (piece.column(name)[at] for name in self._sort)
        return (*((text.is_valid, text.as_py() or "") for text in texts), time.value)

    def _filled(self, piece: pa.Table) -> list[str]:
        """The columns that hold anything: most metrics belong to few kinds of entities."""
        return [name for name in piece.column_names if name in self._sort or piece[name].null_count < len(piece)]


def _stored(kind: pa.DataType) -> pa.DataType:
    """The type of what a column holds, in a dictionary or not."""
    return kind.value_type if isinstance(kind, pa.DictionaryType) else kind


def _schema(table: str, runs: Sequence[_Run]) -> pa.Schema:
    """The schema of `table`, and behind it columns that only another version of this program knows."""
    schema = SCHEMAS[table]
    for run in runs:
        for field in run.schema:
            if field.name not in schema.names:
                schema = schema.append(field)
    return schema


def _ordered(table: str, runs: Sequence[_Run], stop: Callable[[], bool]) -> Iterator[pa.Table]:
    """All rows in order, in tables of some rows of each run."""
    more = True
    while more:
        if stop():
            raise StoppedError
        bounds = [bound for run in runs if (bound := run.bound()) is not None]
        more = bool(bounds)
        yield _merged(table, [piece for run in runs for piece in run.take(min(bounds, default=None))])


def _merged(table: str, pieces: Sequence[pa.Table]) -> pa.Table:
    """The rows of `pieces` in one order. A function of its own, so that nothing it holds outlives it."""
    joined = _joined(pieces)
    key = _key(table, joined)
    order = np.argsort(key, kind="stable")  # quick: the rows are a few sorted runs
    in_order = key[order]
    return joined.take(pa.array(order[np.append(True, in_order[1:] != in_order[:-1])]))


def _joined(pieces: Sequence[pa.Table]) -> pa.Table:
    return pa.concat_tables(pieces, promote_options="default").unify_dictionaries().combine_chunks()


def _key(table: str, rows: pa.Table) -> NDArray[np.int64]:
    """One number for each row that orders as the sort columns and `time` do."""
    ranks = []
    for name in sort_columns(table):
        codes, words = _codes(rows.column(name))
        ranks.append(text_ranks(words)[codes])
    times = rows.column("time").cast(pa.int64()).to_numpy()
    return combined([*ranks, np.unique(times, return_inverse=True)[1]])


def _codes(column: ArrowArray) -> tuple[Codes, ArrowArray]:
    """The codes, NONE for null, and the words of a text column of one chunk."""
    array = column.chunk(0)
    return array.indices.fill_null(NONE).to_numpy(), array.dictionary


def _groups(tables: Iterator[pa.Table], schema: pa.Schema, rows: int) -> Iterator[pa.Table]:
    """The same rows as tables of `rows` rows (the last one may be shorter), with all columns of `schema`."""
    held: list[pa.Table] = []
    for table in tables:
        held.append(table)
        while sum(map(len, held)) >= rows:
            yield _conformed(_joined(_first(held, rows)), schema)
    if held:
        yield _conformed(_joined(held), schema)


def _first(held: list[pa.Table], rows: int) -> list[pa.Table]:
    """Take the first `rows` rows out of `held`."""
    taken = []
    while rows:
        table = held.pop(0)
        if len(table) > rows:
            held.insert(0, table.slice(rows))
        taken.append(table.slice(0, rows))
        rows -= len(taken[-1])
    return taken


def _conformed(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    columns = []
    for field in schema:
        if field.name not in rows.schema.names:
            columns.append(pa.nulls(len(rows), field.type))
        elif pa.types.is_dictionary(field.type):
            columns.append(trimmed(*_codes(rows.column(field.name))))
        else:
            columns.append(rows.column(field.name))
    return pa.Table.from_arrays(columns, schema=schema)
