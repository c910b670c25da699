"""Which kubelets no longer serve a source's first endpoint: found out once for each node and kubelet version."""

import logging
from collections.abc import Collection

from collector.errors import FetchError
from collector.kube.objects import Node

log = logging.getLogger(__name__)

NOT_SERVED = frozenset({"not_found", "forbidden"})
"""Reasons that say a kubelet does not serve a path.

404, 405, 410 and 501 are `not_found`. 403 belongs to them since newer kubelets refuse a POST to a path they do not
know; where it only means that the collector may not ask, the fallback is what can be had.
"""


class Fallbacks:
    """Remembers nodes by uid and kubelet version: a kubelet that is another one is asked again."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[str, str]] = {}

    def known(self, node: Node) -> bool:
        """Whether this kubelet is known not to serve the first endpoint."""
        return self._found.get(node.name) == (node.uid, node.kubelet_version)

    def note(self, node: Node, first: str, instead: str, error: FetchError) -> None:
        """Remember it, and say so."""
        self._found[node.name] = (node.uid, node.kubelet_version)
        log.warning(
            "node %s: its kubelet does not serve %s, %s is read instead until the kubelet's version changes (%s)",
            node.name,
            first,
            instead,
            str(error).removeprefix(f"node {node.name}: "),
        )

    def keep_only(self, nodes: Collection[str]) -> None:
        """Forget the nodes that are gone."""
        for name in self._found.keys() - nodes:
            del self._found[name]
