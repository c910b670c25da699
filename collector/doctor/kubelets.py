"""The kubelets: asked by the collector's own client, rounds and decoders, and each trouble put to its place.

One round of questions serves five checks. A trouble belongs to the first of them that explains it (address, TLS,
authorisation, answer); the later ones leave that node out.
"""

import asyncio
import contextlib
import ssl
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from email.utils import parsedate_to_datetime
from typing import Final, Literal

from collector.api.causes import CAUSES
from collector.core.entities import EntityTable
from collector.core.light import LightStore
from collector.doctor.finding import Finding, State, fine, skipped, wrong
from collector.doctor.patient import Dated, Instead, Patient
from collector.errors import FetchError, ScrapeError, StartError
from collector.kubelets import preparation
from collector.options import SECOND
from collector.process import allow_many_connections
from collector.sources.endpoints import RESOURCE_PATH, Body, S, SourcePlan, light_plan, plan_of
from collector.sources.kubelet import KubeletClient
from collector.sources.link import NotConnectedError
from collector.sources.rounds import Question, Rounds
from collector.sources.scrape import DECODED_TOGETHER
from collector.sources.target import KubeletTarget
from collector.sources.tls import OtherNameError
from collector.sources.tokens import ClusterToken
from sinks.runner.place import state_directory

Stage = Literal["address", "tls", "access", "answer"]
STAGES: Final[tuple[Stage, ...]] = ("address", "tls", "access", "answer")

FULL, ADDITION, LIGHT = "full", "addition", "light"

_STAGE_OF: Final[dict[str, Stage]] = {
    "refused": "address",
    "unreachable": "address",
    "tls": "tls",
    "pin": "tls",
    "unauthorized": "access",
    "forbidden": "access",
}
"""Reason of a FetchError -> the check it belongs to; of all others it is the answer that is at fault."""

FIRST_S: Final = 0.005
"""More than --scrape-timeout for each node: the first round makes all connections, the next ones find them."""
_DIAL_S: Final = 2.0
_EXPIRED: Final = frozenset((9, 10))
"""X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED"""
_OTHER_NAME: Final = frozenset((62, 64))
_RIGHT_FOR: Final = {FULL: "nodes/stats", ADDITION: "nodes/metrics", LIGHT: "nodes/metrics"}


class _Client:
    """The kubelet client, which remembers what went wrong, and when each answer said it was."""

    def __init__(self, patient: Patient) -> None:
        assert patient.nodes is not None, "the fact `nodes`"
        self._patient = patient
        self._sent: dict[str, float] = {}
        self.failed: dict[tuple[str, str], FetchError] = {}
        """(node, path) -> why it did not answer"""
        token = ClusterToken(patient.api)
        options = patient.kubelets.client_options(patient.api, token, patient.nodes, state_directory(), read_only=True)
        self._client = KubeletClient(replace(options, dated=self._dated))
        self.prepare = preparation(token, self._client)

    async def start(self) -> None:
        """Raises StartError."""
        await self._client.start()
        self._patient.closing.push_async_callback(self._client.close)

    async def fetch(self, target: KubeletTarget, path: str, question: bytes | None) -> Body:
        """As KubeletClient's. Raises FetchError."""
        self._sent[target.node] = time.time()
        try:
            return await self._client.fetch(target, path, question)
        except FetchError as error:
            if error.reason == "timeout" and not await _dialled(target):
                error.reason = "unreachable"
            self.failed[target.node, path] = error
            raise

    def _dated(self, node: str, said: str) -> None:
        with contextlib.suppress(ValueError):
            date = parsedate_to_datetime(said).timestamp()
            self._patient.dates[f"node {node}"] = Dated(date, self._sent[node], time.time())


async def _dialled(target: KubeletTarget) -> bool:
    """Whether anything takes connections at one of its addresses."""
    for place in target.places:
        with contextlib.suppress(OSError):  # TimeoutError is one
            async with asyncio.timeout(_DIAL_S):
                _, writer = await asyncio.open_connection(place.address, place.port)
            writer.close()
            return True
    return False


