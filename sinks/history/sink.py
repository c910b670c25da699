"""HistorySink: the Sink contract on top of the Store. All work on files is done in threads."""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, Self, TypeVar

import pyarrow as pa

from collector.core.batch import DataBatch
from collector.errors import ExportError, StartError, UsageError
from collector.history.parquet import ParquetHistory
from sinks.base import SinkUri
from sinks.history.columns import tick_tables
from sinks.history.files import HOUR_NS, Disk
from sinks.history.merge import StoppedError
from sinks.history.names import EntityNames
from sinks.history.store import Store

SECOND_NS = 1_000_000_000
DEFAULT_RETENTION_S = 7 * 24 * 3600

SETTLE_TICKS = 5
"""An hour counts as open while one of the last ticks belonged to it: late and repeated ticks find it so."""

_logger = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")


class HistorySink:
    """The embedded history: every batch as Parquet below `directory`, kept for `retention_s` seconds.

    `max_bytes` bounds the directory: its oldest hours go before their time; 0 sets no bound.
    """

    name = "History Sink"

    def __init__(
        self,
        directory: Path,
        *,
        retention_s: int = DEFAULT_RETENTION_S,
        max_bytes: int = 0,
        disk: Disk | None = None,
    ) -> None:
        self.directory = directory
        self._store = Store(directory, disk or Disk(), retention_ns=retention_s * SECOND_NS, max_bytes=max_bytes)
        self._names: EntityNames | None = None
        self._hours: deque[int] = deque(maxlen=SETTLE_TICKS)
        self._upkeep: asyncio.Task[None] | None = None
        self._stopping = threading.Event()
        self._trouble = ""

    @classmethod
    def from_uri(cls, uri: SinkUri) -> Self:
        """The sink of `history:DIR?retention=7d&max_bytes=0`."""
        if uri.host or not uri.path:
            raise UsageError(f"sink {uri.key}: needs a directory: write history:/var/lib/heapster?retention=7d")
        return cls(
            Path(uri.path),
            retention_s=uri.duration_ns("retention", DEFAULT_RETENTION_S * SECOND_NS, minimum=3600 * SECOND_NS)
            // SECOND_NS,
            max_bytes=uri.integer("max_bytes", 0, minimum=0, maximum=2**60),
        )

    def history(self) -> ParquetHistory:
        """The past in this directory."""
        return ParquetHistory(self.directory)

    def start(self) -> None:
        """Take the directory now, so that what is wrong with it is known at start. Blocking; raises StartError."""
        try:
            self._store.open()
        except OSError as error:
            raise StartError(self._explain(error)) from error

    async def export(self, batch: DataBatch) -> None:
        """Store a frozen batch; one of the same timestamp is not stored twice. Raises ExportError."""
        try:
            await self._export(batch)
        except OSError as error:
            raise ExportError(self._explain(error)) from error
        finally:
            # After a failure too: removing what is past its time may be what makes room.
            self._keep_up(batch.timestamp)

    async def stop(self) -> None:
        """End the upkeep under way (it starts over next time) and let the directory go."""
        self._stopping.set()
        if self._upkeep is not None:
            await asyncio.wait([self._upkeep])
        self._store.close()

    async def _export(self, batch: DataBatch) -> None:
        await _in_thread(self._store.open)
        if await _in_thread(self._store.holds, batch.timestamp):
            return
        names = self._names
        if names is None or names.entities is not batch.entities:
            names = self._names = EntityNames(batch.entities)
        await names.follow(batch)
        await _in_thread(_store, self._store, batch, names)

    def _explain(self, error: OSError) -> str:
        if isinstance(error, BlockingIOError):
            return (
                f"history directory {self.directory}: {error}; give each collector its own directory, or stop the "
                "other one"
            )
        return (
            f"the history cannot be written to {self.directory}: {error.strerror or error}; make room or repair what "
            "is wrong there, or lower retention= or set max_bytes= of the history sink"
        )

    # Upkeep: one task at a time, started after an export.

    def _keep_up(self, tick: int) -> None:
        self._hours.append(tick // HOUR_NS)
        if self._stopping.is_set() or (self._upkeep is not None and not self._upkeep.done()):
            return
        self._upkeep = asyncio.create_task(self._run_upkeep(tick, set(self._hours)), name="history upkeep")

    async def _run_upkeep(self, now: int, open_hours: set[int]) -> None:
        trouble = ""
        try:
            await _in_thread(self._store.upkeep, now, open_hours, self._stopping.is_set)
        except StoppedError:
            return
        except OSError as error:
            trouble = self._explain(error)
        except pa.ArrowException as error:
            trouble = f"files of the history in {self.directory} cannot be merged: {error}"
        if trouble and not self._trouble:
            _logger.warning("%s: %s; new ticks are stored nevertheless", self.name, trouble)
        if self._trouble and not trouble:
            _logger.info("%s: %s is in order again", self.name, self.directory)
        self._trouble = trouble


def _store(store: Store, batch: DataBatch, names: EntityNames) -> None:
    names.trim(batch)
    store.add(batch.timestamp, tick_tables(batch, names))


async def _in_thread(function: Callable[P, R], *arguments: P.args, **options: P.kwargs) -> R:
    """What `function` returns, run in a thread. When cancelled, waits for it first: it has files in its hands."""
    work = asyncio.ensure_future(asyncio.to_thread(function, *arguments, **options))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait([work])
        if not work.cancelled():
            work.exception()  # fetched, so that it is not reported as forgotten
        raise
