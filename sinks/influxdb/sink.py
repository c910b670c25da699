"""The sink itself: encode, send, sum up."""

import asyncio
import logging
from collections.abc import Callable, Collection, Iterator
from typing import Self

from collector.core.batch import DataBatch
from collector.core.contracts import Cut
from collector.errors import ExportError
from collector.history.influxdb import InfluxHistory, InfluxServer
from collector.history.influxql import Schema
from collector.logs import WRITES
from sinks.base import SinkUri
from sinks.influxdb.encoder import Chunk, LineEncoder
from sinks.influxdb.layout import Place
from sinks.influxdb.options import DEFAULT_CLUSTER_NAME, InfluxdbOptions
from sinks.influxdb.preview import Planned, preview
from sinks.influxdb.v1 import WireV1
from sinks.influxdb.wire import Wire

_logger = logging.getLogger(__name__)
NO_POD_IDS = "the influxdb sink stores no pod ids; with its option store_pod_id=true it does from then on"


class InfluxdbSink:
    """Writes every value of every batch to one InfluxDB database or bucket.

    A write the server refuses does not keep the others back; one it does not answer ends the export.
    """

    name = "InfluxDB Sink"

    def __init__(self, options: InfluxdbOptions) -> None:
        self._options = options
        self.concurrency = options.concurrency
        self.max_points = options.max_points
        target = (options.database, options.policy or "") if options.api == "v1" else (options.org, options.bucket)
        self.identity = "influxdb " + " ".join((options.url, options.api, *target))
        """Names the spool: what another server, database or bucket is to have never lands in this one."""
        self._encoder = LineEncoder(
            cluster_name=options.cluster_name,
            with_fields=options.layout.with_fields,
            disable_counters=options.layout.disable_counters,
            visibility=options.layout.visibility,
            tagging=options.tagging,
            series_budget=options.series_budget,
            chunk_points=options.max_points,
        )
        self._wire = _wire(options, self._encoder.set_apart)

    @classmethod
    def from_uri(cls, uri: SinkUri) -> Self:
        """The sink `uri` describes. Raises UsageError; opens no connection."""
        return cls(InfluxdbOptions.from_uri(uri))

    def encode(self, batch: DataBatch) -> Iterator[Chunk]:
        """The batch as line protocol, one chunk a write: pure."""
        return self._encoder.encode(batch)

    def history(self) -> InfluxHistory | None:
        """The past in this database, over connections of its own; None with `api=v2`, which has no InfluxQL."""
        wire, options = self._wire, self._options
        if not isinstance(wire, WireV1):
            return None
        server = InfluxServer(
            url=options.url,
            database=options.database,
            user=options.user,
            password=options.password,
            password_file=options.password_file,
            tls=options.tls,
            timeout_s=options.timeout_ns / 1e9,
        )
        # Only where a name was chosen: what an older collector wrote may lack the tag or have the default one.
        cluster_name = "" if options.cluster_name == DEFAULT_CLUSTER_NAME else options.cluster_name
        return InfluxHistory(
            server,
            Schema(with_fields=options.layout.with_fields, cluster_name=cluster_name),
            policy=lambda: wire.policy_name,
            without_pod_ids="" if options.tagging.with_pod_id else NO_POD_IDS,
        )

    def preview(self, batch: DataBatch) -> list[Planned]:
        """What this sink, had it just been started, would write of a frozen batch and what it would cut."""
        return preview(batch, self._options)

    @property
    def cut(self) -> Cut:
        """What the series budget has left out so far."""
        return self._encoder.cut

    async def export(self, batch: DataBatch) -> None:
        """Write one frozen batch, at most `concurrency` chunks at the same time. Raises ExportError."""
        sending = _Sending(self._wire, self.encode(batch))
        async with asyncio.TaskGroup() as senders:
            for i in range(self.concurrency):
                senders.create_task(sending.run(), name=f"{self.name} sender {i}")
        sending.conclude()
        _logger.log(WRITES, "%s: %d points in %d writes", self.name, sending.points, sending.writes)

    async def send(self, body: bytes) -> None:
        """Write lines of a chunk, or all of them. Raises ExportError."""
        await self._wire.write(body)

    def is_changed(self) -> bool:
        """Whether the token file holds another token than the last write had. Blocking."""
        return self._wire.is_changed()

    async def probe(self) -> str:
        """Whether the server would take points, in words; writes none. Raises ExportError."""
        return await self._wire.probe()

    async def stop(self) -> None:
        """Release the connections."""
        await self._wire.close()


class _Sending:
    """One export: several senders take chunks from one encoder, each the next when it is free."""

    def __init__(self, wire: Wire, chunks: Iterator[Chunk]) -> None:
        self._wire = wire
        self._chunks = chunks
        self.writes = 0
        self.points = 0
        self._refused = 0
        self._refusal: ExportError | None = None
        self._failure: ExportError | None = None

    async def run(self) -> None:
        """Send until no chunk is left, or the server has failed any sender."""
        for chunk in self._chunks:
            self.writes += 1
            self.points += chunk.points
            try:
                await self._wire.write(chunk.body)
            except ExportError as error:
                if error.retryable:
                    self._failure = error
                else:
                    self._refused += 1
                    self._refusal = self._refusal or error
            if self._failure is not None:
                return

    def conclude(self) -> None:
        """Raise what went wrong, if anything did."""
        if self._failure is not None:
            raise self._failure
        if self._refusal is not None:
            raise ExportError(
                f"{self._refused} of {self.writes} writes were refused in whole or in part, the first one: "
                f"{self._refusal}",
                retryable=False,
            )


def _wire(options: InfluxdbOptions, refused: Callable[[Collection[Place]], None]) -> Wire:
    if options.api == "v1":
        return WireV1(options, refused)
    # influxdb-client takes a second to import: only for those who use it, and while starting, not on the loop.
    from sinks.influxdb.v2 import WireV2

    return WireV2(options)
