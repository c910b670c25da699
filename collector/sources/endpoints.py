"""Which endpoints of a kubelet a source reads, and how: data that ScrapeManager works through.

key of the source         first             where that is not served    and, with cadvisor=true
kubernetes.summary_api    the summary                                   what only cAdvisor's text has
kubernetes                cAdvisor's JSON   the summary                 what only cAdvisor's text has
kubernetes.cadvisor       cAdvisor's text
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from collector.core.metrics import DISK
from collector.core.sample import NodeSample
from collector.core.samplegroup import SampleGroup
from collector.kube.objects import Node
from collector.sources.cadvisor import decode_cadvisor, request_body
from collector.sources.cadvisortext import LACKING_IN_SUMMARY, decode_text
from collector.sources.kubelet import SUMMARY_PATH
from collector.sources.projection import AVAILABLE, decode_together
from collector.sources.settings import SourceSettings
from collector.sources.summary import decode_summary

Decode = Callable[[bytes, Node, int], NodeSample]
"""An answer of the kubelet of a node, read at so many ns since the epoch. Raises DecodeError."""

DecodeTogether = Callable[[Sequence[bytes], int], tuple[SampleGroup, list[bool]]]
"""Answers of several kubelets, read at so many ns since the epoch, as one group, and which of them are in it."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One path of a kubelet."""

    label: str
    """Begins the source label of the collector's own metrics."""
    path: str
    decode: Decode
    question: Callable[[int, int], bytes] | None = None
    """The JSON to send for a window (start and end, ns); None: there is nothing to send, it is a GET."""
    decode_together: DecodeTogether | None = None
    """The faster way for several answers at once; what it does not take is for `decode`. None: there is none."""

    def __str__(self) -> str:
        return self.path


@dataclass(frozen=True, slots=True)
class SourcePlan:
    """The endpoints of one source."""

    first: Endpoint
    fallback: Endpoint | None = None
    """Read instead where a kubelet does not serve `first`."""
    addition: Endpoint | None = None
    """Read as well, and merged into the sample of the others."""


CONTAINERS_PATH: Final = "/stats/container/"
"""With it: the old kubelets redirect a POST without."""
TEXT_PATH: Final = "/metrics/cadvisor"

SUMMARY: Final = Endpoint(
    "kubelet_summary",
    SUMMARY_PATH,
    lambda body, _node, read_at: decode_summary(body, read_at),
    decode_together=decode_together if AVAILABLE else None,
)
ADDITION: Final = Endpoint(
    "kubelet_cadvisor",
    TEXT_PATH,
    lambda body, node, read_at: decode_text(body, node.name, read_at, plain=LACKING_IN_SUMMARY, groups=(DISK,)),
)


def plan_of(settings: SourceSettings) -> SourcePlan:
    """What the source of these settings reads."""
    addition = ADDITION if settings.cadvisor else None
    match settings.key:
        case "kubernetes":
            return SourcePlan(_containers(settings.keep_cgroup), SUMMARY, addition)
        case "kubernetes.cadvisor":
            return SourcePlan(_text(settings.keep_cgroup))
        case _:
            return SourcePlan(SUMMARY, addition=addition)


def _containers(keep: Callable[[str], bool]) -> Endpoint:
    def decode(body: bytes, node: Node, read_at: int) -> NodeSample:
        return decode_cadvisor(body, node.name, read_at, schedulable=not node.unschedulable, keep=keep)

    return Endpoint("kubelet", CONTAINERS_PATH, decode, request_body)


def _text(keep: Callable[[str], bool]) -> Endpoint:
    def decode(body: bytes, node: Node, read_at: int) -> NodeSample:
        return decode_text(body, node.name, read_at, keep=keep)

    return Endpoint("kubelet_cadvisor", TEXT_PATH, decode)
