"""What the light endpoint would have said, from a summary: for kubelets that do not serve it. Pure."""

from itertools import islice
from typing import Final

import numpy as np
from numpy.typing import NDArray

from collector.core.light import CPU, MEMORY, SAMPLED, START, SWAP, TIME, LightSample
from collector.core.metrics import INDEX, Clock
from collector.core.sample import ABSENT, Block, NodeSample
from collector.sources.resource import Layout


def from_summary(summary: NodeSample, before: object | None = None) -> LightSample:
    """What the light endpoint would have said, from a summary."""
    pods = zip(summary.pod_namespaces, summary.pod_names, summary.container_counts, strict=True)
    names = iter(summary.container_names)
    named = [(namespace, pod, name) for namespace, pod, count in pods for name in islice(names, count)]
    values = np.concatenate([_of_block(summary.node_block), _of_block(summary.container_block)], axis=1)
    values[START, 0] = 0
    if len(set(named)) < len(named):  # of two, the one that started later counts: it must be the later one
        order = np.argsort(values[START, 1:], kind="stable")
        named = [named[at] for at in order.tolist()]
        values[:, 1:] = values[:, 1 + order]
    lacking = np.flatnonzero(values[CPU, 1:] < 0)
    if lacking.size:
        left = set(lacking.tolist())
        named = [name for at, name in enumerate(named) if at not in left]
        values = np.delete(values, 1 + lacking, axis=1)
    key = {b"": hash(tuple(named))}
    known = isinstance(before, Layout) and before.keys == key
    layout = before if known else Layout(key, {}, values[START, 1:])
    return LightSample(summary.node, layout, None if known else named, values, summary.faults)


def _of_block(block: Block) -> NDArray[np.int64]:
    """(SAMPLED, n) out of a summary's block."""
    values = np.full((SAMPLED, len(block)), ABSENT, np.int64)
    for field, m in _SUMMARY.items():
        if m in block.metrics:
            values[field] = block.values[:, block.metrics.index(m)]
    values[START] = block.times[:, Clock.START]
    values[TIME] = np.where(block.times[:, Clock.CPU] > 0, block.times[:, Clock.CPU], block.times[:, Clock.SCRAPE])
    values[CPU, values[TIME] == 0] = ABSENT
    values[TIME, values[CPU] < 0] = 0
    return values


_SUMMARY: Final = {CPU: INDEX["cpu/usage"], MEMORY: INDEX["memory/working_set"], SWAP: INDEX["swap/usage"]}
