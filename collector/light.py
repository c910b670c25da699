"""The light cadence, put together: kubelets' CPU and memory every --light-resolution, for the resource metrics API.

It runs where something asks for what it learns: with the second server (`--api-server`). A plain replacement of
Heapster asks its kubelets for what Heapster asked them, and no more.
"""

import time
from collections.abc import Awaitable, Callable

from collector.cadence import Cadence, Words
from collector.core.entities import EntityTable
from collector.core.light import LightStore
from collector.kube.listers import NodeLister
from collector.kubelets import Kubelets
from collector.options import SECOND, Options
from collector.selfmetrics import SelfMetrics
from collector.sources.endpoints import light_plan
from collector.sources.light import LightScrape
from collector.sources.rounds import Fetch, Rounds, ScrapeReport

KEPT_ROUNDS = 4
LEAST_KEPT_NS = 60 * SECOND
"""A node's answer is shown for four rounds, and for no less than this."""

_WORDS = Words("light rounds", "light round", "--light-resolution", "light rounds are repeated from there")


class LightCadence:
    """`run` for as long as it is wanted; `store` answers. Rows are shared with the batches, and nothing else."""

    def __init__(
        self,
        options: Options,
        fetch: Fetch,
        nodes: NodeLister,
        entities: EntityTable,
        *,
        port: int,
        prepare: Callable[[], Awaitable[None]] | None = None,
        metrics: SelfMetrics,
        ended: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.time,
        kubelets: Kubelets,
    ) -> None:
        """`ended` is called after each round, when its points are in the store."""
        resolution = options.light_resolution
        self.store = LightStore(
            entities, resolution_ns=resolution, keep_ns=max(LEAST_KEPT_NS, KEPT_ROUNDS * resolution)
        )
        rounds = Rounds(
            fetch,
            nodes,
            light_plan(self.store.layout),
            port=port,
            timeout_s=options.scrape_timeout / SECOND,
            concurrency=options.scrape_concurrency,
            jitter_s=options.scrape_jitter / SECOND,
            prepare=prepare,
            scraped=metrics.scraped,
            clock=clock,
            addressing=kubelets.addressing,
            states=kubelets.states,
            max_entities=options.max_answer_entities,
            turns=kubelets.turns,
        )
        self._metrics = metrics
        self._ended = ended
        self._source = LightScrape(rounds, self.store, resolution_ns=resolution, told=self._told, clock=clock)
        self._cadence = Cadence(
            self.scrape, _WORDS, resolution_ns=resolution, at_once=True, lost=metrics.light_lost, clock=clock
        )

    async def run(self) -> None:
        """Ask at once, and then once a window, until cancelled."""
        await self._cadence.run()

    def idle(self) -> float:
        """Seconds since a round ended, see `Cadence.idle`."""
        return self._cadence.idle()

    async def scrape(self, end: int) -> ScrapeReport:
        """One round now, that of the window which ends at `end` (ns since the epoch)."""
        return await self._source.scrape(end)

    def _told(self, report: ScrapeReport, seconds: float) -> None:
        self._metrics.light_round(seconds, report.answered, sum(report.failed.values()))
        self._ended()
