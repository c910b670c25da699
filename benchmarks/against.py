"""Another collector on the same simulated cluster, beside ours, in the same run. Prints one line of JSON.

    python -m benchmarks.against /path/to/heapster [--nodes 50] [--cycles 6] [--metric-resolution 5s]

The binary is any that takes Heapster's flags `--source`, `--metric-resolution`, `--heapster-port` and `--listen-ip`.
Both run as processes, one after the other against one cluster, and are looked at from outside: CPU seconds from /proc
between two moments in steady state, and the peak of their resident memory.
"""

import argparse
import asyncio
import json
import socket
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import aiohttp

from benchmarks.proc import cpu_seconds, load, peak_mib
from benchmarks.repeat import ROOT
from collector.durations import parse_duration_ns
from collector.sim.process import SimProcess

START_S = 120
WARM_UP_CYCLES = 2


@dataclass(frozen=True, slots=True)
class Found:
    """What one collector cost."""

    command: str
    cycles: float
    cpu_s: float
    """In steady state."""
    cpu_ms_a_node_and_cycle: float
    peak_mib: float
    sim_cpu_s: float


async def measure(binary: Path, nodes: int, cycles: int, resolution: str) -> dict[str, object]:
    """Theirs, then ours."""
    seconds = parse_duration_ns(resolution) / 1e9
    async with SimProcess([f"--nodes={nodes}", "--pods=30", "--containers=2", "--housekeeping=1"]) as cluster:
        found = {}
        for name, command in {"other": [str(binary)], "ours": [sys.executable, "-m", "collector"]}.items():
            found[name] = asdict(await _one(command, cluster, nodes, cycles, resolution, seconds))
    return {"nodes": nodes, "resolution": resolution, "machine": load(), **found}


async def _one(
    command: list[str], cluster: SimProcess, nodes: int, cycles: int, resolution: str, seconds: float
) -> Found:
    port = _free_port()
    source = f"kubernetes.summary_api:?inClusterConfig=false&auth={cluster.kubeconfig}"
    source += f"&kubeletHttps=true&kubeletPort={cluster.kubelet_port}&insecure=true"
    process = await asyncio.create_subprocess_exec(
        *command,
        f"--source={source}",
        f"--metric-resolution={resolution}",
        f"--heapster-port={port}",
        "--listen-ip=127.0.0.1",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )
    assert process.stderr is not None
    said = asyncio.create_task(process.stderr.read())
    try:
        await _has_nodes(process, port, nodes)
        await asyncio.sleep(WARM_UP_CYCLES * seconds)
        before, sim_before, began = cpu_seconds(process.pid), cpu_seconds(cluster.pid), time.monotonic()
        await asyncio.sleep(cycles * seconds)
        spent, sim_spent = cpu_seconds(process.pid) - before, cpu_seconds(cluster.pid) - sim_before
        ran = (time.monotonic() - began) / seconds
        return Found(command[0], ran, spent, 1000 * spent / ran / nodes, peak_mib(process.pid), sim_spent)
    except Exception as error:
        if process.returncode is None:
            process.kill()
        written = (await said).decode(errors="replace").strip().splitlines()[-3:]
        raise RuntimeError(f"{' '.join(command)}: {error}; it wrote: {' | '.join(written)}") from error
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
        await said


async def _has_nodes(process: asyncio.subprocess.Process, port: int, nodes: int) -> None:
    """Wait until the collector's model has the whole cluster."""
    deadline = time.monotonic() + START_S
    async with aiohttp.ClientSession() as session:
        while time.monotonic() < deadline:
            if process.returncode is not None:
                raise RuntimeError(f"ended with exit status {process.returncode}")
            try:
                async with session.get(f"http://127.0.0.1:{port}/api/v1/model/nodes/") as answer:
                    if answer.status == 200 and len(await answer.json(content_type=None) or ()) >= nodes:
                        return
            except (aiohttp.ClientError, ValueError):
                pass
            await asyncio.sleep(0.5)
    raise RuntimeError(f"had not seen {nodes} nodes after {START_S} s")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.against", description=__doc__)
    parser.add_argument("binary", type=Path, help="a collector that takes Heapster's flags")
    parser.add_argument("--nodes", type=int, default=50, help="nodes of 30 pods of 2 containers")
    parser.add_argument("--cycles", type=int, default=6, help="cycles measured of each")
    parser.add_argument(
        "--metric-resolution", default="5s", help="from one cycle to the next; Heapster took 5s and more"
    )
    arguments = parser.parse_args()
    print(
        json.dumps(
            asyncio.run(measure(arguments.binary, arguments.nodes, arguments.cycles, arguments.metric_resolution))
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
