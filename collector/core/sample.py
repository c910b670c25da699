"""NodeSample: what one source learned from one node, before names have become rows.

Parallel arrays, no NumPy scalar, no entity.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from collector.core.metrics import Clock, Kind, LabeledGroup

ABSENT = -1
"""A cell the source did not give. Every quantity a kubelet reports is a count and so never negative."""


@dataclass(slots=True)
class Block:
    """Entities of one kind, n of them."""

    metrics: tuple[int, ...]
    """Column numbers (METRICS), one for each column of `values`."""
    values: NDArray[np.int64]
    """(n, len(metrics)); ABSENT where the source gave nothing."""
    times: NDArray[np.int64]
    """(n, len(Clock)) in ns since the epoch; 0 where the source gave nothing."""

    def __len__(self) -> int:
        return len(self.values)

    @classmethod
    def empty(cls) -> "Block":
        """No entities."""
        return cls((), np.empty((0, 0), np.int64), np.empty((0, len(Clock)), np.int64))


@dataclass(slots=True)
class LabeledBlock:
    """Labelled values of one group for entities of one kind, k of them."""

    group: LabeledGroup
    kind: Kind
    owners: NDArray[np.intp]
    """(k,): position of the owner in that kind's block."""
    labels: str | Sequence[str] | Sequence[tuple[tuple[str, str], ...]]
    """One `resource_id` for all, one for each, or a whole label set for each."""
    values: NDArray[np.int64]
    """(k, m): one column for each of the group's first m metrics; ABSENT where the source gave nothing."""


@dataclass(slots=True)
class CustomValue:
    """An application metric: rare, so an object is fine."""

    kind: Kind
    owner: int
    """Position of the owner in that kind's block."""
    name: str
    value: float
    """An int where the application reports whole numbers."""


@dataclass(slots=True)
class NodeSample:
    """One node's answer."""

    node: str
    """The node's name, as its kubelet gives it."""
    read_at: int
    """When the answer was read, ns since the epoch: `uptime` counts up to here."""
    node_block: Block
    system_names: Sequence[str] = ()
    system_block: Block = field(default_factory=Block.empty)
    pod_namespaces: Sequence[str] = ()
    pod_names: Sequence[str] = ()
    pod_uids: Sequence[str] = ()
    pod_block: Block = field(default_factory=Block.empty)
    container_counts: Sequence[int] = ()
    """How many of the containers belong to each pod, in order."""
    container_names: Sequence[str] = ()
    container_block: Block = field(default_factory=Block.empty)
    labeled: Sequence[LabeledBlock] = ()
    custom: Sequence[CustomValue] = ()
    pod_shares: NDArray[np.bool_] | None = None
    """(pods,): whose own values are a part, those of the pause container, to which those of the containers are added.

    None: no pod's; a pod's values are the whole pod's.
    """
    node_labels: Mapping[str, str] | None = None
    """Labels of the node that this source sets (`schedulable`)."""
    container_images: Sequence[str] | None = None
    """The image of each container as its runtime says it, which counts even when empty; None: not known here."""
    faults: Sequence[str] = ()
    """What had to be left out of this answer, one sentence each (bounded by the decoder)."""
    asked: str = ""
    """The node that was asked, whatever name the answer gives; empty: that one."""
