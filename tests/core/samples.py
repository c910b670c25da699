"""Node samples made by hand: a few metrics, values that tell whose they are."""

from collections.abc import Mapping, Sequence

import numpy as np

from collector.core.metrics import FILESYSTEM, INDEX, Clock, Kind
from collector.core.sample import ABSENT, Block, LabeledBlock, NodeSample

CPU = INDEX["cpu/usage"]
RSS = INDEX["memory/rss"]
UPTIME = INDEX["uptime"]


def block(values: Sequence[int], start: int = 0, metrics: tuple[int, ...] = (CPU,)) -> Block:
    """Entities whose every metric has the value given."""
    times = np.zeros((len(values), len(Clock)), np.int64)
    times[:, Clock.START] = start
    return Block(
        metrics,
        np.array([[value] * len(metrics) for value in values], np.int64).reshape(len(values), len(metrics)),
        times,
    )


def sample(
    node: str,
    pods: Mapping[tuple[str, str], Sequence[str]] | None = None,
    *,
    value: int = 1,
    system: Sequence[str] = (),
    uid: str = "uid",
    start: int = 0,
    metrics: tuple[int, ...] = (CPU,),
    volumes: Mapping[tuple[str, str], Sequence[str]] | None = None,
) -> NodeSample:
    """One node with its pods, (namespace, name) -> containers. Every value, labelled ones included, is `value`."""
    pods = pods or {}
    counts = [len(containers) for containers in pods.values()]
    owners = [i for i, pod in enumerate(pods) for _ in (volumes or {}).get(pod, ())]
    labeled = LabeledBlock(
        FILESYSTEM,
        Kind.POD,
        np.array(owners, np.intp),
        [f"Volume:{name}" for pod in pods for name in (volumes or {}).get(pod, ())],
        np.array([[value, ABSENT]] * len(owners), np.int64).reshape(-1, 2),
    )
    return NodeSample(
        node=node,
        read_at=0,
        node_block=block([value], start, metrics),
        system_names=system,
        system_block=block([value] * len(system), start, metrics),
        pod_namespaces=[namespace for namespace, _ in pods],
        pod_names=[name for _, name in pods],
        pod_uids=[uid] * len(pods),
        pod_block=block([value] * len(pods), start, metrics),
        container_counts=counts,
        container_names=[name for containers in pods.values() for name in containers],
        container_block=block([value] * sum(counts), start, metrics),
        labeled=[labeled] if owners else [],
    )
