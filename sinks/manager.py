"""SinkManager: one slot and one worker task a sink, so that a slow or dead one delays no scrape and no other sink.

    export(batch) --> slot: waiting (at most one batch) --> worker: exporting (at most one) --> sink

Heapster's hand-off (behaviour reference, section 2.7; K27): an offer to a busy sink stands for a limited time and is
then dropped for that sink alone; there is no backlog in memory. Here a newer batch takes the place of one that still
waits. Every batch is accounted for, at every moment: offered = delivered + dropped{reason} + waiting + exporting.

A sink behind a spool (`sinks.runner`) goes through the same slot, and what its slot calls delivered has been kept: from
there on the runner delivers and counts. `ledger` shows both as one.
"""

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from collector.core.batch import DataBatch
from collector.core.contracts import SERIES_BUDGET, BudgetedSink, Sink
from collector.errors import ExportError
from collector.logs import HAND_OFF
from sinks.runner.contracts import DeliveringSink, WireSink
from sinks.runner.ledger import SinkLedger, joined
from sinks.spool.account import Account

OFFER_TIMEOUT = 20.0
"""Seconds a batch waits for a busy sink: Heapster's --sink-export-data-timeout."""

EXPORT_TIMEOUT = 300.0
"""Seconds one export may take before it is cancelled."""

HELD = 3
"""Batches a replica that does not lead keeps for the case that it has to go on: more than a lease lasts, and no more
than the store holds anyway at the usual resolution."""

STOP_GRACE = 1.0
"""Seconds a sink's own stop() has at least, however much of the time to stop is used up."""

_logger = logging.getLogger(__name__)


class Outcome(StrEnum):
    """How an export ended, or why a batch was dropped."""

    DELIVERED = "delivered"
    FAILED = "failed"
    """The sink raised an error; trying again might have helped."""
    REFUSED = "refused"
    """The other side would not have it; trying again would not have helped."""
    TIMEOUT = "timeout"
    """The export took longer than it may."""
    BUSY = "busy"
    """It waited too long behind an earlier batch."""
    REPLACED = "replaced"
    """A newer batch came while it waited."""
    STOPPED = "stopped"
    """The manager stopped first."""


Observer = Callable[[str, float, Outcome], None]
"""Told of every export: name of the sink, seconds it took, how it ended."""


@dataclass(frozen=True, slots=True)
class SinkStatistics:
    """One sink's ledger at one moment, in batches."""

    name: str
    offered: int
    delivered: int
    waiting: int
    exporting: int
    failed: int
    """Exports that did not end well, whatever the reason."""
    dropped: Mapping[Outcome, int]
    """Batches this sink will never have, by reason."""
    trouble: str | None
    """What went wrong last, None since the last delivery."""


class SinkManager:
    """Hands batches to sinks.

    `start` and `export` need a running event loop and never wait. The sinks are the manager's from `start` on: it
    stops them, in reverse order.
    """

    def __init__(
        self,
        sinks: Sequence[Sink],
        *,
        offer_timeout: float = OFFER_TIMEOUT,
        export_timeout: float = EXPORT_TIMEOUT,
        observer: Observer | None = None,
        leads: bool = True,
    ) -> None:
        """`leads` False: sinks with another side get nothing until `lead`."""
        self._slots = [
            _Slot(name, sink, offer_timeout, export_timeout, observer)
            for name, sink in zip(_unique([sink.name for sink in sinks]), sinks, strict=True)
        ]
        self._stopping = False
        self._leads = leads
        self._held: deque[DataBatch] = deque(maxlen=HELD)

    def lead(self, *, leads: bool) -> None:
        """Whether this replica writes to the sinks with another side, which all replicas share.

        One that begins to first gives them the latest batches from before: whoever led may have ended in between, and
        what it did write is only written again.
        """
        self._leads = leads
        if leads and self._held:
            for slot in self._slots:
                if slot.is_shared:
                    slot.catch_up(self._held)
        self._held.clear()

    def hold(self, most: int = HELD) -> None:
        """How many batches a replica that does not lead keeps for the case that it has to go on."""
        self._held = deque(self._held, maxlen=most)

    def leave_out(self, sinks: Sequence[Sink]) -> None:
        """Forget `sinks`, which could not be started. Comes before `start`."""
        self._slots = [slot for slot in self._slots if not any(slot.sink is sink for sink in sinks)]

    def start(self) -> None:
        """Start one worker a sink."""
        for slot in self._slots:
            slot.start()

    def export(self, batch: DataBatch) -> None:
        """Offer a frozen batch to every sink. What becomes of it is in the statistics."""
        values = batch.values
        if not self._leads:
            self._held.append(batch)
        for slot in self._slots:
            if self._leads or not slot.is_shared:
                slot.offer(batch, values, accept=not self._stopping)

    def statistics(self) -> tuple[SinkStatistics, ...]:
        """Every sink's ledger, in the order the sinks were given."""
        return tuple(slot.statistics() for slot in self._slots)

    def ledger(self) -> tuple[SinkLedger, ...]:
        """What became of every tick and every point, sink by sink."""
        return tuple(slot.ledger() for slot in self._slots)

    async def stop(self, timeout: float) -> None:  # noqa: ASYNC109  # the limit ends in cancelling and counting, not in an error
        """Take no more batches, give those on their way `timeout` seconds, cancel the rest, stop the sinks."""
        if self._stopping:
            return
        self._stopping = True
        deadline = asyncio.get_running_loop().time() + timeout
        await _settle([slot.finish() for slot in self._slots], timeout)
        for slot in reversed(self._slots):
            remaining = deadline - asyncio.get_running_loop().time()
            await slot.stop(max(remaining, STOP_GRACE))


