"""One shape, measured: the simulated cluster in one process, the collector in this one. Prints one line of JSON.

    python -m benchmarks.cycle 1000-nodes

A cycle is fetch over verified TLS, decode, process and store. Every shape gets a process of its own, so that the peak
memory is its own.
"""

import asyncio
import json
import sys
import time
from pathlib import Path

import uvloop

from benchmarks.shapes import SHAPES, Shape
from collector.app import Collector
from collector.manager import Tick
from collector.options import SECOND, Options
from collector.sim.process import SimProcess

WARM_UP = 2


async def measure(shape: Shape) -> dict[str, object]:
    ticks: list[Tick] = []
    arguments = [
        f"--nodes={shape.nodes}",
        f"--pods={shape.pods}",
        f"--containers={shape.containers}",
        "--housekeeping=1",
    ]
    async with SimProcess(arguments, limit=300.0) as cluster:
        access = f"inClusterConfig=false&auth={cluster.kubeconfig}&kubeletHttps=true&kubeletPort={cluster.kubelet_port}"
        options = Options(
            source=(f"kubernetes.summary_api:?{access}",),
            listen_ip="127.0.0.1",
            heapster_port=0,
            scrape_timeout=300 * SECOND,
            scrape_jitter=0,
            node_timeout=120 * SECOND,
            kube_start_timeout=300 * SECOND,
        )
        collector = Collector(options, ticked=ticks.append)
        began = time.process_time()
        await collector.start()
        start_cpu = time.process_time() - began
        try:
            end = time.time_ns() // (60 * SECOND) * 60 * SECOND - (WARM_UP + shape.cycles) * 60 * SECOND
            cluster_cpu, cpu_seconds = [], []
            for cycle in range(WARM_UP + shape.cycles):
                before, began = _cpu_seconds(cluster.pid), time.process_time()
                await collector.tick(end + cycle * 60 * SECOND)
                await _stored(collector, end + cycle * 60 * SECOND)
                cpu_seconds.append(time.process_time() - began)
                cluster_cpu.append(_cpu_seconds(cluster.pid) - before)
                await asyncio.sleep(1.1)  # the next sample of every kubelet
        finally:
            report = collector.report
            await collector.stop()
    measured = ticks[WARM_UP:]
    cpu = sorted(cpu_seconds[WARM_UP:])
    return {
        "nodes": shape.nodes,
        "entities": shape.entities,
        "answered": report.answered,
        "failed": dict(report.failed),
        "bytes_per_node": report.bytes_read // max(1, report.answered),
        "start_cpu_s": start_cpu,
        "cycle_cpu_s": {"least": cpu[0], "median": cpu[len(cpu) // 2], "most": cpu[-1]},
        "cycle_wall_s": sorted(tick.seconds for tick in measured)[len(measured) // 2],
        "processors_s": sorted(tick.process_seconds for tick in measured)[len(measured) // 2],
        "first_cycle_cpu_s": cpu_seconds[0],
        "simulator_cpu_s": sorted(cluster_cpu[WARM_UP:])[len(measured) // 2],
        "peak_rss_mib": _peak_mib(),
    }


async def _stored(collector: Collector, timestamp: int) -> None:
    """Wait until the store has the batch: storing is part of the cycle."""
    for _ in range(1000):
        latest = collector.store.latest()
        if latest is not None and latest.timestamp == timestamp:
            return
        await asyncio.sleep(0.01)
    raise RuntimeError("the batch never reached the store")


def _peak_mib() -> float:
    """Peak resident memory of this process. Not getrusage's: that one starts with the size of the parent."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def _cpu_seconds(pid: int) -> float:
    """User and system CPU seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def main() -> int:
    print(json.dumps(uvloop.run(measure(SHAPES[sys.argv[1]]))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
