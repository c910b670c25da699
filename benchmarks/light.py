"""The light cadence, measured: CPU per node of one round, and the decoder beside prometheus-client's parser.

    python -m benchmarks.light [NODES ...]

A round is fetch over verified TLS, decode and store; the simulated cluster runs in a process of its own, every number
of nodes is measured in a process of its own. One line of JSON for each.
"""

import asyncio
import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import uvloop
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.proc import cpu_seconds as _cpu_seconds, peak_mib as _peak_mib
from collector.app import Collector
from collector.options import SECOND, Options
from collector.sim.config import SimConfig
from collector.sim.process import SimProcess
from collector.sim.world import InventedWorld
from collector.sources.resource import decode_resource

SIZES = (1000, 5000)
PODS, CONTAINERS = 30, 2
WARM_UP, ROUNDS = 2, 5
ORIGIN = 1_800_000_000


def decoding(nodes: int = 64, runs: int = 15) -> dict[str, object]:
    """The decoder alone, knowing the answers before, as it does in every round but the first."""
    now = [float(ORIGIN)]
    world = InventedWorld(SimConfig(nodes=nodes, pods=PODS, containers=CONTAINERS, clock=lambda: now[0]), ORIGIN)
    bodies = []
    for minute in (1, 2):
        now[0] = ORIGIN + 15.0 * minute
        bodies.append([bytes(world.resource(node) or b"") for node in range(nodes)])
    layouts = [decode_resource(body, "node", ORIGIN * SECOND).layout for body in bodies[0]]

    def ours() -> None:
        for body, layout in zip(bodies[1], layouts, strict=True):
            decode_resource(body, "node", ORIGIN * SECOND, layout)

    def new() -> None:
        for body in bodies[1]:
            decode_resource(body, "node", ORIGIN * SECOND)

    def library() -> None:
        for body in bodies[1][:4]:
            for family in text_string_to_metric_families(body.decode()):
                for sample in family.samples:
                    assert sample.name

    known, unknown = _least(ours, runs) / nodes, _least(new, runs) / nodes
    theirs = _least(library, 3) / 4
    return {
        "decode_ms": 1e3 * known,
        "decode_first_ms": 1e3 * unknown,
        "prometheus_client_ms": 1e3 * theirs,
        "times_faster": theirs / known,
        "bytes": len(bodies[1][0]),
    }


def _least(function: Callable[[], None], runs: int) -> float:
    taken = []
    for _ in range(runs):
        began = time.process_time()
        function()
        taken.append(time.process_time() - began)
    return min(taken)


async def rounds(nodes: int) -> dict[str, object]:
    """Rounds of the whole collector, no batch in between."""
    arguments = [f"--nodes={nodes}", f"--pods={PODS}", f"--containers={CONTAINERS}", "--housekeeping=1"]
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        async with SimProcess(arguments, limit=300.0) as cluster:
            access = f"inClusterConfig=false&auth={cluster.kubeconfig}&kubeletHttps=true"
            options = Options(
                source=(f"kubernetes.summary_api:?{access}&kubeletPort={cluster.kubelet_port}",),
                listen_ip="127.0.0.1",
                heapster_port=0,
                scrape_timeout=300 * SECOND,
                scrape_jitter=0,
                node_timeout=120 * SECOND,
                kube_start_timeout=300 * SECOND,
                api_server=True,
                bind_address="127.0.0.1",
                secure_port=port,
                cert_dir=folder,
            )
            collector = Collector(options)
            await collector.start()
            try:
                assert collector.light is not None
                cpu, wall, cluster_cpu = [], [], []
                for _ in range(WARM_UP + ROUNDS):
                    before, began, start = _cpu_seconds(cluster.pid), time.process_time(), time.perf_counter()
                    report = await collector.light.scrape(time.time_ns())
                    cpu.append(time.process_time() - began)
                    wall.append(time.perf_counter() - start)
                    cluster_cpu.append(_cpu_seconds(cluster.pid) - before)
                    await asyncio.sleep(1.1)  # the next sample of every kubelet
            finally:
                await collector.stop()
    measured = sorted(cpu[WARM_UP:])
    return {
        "nodes": nodes,
        "answered": report.answered,
        "failed": dict(report.failed),
        "bytes_per_node": report.bytes_read // max(1, report.answered),
        "cpu_ms_per_node": {"least": 1e3 * measured[0] / nodes, "median": 1e3 * measured[len(measured) // 2] / nodes},
        "first_cpu_ms_per_node": 1e3 * cpu[0] / nodes,
        "round_wall_s": sorted(wall[WARM_UP:])[len(measured) // 2],
        "simulator_cpu_s": sorted(cluster_cpu[WARM_UP:])[len(measured) // 2],
        "peak_rss_mib": _peak_mib(),
    }


def main() -> int:
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(uvloop.run(rounds(int(sys.argv[2])))))
        return 0
    print(json.dumps(decoding()), flush=True)
    for nodes in [int(text) for text in sys.argv[1:]] or SIZES:
        command = [sys.executable, "-m", "benchmarks.light", "--one", str(nodes)]
        subprocess.run(command, check=True, cwd=Path(__file__).parents[1])
    return 0


if __name__ == "__main__":
    sys.exit(main())
