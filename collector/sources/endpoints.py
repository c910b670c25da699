"""Which endpoints of a kubelet a source reads, and how: data that ScrapeManager works through.

key of the source         first             where that is not served    and, with cadvisor=true
kubernetes.summary_api    the summary                                   what only cAdvisor's text has
kubernetes                cAdvisor's JSON   the summary                 what only cAdvisor's text has
kubernetes.cadvisor       cAdvisor's text
the light cadence         the light one     the summary
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Generic, TypeVar

from collector.core.light import LightSample
from collector.core.metrics import DISK
from collector.core.sample import NodeSample
from collector.core.samplegroup import SampleGroup
from collector.kube.objects import Node
from collector.sources.cadvisor import decode_cadvisor, request_body
from collector.sources.cadvisortext import LACKING_IN_SUMMARY, decode_text
from collector.sources.fallback import NOT_SERVED
from collector.sources.kubelet import SUMMARY_PATH
from collector.sources.lightsummary import from_summary
from collector.sources.projection import AVAILABLE, decode_together
from collector.sources.resource import decode_resource
from collector.sources.resourceforms import decode_new
from collector.sources.settings import SourceSettings
from collector.sources.summary import decode_summary

S = TypeVar("S", NodeSample, LightSample)
"""What answers become."""

Body = bytes | memoryview
"""An answer as it came. A memoryview's memory is used again once no view of it is left."""
Decode = Callable[[bytes, Node, int], S]
"""An answer of the kubelet of a node, read at so many ns since the epoch. Raises DecodeError."""

DecodeTogether = Callable[[Sequence[Body], int], tuple[SampleGroup, list[bool]]]
"""Answers of several kubelets, read at so many ns since the epoch, as one group, and which of them are in it."""


@dataclass(frozen=True, slots=True)
class Endpoint(Generic[S]):
    """One path of a kubelet."""

    label: str
    """Begins the source label of the collector's own metrics."""
    path: str
    decode: Decode[S]
    question: Callable[[int, int], bytes] | None = None
    """The JSON to send for a window (start and end, ns); None: there is nothing to send, it is a GET."""
    in_place: bool = False
    """Whether `decode` takes a memoryview, which spares copying the body; others get bytes."""
    decode_together: DecodeTogether | None = None
    """The faster way for several answers at once; what it does not take is for `decode`. None: there is none."""

    def __str__(self) -> str:
        return self.path


@dataclass(frozen=True, slots=True)
class SourcePlan(Generic[S]):
    """The endpoints of one source."""

    first: Endpoint[S]
    fallback: Endpoint[S] | None = None
    """Read instead where a kubelet does not serve `first`."""
    addition: Endpoint[S] | None = None
    """Read as well, and merged into the sample of the others."""
    not_served: frozenset[str] = NOT_SERVED
    """Reasons of a FetchError that say a kubelet does not serve `first`."""


CONTAINERS_PATH: Final = "/stats/container/"
"""With it: the old kubelets redirect a POST without."""
TEXT_PATH: Final = "/metrics/cadvisor"
RESOURCE_PATH: Final = "/metrics/resource"


def _summary(body: Body, node: Node, read_at: int) -> NodeSample:
    del node  # the answer names it
    return decode_summary(body, read_at)


SUMMARY: Final = Endpoint(
    "kubelet_summary",
    SUMMARY_PATH,
    _summary,
    in_place=True,
    decode_together=decode_together if AVAILABLE else None,
)
SUMMARY_BELOW: Final = replace(SUMMARY, path=f"{SUMMARY_PATH}/")
"""Where Heapster asked. Kubelets serve both; what stands in for one may serve only this."""
ADDITION: Final = Endpoint(
    "kubelet_cadvisor",
    TEXT_PATH,
    lambda body, node, read_at: decode_text(body, node.name, read_at, plain=LACKING_IN_SUMMARY, groups=(DISK,)),
)


def plan_of(settings: SourceSettings) -> SourcePlan[NodeSample]:
    """What the source of these settings reads."""
    addition = ADDITION if settings.cadvisor else None
    match settings.key:
        case "kubernetes":
            return SourcePlan(_containers(settings.keep_cgroup), SUMMARY, addition)
        case "kubernetes.cadvisor":
            return SourcePlan(_text(settings.keep_cgroup))
        case _:
            return SourcePlan(SUMMARY, SUMMARY_BELOW, addition, frozenset({"not_found", "redirect"}))


def light_plan(known: Callable[[str], object | None]) -> SourcePlan[LightSample]:
    """What the light cadence reads; `known` gives the layout of a node's answer before."""

    def light(body: bytes, node: Node, read_at: int) -> LightSample:
        return decode_new(body, node.name) or decode_resource(body, node.name, read_at, known(node.name))

    def instead(body: bytes, node: Node, read_at: int) -> LightSample:
        return from_summary(decode_summary(body, read_at), known(node.name))

    return SourcePlan(
        Endpoint("kubelet_resource", RESOURCE_PATH, light), Endpoint("kubelet_summary", SUMMARY_PATH, instead)
    )


def _containers(keep: Callable[[str], bool]) -> Endpoint[NodeSample]:
    def decode(body: bytes, node: Node, read_at: int) -> NodeSample:
        return decode_cadvisor(body, node.name, read_at, schedulable=not node.unschedulable, keep=keep)

    return Endpoint("kubelet", CONTAINERS_PATH, decode, request_body)


def _text(keep: Callable[[str], bool]) -> Endpoint[NodeSample]:
    def decode(body: bytes, node: Node, read_at: int) -> NodeSample:
        return decode_text(body, node.name, read_at, keep=keep)

    return Endpoint("kubelet_cadvisor", TEXT_PATH, decode)
