"""Room for the next batch: the memory budget's levers on what the collector keeps."""

import asyncio
from collections.abc import Callable, Mapping

from collector.api.exposition import ClusterText
from collector.budget import Lever, MemoryBudget, budget_of
from collector.core.footprint import batch_bytes
from collector.core.light import LightStore
from collector.core.store import MetricStore
from collector.process import give_back_memory, memory_limit, resident_bytes
from sinks.manager import HELD, SinkManager

COARSE = 4
"""Of so many windows one is kept."""

SETTLED = 5
"""Before this batch, what the start and the first ones took for a while is given back: 89 MiB of 5,000 nodes."""


class Room:
    """`begin` before each batch. Raises UsageError for a budget that is none."""

    def __init__(
        self,
        flag: str,
        store: MetricStore,
        sinks: SinkManager,
        texts: ClusterText,
        light: Callable[[], LightStore | None],
        told: Callable[[int, int, int, Mapping[str, bool]], None],
        *,
        used: Callable[[], int] = resident_bytes,
    ) -> None:
        """`flag` is --memory-budget; `told` as for MemoryBudget."""
        self._store = store
        self._sinks = sinks
        self._light = light
        self._begun = 0
        self.budget = MemoryBudget(
            budget_of(flag, memory_limit),
            {
                "history-resolution": Lever(lambda: self._keep(every=COARSE), self._keep),
                "history": Lever(lambda: self._keep(every=0), lambda: self._keep(every=COARSE)),
                "texts": Lever(texts.forget, lambda: None),
                "batches": Lever(self._forget_batches, lambda: self._keep(every=0)),
            },
            used=used,
            release=give_back_memory,
            told=told,
        )

    async def begin(self) -> None:
        """`make`, without holding up the event loop while pages are given back. Raises MemoryShortError."""
        await asyncio.to_thread(self._store.expire().clear)
        self._begun += 1
        if self._begun == SETTLED:
            await asyncio.to_thread(give_back_memory)
        self.make()

    def make(self) -> None:
        """Let go of what is past its time, and of more where memory is short. Raises MemoryShortError."""
        self._store.expire()
        latest = self._store.latest()
        self.budget.look(batch_bytes(latest) if latest is not None and self.budget.limit else 0)

    def _keep(self, *, every: int = 1, whole: int | None = None) -> None:
        self._store.retain(every=every, whole=whole)
        self._sinks.hold(HELD if whole is None else 1)

    def _forget_batches(self) -> None:
        """Without the light cadence the usage of `v1` and `v1beta1` is a difference of two batches."""
        self._keep(every=0, whole=2 if self._light() is None else 1)
