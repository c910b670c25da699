"""What a sink must offer to be spooled, and what a spooled sink offers the manager."""

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

from collector.core.batch import DataBatch
from collector.core.contracts import Sink
from sinks.spool.account import Balance
from sinks.spool.size import SpoolSize


class Write(Protocol):
    """One write's worth of a batch."""

    @property
    def body(self) -> bytes:
        """Lines, each with its line feed: what `send` takes, whole or any of the lines."""
        ...

    @property
    def points(self) -> int:
        """One a line."""
        ...


@runtime_checkable
class WireSink(Sink, Protocol):
    """A sink that encodes first and sends then; what it sends may be sent again and changes nothing the second time."""

    identity: str
    """What it writes to, without secrets: the same from start to start, and of no two sinks."""
    concurrency: int
    """Writes that may be under way at the same time."""
    max_points: int
    """Points of one write: what an earlier process has spooled may have more and is cut."""

    def encode(self, batch: DataBatch) -> Iterator[Write]:
        """The batch as writes: pure, each short enough for the event loop."""
        ...

    async def send(self, body: bytes) -> None:
        """Deliver one write. Raises ExportError, `retryable` when the points were not judged."""
        ...


@runtime_checkable
class ReconfigurableSink(WireSink, Protocol):
    """A sink that follows part of its configuration while it runs, such as a file with a token."""

    def is_changed(self) -> bool:
        """Whether the next write would be made with another configuration than the last one. Blocking."""
        ...


@runtime_checkable
class DeliveringSink(Sink, Protocol):
    """A sink whose `export` only takes a batch over: it delivers in tasks of its own and keeps a ledger."""

    def begin(self) -> None:
        """Start delivering, what an earlier process left first of all. Needs a running event loop."""
        ...

    async def drain(self) -> None:
        """Wait until everything is delivered, or what is not is safe and delivering it now is without prospect."""
        ...

    def balances(self) -> tuple[Balance, Balance]:
        """Ticks and points."""
        ...

    @property
    def queued_bytes(self) -> int:
        """What is still to be delivered."""
        ...

    @property
    def size(self) -> SpoolSize:
        """What may be kept, and how long an outage that covers."""
        ...

    @property
    def keeps(self) -> str:
        """Where: `disk` or `memory`."""
        ...

    @property
    def refused(self) -> bool:
        """Whether delivering has stopped, as the other side will not hear us."""
        ...

    @property
    def trouble(self) -> str | None:
        """What went wrong last, None while all goes well."""
        ...
