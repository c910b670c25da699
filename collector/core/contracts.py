"""The three seams of the pipeline. Read this file first.

    source -> DataBatch -> processors -> freeze -> sinks

A Source opens the batch and fills it; Processors write columns into it, one after the other, on the event loop, which
may do other things between two steps; after
`DataBatch.freeze()` nothing changes any more and any number of Sinks may read it at the same time.
"""

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

from collector.core.batch import DataBatch


class Source(Protocol):
    """Where samples come from."""

    name: str

    async def scrape(self, start: int, end: int) -> DataBatch:
        """One window's batch; `start` and `end` are ns since the epoch, `end` is the batch's timestamp.

        Never raises for a single node: what could be had is in the batch, the rest is counted by the source. The
        batch is the caller's alone, not frozen.
        """
        ...


class Processor(Protocol):
    """One station of the pipeline: pure computation, no waiting."""

    name: str

    def steps(self, batch: DataBatch) -> Iterator[None]:
        """Add columns to `batch`, which nobody else holds yet, in steps of some milliseconds.

        State kept between ticks is the processor's own. The steps of one batch are over before another's begin.
        """
        ...


class Sink(Protocol):
    """Where batches go."""

    name: str

    async def export(self, batch: DataBatch) -> None:
        """Deliver one frozen batch.

        May be slow; may raise ExportError; may keep the batch no longer than the call unless it is a store. Is called
        again only after it has returned.
        """
        ...

    async def stop(self) -> None:
        """Deliver what is under way and release connections. Called once, after the last export."""
        ...


@runtime_checkable
class StartableSink(Sink, Protocol):
    """A sink that can tell at start what would keep it from ever delivering, such as a directory another one holds."""

    def start(self) -> None:
        """Take what the sink needs. Blocking, called in a thread; raises StartError. Opens no connection."""
        ...


@runtime_checkable
class ProbedSink(Sink, Protocol):
    """A sink that can ask the other side whether it would take points."""

    async def probe(self) -> str:
        """What the other side is ready for, in words; nothing is written and nothing made there. Raises ExportError."""
        ...
