"""CPU milliseconds of each processor: the first tick, a steady one, and one in which a tenth of the pods changed.

    python -m benchmarks.bench_processors [nodes ...]

The cluster is `nodes` x 30 pods x 2 containers (1,000 nodes are 91,000 entities, 5,000 are 455,000); pods of one
workload share labels and specifications, as those of a ReplicaSet do. Samples are columns from the start, so neither
JSON nor a network is measured here.
"""

import itertools
import sys
import time
from collections.abc import Iterator

import numpy as np
from msgspec.structs import replace

from collector.core.batch import DataBatch
from collector.core.entities import EntityTable
from collector.core.intake import Intake
from collector.core.metrics import METRICS, Clock, Kind, MetricTable
from collector.core.sample import Block, NodeSample
from collector.core.store import MetricStore
from collector.kube.listers import NamespaceLister, NodeLister, PodLister
from collector.kube.objects import ContainerSpec, Namespace, Node, Pod, Resources
from collector.processors import build_pipeline, run_pipeline
from collector.processors.labels import LabelCopier

PODS_A_NODE, CONTAINERS_A_POD, NAMESPACES, WORKLOADS = 30, 2, 50, 400
SECOND = 1_000_000_000
TICK = 60 * SECOND
START = 1_700_000_000 * SECOND


def summary_metrics(kind: Kind) -> tuple[int, ...]:
    """The columns that a kubelet's summary fills for `kind`."""
    return tuple(m for m, metric in enumerate(METRICS) if kind in metric.summary)


def block(kind: Kind, count: int, tick: int) -> Block:
    """`count` entities that use a little more of everything with every tick."""
    metrics = summary_metrics(kind)
    values = np.arange(count, dtype=np.int64)[:, None] + 1_000_000_000 * (tick + 1)
    times = np.full((count, len(Clock)), START + tick * TICK, np.int64)
    times[:, Clock.START] = START
    return Block(metrics, np.repeat(values, len(metrics), axis=1), times)


def workload(node: int, i: int) -> int:
    return (node * PODS_A_NODE + i) % WORKLOADS


def samples(nodes: int, tick: int) -> Iterator[NodeSample]:
    names = ["app", "proxy"] * PODS_A_NODE
    node_block, pod_block = block(Kind.NODE, 1, tick), block(Kind.POD, PODS_A_NODE, tick)
    container_block = block(Kind.POD_CONTAINER, PODS_A_NODE * CONTAINERS_A_POD, tick)
    for node in range(nodes):
        yield NodeSample(
            node=f"node-{node}",
            read_at=START + tick * TICK + SECOND,
            node_block=node_block,
            pod_namespaces=[f"space-{workload(node, i) % NAMESPACES}" for i in range(PODS_A_NODE)],
            pod_names=[f"pod-{node}-{i}" for i in range(PODS_A_NODE)],
            pod_uids=[f"uid-{node}-{i}" for i in range(PODS_A_NODE)],
            pod_block=pod_block,
            container_counts=[CONTAINERS_A_POD] * PODS_A_NODE,
            container_names=names,
            container_block=container_block,
        )


def fill_listers(nodes: int, node_lister: NodeLister, pod_lister: PodLister, namespaces: NamespaceLister) -> None:
    amounts = Resources(cpu=8000, memory=1 << 35, ephemeral_storage=1 << 40)
    zones = [{"zone": f"zone-{zone}", "kubernetes.io/arch": "amd64"} for zone in range(3)]
    specs = [
        (ContainerSpec("app", f"app:{w}", 100 + w, 200, 1 << 28, 1 << 29), ContainerSpec("proxy", "proxy:1", 50))
        for w in range(WORKLOADS)
    ]
    labels = [{"app": f"app-{w}", "tier": "web", "pod-template-hash": f"{w:x}"} for w in range(WORKLOADS)]
    restarts = (("app", 1), ("proxy", 0))
    node_lister.replace(
        [
            Node(f"node-{node}", labels=zones[node % 3], capacity=amounts, allocatable=amounts, external_id=f"i-{node}")
            for node in range(nodes)
        ]
    )
    namespaces.replace([Namespace(f"space-{i}", f"space-uid-{i}") for i in range(NAMESPACES)])
    pod_lister.replace(
        [
            Pod(
                f"space-{(w := workload(node, i)) % NAMESPACES}",
                f"pod-{node}-{i}",
                f"uid-{node}-{i}",
                f"node-{node}",
                labels=labels[w],
                containers=specs[w],
                restart_counts=restarts,
            )
            for node in range(nodes)
            for i in range(PODS_A_NODE)
        ]
    )


def change_a_tenth(pods: PodLister) -> None:
    """Watch events for every tenth pod: one more restart and a new label."""
    tenth = list(itertools.islice(pods.items.items(), 0, None, 10))
    pods.apply(
        [
            (key, replace(pod, labels={**pod.labels, "changed": "yes"}, restart_counts=(("app", 2), ("proxy", 0))))
            for key, pod in tenth
        ]
    )


def measure(nodes: int) -> dict[str, dict[str, float]]:
    """Processor -> tick -> CPU ms."""
    listers = NodeLister(), PodLister(), NamespaceLister()
    fill_listers(nodes, *listers)
    node_lister, pods, namespaces = listers
    pipeline = build_pipeline(pods, namespaces, node_lister, LabelCopier())
    entities, metrics = EntityTable(), MetricTable()
    store = MetricStore(clock=lambda: 0.0)
    found: dict[str, dict[str, float]] = {}
    for tick, name in enumerate(("first", "second", "steady", "tenth changed")):
        batch = DataBatch(entities, metrics, START + tick * TICK)
        clock = time.process_time()
        intake = Intake(batch)
        for sample in samples(nodes, tick):
            intake.add(sample)
        intake.flush()
        found.setdefault("intake", {})[name] = 1e3 * (time.process_time() - clock)
        if name == "tenth changed":
            change_a_tenth(pods)
        began = time.process_time()
        for processor in pipeline:
            clock = time.process_time()
            processor.process(batch)
            found.setdefault(processor.name, {})[name] = 1e3 * (time.process_time() - clock)
        clock = time.process_time()
        run_pipeline((), batch)
        found.setdefault("freeze", {})[name] = 1e3 * (time.process_time() - clock)
        found.setdefault("all processors", {})[name] = 1e3 * (time.process_time() - began)
        clock = time.process_time()
        store.add(batch)
        found.setdefault("store", {})[name] = 1e3 * (time.process_time() - clock)
    found["entities"] = dict.fromkeys(found["freeze"], entities.count)
    return found


def main() -> None:
    for nodes in map(int, sys.argv[1:] or ["1000", "5000"]):
        print(f"\n{nodes} nodes x {PODS_A_NODE} pods x {CONTAINERS_A_POD} containers, CPU ms")
        found = measure(nodes)
        ticks = list(found["freeze"])
        print(f"{'':30}" + "".join(f"{tick:>15}" for tick in ticks))
        for name, by_tick in found.items():
            print(f"{name:30}" + "".join(f"{by_tick[tick]:15,.1f}" for tick in ticks))


if __name__ == "__main__":
    main()
