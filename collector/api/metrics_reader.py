"""From names to usage: which nodes and pods are shown now, and what they use.

A pod is left out whole as soon as one of its containers lacks a value: an autoscaler must not take a part for the whole
(behaviour reference, K23). With the light cadence, a container that does not run lacks none.
"""

from collections.abc import Sequence
from itertools import compress
from typing import Final

import numpy as np

from collector.api.metrics_objects import Version
from collector.api.metrics_rows import rows_of
from collector.api.metrics_shown import Rows, Shown, nothing
from collector.api.metrics_usage import Usage, heapster_usage, light_usage, sampled_usage
from collector.api.route import Context
from collector.kube.objects import Node, Pod

AT_ONCE: Final = 256
"""Objects read or written between two looks at the event loop: some milliseconds."""


class Reader:
    """Reads what one answer shows, from the latest batch, or from the light cadence where it runs."""

    def __init__(self, context: Context, version: Version) -> None:
        self._version = version
        self._batch = context.store.latest()
        self._before = context.store.before(self._batch) if self._batch and version.sampled else None
        self._light = context.light() if version.sampled else None
        self._now = context.now()
        source = self._light or self._batch
        self._entities = source.entities if source is not None else None

    def nodes(self, nodes: Sequence[Node]) -> Shown:
        """Those of `nodes` that have usage."""
        if self._entities is None or not nodes:
            return nothing()
        find = self._entities.find_node
        usage = self._usage(np.array([find(node.name) for node in nodes], np.int64))
        kept = np.flatnonzero(usage.complete)
        whole = kept.size == len(nodes)
        objects = nodes if whole else [nodes[at] for at in kept.tolist()]
        ends = np.arange(1, kept.size + 1, dtype=np.int64)
        return Shown(objects, ends, [""] * kept.size, usage if whole else usage.at(kept))

    def pods(self, pods: Sequence[Pod]) -> Shown:
        """Those of `pods` whose containers all have usage."""
        if self._entities is None or not pods:
            return nothing()
        names, rows, ends = rows_of(self._entities, pods, self._version)
        usage = self._usage(rows)
        bounds = np.concatenate([[0], ends])
        lengths = np.diff(bounds)
        if usage.complete.all() and lengths.all():
            return Shown(pods, bounds[1:], names, usage)
        lacking = np.concatenate([[0], np.cumsum(np.logical_not(usage.complete))])[bounds]
        whole = (lacking[1:] == lacking[:-1]) & (lengths > 0)
        kept = np.repeat(whole, lengths)
        for at in np.flatnonzero(~whole).tolist():
            rows_kept = self._those_that_run(pods[at], usage, int(bounds[at]), int(bounds[at + 1]))
            kept[rows_kept] = True
            lengths[at], whole[at] = len(rows_kept), bool(rows_kept)
        left = list(compress(names, kept.tolist()))
        return Shown(list(compress(pods, whole.tolist())), np.cumsum(lengths[whole]), left, usage.at(kept))

    def _those_that_run(self, pod: Pod, usage: Usage, start: int, end: int) -> list[int]:
        """Of a pod's containers, `start` to `end`, those with usage; none when one that runs has none."""
        if self._light is None or not pod.not_running:
            return []
        containers = self._version.containers(pod)
        lacking = [containers[at - start].name for at in range(start, end) if not usage.complete[at]]
        return [at for at in range(start, end) if usage.complete[at]] if pod.not_running.issuperset(lacking) else []

    def _usage(self, at: Rows) -> Usage:
        if self._light is not None:
            return light_usage(self._light, self._batch, at, self._now)
        assert self._batch is not None, "without a batch nothing is read"
        return (
            sampled_usage(self._batch, self._before, at) if self._version.sampled else heapster_usage(self._batch, at)
        )
