"""What one answer of a node lacks, from another answer of the same node. Pure.

A metric or labelled group that the first answer knows of at all comes from the first alone; the second adds columns and
groups to entities that the first one names, and the clock of their disks. Nothing is replaced.
"""

from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import cast

import numpy as np
from numpy.typing import NDArray

from collector.core.metrics import Clock, Kind
from collector.core.sample import ABSENT, Block, LabeledBlock, NodeSample

SYSTEM_CGROUPS = {
    "pods": ("kubepods", "kubepods.slice"),
    "kubelet": ("system.slice/kubelet.service", "kubelet.service", "kubelet"),
    "docker-daemon": ("system.slice/docker.service", "system.slice/containerd.service", "system.slice/crio.service"),
}
"""The cgroups behind the summary's system containers, where they have their usual names."""


def merge(base: NodeSample, extra: NodeSample) -> NodeSample:
    """`base` with what only `extra` knows of its entities."""
    pods = list(zip(base.pod_namespaces, base.pod_names, strict=True))
    pods_there = _latest(list(zip(extra.pod_namespaces, extra.pod_names, strict=True)), extra.pod_block)
    if extra.pod_shares is not None:  # a pause container's share is not the pod's: its containers add up to that
        pods_there = {pod: i for pod, i in pods_there.items() if not extra.pod_shares[i]}
    containers_there = _latest(_containers(extra), extra.container_block)
    system_there = {name: i for i, name in enumerate(extra.system_names)}
    sources = {
        Kind.NODE: np.zeros(len(base.node_block), np.intp) - (not len(extra.node_block)),
        Kind.SYS_CONTAINER: _positions([_system(name, system_there) for name in base.system_names]),
        Kind.POD: _positions([pods_there.get(pod, -1) for pod in pods]),
        Kind.POD_CONTAINER: _positions([containers_there.get(name, -1) for name in _containers(base)]),
    }
    return replace(
        base,
        node_block=_joined(base.node_block, extra.node_block, sources[Kind.NODE]),
        system_block=_joined(base.system_block, extra.system_block, sources[Kind.SYS_CONTAINER]),
        pod_block=_joined(base.pod_block, extra.pod_block, sources[Kind.POD]),
        container_block=_joined(base.container_block, extra.container_block, sources[Kind.POD_CONTAINER]),
        labeled=[*base.labeled, *_added(base, extra, sources)],
        faults=[*base.faults, *extra.faults],
    )


def _containers(sample: NodeSample) -> list[tuple[str, str, str]]:
    """Namespace, pod and name of each container."""
    pods = zip(sample.pod_namespaces, sample.pod_names, sample.container_counts, strict=True)
    owners = [(namespace, pod) for namespace, pod, count in pods for _ in range(count)]
    return [(*owner, name) for owner, name in zip(owners, sample.container_names, strict=True)]


def _latest(names: Sequence[Hashable], block: Block) -> dict[Hashable, int]:
    """The position of each name; of two, that of the entity that started later."""
    starts = block.times[:, Clock.START].tolist()
    return {names[i]: i for i in sorted(range(len(names)), key=starts.__getitem__)}


def _system(name: str, there: dict[str, int]) -> int:
    return next((there[path] for path in (name, *SYSTEM_CGROUPS.get(name, ())) if path in there), -1)


def _positions(found: Sequence[int]) -> NDArray[np.intp]:
    return np.array(found, np.intp)


def _joined(base: Block, extra: Block, source: NDArray[np.intp]) -> Block:
    """`base` with the columns only `extra` has; `source[i]` is where `extra` has entity i, -1 for nowhere."""
    columns = [j for j, metric in enumerate(extra.metrics) if metric not in base.metrics]
    if not len(base) or not len(extra) or not columns:
        return base
    here = (source >= 0)[:, None]
    values = np.where(here, extra.values[source][:, columns], ABSENT)
    times = base.times.copy()
    times[:, Clock.DISK] = np.where(
        (base.times[:, Clock.DISK] == 0) & here[:, 0], extra.times[source, Clock.DISK], base.times[:, Clock.DISK]
    )
    return Block(
        (*base.metrics, *(extra.metrics[j] for j in columns)), np.concatenate([base.values, values], axis=1), times
    )


def _added(base: NodeSample, extra: NodeSample, sources: dict[Kind, NDArray[np.intp]]) -> list[LabeledBlock]:
    """The labelled values of `extra` in groups that `base` does not know, as those of the entities of `base`."""
    known = {block.group.name for block in base.labeled}
    blocks = {
        Kind.NODE: base.node_block,
        Kind.SYS_CONTAINER: base.system_block,
        Kind.POD: base.pod_block,
        Kind.POD_CONTAINER: base.container_block,
    }
    added = []
    for block in extra.labeled:
        if block.group.name in known:
            continue
        source = sources[block.kind]
        back = np.full(1 + max(block.owners.max(initial=-1), source.max(initial=-1)), -1)
        by_start = np.argsort(blocks[block.kind].times[:, Clock.START], kind="stable")  # the later of two of one name
        here = by_start[source[by_start] >= 0]
        back[source[here]] = here
        kept = np.flatnonzero(back[block.owners] >= 0)
        added.append(
            LabeledBlock(
                block.group, block.kind, back[block.owners[kept]], _chosen(block.labels, kept), block.values[kept]
            )
        )
    return added


def _chosen(
    labels: str | Sequence[str] | Sequence[tuple[tuple[str, str], ...]], kept: NDArray[np.intp]
) -> str | Sequence[str] | Sequence[tuple[tuple[str, str], ...]]:
    return labels if isinstance(labels, str) else cast("Sequence[str]", [labels[k] for k in kept.tolist()])
