"""InfluxHistory: the past in an InfluxDB 1.x database, computed there and asked by InfluxQL."""

import asyncio
import ssl
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from collector import __version__
from collector.core.metrics import Kind
from collector.errors import HistoryError
from collector.history.contracts import MAX_NAMES, MAX_POINTS, Aggregation, Bucket, EntityKey, Series
from collector.history.credentials import basic_authorization
from collector.history.influxanswer import CHUNK_ROWS, AnswerReader, Table, first_column
from collector.history.influxql import Schema
from collector.history.naming import NAMED_BY

QUERIES_AT_ONCE = 4

ANSWER_LIMIT = 64 << 20
"""Bytes read of one answer."""

STATEMENTS_AT_ONCE = 1_000
"""Statements of one request."""

NO_DATABASE = "database not found"

WORDS_LIMIT = 300

_ADVICE = {
    401: " (check the options user and pw or pw_file of the sink)",
    403: " (grant the user READ on the database)",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class InfluxServer:
    """Where to ask, and as whom."""

    url: str
    """Scheme, host, port and path, without a final slash and without credentials."""
    database: str
    user: str
    password: str = field(repr=False)
    password_file: Path | None = None
    """Holds the password instead; read again for every question."""
    tls: ssl.SSLContext | None = field(default=None, repr=False)
    timeout_s: float = 20.0
    """Limit of one request, connecting included."""


class InfluxHistory:
    """The History that the InfluxDB sink writes to `server`. The constructor opens nothing.

    `policy` tells the retention policy to read, None for the database's default one. `without_pod_ids`: see History.
    """

    def __init__(
        self,
        server: InfluxServer,
        schema: Schema,
        *,
        policy: Callable[[], str | None] = lambda: None,
        without_pod_ids: str = "",
    ) -> None:
        self.without_pod_ids = without_pod_ids
        self._server = server
        self._schema = schema
        self._policy = policy
        self._permits = asyncio.Semaphore(QUERIES_AT_ONCE)
        self._session: aiohttp.ClientSession | None = None

    async def stop(self) -> None:
        """See History."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def entities(
        self, kind: Kind, start: int, end: int, *, namespace: str = "", pod: str = "", node: str = ""
    ) -> list[EntityKey]:
        """See History."""
        found = [EntityKey(kind, namespace=namespace, pod=pod, node=node)]
        names = NAMED_BY[kind]
        # Whoever is named by what is given is asked for nevertheless: is there such a one?
        for name in [one for one in names if not getattr(found[0], one)] or names[-1:]:
            statements = [self._schema.tag_values(name, key, start, end) for key in found]
            tables = await self._ask(statements, MAX_NAMES)
            found = [
                _with(key, name, value)
                for key, table in zip(found, tables, strict=True)
                for value in sorted(set(first_column(table, "value")))
            ]
            if not found:
                return []
        # A filter is no name: keys given out have the names of their kind only.
        named = {EntityKey(kind, **{name: getattr(key, name) for name in names}) for key in found}
        return sorted(named) if names else await self._there(found[0])

    async def _there(self, key: EntityKey) -> list[EntityKey]:
        """`key`, whose kind has no names, if there is anything of it."""
        (table,) = await self._ask([self._schema.measurements(key)], MAX_NAMES)
        return [key] if table.rows else []

    async def metric_names(self, key: EntityKey, start: int, end: int) -> list[str]:
        """See History."""
        (table,) = await self._ask([self._schema.measurements(key)], MAX_NAMES)
        measurements = list(first_column(table, "name"))
        if not self._schema.with_fields or not measurements:
            return sorted(measurements)
        statements = [self._schema.last_fields(measurement, key, start, end) for measurement in measurements]
        names = set()
        for measurement, last in zip(measurements, await self._ask(statements, MAX_NAMES), strict=True):
            for row in last.rows:
                there = [column for column, value in zip(last.columns, row, strict=True) if value is not None]
                names |= {self._schema.metric(measurement, name[5:]) for name in there if name.startswith("last_")}
        return sorted(names)

    async def series(
        self, keys: Sequence[EntityKey], metric: str, start: int, end: int, labels: Mapping[str, str] | None = None
    ) -> list[Series]:
        """See History."""
        statements = [self._schema.points(key, metric, start, end, labels or {}, MAX_POINTS + 1) for key in keys]
        return [table.series() for table in await self._ask(statements, MAX_POINTS)]

    async def aggregate(
        self,
        keys: Sequence[EntityKey],
        metric: str,
        aggregations: Collection[Aggregation],
        start: int,
        end: int,
        *,
        bucket_ns: int = 0,
        labels: Mapping[str, str] | None = None,
    ) -> list[list[Bucket]]:
        """See History."""
        wanted = list(dict.fromkeys(aggregations))
        statements = [
            self._schema.aggregation(key, metric, wanted, start, end, labels or {}, bucket_ns, MAX_POINTS + 1)
            for key in keys
        ]
        return [_buckets(table, wanted) for table in await self._ask(statements, MAX_POINTS)]

    # HTTP.

    async def _ask(self, statements: Sequence[str], max_rows: int) -> list[Table]:
        """The answer to each statement. Raises HistoryError; a database that is not there yet holds nothing."""
        tables: list[Table] = []
        async with self._permits:
            for first in range(0, len(statements), STATEMENTS_AT_ONCE):
                some = statements[first : first + STATEMENTS_AT_ONCE]
                try:
                    left = max_rows - sum(len(table.rows) for table in tables)
                    try:
                        tables += await self._send(some, left)
                    except _ForgottenError:
                        tables += await self._send(some, left)
                except HistoryError as error:
                    if str(error).startswith(NO_DATABASE):
                        return [Table() for _ in statements]
                    raise HistoryError(f"history in {self._server.url}: {error}") from error
        return tables

    async def _send(self, statements: Sequence[str], max_rows: int) -> list[Table]:
        server = self._server
        form = {
            "q": "; ".join(statements),
            "db": server.database,
            "epoch": "ns",
            "chunked": "true",
            "chunk_size": str(CHUNK_ROWS),
        }
        if policy := self._policy():
            form["rp"] = policy
        reader = AnswerReader(len(statements), max_rows)
        try:
            headers = {"Authorization": basic_authorization(server.user, server.password, server.password_file)}
        except (OSError, ValueError) as error:
            raise HistoryError(
                f"the password file {server.password_file} cannot be read: {type(error).__name__}"
            ) from error
        try:
            async with self._opened().post(
                f"{server.url}/query", data=form, headers=headers, allow_redirects=False
            ) as answer:
                if answer.status != 200:
                    raise HistoryError(await _refusal(answer))
                size = 0
                async for piece in answer.content.iter_any():
                    size += len(piece)
                    if size > ANSWER_LIMIT:
                        raise HistoryError(
                            f"the answer is longer than {ANSWER_LIMIT >> 20} MiB; ask for a shorter range or fewer "
                            "entities"
                        )
                    reader.feed(piece)
        except TimeoutError:
            raise HistoryError(
                f"no answer within {server.timeout_s:g} s; ask for a shorter range or fewer entities, or raise the "
                "option timeout of the sink"
            ) from None
        except (aiohttp.ClientError, OSError) as error:
            broken = isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientOSError)
            kind = _ForgottenError if broken and not isinstance(error, aiohttp.ClientConnectorError) else HistoryError
            raise kind(f"cannot be reached: {str(error) or type(error).__name__}") from error
        reader.close()
        return reader.tables

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            server = self._server
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=QUERIES_AT_ONCE, ssl=server.tls or True),
                timeout=aiohttp.ClientTimeout(total=server.timeout_s),
                headers={"User-Agent": f"heapster/{__version__}"},
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session


class _ForgottenError(HistoryError):
    """A connection that was kept alive broke: maybe one that a restarted server has forgotten."""


async def _refusal(answer: aiohttp.ClientResponse) -> str:
    """What the server says instead of answering, on one line."""
    text = await answer.content.read(WORDS_LIMIT * 10)
    words = " ".join(AnswerReader.words(text).split())[:WORDS_LIMIT]
    return f"answered {answer.status}: {words or 'no reason given'}{_ADVICE.get(answer.status, '')}"


def _with(key: EntityKey, name: str, value: str) -> EntityKey:
    given = {one: getattr(key, one) for one in ("namespace", "pod", "container", "node")}
    return EntityKey(key.kind, **{**given, name: value})


def _buckets(table: Table, aggregations: Sequence[Aggregation]) -> list[Bucket]:
    """One bucket for each row: its time, then the aggregations in order."""
    return [
        Bucket(
            int(table.number(row[0])),
            {one: table.number(value) for one, value in zip(aggregations, row[1:], strict=True)},
        )
        for row in table.rows
    ]
