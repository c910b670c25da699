"""ScrapeManager: the Source that asks every kubelet for what its plan says and fills the batch.

A node that fails costs its own rows of this batch and nothing else; an addition that fails costs only what it would
have added.
"""

import time
from collections.abc import Awaitable, Callable, Sequence

from collector.core.batch import DataBatch
from collector.core.entities import EntityTable
from collector.core.intake import Intake
from collector.core.metrics import MetricTable
from collector.core.sample import NodeSample
from collector.core.samplegroup import SampleGroup
from collector.kube.listers import NodeLister
from collector.sources.addresses import Addressing
from collector.sources.endpoints import SUMMARY, Body, SourcePlan
from collector.sources.limits import MAX_ENTITIES
from collector.sources.merge import merge
from collector.sources.nodestate import NodeStates
from collector.sources.rounds import Fetch, Question, Rounds, Scraped, ScrapeReport
from collector.turns import Turns

DECODED_TOGETHER = 32
"""Answers decoded in one go, some 8 ms, or 20 where the extension is missing: between two fetches the processor's
caches forget the decoder, and it then takes twice as long. With more, clients would wait longer than they gain."""
FIRST_TOGETHER = 4
"""The same in the first round: nearly all rows are new then, and names are looked up one by one."""


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

    def take_group(self, group: SampleGroup) -> None:
        """The samples of several nodes, none of which has an addition to come."""
        self._intake.add_group(group)

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
        fetch: Fetch,
        nodes: NodeLister,
        entities: EntityTable,
        metrics: MetricTable,
        *,
        port: int,
        timeout_s: float,
        concurrency: int,
        jitter_s: float = 0.0,
        plan: SourcePlan[NodeSample] = SourcePlan(SUMMARY),  # noqa: B008  a constant
        prepare: Callable[[], Awaitable[None]] | None = None,
        scraped: Scraped = lambda *_: None,
        clock: Callable[[], float] = time.time,
        addressing: Addressing = Addressing(),  # noqa: B008  a constant
        states: NodeStates | None = None,
        max_entities: int = MAX_ENTITIES,
        turns: Turns | None = None,
    ) -> None:
        """Nothing is asked yet; the arguments by name are those of `Rounds`."""
        self.name = plan.first.label
        self._rounds = Rounds(
            fetch,
            nodes,
            plan,
            port=port,
            timeout_s=timeout_s,
            concurrency=concurrency,
            jitter_s=jitter_s,
            prepare=prepare,
            scraped=scraped,
            clock=clock,
            addressing=addressing,
            states=states,
            max_entities=max_entities,
            turns=turns,
        )
        self._max_entities = max_entities
        self._entities = entities
        self._metrics = metrics
        self._nodes = nodes
        self._clock = clock
        self.report = ScrapeReport()
        self._asked = False

    async def scrape(self, start: int, end: int) -> DataBatch:
        """The batch of the window from `start` to `end` (ns since the epoch)."""
        batch = DataBatch(self._entities, self._metrics, end, nodes=len(self._nodes.items))
        addition = self._rounds.plan.addition
        gathering = _Gathering(Intake(batch))
        if addition is not None:
            gathering.expect_additions()

        def take(question: Question[NodeSample], sample: NodeSample | None) -> None:
            if question.endpoint is addition:
                gathering.complete(question.node.name, sample)
            elif sample is not None:
                gathering.take(question.node.name, sample)

        def place(_: Sequence[Question[NodeSample]], bodies: Sequence[Body]) -> Sequence[bool]:
            assert together is not None
            group, accepted = together(bodies, int(self._clock() * 1e9), self._max_entities)
            gathering.take_group(group)
            return accepted

        together = self._rounds.plan.first.decode_together if addition is None else None
        self.report = await self._rounds.ask(
            *(start, end, take),
            together=DECODED_TOGETHER if self._asked else FIRST_TOGETHER,
            place=place if together is not None else None,
        )
        self._asked = True
        gathering.flush()
        return batch
