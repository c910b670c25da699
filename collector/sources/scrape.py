"""ScrapeManager: the Source that asks every kubelet for its summary, under one deadline, and fills the batch.

Which nodes, which address, which port: behaviour reference, section 3.1. A node that fails costs its own rows of this
batch and nothing else.
"""

import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from collector.core.batch import DataBatch
from collector.core.entities import EntityTable
from collector.core.intake import Intake
from collector.core.metrics import MetricTable
from collector.errors import DecodeError, FetchError, ScrapeError
from collector.kube.listers import NodeLister
from collector.sources.fanout import Reply, fan_out
from collector.sources.kubelet import SUMMARY_PATH, KubeletTarget
from collector.sources.summary import decode_summary

log = logging.getLogger(__name__)

DECODED_TOGETHER = 64
"""Answers decoded in one go, some 30 ms: between two fetches the processor's caches forget the decoder, and it then
takes twice as long."""


SPREAD_PER_NODE_S = 0.008
"""Asking N nodes is spread over so many seconds times N (behaviour reference, section 2.3; there at random, which gives
a node another place in each scrape and so jitters its rates; here evenly)."""


@dataclass(slots=True)
class ScrapeReport:
    """How one scrape went, in nodes."""

    answered: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    """By reason."""
    late: int = 0
    """Of those that failed: still under way at the deadline."""
    bytes_read: int = 0


class ScrapeManager:
    """One scrape a tick. `report` is that of the latest one."""

    name = "kubelet_summary"

    def __init__(
        self,
        fetch: Callable[[KubeletTarget, str], Awaitable[bytes]],
        nodes: NodeLister,
        entities: EntityTable,
        metrics: MetricTable,
        *,
        port: int,
        timeout_s: float,
        concurrency: int,
        jitter_s: float = 0.0,
        prepare: Callable[[], Awaitable[None]] | None = None,
        scraped: Callable[[str, str, float, str | None], None] = lambda *_: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Nothing is asked yet.

        `jitter_s` is the longest time over which the asking is spread, within half of `timeout_s`. `prepare` is awaited
        before each scrape: credentials are renewed there. `scraped` is told of each node: source label, node, seconds,
        reason of a failure or None. Ages (`uptime`) count to `clock`, Unix time in seconds.
        """
        self._fetch = fetch
        self._nodes = nodes
        self._entities = entities
        self._metrics = metrics
        self._port = port
        self._timeout_s = timeout_s
        self._concurrency = concurrency
        self._jitter_s = min(jitter_s, timeout_s / 2)
        self._prepare = prepare
        self._scraped = scraped
        self._clock = clock
        self._troubles: dict[str, str] = {}
        """Node -> why it is left out or failed, as last logged: one line for each change."""
        self.report = ScrapeReport()

    async def scrape(self, start: int, end: int) -> DataBatch:
        """The batch of the window from `start` to `end` (ns since the epoch)."""
        del start  # a summary holds what is now; the window is its label
        batch = DataBatch(self._entities, self._metrics, end)
        intake, report = Intake(batch), ScrapeReport()

        waiting: list[Reply[KubeletTarget]] = []

        def settle() -> None:
            for reply in waiting:
                self._settle(reply, intake, report)
            waiting.clear()

        def take(reply: Reply[KubeletTarget]) -> None:
            waiting.append(reply)
            if len(waiting) >= DECODED_TOGETHER:
                settle()

        if self._prepare is not None:
            await self._prepare()
        targets = self._targets()
        count = await fan_out(
            targets,
            lambda target: self._fetch(target, SUMMARY_PATH),
            deadline_s=self._timeout_s,
            concurrency=self._concurrency,
            on_result=take,
            spread_s=min(SPREAD_PER_NODE_S * len(targets), self._jitter_s),
        )
        settle()
        report.late = count.late
        intake.flush()
        self.report = report
        return batch

    def _settle(self, reply: Reply[KubeletTarget], intake: Intake, report: ScrapeReport) -> None:
        """Put one reply where it belongs: into the batch, or on record as a failure."""
        target, answer = reply.target, reply.answer
        if isinstance(answer, bytes):
            report.bytes_read += len(answer)
        error = self._take(intake, answer)
        reason = None
        if error is None:
            report.answered += 1
        else:
            reason = error.reason if isinstance(error, FetchError) else "decode"
            report.failed[reason] += 1
        self._note(target.node, None if error is None else str(error).removeprefix(f"{target}: "))
        self._scraped(
            f"{self.name}:{target.address}:{target.port}", target.node, reply.finished - reply.started, reason
        )

    def _take(self, intake: Intake, answer: bytes | ScrapeError) -> ScrapeError | None:
        """Put one answer into the batch; the reason when that is not possible."""
        if isinstance(answer, ScrapeError):
            return answer
        try:
            sample = decode_summary(answer, int(self._clock() * 1e9))
        except DecodeError as error:
            return error
        for fault in sample.faults:
            log.debug("node %s: left out of its summary: %s", sample.node, fault)
        intake.add(sample)
        return None

    def _targets(self) -> list[KubeletTarget]:
        """The nodes to ask now; those left out are logged when that changes."""
        targets = []
        known = self._nodes.items
        for node in known.values():
            address = node.scrape_address
            if node.ready is False:
                self._note(node.name, "it is not ready")
            elif address is None:
                self._note(node.name, "it has no address that is an IP")
            else:
                targets.append(KubeletTarget(node.name, address, self._port))
        for gone in self._troubles.keys() - known.keys():
            del self._troubles[gone]
        return targets

    def _note(self, node: str, trouble: str | None) -> None:
        """Log a node's state when it changes."""
        before = self._troubles.get(node)
        if trouble == before:
            return
        if trouble is None:
            del self._troubles[node]
            log.info("node %s answers again", node)
        else:
            self._troubles[node] = trouble
            log.warning("node %s is left out: %s", node, trouble)
