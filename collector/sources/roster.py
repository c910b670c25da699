"""Who is asked: each node's address and port, read once for each Node object (behaviour reference, 3.1)."""

import asyncio
from collections import Counter
from typing import Final

from collector.kube.listers import NodeLister
from collector.kube.objects import Node
from collector.sources.addresses import Addressing, candidates
from collector.sources.nodestate import LeftOut, NodeStates
from collector.sources.target import KubeletTarget

_LAST_PORT: Final = 65_535
_AT_ONCE: Final = 128
"""Nodes read between two looks at the event loop: some milliseconds."""

_Entry = tuple[Node, KubeletTarget | LeftOut]


class Roster:
    """The nodes to ask at this moment. What it finds out it tells `states`."""

    def __init__(self, nodes: NodeLister, port: int, addressing: Addressing, states: NodeStates) -> None:
        """`port` is that of nodes whose own does not count."""
        self._nodes = nodes
        self._port = port
        self._addressing = addressing
        self._states = states
        self._entries: dict[str, _Entry] = {}
        self._changed = False
        self.left_out: Counter[str] = Counter()
        """Nodes not asked, by reason; as of the last `targets`."""

    async def read(self) -> None:
        """Read what is new or has changed, that `targets` finds it read: heartbeats may have changed all nodes."""
        known = self._nodes.items
        unread = [name for name, node in known.items() if not self._is_read(name, node)]
        for start in range(0, len(unread), _AT_ONCE):
            for name in unread[start : start + _AT_ONCE]:
                node = known.get(name)  # others have had the event loop meanwhile
                if node is not None:
                    self._enter(name, node)
            await asyncio.sleep(0)

    def _is_read(self, name: str, node: Node) -> bool:
        entry = self._entries.get(name)
        return entry is not None and entry[0] is node

    def _enter(self, name: str, node: Node) -> _Entry:
        self._changed = True
        entry = self._entries[name] = self._read(node, self._entries.get(name))
        return entry

    def targets(self) -> list[tuple[Node, KubeletTarget]]:
        """Whom to ask now. A target stays the same object as long as nothing of it changes."""
        entries, known = self._entries, self._nodes.items
        found = []
        for name, node in known.items():
            entry = entries.get(name)
            if entry is None or entry[0] is not node:
                entry = self._enter(name, node)
            if isinstance(entry[1], KubeletTarget):
                found.append((node, entry[1]))
        if len(entries) > len(known):
            self._changed = True
            for gone in entries.keys() - known.keys():
                del entries[gone]
            self._states.keep_only(known.keys())
        if self._changed:
            self._changed = False
            self.left_out = Counter(each for _, each in entries.values() if not isinstance(each, KubeletTarget))
        return found

    def _read(self, node: Node, before: _Entry | None) -> _Entry:
        """What a Node object says."""
        reason: LeftOut | None = None
        addresses: tuple[str, ...] = ()
        if node.ready is False:
            reason = "not_ready"
        elif node.virtual and not node.kubelet_port:
            reason = "virtual"
        else:
            addresses = candidates(node, self._addressing.types)
            reason = None if addresses else "no_address"
        if reason is not None:
            self._states.leave_out(node.name, node.uid, reason)
            return node, reason
        own = self._addressing.node_status_port and 0 < node.kubelet_port <= _LAST_PORT
        port = node.kubelet_port if own else self._port
        target = KubeletTarget(node.name, addresses[0], port, node.uid, addresses[1:])
        if before is not None and before[1] == target:
            return node, before[1]
        self._states.asked(target)
        return node, target
