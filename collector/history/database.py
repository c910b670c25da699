"""DuckDB over the files of one history directory: bounded memory, threads and time, no network, no extensions."""

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
from numpy.typing import NDArray

from collector.errors import HistoryError
from collector.history import layout

QUERIES_AT_ONCE = 2

ATTEMPTS = 5
"""How often a query is tried whose files were merged into others, and removed, under its hands."""

INTERRUPT_EVERY_S = 0.05

Rows = Mapping[str, NDArray[Any]]
"""Column -> values."""


@dataclass(frozen=True, slots=True)
class Query:
    """`SELECT {columns} FROM the files WHERE {conditions} {tail}`.

    With a `limit` no more than so many rows of the files are taken, whichever.

    The texts are constants of this program; what comes from outside is in `parameters` (`$name` in the texts).
    """

    columns: str
    conditions: tuple[str, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    tail: str = ""
    limit: int = 0


class Database:
    """Answers queries over one table of the history, in threads. The constructor opens nothing."""

    def __init__(self, directory: Path, *, memory_limit: str, threads: int, deadline_s: float) -> None:
        self._directory = directory.absolute()
        self._memory_limit = memory_limit
        self._threads = threads
        self._deadline_s = deadline_s
        self._permits = asyncio.Semaphore(QUERIES_AT_ONCE)
        self._opening = threading.Lock()
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._newest: tuple[Path, frozenset[str]] | None = None

    async def rows(
        self, table: str, start: int, end: int, query: Callable[[frozenset[str]], Query | None]
    ) -> Rows | None:
        """The answer to a query over the ticks of `table` from `start` to `end`; None when it has no files for them.

        `query` is given the columns there are (older files may lack some; they read as null) and may decline with None.
        Raises HistoryError.
        """
        async with self._permits:
            running = _Running()
            work = asyncio.ensure_future(asyncio.to_thread(self._rows, running, table, start, end, query))
            try:
                async with asyncio.timeout(self._deadline_s):
                    return await asyncio.shield(work)
            except TimeoutError:
                raise HistoryError(
                    f"history in {self._directory}: a query of {table} took longer than {self._deadline_s:g} s and was "
                    "stopped; ask for a shorter range or fewer entities"
                ) from None
            finally:
                # A thread cannot be left behind. An interrupt that comes just before the query begins is lost on
                # DuckDB, so it is repeated until it has worked.
                while not work.done():
                    running.stop()
                    await asyncio.wait([work], timeout=INTERRUPT_EVERY_S)
                if not work.cancelled():
                    work.exception()

    def close(self) -> None:
        """Release the database's memory; queries under way fail."""
        with self._opening:
            connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _rows(
        self,
        running: "_Running",
        table: str,
        start: int,
        end: int,
        query: Callable[[frozenset[str]], Query | None],
    ) -> Rows | None:
        union = False
        for attempt in range(ATTEMPTS):
            # The newest first: the columns of the first file are those of the query.
            paths = layout.files(self._directory, table, start, end)[::-1]
            try:
                asked = query(self._columns(paths[0])) if paths else None
                return None if asked is None else self._run(running, paths, start, end, asked, union=union)
            except duckdb.Error as error:
                vanished = not all(path.exists() for path in paths)
                if (union and not vanished) or attempt == ATTEMPTS - 1 or running.stopped:
                    raise HistoryError(f"history in {self._directory}: {table} cannot be queried: {error}") from error
                union = union or not vanished
        raise AssertionError("the last attempt returns or raises")

    def _run(self, running: "_Running", paths: list[Path], start: int, end: int, query: Query, *, union: bool) -> Rows:
        """Run a query. `union` copes with files of older versions, which lack columns; it opens them all at once."""
        conditions = ("epoch_ns(time) BETWEEN $start AND $end", *query.conditions)
        source = f"FROM read_parquet($files, union_by_name = {union}) WHERE {' AND '.join(conditions)}"
        if query.limit:
            source = f"FROM (SELECT * {source} LIMIT {query.limit})"
        text = f"SELECT {query.columns} {source} {query.tail}"
        parameters = {"files": [_literal(path) for path in paths], "start": start, "end": end, **query.parameters}
        with running.cursor(self._open()) as cursor:
            found: Rows = cursor.execute(text, parameters).fetchnumpy()
        return found

    def _columns(self, path: Path) -> frozenset[str]:
        """The columns of a file; the newest has all there are, columns are only ever added."""
        if self._newest is None or self._newest[0] != path:
            with self._open().cursor() as cursor:
                cursor.execute("DESCRIBE SELECT * FROM read_parquet($files)", {"files": [_literal(path)]})
                self._newest = (path, frozenset(name for name, *_ in cursor.fetchall()))
        return self._newest[1]

    def _open(self) -> duckdb.DuckDBPyConnection:
        with self._opening:
            if self._connection is None:
                connection = duckdb.connect(
                    ":memory:",
                    config={
                        "threads": self._threads,
                        "memory_limit": self._memory_limit,
                        "temp_directory": "",
                        "autoinstall_known_extensions": False,
                        "autoload_known_extensions": False,
                        "allow_community_extensions": False,
                    },
                )
                allowed = [f"{self._directory}/", f"{_literal(self._directory)}/"]
                connection.execute("SET allowed_directories = $allowed", {"allowed": allowed})
                connection.execute("SET enable_external_access = false")
                connection.execute("SET lock_configuration = true")
                self._connection = connection
            return self._connection


class _Running:
    """One query under way, which another thread may stop."""

    def __init__(self) -> None:
        self.stopped = False
        self._lock = threading.Lock()
        self._cursor: duckdb.DuckDBPyConnection | None = None

    @contextmanager
    def cursor(self, connection: duckdb.DuckDBPyConnection) -> Iterator[duckdb.DuckDBPyConnection]:
        """A cursor to run the query with."""
        with connection.cursor() as cursor:
            with self._lock:
                if self.stopped:
                    raise duckdb.InterruptException("stopped before it began")
                self._cursor = cursor
            try:
                yield cursor
            finally:
                with self._lock:
                    self._cursor = None

    def stop(self) -> None:
        """Make the query fail, if it still runs."""
        with self._lock:
            self.stopped = True
            if self._cursor is not None:
                self._cursor.interrupt()


def _literal(path: Path) -> str:
    """A path for read_parquet, which would take some characters for patterns."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in str(path))
