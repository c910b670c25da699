"""What is known of each node's kubelet: asked or left out, answering or not, since when, at which address.

Written by the scrapes and by the client, and only when something changes; every change is logged once. Whoever explains
why a node is missing reads it.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, cast

from collector.sources.target import KubeletTarget

log = logging.getLogger(__name__)

LeftOut = Literal["not_ready", "virtual", "no_address"]
"""Why a node is not asked: it is not ready; it is virtual and states no kubelet; it has no address to dial."""

State = Literal["new", "ok", "failing", "not_ready", "virtual", "no_address"]
"""`new`: not asked yet; `ok`: all that it is asked for comes; `failing`: some of it does not; else it is not asked."""

LEFT_OUT: Final[Mapping[LeftOut, str]] = {
    "not_ready": "it is not ready",
    "virtual": "it is virtual, and its Node object states no kubelet (status.daemonEndpoints)",
    "no_address": "it has no address that is an IP, or none of --kubelet-preferred-address-types",
}
"""In words."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why something is missing."""

    reason: str
    """a LeftOut, the reason of a FetchError, or `decode`"""
    words: str
    since: float
    """Unix time in seconds"""


@dataclass(slots=True)
class NodeState:
    """One node's kubelet; `NodeStates` alone writes it."""

    node: str
    uid: str
    since: float
    """Unix time in seconds of the last change of anything but the address"""
    target: KubeletTarget | None = None
    """whom to ask; None while it is left out"""
    address: str = ""
    """at which of the target's addresses it is asked; empty while it is not"""
    left_out: Trouble | None = None
    endpoints: dict[str, Trouble | None] = field(default_factory=dict)
    """path -> what is the matter with its answers; None: they come"""

    @property
    def state(self) -> State:
        """In one word."""
        if self.left_out is not None:
            return cast("LeftOut", self.left_out.reason)
        if not self.endpoints:
            return "new"
        return "failing" if any(self.endpoints.values()) else "ok"

    @property
    def trouble(self) -> Trouble | None:
        """What is the matter; the oldest of several."""
        troubles = [each for each in (self.left_out, *self.endpoints.values()) if each is not None]
        return min(troubles, key=lambda trouble: trouble.since, default=None)


class NodeStates:
    """The states by node, and how kubelets are identified (`verify`, `pin`, `insecure`, `http`)."""

    def __init__(self, identity: str = "verify", clock: Callable[[], float] = time.time) -> None:
        self.identity: Final = identity
        self._clock = clock
        self._states: dict[str, NodeState] = {}

    def __iter__(self) -> Iterator[NodeState]:
        return iter(self._states.values())

    def get(self, node: str) -> NodeState | None:
        """One node's; None for a node that is not there."""
        return self._states.get(node)

    def counts(self) -> Counter[str]:
        """How many nodes are in each state."""
        return Counter(each.state for each in self)

    def asked(self, target: KubeletTarget) -> None:
        """The node is among those asked, at the target's address unless another is told with `routed`."""
        state = self._of(target.node, target.uid)
        if state.left_out is not None:
            log.info("node %s is asked from now on (before: %s)", target.node, state.left_out.words)
            state.left_out, state.since = None, self._clock()
        if state.target != target:
            state.target, state.address = target, target.address

    def leave_out(self, node: str, uid: str, reason: LeftOut) -> None:
        """The node is not asked."""
        state = self._of(node, uid)
        if state.left_out is not None and state.left_out.reason == reason:
            return
        state.since = self._clock()
        state.left_out = Trouble(reason, LEFT_OUT[reason], state.since)
        state.target, state.address = None, ""
        state.endpoints.clear()
        # For a virtual node that is no trouble.
        level = logging.INFO if reason == "virtual" else logging.WARNING
        log.log(level, "node %s is left out: %s", node, LEFT_OUT[reason])

    def routed(self, node: str, address: str) -> None:
        """The kubelet is asked at this one of its addresses from now on."""
        state = self._states.get(node)
        if state is not None:
            state.address = address

    def answered(self, node: str, path: str, *, addition: bool = False) -> None:
        """What was asked for has come."""
        state = self._states.get(node)
        if state is None or (path in state.endpoints and state.endpoints[path] is None):
            return
        failed = state.endpoints.get(path)
        state.endpoints[path], state.since = None, self._clock()
        if failed is not None:
            log.info("%s again", f"what {path} adds to node {node} comes" if addition else f"node {node} answers")

    def failed(self, node: str, path: str, reason: str, words: str, *, addition: bool = False) -> None:
        """What was asked for has not come, or cannot be read."""
        state = self._states.get(node)
        if state is None:
            return
        before = state.endpoints.get(path)
        if before is not None and before.words == words:
            return
        state.since = self._clock()
        since = before.since if before is not None and before.reason == reason else state.since
        state.endpoints[path] = Trouble(reason, words, since)
        log.warning("%s %s is left out: %s", f"what {path} adds to node" if addition else "node", node, words)

    def keep_only(self, nodes: Collection[str]) -> None:
        """Forget the nodes that are gone."""
        for gone in self._states.keys() - set(nodes):
            del self._states[gone]

    def document(self) -> list[dict[str, Any]]:
        """All of it for people and machines, by node."""
        return [_document(each, self.identity) for each in sorted(self, key=lambda each: each.node)]

    def document_of(self, node: str) -> dict[str, Any] | None:
        """One node's; None for a node that is not there."""
        state = self._states.get(node)
        return None if state is None else _document(state, self.identity)

    def _of(self, node: str, uid: str) -> NodeState:
        """The node's state; a node made anew under the same name begins anew."""
        state = self._states.get(node)
        if state is None or state.uid != uid:
            state = self._states[node] = NodeState(node, uid, self._clock())
        return state


def _document(state: NodeState, identity: str) -> dict[str, Any]:
    trouble = state.trouble
    return {
        "node": state.node,
        "uid": state.uid,
        "state": state.state,
        "since": state.since,
        "address": state.address or None,
        "port": state.target.port if state.target is not None else None,
        "identity": identity,
        "reason": trouble.reason if trouble is not None else None,
        "trouble": trouble.words if trouble is not None else None,
        "endpoints": {path: each.reason if each is not None else "ok" for path, each in state.endpoints.items()},
    }
