"""One run of one shape. Prints one line of JSON.

    python -m benchmarks.cycle 1000-nodes

Every run gets a process of its own, so that the peak memory is its own. Where collector and simulated cluster are those
of another revision (see `benchmarks.compare`), this file still is this one's.
"""

import asyncio
import json
import sys
from dataclasses import asdict

import uvloop

from benchmarks.proc import load, peak_mib
from benchmarks.shapes import SHAPES, Shape
from benchmarks.stage import WARM_UP, Cost, all_answered, staged


async def measure(shape: Shape) -> dict[str, object]:
    """The costs of all cycles, each as `stage.Cost`."""
    async with staged(shape) as stage:
        costs: list[Cost] = []
        for _ in range(WARM_UP + shape.cycles):
            costs.append(await stage.cycle())
            await asyncio.sleep(shape.pause_s)  # the next sample of every kubelet
        report = stage.collector.report
        all_answered(shape, report)
        return {
            "nodes": shape.nodes,
            "entities": shape.entities,
            "answered": report.answered,
            "failed": dict(report.failed),
            "start_cpu_s": stage.start_cpu_s,
            "first": asdict(costs[0]),
            "cycles": [asdict(cost) for cost in costs[WARM_UP:]],
            "peak_mib": peak_mib(),
            "machine": load(),
        }


def main() -> int:
    print(json.dumps(uvloop.run(measure(SHAPES[sys.argv[1]]))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
