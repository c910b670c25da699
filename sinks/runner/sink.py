"""SpooledSink: a WireSink with a spool before it."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ParamSpec, TypeVar

from collector.core.batch import DataBatch
from collector.core.contracts import SERIES_BUDGET, BudgetedSink, StartableSink
from collector.errors import ExportError, StartError
from collector.logs import WRITES
from sinks.lock import DirectoryLock
from sinks.runner import refusals
from sinks.runner.contracts import ReconfigurableSink, WireSink, Write
from sinks.runner.deadletters import DeadLetters
from sinks.runner.retry import LOOK_S, Backoff, asked_delay
from sinks.spool.account import Balance
from sinks.spool.disk import Disk
from sinks.spool.index import Record, State, Tick
from sinks.spool.records import FormatError
from sinks.spool.size import SpoolSize
from sinks.spool.spool import AGE_S, SYNC_S, Spool, SpoolLimits

PATIENCE_S = 2.0
"""Seconds that the encoder waits for the other side, in all of a tick, before what it has not taken is kept."""

_P = ParamSpec("_P")
_T = TypeVar("_T")
_logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Patience:
    """Seconds that may still be waited."""

    left: float


class SpooledSink:
    """Takes a batch over by encoding it; senders deliver it. What they have not delivered in a moment is spooled.

    While the other side keeps up, writes go to it from memory: the disk has the first of each tick, by which its size
    is known, and what had to wait for too long. A tick counts as kept when each of its writes is delivered or spooled.

    `directory` is the sink's own; `required` says whether there can be no start without it, otherwise memory stands in.
    All work on files is done by one thread of this sink.
    """

    def __init__(
        self,
        sink: WireSink,
        directory: Path,
        limits: SpoolLimits,
        *,
        required: bool = True,
        disk: Disk | None = None,
        clock: Callable[[], float] = time.time,
        backoff: Backoff | None = None,
    ) -> None:
        self.name = sink.name
        self.sink = sink
        self._directory, self._limits, self._required, self._clock = directory, limits, required, clock
        self._disk = disk or Disk()
        self._spool = Spool(directory, self._disk, limits, clock=clock)
        self._dead_letters: DeadLetters | None = DeadLetters(directory, self._disk)
        self._lock: DirectoryLock | None = None
        self._files = ThreadPoolExecutor(1, thread_name_prefix=f"spool {sink.name}")
        self._backoff = backoff or Backoff()
        self._probing: asyncio.Lock | None = None
        self._resume_at = 0.0
        self._more: asyncio.Event | None = None
        self._progress: asyncio.Event | None = None
        self._unrest: asyncio.Event | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._trouble: str | None = None
        self.refused = False
        """Whether delivering has stopped, as the other side will not hear us."""

    # What the manager and the ledger ask.

    def balances(self) -> tuple[Balance, Balance]:
        """Ticks and points, at this moment."""
        return self._spool.index.balances()

    @property
    def queued_bytes(self) -> int:
        """Compressed bytes still to be delivered."""
        return self._spool.queued_bytes

    @property
    def size(self) -> SpoolSize:
        """What may be kept, and how long an outage that covers."""
        return self._spool.size

    @property
    def keeps(self) -> str:
        """`disk`, or `memory` where there is no directory or its disk takes nothing now."""
        return "memory" if self._spool.directory is None or self._spool.trouble is not None else "disk"

    @property
    def trouble(self) -> str | None:
        """What the other side, or else the disk, said last."""
        return self._trouble or self._spool.trouble

    # The start.

    def start(self) -> None:
        """Take the directory and what an earlier process left in it. Blocking; raises StartError."""
        if isinstance(self.sink, StartableSink):
            self.sink.start()
        try:
            self._disk.make_directory(self._directory)
            self._lock = DirectoryLock(self._directory)
            found = self._spool.open()
        except FormatError as error:
            self._unlock()
            raise StartError(f"sink {self.name}: {error}") from error
        except OSError as error:
            self._go_without(error)
            return
        if found.ticks or found.lost_bytes:
            _logger.info(
                "%s: %d points of %d ticks are left from before and will be delivered; damaged: %d bytes",
                self.name,
                found.points,
                found.ticks,
                found.lost_bytes,
            )

    def _go_without(self, error: OSError) -> None:
        self._unlock()
        why = f"sink {self.name}: the spool {self._directory} cannot be used: {error}"
        if self._required:
            raise StartError(f"{why}; choose another --spool-dir, or --spool-dir=off") from error
        _logger.warning("%s; what cannot be delivered waits in memory instead", why)
        self._spool = Spool(None, self._disk, self._limits, clock=self._clock)
        self._dead_letters = None

    def _unlock(self) -> None:
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.release()

    def begin(self) -> None:
        """Start the senders and the housekeeping."""
        assert not self._tasks, "a sink begins once"
        self._probing, self._more = asyncio.Lock(), asyncio.Event()
        self._progress, self._unrest = asyncio.Event(), asyncio.Event()
        self._tasks = [
            asyncio.create_task(self._deliver(), name=f"{self.name} sender {i}") for i in range(self.sink.concurrency)
        ]
        self._tasks.append(asyncio.create_task(self._keep_house(), name=f"{self.name} spool"))

    # From a batch to the spool.

    async def export(self, batch: DataBatch) -> None:
        """Encode a batch and hand it over; returns when each of its writes is delivered or kept."""
        tick, offered, cut = Tick(batch.timestamp), list[Record](), self._cut
        # Who has not taken the ticks before is not waited for.
        patience = _Patience(0.0 if self.balances()[1].queued else PATIENCE_S)
        try:
            for number, write in enumerate(self.sink.encode(batch)):
                record = await self._offer(tick, write, patience) if number else None
                if record is None:
                    await self._in_files(self._spool.append, tick, write.body, write.points)
                else:
                    offered.append(record)
                self._wake()
            await self._until(lambda: all(record.state is State.SETTLED for record in offered), patience)
            await self._keep(offered)
            await self._in_files(self._spool.seal)
            self._spool.index.commit(tick)
        finally:
            self._spool.index.leave_out(self._cut - cut, SERIES_BUDGET)
            if tick.open:
                await self._keep(offered)
                self._spool.index.abort(tick)
        self._wake()

    async def _offer(self, tick: Tick, write: Write, patience: _Patience) -> Record | None:
        """Let the senders have a write from memory; None where it has to be spooled first."""
        if self._spool.offered and await self._until(partial(self._spool.has_room, len(write.body)), patience):
            return self._spool.offer(tick, write.body, write.points)
        return None

    async def _until(self, condition: Callable[[], bool], patience: _Patience) -> bool:
        """Wait for the senders to bring that about; False when it takes longer than we have patience, or they fail."""
        await asyncio.sleep(0)  # the encoder has taken some milliseconds
        loop = asyncio.get_running_loop()
        while not condition():
            if not self._tasks or self._backoff.failures or patience.left <= 0:
                return False
            assert self._progress is not None
            self._progress.clear()
            began = loop.time()
            try:
                async with asyncio.timeout(patience.left):
                    await self._progress.wait()
            except TimeoutError:
                patience.left = 0.0
            patience.left -= loop.time() - began
        return not self._backoff.failures

    async def _keep(self, offered: list[Record]) -> None:
        for record in offered:
            if record.state is not State.SETTLED:
                await self._in_files(self._spool.keep, record)

    @property
    def _cut(self) -> int:
        """Points that the sink itself has left out so far."""
        return self.sink.cut.points if isinstance(self.sink, BudgetedSink) else 0

    def _wake(self) -> None:
        """There is more to deliver, and to look after."""
        if self._more is not None and self._unrest is not None:
            self._more.set()
            self._unrest.set()

    async def _in_files(self, function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Let the thread of files do it; once begun it is done, even for a caller that is cancelled."""
        loop = asyncio.get_running_loop()
        return await asyncio.shield(loop.run_in_executor(self._files, lambda: function(*args, **kwargs)))

    # From the spool to the other side.

    async def _deliver(self) -> None:
        assert self._more is not None
        assert self._probing is not None
        while True:
            while not self._spool.index.waits:
                self._more.clear()
                await self._more.wait()
            if self._backoff.failures:
                async with self._probing:  # one at a time finds out whether the other side is back
                    await self._rest()
                    await self._deliver_one()
            else:
                await self._deliver_one()

    async def _rest(self) -> None:
        """Until the next try is due, or what the other side did not like about us has changed."""
        loop, sink = asyncio.get_running_loop(), self.sink
        while (left := self._resume_at - loop.time()) > 0:
            if not self.refused or not isinstance(sink, ReconfigurableSink):
                await asyncio.sleep(left)
                continue
            await asyncio.sleep(min(left, LOOK_S))
            if await self._in_files(sink.is_changed):
                return

    async def _deliver_one(self) -> None:
        record = self._spool.index.take()
        if record is None:
            return
        try:
            await self._attempt(record)
        except Exception as error:  # noqa: BLE001  # whatever it is, the points are kept and the sender lives
            self._spool.index.release(record)
            self._fail(error)
        except BaseException:
            self._spool.index.release(record)
            raise
        finally:
            if self._progress is not None and self._unrest is not None:
                self._progress.set()
                self._unrest.set()

    async def _attempt(self, record: Record) -> None:
        if record.fresh is not None:
            body = self._spool.read(record)  # from memory
        else:
            body = await self._in_files(self._spool.read, record)
        if body is None:
            return
        refused = await refusals.deliver(self.sink.send, body, record.points, self.sink.max_points)
        # No waiting between here and the next comment: it was delivered, and must be noted whatever happens.
        self._spool.index.settle(record, sum(one.points for one in refused))
        self._backoff.succeeded()
        self.refused = False
        if refused:
            self._lose(refused)
            if self._dead_letters is not None:
                await self._in_files(self._dead_letters.write, refused, self._clock())
        elif self._trouble is not None:
            _logger.info("%s delivers again; %d points still wait", self.name, self.balances()[1].queued)
            self._trouble = None
        _logger.log(WRITES, "%s: %d points written", self.name, record.points)

    def _lose(self, refused: list[refusals.Refused]) -> None:
        words = refused[0].words
        if self._trouble is None:
            _logger.warning(
                "%s: points were refused: %s; they are counted%s",
                self.name,
                words,
                f" and written to {self._dead_letters.path}" if self._dead_letters else "",
            )
        self._trouble = words

    def _fail(self, error: Exception) -> None:
        """The points were not judged: they wait, and so do we."""
        _logger.debug("%s could not deliver", self.name, exc_info=error)
        retry_after = error.retry_after_s if isinstance(error, ExportError) else None
        refused = isinstance(error, ExportError) and error.refuses_us
        words, now = str(error) or type(error).__name__, asyncio.get_running_loop().time()
        if now < self._resume_at:  # it was under way when another write failed: no further failure, and no later try
            self._resume_at = max(self._resume_at, now + asked_delay(retry_after))
            return
        delay = self._backoff.failed(retry_after, refused=refused)
        self._resume_at = now + delay
        if refused and not self.refused:
            _logger.error(
                "%s: %s; nothing is delivered until that is put right; points wait in the spool; next look in %.0f s",
                self.name,
                words,
                delay,
            )
        elif not refused and self._backoff.failures == 1:
            _logger.warning("%s: %s; points wait in the spool, next try in %.1f s", self.name, words, delay)
        self._trouble, self.refused = words, refused

    async def _keep_house(self) -> None:
        """Flush the spool a moment after something has changed, and now and then for what grows too old."""
        assert self._unrest is not None
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(AGE_S):
                    await self._unrest.wait()
            self._unrest.clear()
            await asyncio.sleep(SYNC_S)  # what changes meanwhile goes with it
            try:
                await self._in_files(self._spool.flush)
            except Exception:
                _logger.exception("%s: the spool could not be looked after; tried again", self.name)
            if self._spool.restless:
                self._unrest.set()

    # The end.

    async def drain(self) -> None:
        """Wait until nothing waits, or the other side fails and all that waits is on disk."""
        assert self._progress is not None
        while self.balances()[1].queued:
            if self._backoff.failures and self.keeps == "disk" and not self._spool.held_bytes:
                return
            self._progress.clear()
            await self._progress.wait()

    async def stop(self) -> None:
        """End the senders, leave what waits for the next start, release the connections. No effect when repeated."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._tasks = []
        try:
            with contextlib.suppress(RuntimeError):  # the thread has ended: stopped before
                await self._in_files(self._spool.close)
                queued = self.balances()[1].queued
                if queued:
                    _logger.info("%s: %d points stay in the spool for the next start", self.name, queued)
        finally:
            self._files.shutdown(wait=False)
            self._unlock()
            await self.sink.stop()
