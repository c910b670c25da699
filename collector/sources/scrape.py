"""ScrapeManager: the Source that asks every kubelet for what its plan says, under one deadline, and fills the batch.

Which nodes, which address, which port: behaviour reference, section 3.1. A node that fails costs its own rows of this
batch and nothing else; an addition that fails costs only what it would have added.
"""

import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial

from collector.core.batch import DataBatch
from collector.core.entities import EntityTable
from collector.core.intake import Intake
from collector.core.metrics import MetricTable
from collector.core.sample import NodeSample
from collector.errors import DecodeError, FetchError, ScrapeError
from collector.kube.listers import NodeLister
from collector.kube.objects import Node
from collector.sources.endpoints import SUMMARY, Endpoint, SourcePlan
from collector.sources.fallback import NOT_SERVED, Fallbacks
from collector.sources.fanout import Reply, fan_out
from collector.sources.kubelet import KubeletTarget
from collector.sources.merge import merge

log = logging.getLogger(__name__)

DECODED_TOGETHER = 16
"""Answers decoded in one go, some 8 ms: between two fetches the processor's caches forget the decoder, and it then
takes twice as long. With more, clients would wait longer than they gain."""


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
    """Additions included."""


@dataclass(frozen=True, slots=True)
class Question:
    """One endpoint of one node."""

    node: Node
    target: KubeletTarget
    endpoint: Endpoint

    def __str__(self) -> str:
        return str(self.target)


@dataclass(frozen=True, slots=True)
class Answer:
    """A body, and the endpoint that gave it: the one asked, or its fallback."""

    endpoint: Endpoint
    body: bytes


class _Gathering:
    """The samples of one scrape on their way into the batch: a node's sample waits for its addition, if it gets one.

    However the addition ends, every sample that came is in the batch after `flush`.
    """

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._waiting: dict[str, NodeSample] = {}
        self._early: dict[str, NodeSample | None] = {}
        """Additions that came before what they are added to."""
        self._waits = False

    def expect_additions(self) -> None:
        """From now on a node's sample waits for its addition, which is asked for after it."""
        self._waits = True

    def take(self, node: str, sample: NodeSample) -> None:
        """The sample of a node."""
        if not self._waits:
            self._intake.add(sample)
            return
        self._waiting[node] = sample
        if node in self._early:
            self.complete(node, self._early.pop(node))

    def complete(self, node: str, addition: NodeSample | None) -> None:
        """The addition of a node, None when there is none to come."""
        sample = self._waiting.pop(node, None)
        if sample is None:
            self._early[node] = addition
        else:
            self._intake.add(sample if addition is None else merge(sample, addition))

    def flush(self) -> None:
        """Put everything into the batch."""
        for node in list(self._waiting):
            self.complete(node, None)
        self._intake.flush()