class _Slot:
    """One sink: a batch that waits, a batch being exported, the worker between them, and the ledger."""

    def __init__(
        self, name: str, sink: Sink, offer_timeout: float, export_timeout: float, observer: Observer | None
    ) -> None:
        self.name = name
        self.sink = sink
        self._offer_timeout = offer_timeout
        self._export_timeout = export_timeout
        self._observer = observer
        self._waiting: DataBatch | None = None
        self._waiting_values = self._exporting_values = 0
        self._values = Account()
        self._expiry: asyncio.TimerHandle | None = None
        self._exporting = False
        self._finishing = False
        self._backlog: deque[DataBatch] = deque()
        self._wake = asyncio.Event()
        self._worker: asyncio.Task[None] | None = None
        self._offered = self._failed = 0
        self._ended: Counter[Outcome] = Counter()
        self._trouble: str | None = None
        self._lost = 0
        """Batches lost since the last delivery."""

    def start(self) -> None:
        """Start the worker."""
        assert self._worker is None, "a sink manager is started once"
        self._worker = asyncio.create_task(self._work(), name=f"sink {self.name}")
        if isinstance(self.sink, DeliveringSink):
            self.sink.begin()

    def statistics(self) -> SinkStatistics:
        """This sink's ledger."""
        dropped = dict(self._ended)
        delivered = dropped.pop(Outcome.DELIVERED, 0)
        return SinkStatistics(
            name=self.name,
            offered=self._offered,
            delivered=delivered,
            waiting=int(self._waiting is not None),
            exporting=int(self._exporting),
            failed=self._failed,
            dropped=MappingProxyType(dropped),
            trouble=self._trouble,
        )

    def ledger(self) -> SinkLedger:
        """This sink's ledger, whether it delivers here or through a runner."""
        found = self.statistics()
        dropped = {reason.value: count for reason, count in found.dropped.items()}
        queued = found.waiting + found.exporting
        if isinstance(self.sink, DeliveringSink):
            ticks, points = self.sink.balances()
            ticks = joined(dropped, queued, self._offered, ticks)
            trouble = self._trouble or self.sink.trouble
            keeps, queued_bytes, refused = self.sink.keeps, self.sink.queued_bytes, self.sink.refused
            return SinkLedger(self.name, keeps, ticks, points, queued_bytes, refused, trouble, self.sink.size)
        account = Account(self._offered, 0, found.delivered, Counter(dropped))
        values = self._values.balance(self._waiting_values + self._exporting_values)
        return SinkLedger(self.name, "none", account.balance(queued), values, 0, refused=False, trouble=self._trouble)

    @property
    def is_shared(self) -> bool:
        """Whether what it writes to is there once for all replicas."""
        return isinstance(self.sink, WireSink | DeliveringSink)

    # The slot.

    def catch_up(self, batches: Iterable[DataBatch]) -> None:
        """Offer batches one after the other, whenever none waits."""
        self._backlog.extend(batches)
        self._wake.set()

    def offer(self, batch: DataBatch, values: int, *, accept: bool) -> None:
        """Let `batch`, of so many values, wait for the worker, which takes it at once when the sink is idle."""
        self._offered += 1
        self._values.scraped += values
        if not accept:
            self._end(Outcome.STOPPED, values)
            return
        if self._waiting is not None:
            self._drop_waiting(Outcome.REPLACED, "it was still busy when a newer one came")
        self._waiting, self._waiting_values = batch, values
        _logger.log(HAND_OFF, "pushing data to: %s%s", self.name, ", which is busy" if self._exporting else "")
        if self._exporting:
            self._expiry = asyncio.get_running_loop().call_later(self._offer_timeout, self._expire)
        self._wake.set()

    def _take(self) -> DataBatch:
        batch, self._waiting = self._waiting, None
        assert batch is not None
        self._forget_expiry()
        self._exporting = True
        self._exporting_values, self._waiting_values = self._waiting_values, 0
        return batch

    def _end(self, outcome: Outcome, values: int, cut: int = 0) -> None:
        """Count what became of a batch, `cut` values of which the sink had not to write."""
        self._ended[outcome] += 1
        if outcome is Outcome.DELIVERED:
            self._values.delivered += values - cut
            if cut:
                self._values.dropped[SERIES_BUDGET] += cut
        else:
            self._values.dropped[outcome.value] += values

    def _expire(self) -> None:
        self._drop_waiting(Outcome.BUSY, f"it was still busy after {self._offer_timeout:g} s")

    def _drop_waiting(self, reason: Outcome, why: str) -> None:
        self._forget_expiry()
        if self._waiting is not None:
            self._end(reason, self._waiting_values)
            self._waiting, self._waiting_values = None, 0
            self._lose(why)

    def _forget_expiry(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None

    # The worker.

    async def _work(self) -> None:
        while True:
            while self._waiting is None:
                if self._backlog:
                    self.offer(self._backlog[0], self._backlog.popleft().values, accept=True)
                    break
                if self._finishing:
                    if isinstance(self.sink, DeliveringSink):
                        await self.sink.drain()
                    return
                self._wake.clear()
                await self._wake.wait()
            # No name here may hold the batch while the worker waits: it would keep its columns in memory.
            await self._export(self._take())

    async def _export(self, batch: DataBatch) -> None:
        """One export, whatever becomes of it: counted, observed, logged when it changes the sink's state."""
        started, cut = asyncio.get_running_loop().time(), self._cut
        outcome, why = Outcome.STOPPED, "the collector stopped"
        try:
            outcome, why = await self._attempt(batch)
        finally:
            self._exporting = False
            self._end(outcome, self._exporting_values, self._cut - cut)
            self._exporting_values = 0
            self._failed += outcome is not Outcome.DELIVERED
            if outcome is Outcome.DELIVERED:
                self._recover()
            else:
                self._lose(why)
            self._observe(asyncio.get_running_loop().time() - started, outcome)

    @property
    def _cut(self) -> int:
        """Values that the sink itself has left out so far."""
        return self.sink.cut.values if isinstance(self.sink, BudgetedSink) else 0

    async def _attempt(self, batch: DataBatch) -> tuple[Outcome, str]:
        try:
            async with asyncio.timeout(self._export_timeout) as limit:
                await self.sink.export(batch)
        except (Exception, asyncio.CancelledError) as error:  # a sink's fault must not leave its slot
            worker = asyncio.current_task()
            if worker is not None and worker.cancelling():
                raise
            _logger.debug("%s raised", self.name, exc_info=True)
            _drop_tracebacks(error)
            if limit.expired() and isinstance(error, TimeoutError):
                return Outcome.TIMEOUT, f"the export took longer than {self._export_timeout:g} s"
            if isinstance(error, ExportError):
                return Outcome.FAILED if error.retryable else Outcome.REFUSED, str(error)
            return Outcome.FAILED, _said(error)
        _logger.log(HAND_OFF, "data push completed: %s", self.name)
        return Outcome.DELIVERED, ""

    def _observe(self, seconds: float, outcome: Outcome) -> None:
        if self._observer is None:
            return
        try:
            self._observer(self.name, seconds, outcome)
        except Exception:
            _logger.exception("the observer of %s raised", self.name)

    # States: one line when it starts to lose batches, one when it delivers again.

    def _lose(self, why: str) -> None:
        self._lost += 1
        if self._trouble is None:
            _logger.warning("%s lost a batch: %s; until it delivers again losses are only counted", self.name, why)
        self._trouble = why

    def _recover(self) -> None:
        if self._trouble is not None:
            _logger.info("%s delivers again; batches lost meanwhile: %d", self.name, self._lost)
        self._trouble, self._lost = None, 0

    # The end.

    def finish(self) -> asyncio.Task[None] | None:
        """Let the worker end once nothing waits; the task to wait for."""
        self._finishing = True
        self._wake.set()
        return self._worker

    async def stop(self, limit: float) -> None:
        """Cancel what is still under way, then stop the sink, within `limit` seconds."""
        if self._worker is not None and not self._worker.done():
            self._worker.cancel()
            await asyncio.wait([self._worker], timeout=limit)
        self._drop_waiting(Outcome.STOPPED, "the collector stopped")
        try:
            async with asyncio.timeout(limit):
                await self.sink.stop()
        except TimeoutError:
            _logger.warning("%s did not stop within %g s", self.name, limit)
        except Exception:
            _logger.exception("%s could not be stopped", self.name)


async def _settle(workers: Sequence[asyncio.Task[None] | None], limit: float) -> None:
    """Wait until the workers have ended, `limit` seconds at most."""
    running = [worker for worker in workers if worker is not None and not worker.done()]
    if running:
        await asyncio.wait(running, timeout=limit)


def _unique(names: Sequence[str]) -> Iterator[str]:
    """`names`, the second of a name with ` 2` behind it."""
    seen: Counter[str] = Counter()
    for name in names:
        seen[name] += 1
        yield name if seen[name] == 1 else f"{name} {seen[name]}"


def _said(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _drop_tracebacks(error: BaseException) -> None:
    """Let go of the frames of a handled error: a sink may keep it, and so the batch in its frames, in a cycle."""
    chain: BaseException | None = error
    for _ in range(20):  # a chain may be a ring
        if chain is not None:
            chain.__traceback__ = None
            chain = chain.__cause__ or chain.__context__
