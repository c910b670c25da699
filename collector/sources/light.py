"""LightScrape: the light cadence. One round asks every kubelet for CPU and memory; answers go to the LightStore.

The kubelets' light endpoint serves the resource metrics API alone: the batches, and all that is Heapster's, come from
the source's own endpoints at --metric-resolution.
"""

import time
from collections.abc import Callable, Sequence

from collector.core.light import LightGroup, LightSample, LightStore
from collector.sources.endpoints import Body
from collector.sources.resourceforms import AVAILABLE, decode_forms
from collector.sources.rounds import Question, Rounds, ScrapeReport

TAKEN_TOGETHER = 32
"""Answers taken in one go, some milliseconds."""

PATIENCE_S = 0.25
"""Longest time an answer waits for others: it is in the store before the slowest kubelet has answered."""


class LightScrape:
    """One round a window. `told` gets the report of each round and the seconds it took."""

    def __init__(
        self,
        rounds: Rounds[LightSample],
        store: LightStore,
        *,
        resolution_ns: int,
        told: Callable[[ScrapeReport, float], None] = lambda _report, _seconds: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.store = store
        self._rounds = rounds
        self._resolution_ns = resolution_ns
        self._told = told
        self._clock = clock

    async def scrape(self, end: int) -> ScrapeReport:
        """The round of the window that ends at `end` (ns since the epoch)."""
        began = time.perf_counter()
        number = self.store.begin(self._now())
        waiting: list[LightSample] = []
        group: LightGroup | None = None

        def take(_question: Question[LightSample], sample: LightSample | None) -> None:
            if sample is not None:
                waiting.append(sample)

        def place(questions: Sequence[Question[LightSample]], bodies: Sequence[Body]) -> Sequence[bool]:
            nonlocal group
            nodes = [question.node.name for question in questions]
            group, placed = decode_forms(nodes, [self.store.layout(node) for node in nodes], bodies)
            return placed

        def settled() -> None:
            nonlocal group
            self.store.take(waiting, number, self._now(), group)
            waiting.clear()
            group = None

        report = await self._rounds.ask(
            end - self._resolution_ns,
            end,
            take,
            together=TAKEN_TOGETHER,
            place=place if AVAILABLE else None,
            settled=settled,
            patience_s=PATIENCE_S,
        )
        self._told(report, time.perf_counter() - began)
        return report

    def _now(self) -> int:
        return int(self._clock() * 1e9)
