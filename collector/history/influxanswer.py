"""What InfluxDB 1.x answers: a stream of JSON documents, each with some rows of some statement. Pure."""

from collections.abc import Iterator, Sequence
from typing import TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from collector.errors import HistoryError
from collector.history.contracts import Series

Value: TypeAlias = int | float | str | bool | None

CHUNK_ROWS = 5_000
"""Rows of one document, so that reading one takes milliseconds."""


class _Row(msgspec.Struct):
    name: str = ""
    columns: list[str] = []
    values: list[list[Value]] = []


class _Result(msgspec.Struct):
    statement_id: int = 0
    series: list[_Row] = []
    error: str = ""


class _Document(msgspec.Struct):
    results: list[_Result] = []
    error: str = ""


class Table:
    """The answer to one statement: the rows of all its series together."""

    __slots__ = ("columns", "measurement", "rows")

    def __init__(self) -> None:
        self.measurement = ""
        self.columns: Sequence[str] = ()
        self.rows: list[list[Value]] = []

    def series(self) -> Series:
        """The first two columns as times and values."""
        if not self.rows:
            return Series.empty()
        times = np.array([row[0] for row in self.rows], np.int64)
        return Series.ordered(times, _numbers([self.number(row[1]) for row in self.rows]))

    def number(self, value: Value) -> int | float:
        """`value`, which must be a number."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise HistoryError(f"Unable to parse values in series {self.measurement!r}: {value!r} is no number")
        return value


class AnswerReader:
    """Takes an answer in pieces as they come; `tables` holds one Table a statement."""

    def __init__(self, statements: int, max_rows: int) -> None:
        self.tables = [Table() for _ in range(statements)]
        self._max_rows = max_rows
        self._rows = 0
        self._begun: list[bytes] = []
        """Pieces of the document that is not complete yet."""

    def feed(self, piece: bytes) -> None:
        """Take a piece. Raises HistoryError for what the server says went wrong, and beyond `max_rows`."""
        *ends, rest = piece.split(b"\n")
        for end in ends:
            self._take(b"".join([*self._begun, end]))
            self._begun.clear()
        self._begun.append(rest)

    @staticmethod
    def words(text: bytes) -> str:
        """What a refusal says: its `error`, or whatever it is."""
        try:
            return msgspec.json.decode(text, type=_Document).error
        except (msgspec.DecodeError, UnicodeDecodeError):
            return text.decode("utf-8", "replace")

    def close(self) -> None:
        """The answer is complete."""
        self._take(b"".join(self._begun))
        self._begun.clear()

    def _take(self, text: bytes) -> None:
        if not text.strip():
            return
        try:
            document = msgspec.json.decode(text, type=_Document)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise HistoryError(f"the answer is no InfluxQL result: {error}") from error
        if document.error:
            raise HistoryError(document.error)
        for result in document.results:
            if result.error:
                raise HistoryError(result.error)
            self._add(result)

    def _add(self, result: _Result) -> None:
        if not 0 <= result.statement_id < len(self.tables):
            raise HistoryError(f"the answer is to statement {result.statement_id} of {len(self.tables)}")
        table = self.tables[result.statement_id]
        for row in result.series:
            table.measurement, table.columns = row.name, row.columns
            table.rows += row.values
            self._rows += len(row.values)
        if self._rows > self._max_rows:
            raise HistoryError(
                f"the answer has more than {self._max_rows} rows; ask for a shorter range, fewer entities or larger "
                "buckets"
            )


def _numbers(values: list[int | float]) -> NDArray[np.int64] | NDArray[np.float64]:
    """int64 when all are whole and fit."""
    if all(isinstance(value, int) and -(2**63) <= value < 2**63 for value in values):
        return np.array(values, np.int64)
    return np.array(values, np.float64)


def first_column(table: Table, name: str) -> Iterator[str]:
    """The texts of the column `name`."""
    place = table.columns.index(name) if name in table.columns else None
    if place is not None:
        yield from (text for row in table.rows if isinstance(text := row[place], str))
