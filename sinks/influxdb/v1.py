"""InfluxDB 1.x: /write and /query through aiohttp.

Errors hide in many places here: in the status, in the JSON of a refusal, and inside a 200 (behaviour reference, 9.1 and
F6). All are read.
"""

import asyncio
import json
import logging
from collections.abc import Callable, Collection, Mapping
from typing import Any

import aiohttp

from collector import __version__
from collector.durations import format_duration
from collector.errors import ExportError, is_about_us
from sinks.influxdb import policy, types
from sinks.influxdb.layout import Place
from sinks.influxdb.options import InfluxdbOptions
from sinks.influxdb.wire import (
    ATTEMPTS,
    CONTENT_TYPE,
    Lines,
    compressed,
    is_forgotten,
    refusal,
    server_words,
    unreachable,
)

ANSWER_LIMIT = 1 << 20
"""Bytes read of any answer."""

_logger = logging.getLogger(__name__)


class WireV1:
    """Writes to one database; creates and verifies it and its retention policy before the first write."""

    def __init__(self, options: InfluxdbOptions, refused: Callable[[Collection[Place]], None] = lambda _: None) -> None:
        """`refused` is told the fields that the database has under another type, each time it has been looked at."""
        self._options = options
        self._refused = refused
        self._url = options.url
        self._session: aiohttp.ClientSession | None = None
        self._preparing = asyncio.Lock()
        self._authorization = ""
        """What the last request had."""
        self._target: Mapping[str, str] | None = None
        """Query parameters of a write, once database and policy are known to exist."""
        self._unmanaged = ""
        """Why databases and policies are not for us to look after, as told last."""

    async def write(self, body: bytes) -> None:
        """Deliver lines; if the server has lost the database or the policy since, make them again, once."""
        if self._options.gzip:
            body = await compressed(body)
        for attempt in range(ATTEMPTS):
            target = await self._prepared()
            status, text, retry_after = await self._ask("POST", "/write", target, body)
            if _is_taken(status, text):
                return
            words = server_words(text)
            if "database not found" not in words and "retention policy not found" not in words:
                break
            self._target = None
            if attempt == 0:
                _logger.warning("%s: %s; making it again", self._url, words)
        raise refusal(self._url, status, text, advice=_advice(status), retry_after=retry_after)

    async def probe(self) -> str:
        """An empty write: the server looks for the database and at the user's rights, and has nothing to keep."""
        options = self._options
        where = f"database {options.database!r}"
        status, text, retry_after = await self._ask("POST", "/write", {"db": options.database})
        if status in {200, 204}:
            return f"{self._url} takes writes to {where}"
        if status == 404 and "database not found" in server_words(text):
            # Who may see the users may make a database; of older servers without users that is everybody.
            seen, _, _ = await self._ask("GET", "/query", {"q": "SHOW USERS"})
            if seen == 200:
                return f"{self._url} answers; {where} is not there yet, the first write makes it"
        raise refusal(self._url, status, text, advice=_advice(status), retry_after=retry_after)

    @property
    def policy_name(self) -> str | None:
        """The retention policy written to; None, as long as nothing was written, for the database's default one."""
        return self._options.policy if self._target is None else self._target.get("rp")

    def is_changed(self) -> bool:
        """Whether the password file holds another password than the last request had. Blocking."""
        try:
            return self._options.authorization() != self._authorization
        except (OSError, ValueError):
            return False

    async def close(self) -> None:
        """Release the connections."""
        session, self._session, self._target = self._session, None, None
        if session is not None:
            await session.close()

    # Database and policy.

    async def _prepared(self) -> Mapping[str, str]:
        async with self._preparing:
            if self._target is None:
                self._target = await self._prepare()
            return self._target

    async def _prepare(self) -> Mapping[str, str]:
        options = self._options
        target = {"db": options.database, "consistency": "", "precision": ""}  # the empty ones are Heapster's
        try:
            name = await self._prepare_policy()
        except _UnmanagedError as error:
            # Writing may work all the same, into what somebody else has made.
            if str(error) != self._unmanaged:
                self._unmanaged = str(error)
                _logger.warning(
                    "%s: cannot look after database %r and its retention: %s", self._url, options.database, error
                )
            return target if options.policy is None else target | {"rp": options.policy}
        return target | {"rp": name}

    async def _prepare_policy(self) -> str:
        """The policy to write to, made and verified."""
        options = self._options
        found = await self._policies()
        if found is None:
            await self._change(policy.create_database(options.database, options.policy, options.retention_ns))
            found = await self._policies() or []
        wanted = policy.plan(options.database, found, options.policy, options.retention_ns)
        if wanted.statement is not None:
            await self._change(wanted.statement)
            found = await self._policies() or []
        kept = next((one for one in found if one.name == wanted.policy), None)
        if kept is None or options.retention_ns not in {None, kept.duration_ns}:
            raise ExportError(
                f"{self._url}: database {options.database!r} should keep points as asked in the retention policy "
                f"{wanted.policy!r}, but has {found}; make it by hand, or choose another one with the option rp"
            )
        _logger.info(
            "%s: writing to database %r, retention policy %r, which keeps points %s",
            self._url,
            options.database,
            kept.name,
            format_duration(kept.duration_ns) if kept.duration_ns else "for ever",
        )
        await self._compare_types(kept.name)
        return kept.name

    async def _compare_types(self, policy_name: str) -> None:
        """Say which of our fields this database has under another type, before it refuses them."""
        options, ours = self._options, self._options.layout.types()
        try:
            result = await self._query("GET", types.show(options.database, policy_name, ours))
        except (_StatementError, _UnmanagedError) as error:
            _logger.debug("%s: the types of fields cannot be compared: %s", self._url, error)
            return
        found = types.conflicts(result.get("series", ()), ours)
        self._refused([one.place for one in found])
        if found:
            _logger.warning("%s: %s", self._url, types.told(options.database, policy_name, found))

    async def _policies(self) -> list[policy.Policy] | None:
        """The database's policies; None when there is no such database."""
        try:
            result = await self._query("GET", policy.show(self._options.database))
        except _StatementError as error:
            if "database not found" in str(error):
                return None
            raise
        found = policy.read_policies(result.get("series", ()))
        if found is None:
            raise _UnmanagedError("this server has no retention policies")
        return found

    async def _change(self, statement: str) -> None:
        await self._query("POST", statement)
        _logger.info("%s: %s", self._url, statement)

    async def _query(self, method: str, statement: str) -> Mapping[str, Any]:
        """The first result of an InfluxQL statement. What it refuses is never said to be a fault of the points."""
        status, text, _ = await self._ask(method, "/query", {"q": statement})
        try:
            answer = json.loads(text)
            result = dict(answer if "error" in answer else answer["results"][0])
        except (ValueError, LookupError, TypeError, RecursionError):
            result = {"error": server_words(text) or "no InfluxQL result"}
        error = server_words(str(result.get("error", "")))
        if status == 403:
            raise _UnmanagedError(error)
        if error or status != 200:
            about_us = is_about_us(status)
            raise _StatementError(
                f"{self._url} answered {status} to {statement}: {error}{_advice(status)}",
                retryable=not about_us,
                status=status if about_us else None,
            )
        return result

    # HTTP.

    async def _ask(
        self, method: str, path: str, params: Mapping[str, str], body: bytes = b""
    ) -> tuple[int, bytes, str]:
        """Status, text and Retry-After of one request. Raises ExportError when there is no answer."""
        try:
            self._authorization = self._options.authorization()
        except (OSError, ValueError) as error:
            file = self._options.password_file
            raise ExportError(f"the password file {file} cannot be read: {type(error).__name__}") from error
        headers = {"Authorization": self._authorization}
        if body and self._options.gzip:
            headers["Content-Encoding"] = "gzip"
        for attempt in range(ATTEMPTS):
            try:
                async with self._opened().request(
                    method,
                    f"{self._url}{path}",
                    params=params,
                    data=Lines(body) if body else None,
                    headers=headers,
                    allow_redirects=False,
                ) as answer:
                    return answer.status, await _bounded(answer), answer.headers.get("Retry-After", "")
            except (aiohttp.ClientError, OSError) as error:  # TimeoutError is an OSError
                if attempt + 1 == ATTEMPTS or not is_forgotten(error):
                    raise unreachable(self._url, self._options.timeout_ns, error) from error
        raise AssertionError

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            options = self._options
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=options.concurrency, ssl=options.tls or True),
                timeout=aiohttp.ClientTimeout(total=options.timeout_ns / 1e9),
                headers={
                    "Content-Type": CONTENT_TYPE,
                    "User-Agent": f"heapster/{__version__}",
                },
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session


class _UnmanagedError(Exception):
    """Databases and policies of this server are not for us to look after."""


class _StatementError(ExportError):
    """The server did not run an InfluxQL statement."""


async def _bounded(answer: aiohttp.ClientResponse) -> bytes:
    """At most ANSWER_LIMIT bytes of the body."""
    text = b""
    async for piece in answer.content.iter_any():
        text += piece
        if len(text) >= ANSWER_LIMIT:
            break
    return text


def _is_taken(status: int, text: bytes) -> bool:
    """Whether a write was done: 204, or a 200 that tells no error. A 200 may be a page of a proxy, too."""
    if status != 200 or not text.strip():
        return status in {200, 204}
    try:
        return isinstance(json.loads(text), dict) and b'"error"' not in text
    except (ValueError, RecursionError):
        return False


def _advice(status: int) -> str:
    """What to turn when the server answers so."""
    return {
        401: " (check the options user and pw or pw_file)",
        403: " (grant the user WRITE on the database)",
        413: " (raise the server's max-body-size)",
    }.get(status, "")
