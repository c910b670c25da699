"""SampleGroup: what many nodes answered, as one set of arrays, before names have become rows.

The same as as many NodeSamples, for answers without anything unusual. Names are there as 128-bit identities, and as
texts only for who asks: those seen before are never made into Python strings.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from collector.core.identities import Keys
from collector.core.metrics import Kind, LabeledGroup

Owners = NDArray[np.int32]
Names = Callable[[int], tuple[str, ...]]
"""Position -> the names of what is there."""


@dataclass(frozen=True, slots=True)
class Entities:
    """Entities of one kind, n of them, in the order they were reported."""

    kind: Kind
    owners: Owners
    """(n,): position of the pod of a container, of the node of everything else; a node's own."""
    identities: Keys
    """(n, 2): a hash of the names, the owner's included where one of these names alone is not enough; of pods also of
    the uid, and so of their containers'."""
    names: Names
    """A pod's are namespace, name and uid; everything else has one."""
    metrics: Sequence[int]
    """Column numbers (METRICS)."""
    columns: Sequence[NDArray[np.int64]]
    """The values of each of `metrics`, (n,); ABSENT where the source gave nothing."""
    times: NDArray[np.int64]
    """(len(Clock), n) in ns since the epoch; 0 where the source gave nothing."""

    def __len__(self) -> int:
        return len(self.owners)


@dataclass(frozen=True, slots=True)
class Labels:
    """Labelled values of one group for entities of one kind, k of them."""

    group: LabeledGroup
    kind: Kind
    owners: Owners
    """(k,): position of the owner among the entities of that kind."""
    label: str | None
    """The one `resource_id` of all of them; None: each has its own."""
    identities: Keys
    """(k, 2): a hash of each one's own `resource_id`; empty where all have one."""
    names: Names
    """Each one's own `resource_id`."""
    values: NDArray[np.int64]
    """(m, k): one row for each of the group's first m metrics; ABSENT where the source gave nothing."""


@dataclass(frozen=True, slots=True)
class SampleGroup:
    """The answers of several nodes."""

    read_at: int
    """When the answers were read, ns since the epoch: `uptime` counts up to here."""
    nodes: Entities
    system: Entities
    pods: Entities
    containers: Entities
    labels: Sequence[Labels]