async def asked(patient: Patient) -> list[Finding]:
    """Ask every kubelet what the collector would; what is found is for the checks behind this one."""
    allow_many_connections()
    client = _Client(patient)
    try:
        await client.start()
    except StartError as error:
        return [wrong("kubelet-client", trouble=error)]
    patient.asked = {}
    await _round(patient, client, plan_of(patient.settings), FULL)
    if patient.aggregated and patient.options.light_resolution:
        store = LightStore(EntityTable(), resolution_ns=SECOND, keep_ns=SECOND)
        await _round(patient, client, light_plan(store.layout), LIGHT)
    patient.facts.add("kubelets")
    return [fine(f"{len(patient.asked)} kubelets were asked, each within {patient.options.node_timeout / SECOND:g} s")]


async def _round(patient: Patient, client: _Client, plan: SourcePlan[S], what: str) -> None:
    """One round of a cadence, as the collector makes it."""
    assert patient.nodes is not None, "the fact `nodes`"
    assert patient.asked is not None, "the round's caller sets it"
    answers, options = patient.asked, patient.options
    rounds = Rounds(
        client.fetch,
        patient.nodes,
        plan,
        port=patient.settings.kubelet_port,
        timeout_s=options.scrape_timeout / SECOND + FIRST_S * len(patient.nodes.items),
        concurrency=options.scrape_concurrency,
        prepare=client.prepare,
        addressing=patient.kubelets.addressing,
        states=patient.kubelets.states,
    )

    kinds = (what,) if plan.addition is None else (what, ADDITION)
    for state in patient.kubelets.states:
        if state.target is not None:
            answers.setdefault(state.node, {}).update(dict.fromkeys(kinds))
    failing: list[tuple[str, str, str]] = []

    def take(question: Question[S], sample: S | None) -> None:
        if sample is None:
            kind = ADDITION if question.endpoint is plan.addition else what
            failing.append((question.node.name, kind, question.endpoint.path))

    decode = plan.first.decode_together

    def place(_: Sequence[Question[S]], bodies: Sequence[Body]) -> Sequence[bool]:
        assert decode is not None, "given only where there is one"
        return decode(bodies, time.time_ns())[1]

    now = time.time_ns()
    await rounds.ask(
        now - options.metric_resolution,
        now,
        take,
        together=DECODED_TOGETHER,
        place=place if decode is not None else None,
    )
    if plan.fallback is not None:
        for (node, path), error in client.failed.items():
            if path == plan.first.path:
                patient.instead[node, what] = Instead(plan.fallback.path, error)
    for node, kind, path in failing:
        paths = [path] if kind == ADDITION or plan.fallback is None else [plan.fallback.path, path]
        answers[node][kind] = _trouble(patient, client, node, path, paths)


class _ToldError(ScrapeError):
    """A trouble of which only reason and words are known: no answer in time for all, or one that cannot be read."""

    def __init__(self, reason: str, words: str) -> None:
        super().__init__(words)
        self.reason = reason


def _trouble(patient: Patient, client: _Client, node: str, path: str, paths: list[str]) -> ScrapeError:
    """What the states say of a question, with the error that the client met, where it was that."""
    state = patient.kubelets.states.get(node)
    trouble = state.endpoints.get(path) if state is not None else None
    if trouble is None:
        return _ToldError("decode", f"what {path} answers cannot be read")
    met = [client.failed[node, each] for each in paths if (node, each) in client.failed]
    return next((error for error in met if error.reason == trouble.reason), None) or _ToldError(
        trouble.reason, trouble.words
    )


# The checks: pure functions of what was asked.


async def address(patient: Patient) -> list[Finding]:
    """Whether something takes connections at each node's address and port."""
    return _stage(patient, "address", "takes connections")


async def tls(patient: Patient) -> list[Finding]:
    """Whether each kubelet is who it should be."""
    mode = patient.kubelets.mode
    if mode == "http":
        return [wrong("kubelet-http", state=State.WARNING)]
    unverified = [wrong("kubelet-unverified", state=State.WARNING)] if mode == "insecure" else []
    return unverified + _stage(patient, "tls", "speaks TLS" if unverified else "is who it should be")


async def access(patient: Patient) -> list[Finding]:
    """Whether each kubelet lets us in."""
    found = _stage(patient, "access", "lets us in")
    if patient.kubelets.mode == "http" and all(finding.state is not State.BROKEN for finding in found):
        return [skipped("over plain http kubelets ask nobody")]
    return found


async def full(patient: Patient) -> list[Finding]:
    """Whether the source's own endpoint answers what can be read."""
    return [
        *_answers(patient, FULL, plan_of(patient.settings).first.path),
        *(_answers(patient, ADDITION, "what cadvisor=true adds") if patient.settings.cadvisor else ()),
    ]