class ScrapeManager:
    """One scrape a tick. `report` is that of the latest one."""

    def __init__(
        self,
        fetch: Callable[[KubeletTarget, str, bytes | None], Awaitable[bytes]],
        nodes: NodeLister,
        entities: EntityTable,
        metrics: MetricTable,
        *,
        port: int,
        timeout_s: float,
        concurrency: int,
        jitter_s: float = 0.0,
        plan: SourcePlan = SourcePlan(SUMMARY),  # noqa: B008  a constant
        prepare: Callable[[], Awaitable[None]] | None = None,
        scraped: Callable[[str, str, float, str | None], None] = lambda *_: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Nothing is asked yet.

        `fetch` gets target, path and what to POST. `jitter_s` is the longest time over which the asking is spread,
        within half of `timeout_s`. `prepare` is awaited before each scrape: credentials are renewed there. `scraped` is
        told of each answer: source label, node, seconds, reason of a failure or None. Ages (`uptime`) count to `clock`,
        Unix time in seconds.
        """
        self.name = plan.first.label
        self._fetch = fetch
        self._nodes = nodes
        self._entities = entities
        self._metrics = metrics
        self._port = port
        self._timeout_s = timeout_s
        self._concurrency = concurrency
        self._jitter_s = min(jitter_s, timeout_s / 2)
        self._plan = plan
        self._prepare = prepare
        self._scraped = scraped
        self._clock = clock
        self._fallbacks = Fallbacks()
        self._troubles: dict[tuple[str, Endpoint], str] = {}
        """Node and endpoint -> why it is left out or failed, as last logged: one line for each change."""
        self.report = ScrapeReport()

    async def scrape(self, start: int, end: int) -> DataBatch:
        """The batch of the window from `start` to `end` (ns since the epoch)."""
        batch = DataBatch(self._entities, self._metrics, end)
        gathering, report = _Gathering(Intake(batch)), ScrapeReport()
        if self._plan.addition is not None:
            gathering.expect_additions()
        waiting: list[Reply[Question, Answer]] = []

        def settle() -> None:
            for reply in waiting:
                self._settle(reply, gathering, report)
            waiting.clear()

        def take(reply: Reply[Question, Answer]) -> None:
            waiting.append(reply)
            if len(waiting) >= DECODED_TOGETHER:
                settle()

        if self._prepare is not None:
            await self._prepare()
        questions = self._questions()
        await fan_out(
            questions,
            partial(self._ask, start=start, end=end),
            deadline_s=self._timeout_s,
            concurrency=self._concurrency,
            on_result=take,
            spread_s=min(SPREAD_PER_NODE_S * len(questions), self._jitter_s),
        )
        settle()
        gathering.flush()
        self.report = report
        return batch

    async def _ask(self, question: Question, *, start: int, end: int) -> Answer:
        """One endpoint's answer, or that of its fallback where the kubelet does not serve it. Raises FetchError."""
        endpoint, fallback = question.endpoint, self._plan.fallback
        if fallback is None or endpoint is not self._plan.first:
            return await self._fetched(question, endpoint, start, end)
        if self._fallbacks.known(question.node):
            return await self._fetched(question, fallback, start, end)
        try:
            return await self._fetched(question, endpoint, start, end)
        except FetchError as error:
            if error.reason not in NOT_SERVED:
                raise
            answer = await self._fetched(question, fallback, start, end)
            self._fallbacks.note(question.node, str(endpoint), str(fallback), error)
            return answer

    async def _fetched(self, question: Question, endpoint: Endpoint, start: int, end: int) -> Answer:
        body = endpoint.question(start, end) if endpoint.question is not None else None
        return Answer(endpoint, await self._fetch(question.target, endpoint.path, body))

    def _settle(self, reply: Reply[Question, Answer], gathering: _Gathering, report: ScrapeReport) -> None:
        """Put one reply where it belongs: into the batch, or on record as a failure."""
        question, answer = reply.target, reply.answer
        node, target, asked = question.node.name, question.target, question.endpoint
        decoded = self._decoded(question, answer)
        error = decoded if isinstance(decoded, ScrapeError) else None
        reason = None if error is None else error.reason if isinstance(error, FetchError) else "decode"
        if isinstance(answer, Answer):
            report.bytes_read += len(answer.body)
        if asked is self._plan.addition:
            gathering.complete(node, None if isinstance(decoded, ScrapeError) else decoded)
        elif isinstance(decoded, ScrapeError):
            report.failed[str(reason)] += 1
            report.late += reason == "late"
        else:
            report.answered += 1
            gathering.take(node, decoded)
        self._note(node, asked, None if error is None else str(error).removeprefix(f"{target}: "))
        label = answer.endpoint.label if isinstance(answer, Answer) else asked.label
        self._scraped(f"{label}:{target.address}:{target.port}", node, reply.finished - reply.started, reason)

    def _decoded(self, question: Question, answer: Answer | ScrapeError) -> NodeSample | ScrapeError:
        """The sample of one answer; the reason when there is none."""
        if isinstance(answer, ScrapeError):
            return answer
        try:
            sample = answer.endpoint.decode(answer.body, question.node, int(self._clock() * 1e9))
        except DecodeError as error:
            return error
        for fault in sample.faults:
            log.debug("node %s: left out of what %s says: %s", sample.node, answer.endpoint, fault)
        return sample

    def _questions(self) -> list[Question]:
        """What to ask now; nodes left out are logged when that changes.

        Additions come last: they never cost a node its place within the deadline.
        """
        targets = []
        known = self._nodes.items
        for node in known.values():
            address = node.scrape_address
            if node.ready is False:
                self._note(node.name, self._plan.first, "it is not ready")
            elif address is None:
                self._note(node.name, self._plan.first, "it has no address that is an IP")
            else:
                targets.append((node, KubeletTarget(node.name, address, self._port)))
        for gone in [each for each in self._troubles if each[0] not in known]:
            del self._troubles[gone]
        self._fallbacks.keep_only(known.keys())
        endpoints = (self._plan.first, self._plan.addition)
        return [
            Question(node, target, endpoint)
            for endpoint in endpoints
            if endpoint is not None
            for node, target in targets
        ]

    def _note(self, node: str, endpoint: Endpoint, trouble: str | None) -> None:
        """Log a node's state when it changes."""
        before = self._troubles.get((node, endpoint))
        if trouble == before:
            return
        what = f"what {endpoint} adds to node" if endpoint is self._plan.addition else "node"
        if trouble is None:
            del self._troubles[node, endpoint]
            log.info("%s %s %s again", what, node, "comes" if endpoint is self._plan.addition else "answers")
        else:
            self._troubles[node, endpoint] = trouble
            log.warning("%s %s is left out: %s", what, node, trouble)
