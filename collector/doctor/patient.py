"""Patient: the flags, and what the checks have found out so far."""

from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import NamedTuple

from collector.core.contracts import Sink
from collector.errors import FetchError
from collector.kube.connection import ApiConnection
from collector.kube.listers import NodeLister
from collector.kubelets import Kubelets
from collector.options import Options
from collector.sources.settings import SourceSettings


class Dated(NamedTuple):
    """When an answer says it was given, and when it was: Unix times in seconds, `date` whole ones."""

    date: float
    sent: float
    received: float


class Instead(NamedTuple):
    """A path that was read in the place of another, and what was said to that one."""

    path: str
    error: FetchError


@dataclass(slots=True)
class Patient:
    """One examination. What is closed at its end is in `closing`. Raises UsageError for a source that means nothing."""

    options: Options
    closing: AsyncExitStack
    facts: set[str] = field(default_factory=set)
    """What is known to hold: what checks need of one another, see FACTS."""
    settings: SourceSettings = field(init=False)
    kubelets: Kubelets = field(init=False)
    connection: ApiConnection | None = None
    user: str = ""
    """Who we are to the API server."""
    nodes: NodeLister | None = None
    dates: dict[str, Dated] = field(default_factory=dict)
    """`the API server` or `node X` -> its latest answer"""
    asked: dict[str, dict[str, BaseException | None]] | None = None
    """Node -> what was asked of it (`full`, `light`, `addition`) -> what went wrong; None before kubelets are asked"""
    instead: dict[tuple[str, str], Instead] = field(default_factory=dict)
    """(node, what was asked) -> what was read, where the kubelet does not serve the first"""
    sinks: list[tuple[str, Sink]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.settings = SourceSettings.parse(self.options.source[0])
        self.kubelets = Kubelets(self.options, self.settings)

    @property
    def aggregated(self) -> bool:
        """Whether the flags ask for the second server."""
        return self.options.api_server and bool(self.options.secure_port)

    @property
    def api(self) -> ApiConnection:
        """The way to the API server, for checks that need it."""
        assert self.connection is not None, "a check that asks the API server needs the fact `api-server`"
        return self.connection


FACTS = {
    "api-server": "the API server is not reached",
    "identity": "the API server does not know us",
    "nodes": "no node is known",
    "kubelets": "the client that asks kubelets cannot start",
    "list nodes": "the right to list nodes is missing",
    "get apiservices": "the right to get apiservices is missing",
    "second server": "the flags do not ask for the second server (--api-server)",
}
"""Fact -> why something was not looked at where it does not hold."""
