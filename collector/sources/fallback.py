"""Which kubelets do not serve a source's first endpoint: found out once for each node and kubelet version.

One that refuses it (403) may only want a right that somebody grants tomorrow: it is asked again now and then.
"""

import logging
import time
from collections.abc import Callable, Collection
from typing import Final, NamedTuple

from collector.errors import FetchError
from collector.kube.objects import Node

log = logging.getLogger(__name__)

NOT_SERVED = frozenset({"not_found", "forbidden"})
"""Reasons that say a kubelet does not serve a path.

404, 405, 410 and 501 are `not_found`. 403 belongs to them since newer kubelets refuse a POST to a path they do not
know; where it only means that the collector may not ask, the fallback is what can be had.
"""

AGAIN_S: Final = 300.0
"""Seconds until one that refused is asked again."""


class _Found(NamedTuple):
    kubelet: tuple[str, str]
    """The node's uid, the kubelet's version."""
    until: float


class Fallbacks:
    """Remembers nodes by uid and kubelet version: a kubelet that is another one is asked again."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._found: dict[str, _Found] = {}

    def known(self, node: Node) -> bool:
        """Whether this kubelet is known not to serve the first endpoint, and not to be asked for it now."""
        found = self._found.get(node.name)
        if found is None or found.kubelet != (node.uid, node.kubelet_version):
            return False
        return self._monotonic() < found.until

    def note(self, node: Node, first: str, instead: str, error: FetchError) -> None:
        """Remember it, and say so the first time."""
        kubelet, refused = (node.uid, node.kubelet_version), error.reason == "forbidden"
        before = self._found.get(node.name)
        self._found[node.name] = _Found(kubelet, self._monotonic() + AGAIN_S if refused else float("inf"))
        if before is None or before.kubelet != kubelet:
            log.warning(
                "node %s: its kubelet %s %s, %s is read instead %s (%s)",
                node.name,
                "refuses" if refused else "does not serve",
                first,
                instead,
                f"and it is asked again every {AGAIN_S:g} s" if refused else "until the kubelet's version changes",
                str(error).removeprefix(f"node {node.name}: "),
            )

    def served(self, node: Node, first: str) -> None:
        """The first endpoint has answered."""
        if self._found and self._found.pop(node.name, None) is not None:
            log.info("node %s: %s is read again", node.name, first)

    def keep_only(self, nodes: Collection[str]) -> None:
        """Forget the nodes that are gone."""
        for name in self._found.keys() - nodes:
            del self._found[name]