async def light(patient: Patient) -> list[Finding]:
    """Whether the light endpoint does, where it is asked."""
    if not patient.aggregated:
        return [skipped("the flags do not ask for it (--api-server)")]
    if not patient.options.light_resolution:
        return [skipped("the flags do not ask for it (--light-resolution=0)")]
    return _answers(patient, LIGHT, RESOURCE_PATH)


def _known(patient: Patient) -> Iterator[tuple[str, dict[str, BaseException | None]]]:
    assert patient.asked is not None, "the fact `kubelets`"
    yield from sorted(patient.asked.items())


def stage_of(error: BaseException | None) -> Stage | None:
    """The check that a trouble belongs to."""
    return None if error is None else _STAGE_OF.get(getattr(error, "reason", ""), "answer")


def _stage(patient: Patient, stage: Stage, good: str) -> list[Finding]:
    found = []
    for node, answers in _known(patient):
        stages = {kind: stage_of(error) for kind, error in answers.items()}
        kind = next((kind for kind, each in stages.items() if each == stage), None)
        if kind is not None:
            found.append(_finding(patient, node, kind, answers[kind]))
        elif all(each is not None and STAGES.index(each) < STAGES.index(stage) for each in stages.values()):
            found.append(skipped("it was not reached, see above", node))
        elif _silent(patient, node, answers) and (stage != "address" or _unasked(answers)):
            found.append(skipped("it says nothing, see below", node))
        else:
            found.append(fine(good, node))
    return found


def _silent(patient: Patient, node: str, answers: dict[str, BaseException | None]) -> bool:
    """Whether it has neither answered anything nor refused: then nobody knows who it is, and whether we are let in."""
    return f"node {node}" not in patient.dates and None not in answers.values()


def _unasked(answers: dict[str, BaseException | None]) -> bool:
    """Whether the deadline of the whole round came first."""
    return all(error is not None and _reason(error) == "late" for error in answers.values())


def _answers(patient: Patient, kind: str, what: str) -> list[Finding]:
    found = []
    for node, answers in _known(patient):
        error = answers.get(kind)
        before = answers.get(FULL) if kind != FULL else None
        instead = patient.instead.get((node, kind))
        if error is None and instead is not None and instead.error.reason == "forbidden":
            found.append(_finding(patient, node, kind, instead.error, State.WARNING))
        elif error is None:
            found.append(fine(f"{what if instead is None else instead.path} can be read", node))
        elif stage_of(error) != "answer" or (before is not None and _reason(before) == _reason(error)):
            found.append(skipped("it did not get so far, see above", node))
        else:
            found.append(_finding(patient, node, kind, error))
    return found


def _finding(
    patient: Patient, node: str, kind: str, error: BaseException | None, state: State = State.BROKEN
) -> Finding:
    assert error is not None, "only troubles are told"
    verb = "create" if kind == FULL and patient.settings.key == "kubernetes" else "get"
    right = f"{verb} {_RIGHT_FOR[kind]}"
    if _reason(error) == "forbidden" and "identity" in patient.facts and right not in patient.facts:
        return skipped(f"refused, since the right to {right} is missing, see above", node)
    words = str(error).removeprefix(f"node {node}: ")
    # The one who refuses a stranger over plain http would let us in over TLS.
    plain = patient.kubelets.mode == "http" and _reason(error) == "unauthorized"
    return wrong("kubelet-http-refuses" if plain else _cause(error), node, state=state, trouble=words, node=node)


def _reason(error: BaseException) -> str:
    return str(getattr(error, "reason", ""))


def _cause(error: BaseException) -> str:
    reason, root = _reason(error), _root(error)
    if reason == "tls":
        if isinstance(root, OtherNameError):
            return "kubelet-certificate-name"
        if isinstance(root, ssl.SSLCertVerificationError):
            if root.verify_code in _EXPIRED:
                return "kubelet-certificate-date"
            return "kubelet-certificate-name" if root.verify_code in _OTHER_NAME else "kubelet-tls"
        return "kubelet-plain"
    if reason == "unreachable" and isinstance(root, TimeoutError):
        return "kubelet-no-connection"
    cause = f"kubelet-{reason}"
    return cause if cause in CAUSES else "kubelet-other"


def _root(error: BaseException) -> BaseException | None:
    """What the client met."""
    cause = error.__cause__ or error.__context__
    return cause.cause if isinstance(cause, NotConnectedError) else cause
