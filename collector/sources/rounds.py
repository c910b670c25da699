"""Rounds: one round of questions to all kubelets, by a plan, under one deadline; each answer decoded and handed over.

Which nodes, which address, which port: behaviour reference, section 3.1. A node that fails costs what it would have
said and nothing else; so does an addition. The batch's scrape and the light one are rounds that differ in what is
decoded and where it goes.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Generic, NamedTuple, TypeAlias, cast

from collector.core.sample import NodeSample
from collector.errors import DecodeError, FetchError, ScrapeError
from collector.kube.listers import NodeLister
from collector.kube.objects import Node
from collector.sources.addresses import Addressing
from collector.sources.endpoints import Body, Endpoint, S, SourcePlan
from collector.sources.fallback import Fallbacks
from collector.sources.fanout import Reply, fan_out
from collector.sources.kubelet import KubeletTarget
from collector.sources.limits import MAX_ENTITIES, check_pieces, check_sample
from collector.sources.nodestate import NodeStates
from collector.sources.roster import Roster
from collector.turns import Turns

log = logging.getLogger(__name__)

Fetch = Callable[[KubeletTarget, str, bytes | None], Awaitable[Body]]
"""Gets target, path and what to POST. Raises FetchError."""

Scraped = Callable[[str, str, float, str | None], None]
"""Told of each answer: source label, node, seconds, reason of a failure or None."""

SPREAD_PER_NODE_S = 0.008
"""Asking N nodes is spread over so many seconds times N (behaviour reference, section 2.3; there at random, which gives
a node another place in each scrape and so jitters its rates; here evenly)."""

CLIENTS_TOGETHER = 4
"""Most answers in a group while there are clients, some milliseconds: larger ones cost less and keep them waiting."""

QUESTIONS_AT_ONCE = 1_024
"""Questions made between two turns of the event loop."""


@dataclass(slots=True)
class ScrapeReport:
    """How one scrape went, in nodes."""

    answered: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    """By reason."""
    late: int = 0
    """Of those that failed: still under way at the deadline."""
    left_out: Counter[str] = field(default_factory=Counter)
    """Not asked, by reason."""
    bytes_read: int = 0
    """Additions included."""


class Question(NamedTuple, Generic[S]):
    """One endpoint of one node."""

    node: Node
    target: KubeletTarget
    endpoint: Endpoint[S]

    def __str__(self) -> str:
        return str(self.target)


class Answer(NamedTuple, Generic[S]):
    """A body, and the endpoint that gave it: the one asked, or its fallback."""

    endpoint: Endpoint[S]
    body: Body


Place: TypeAlias = Callable[[Sequence[Question[S]], Sequence[Body]], Sequence[bool]]
"""Gets questions and the bodies of their answers; says which of them it has dealt with."""


class Rounds(Generic[S]):
    """Asks what `plan` says, round by round."""

    def __init__(
        self,
        fetch: Fetch,
        nodes: NodeLister,
        plan: SourcePlan[S],
        *,
        port: int,
        timeout_s: float,
        concurrency: int,
        jitter_s: float = 0.0,
        prepare: Callable[[], Awaitable[None]] | None = None,
        scraped: Scraped = lambda *_: None,
        clock: Callable[[], float] = time.time,
        addressing: Addressing = Addressing(),  # noqa: B008  a constant
        states: NodeStates | None = None,
        max_entities: int = MAX_ENTITIES,
        turns: Turns | None = None,
    ) -> None:
        """Nothing is asked yet. `states` is told of every node's; several rounds may share it.

        `jitter_s` is the longest time over which the asking is spread, within half of `timeout_s`. `prepare` is awaited
        before each round: credentials are renewed there. Ages (`uptime`) count to `clock`, Unix time in seconds.
        `max_entities` is how many of each kind one answer may have. Answers are taken for as long as `turns` allows.
        """
        self.plan: SourcePlan[S] = plan
        self._fetch = fetch
        self._states = states if states is not None else NodeStates(clock=clock)
        self._nodes = nodes
        self._roster = Roster(nodes, port, addressing, self._states)
        self._timeout_s = timeout_s
        self._concurrency = concurrency
        self._jitter_s = min(jitter_s, timeout_s / 2)
        self._prepare = prepare
        self._scraped = scraped
        self._clock = clock
        self._max_entities = max_entities
        self._turns = turns or Turns()
        self._fallbacks = Fallbacks()

    async def ask(
        self,
        start: int,
        end: int,
        take: Callable[[Question[S], S | None], None],
        *,
        together: int,
        place: Place[S] | None = None,
        settled: Callable[[], None] = lambda: None,
        patience_s: float | None = None,
    ) -> ScrapeReport:
        """One round, for the window from `start` to `end` (ns since the epoch).

        `take` gets what each question led to, None for a failure; `settled` is called behind every group of them. A
        group has `together` answers, fewer while there are clients, or what came within `patience_s` of the first.
        `place` is given those of a group that the plan's first endpoint gave, and says which of them it has dealt with:
        those are neither decoded here nor taken.
        """
        report = ScrapeReport()
        waiting: list[Reply[Question[S], Answer[S]]] = []
        timer: asyncio.TimerHandle | None = None
        loop = asyncio.get_running_loop()

        def settle() -> None:
            nonlocal timer
            if timer is not None:
                timer.cancel()
                timer = None
            # Taken off first: should one of them show a defect of ours, it does so once.
            replies, waiting[:] = waiting[:], []
            for reply, placed in zip(replies, self._placed(replies, place), strict=True):
                if placed:
                    self._settle_placed(reply, report)
                else:
                    self._settle(reply, take, report)
            settled()

        def gather(reply: Reply[Question[S], Answer[S]]) -> None:
            nonlocal timer
            waiting.append(reply)
            if len(waiting) >= (min(together, CLIENTS_TOGETHER) if self._turns.attentive else together):
                settle()
            elif patience_s is not None and timer is None:
                timer = loop.call_later(patience_s, settle)

        if self._prepare is not None:
            await self._prepare()
        await self._roster.read()
        questions = await self._questions()
        report.left_out = self._roster.left_out
        try:
            await fan_out(
                questions,
                partial(self._ask, start=start, end=end),
                deadline_s=self._timeout_s,
                concurrency=self._concurrency,
                on_result=gather,
                spread_s=min(SPREAD_PER_NODE_S * len(questions), self._jitter_s),
                turns=self._turns,
            )
            settle()
        finally:
            if timer is not None:
                timer.cancel()
        return report

    async def _ask(self, question: Question[S], *, start: int, end: int) -> Answer[S]:
        """One endpoint's answer, or that of its fallback where the kubelet does not serve it. Raises FetchError."""
        endpoint, fallback = question.endpoint, self.plan.fallback
        if fallback is None or endpoint is not self.plan.first:
            return await self._fetched(question, endpoint, start, end)
        if self._fallbacks.known(question.node):
            return await self._fetched(question, fallback, start, end)
        try:
            answer = await self._fetched(question, endpoint, start, end)
        except FetchError as error:
            if error.reason not in self.plan.not_served:
                raise
            answer = await self._fetched(question, fallback, start, end)
            self._fallbacks.note(question.node, str(endpoint), str(fallback), error)
        else:
            self._fallbacks.served(question.node, str(endpoint))
        return answer

    async def _fetched(self, question: Question[S], endpoint: Endpoint[S], start: int, end: int) -> Answer[S]:
        body = endpoint.question(start, end) if endpoint.question is not None else None
        return Answer(endpoint, await self._fetch(question.target, endpoint.path, body))

    def _placed(
        self,
        replies: Sequence[Reply[Question[S], Answer[S]]],
        place: Place[S] | None,
    ) -> list[bool]:
        """Which of these replies `place` has dealt with."""
        if place is None:
            return [False] * len(replies)
        first = self.plan.first
        answered = {
            i: (reply.target, reply.answer.body)
            for i, reply in enumerate(replies)
            if isinstance(reply.answer, Answer) and reply.answer.endpoint is first
        }
        questions, bodies = [question for question, _ in answered.values()], [body for _, body in answered.values()]
        placed = {i for i, done in zip(answered, place(questions, bodies), strict=True) if done}
        return [i in placed for i in range(len(replies))]

    def _settle(
        self,
        reply: Reply[Question[S], Answer[S]],
        take: Callable[[Question[S], S | None], None],
        report: ScrapeReport,
    ) -> None:
        """Hand over what one reply says and put it on record."""
        question, answer = reply.target, reply.answer
        node, target, asked = question.node.name, question.target, question.endpoint
        decoded = self._decoded(question, answer)
        error = decoded if isinstance(decoded, ScrapeError) else None
        reason = None if error is None else error.reason if isinstance(error, FetchError) else "decode"
        if isinstance(answer, Answer):
            report.bytes_read += len(answer.body)
        addition = asked is self.plan.addition
        if not addition:
            if error is None:
                report.answered += 1
            else:
                report.failed[str(reason)] += 1
                report.late += reason == "late"
        take(question, None if isinstance(decoded, ScrapeError) else decoded)
        if error is None:
            self._states.answered(node, asked.path, addition=addition)
        else:
            words = str(error).removeprefix(f"{target}: ")
            self._states.failed(node, asked.path, str(reason), words, addition=addition)
        label = answer.endpoint.label if isinstance(answer, Answer) else asked.label
        self._scraped(f"{label}:{target.address}:{target.port}", node, reply.finished - reply.started, reason)

    def _settle_placed(self, reply: Reply[Question[S], Answer[S]], report: ScrapeReport) -> None:
        """Put on record a reply whose answer is in its place: one of the first endpoint, so no addition."""
        answer, target = cast("Answer[S]", reply.answer), reply.target.target
        report.bytes_read += len(answer.body)
        report.answered += 1
        self._states.answered(target.node, answer.endpoint.path)
        source = f"{answer.endpoint.label}:{target.address}:{target.port}"
        self._scraped(source, target.node, reply.finished - reply.started, None)

    def _decoded(self, question: Question[S], answer: Answer[S] | ScrapeError) -> S | ScrapeError:
        """The sample of one answer; the reason when there is none."""
        if isinstance(answer, ScrapeError):
            return answer
        try:
            body = cast("bytes", answer.body) if answer.endpoint.in_place else bytes(answer.body)
            check_pieces(body, answer.endpoint.pieces, self._max_entities)
            sample = answer.endpoint.decode(body, question.node, int(self._clock() * 1e9))
            check_sample(sample, self._max_entities)
            if isinstance(sample, NodeSample):
                sample.asked = question.node.name
        except DecodeError as error:
            return error
        for fault in sample.faults:
            log.debug("node %s: left out of what %s says: %s", sample.node, answer.endpoint, fault)
        return sample

    async def _questions(self) -> list[Question[S]]:
        """What to ask now. Additions come last: they never cost a node its place within the deadline."""
        targets = self._roster.targets()
        self._fallbacks.keep_only(self._nodes.items.keys())
        questions: list[Question[S]] = []
        for endpoint in (self.plan.first, self.plan.addition):
            if endpoint is None:
                continue
            for start in range(0, len(targets), QUESTIONS_AT_ONCE):
                some = targets[start : start + QUESTIONS_AT_ONCE]
                questions += [Question(node, target, endpoint) for node, target in some]
                await asyncio.sleep(0)
        return questions
