"""/api/v2/write of InfluxDB 1.8, 2.x and 3.x, and of VictoriaMetrics, through influxdb-client.

The lines are handed over as bytes: the client's Point objects would cost more than the rest of the pipeline together.
"""

import re
import ssl
from collections.abc import Mapping
from typing import Any

import aiohttp
from influxdb_client.client.influxdb_client_async import InfluxDBClientAsync
from influxdb_client.client.write_api_async import WriteApiAsync
from influxdb_client.rest import ApiException

from collector.errors import ExportError
from sinks.influxdb.options import InfluxdbOptions
from sinks.influxdb.wire import ATTEMPTS, Lines, compressed, is_forgotten, refusal, unreachable

_COMMENT = b"# is this written to?\n"


class _Session:
    """aiohttp's, of which influxdb-client uses this much; a body goes out as it is."""

    def __init__(self, **options: Any) -> None:
        self._session = aiohttp.ClientSession(**options)

    async def request(self, *, data: bytes | None = None, **request: Any) -> aiohttp.ClientResponse:
        """As that of aiohttp."""
        return await self._session.request(data=Lines(data) if data else None, **request)

    async def close(self) -> None:
        """As that of aiohttp."""
        await self._session.close()


class WireV2:
    """Writes to one bucket, which must exist."""

    def __init__(self, options: InfluxdbOptions) -> None:
        self._options = options
        self._client: InfluxDBClientAsync | None = None
        self._writer: WriteApiAsync | None = None
        self._token: str | None = None
        """The one in use; that of a file is read for every write, as it may be renewed at any time."""

    async def write(self, body: bytes) -> None:
        """Deliver lines."""
        options = self._options
        if options.gzip:
            body = await compressed(body)
        for attempt in range(ATTEMPTS):
            try:
                written = await self._opened().write(bucket=options.bucket, org=options.org, record=body)
            except ApiException as error:
                status = int(error.status or 0)
                headers: Mapping[str, str] = error.headers or {}
                raise refusal(
                    options.url,
                    status,
                    error.body or str(error.reason),
                    advice=_advice(status),
                    retry_after=headers.get("Retry-After", ""),
                ) from error
            except (aiohttp.ClientError, OSError) as error:  # TimeoutError is an OSError
                if attempt + 1 == ATTEMPTS or not is_forgotten(error):
                    raise unreachable(options.url, options.timeout_ns, error) from error
            else:
                if not written:
                    raise ExportError(f"{options.url} answered a write with neither 204 nor an error; is it InfluxDB?")
                return

    def is_changed(self) -> bool:
        """Whether the token file holds another token than the last write had. Blocking."""
        try:
            return _token(self._options) != self._token
        except ExportError:
            return False

    async def probe(self) -> str:
        """A write that is one comment: the server looks for the bucket and at the token, and has nothing to keep."""
        options = self._options
        try:
            await self.write(_COMMENT)
        except ExportError as error:
            # InfluxDB 2 wants a point in each write, and says so last of all.
            if error.status != 400 or re.search("org|bucket", str(error).removeprefix(options.url)):
                raise
        return f"{options.url} takes writes to bucket {options.bucket!r}"

    async def close(self) -> None:
        """Release the connections."""
        client, self._client, self._writer = self._client, None, None
        if client is not None:
            await client.close()  # type: ignore[no-untyped-call]  # the client is only partly typed

    def _opened(self) -> WriteApiAsync:
        options = self._options
        token = _token(options)
        if self._client is not None and token != self._token:
            # Not a new client: other writes may be under way.
            self._client.api_client.set_default_header("Authorization", f"Token {token}")  # type: ignore[no-untyped-call]
        self._token = token
        if self._writer is None:
            self._client = InfluxDBClientAsync(
                options.url,
                token=token,
                org=options.org,
                timeout=aiohttp.ClientTimeout(total=options.timeout_ns / 1e9),
                allow_redirects=False,
                connection_pool_maxsize=options.concurrency,
                # Without one the client loads the system's CAs even where nothing is verified.
                ssl_context=options.tls or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
                client_session_type=_Session,
                client_session_kwargs={"cookie_jar": aiohttp.DummyCookieJar()},
            )
            if options.gzip:
                # The client's own compression would hold up the event loop, so it gets compressed bytes.
                self._client.api_client.set_default_header("Content-Encoding", "gzip")  # type: ignore[no-untyped-call]
            self._writer = self._client.write_api()
        return self._writer


def _token(options: InfluxdbOptions) -> str:
    if options.token_file is None:
        return options.token
    try:
        return options.token_file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ExportError(f"the token file {options.token_file} cannot be read: {type(error).__name__}") from error


def _advice(status: int) -> str:
    """What to turn when the server answers so."""
    return {
        401: " (check the option token or token_file)",
        403: " (the token must allow writing to the bucket)",
        404: " (check the options org and bucket: the bucket must exist; InfluxDB before 1.8 needs api=v1)",
    }.get(status, "")
