"""Where the CPU time of a cycle goes, in one run: parts that sum to the whole, and what each cannot do without.

    python -m benchmarks.stages 1000-nodes

Cycles that are watched (`benchmarks.parts`) take turns with cycles that are not, so that what watching costs is known.
Then a bare client downloads the same answers from the same simulated cluster, and the floors of the other parts are
measured (`benchmarks.hot_floors`). Prints one line of JSON.
"""

import asyncio
import json
import resource
import statistics
import sys
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import uvloop

from benchmarks import hot_floors, parts
from benchmarks.bare import BareClient
from benchmarks.material import Material
from benchmarks.parts import PARTS, Watch
from benchmarks.proc import load
from benchmarks.shapes import STAGES, Shape
from benchmarks.stage import WARM_UP, Stage, all_answered, staged
from benchmarks.timing import measured

REST = "the rest: event loop, tasks, deadlines, giving back pages"
KERNEL = "of it the kernel's"
DELIVERING = f"{REST}, delivering"

FLOORS = {
    parts.READING: ("floor: AES-128-GCM", "floor: received over loopback"),
    parts.DECODING: ("floor: every byte looked at",),
    parts.NAMES: ("floor: names looked up",),
    parts.CELLS: ("floor: values copied once, row by row",),
    parts.RATES: ("floor: counters read twice, rates written once",),
    parts.SUMS: ("floor: summands read once",),
    parts.FREEZING: ("floor: presence read once",),
}
"""Part -> functions of `hot_floors` that it cannot do without."""
FLOOR_NODES = 100
GOAL = 3.0
"""A cycle, in downloads of the bare client: the stretch."""


async def measure(shape: Shape) -> dict[str, Any]:
    """Milliseconds of CPU a node: medians over the watched cycles, `PARTS` and the rest."""
    async with staged(shape) as stage:
        for _ in range(WARM_UP):
            await stage.cycle()
            await asyncio.sleep(shape.pause_s)
        unwatched: list[float] = []
        watched: list[dict[str, float]] = []
        for _ in range(shape.cycles):
            unwatched.append((await stage.cycle()).cpu_s)
            await asyncio.sleep(shape.pause_s)
            watched.append((await watched_cycle(stage))[0])
            await asyncio.sleep(shape.pause_s)
        report = stage.collector.report
        all_answered(shape, report)
        nodes_listed = stage.collector._listers.nodes.items.values()
        addresses = [address for node in nodes_listed for kind, address in node.addresses if kind == "InternalIP"]
        bare, size = await asyncio.to_thread(downloads, stage, addresses, shape.cycles)
    nodes = shape.nodes
    medians = {part: 1000 * statistics.median(cycle[part] for cycle in watched) / nodes for part in watched[0]}
    whole = 1000 * statistics.median(unwatched) / nodes
    floors = {name: 1000 * seconds / FLOOR_NODES for name, seconds in measured_floors().items()}
    return {
        "nodes": nodes,
        "sink": shape.sink,
        "bytes_a_node": report.bytes_read / nodes,
        "ms_a_node": medians,
        "whole_ms_a_node": whole,
        "floors_ms_a_node": {part: sum(floors[name] for name in names) for part, names in FLOORS.items()},
        "bare_client_ms_a_node": 1000 * bare / nodes,
        "bare_client_bytes_a_node": size / nodes,
        "times_the_bare_client": whole / (1000 * bare / nodes),
        "goal_times_the_bare_client": GOAL,
        "machine": load(),
    }


async def watched_cycle(stage: Stage) -> tuple[dict[str, float], Counter[str]]:
    """CPU seconds of each part of one cycle, of the rest, of the whole and, of that, the kernel's.

    And how often each border was crossed.
    """
    watch = Watch()
    with watch.watching():
        kernel = resource.getrusage(resource.RUSAGE_SELF).ru_stime
        cost = await stage.cycle()
        kernel = resource.getrusage(resource.RUSAGE_SELF).ru_stime - kernel
    seconds = {part: watch.seconds[part] for part in PARTS if watch.seconds[part]}
    rest = DELIVERING if stage.drain else REST
    whole = {rest: cost.cpu_s - sum(seconds.values()), parts.WATCHED: cost.cpu_s, KERNEL: kernel}
    return seconds | whole, watch.crossings


def downloads(stage: Stage, addresses: Sequence[str], rounds: int) -> tuple[float, int]:
    """The bare client's CPU seconds for all nodes, the median of some rounds, and the bytes of one."""
    client = BareClient(stage.cluster.kubeconfig, addresses, stage.cluster.kubelet_port)
    try:
        found = [client.download()]
        for _ in range(rounds):
            time.sleep(1.1)  # the next sample of every kubelet
            found.append(client.download())
        return statistics.median(seconds for seconds, _ in found[1:]), found[-1][1]
    finally:
        client.close()


def measured_floors() -> dict[str, float]:
    """CPU seconds of every floor, for the answers of FLOOR_NODES kubelets."""
    wanted = {name for names in FLOORS.values() for name in names}
    material = Material(FLOOR_NODES)
    functions = [function for function in hot_floors.functions(material) if function.name in wanted]
    return {function.name: measured(function)["cpu_s"] for function in functions}


def main() -> int:
    print(json.dumps(uvloop.run(measure(STAGES[sys.argv[1]]))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
