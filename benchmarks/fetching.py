"""What fetching costs: CPU of this process for each answer of 200 KB over verified TLS. Prints one line of JSON.

    python -m benchmarks.fetching [nodes]

The collector's client beside aiohttp's ClientSession, turn by turn against the same simulated cluster, and beside wrk
where it is installed. Also what a first connection costs and what an idle one holds.
"""

import asyncio
import json
import resource
import shutil
import ssl
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import msgspec
import uvloop

from collector.sim.process import SimProcess
from collector.sources.fanout import fan_out
from collector.sources.kubelet import SUMMARY_PATH, KubeletClient, KubeletOptions, KubeletTarget

ROUNDS = 15
CONCURRENCY = 64
Fetch = Callable[[KubeletTarget], Awaitable[int]]
"""Gives the size of the body."""


@dataclass(frozen=True)
class Cluster:
    """Whom to ask, and with what."""

    targets: tuple[KubeletTarget, ...]
    ca_file: str
    token: str


async def described(process: SimProcess, ready: Path) -> Cluster:
    """The simulated cluster, as its API server describes it."""
    says = msgspec.json.decode(ready.read_bytes())
    token = Path(says["token_file"]).read_text().strip()
    context = ssl.create_default_context(cafile=says["ca_file"])
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as session,
        session.get(f"{says['api_url']}/api/v1/nodes", ssl=context) as response,
    ):
        nodes = (await response.json())["items"]
    targets = [
        KubeletTarget(node["metadata"]["name"], address["address"], process.kubelet_port)
        for node in nodes
        for address in node["status"]["addresses"]
        if address["type"] == "InternalIP"
    ]
    return Cluster(tuple(targets), says["ca_file"], token)


async def ask_all(cluster: Cluster, fetch: Fetch) -> tuple[float, int]:
    """Ask every node once: CPU milliseconds an answer, and bytes an answer."""
    size = 0

    async def ask(target: KubeletTarget) -> None:
        nonlocal size
        size += await fetch(target)

    began = time.process_time()
    count = await fan_out(cluster.targets, ask, deadline_s=300, concurrency=CONCURRENCY, on_result=lambda _reply: None)
    spent = time.process_time() - began
    if count.answered != len(cluster.targets):
        raise RuntimeError(f"only {count.answered} of {len(cluster.targets)} simulated nodes answered")
    return spent / count.answered * 1000, size // count.answered


def by_aiohttp(cluster: Cluster, session: aiohttp.ClientSession) -> Fetch:
    """As one would with the library alone."""
    context = ssl.create_default_context(cafile=cluster.ca_file)

    async def fetch(target: KubeletTarget) -> int:
        url = f"https://{target.address}:{target.port}{SUMMARY_PATH}"
        async with session.get(url, ssl=context) as response:
            response.raise_for_status()
            return len(await response.read())

    return fetch


async def by_wrk(cluster: Cluster) -> float | None:
    """CPU milliseconds an answer of wrk's, which checks no certificate; None where it is not installed."""
    wrk = shutil.which("wrk")
    if wrk is None:
        return None
    target = cluster.targets[0]
    url = f"https://{target.address}:{target.port}{SUMMARY_PATH}"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    process = await asyncio.create_subprocess_exec(
        wrk, "-t1", "-c8", "-d5s", "-H", f"Authorization: Bearer {cluster.token}", url, stdout=asyncio.subprocess.PIPE
    )
    said, _ = await process.communicate()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    line = next(line for line in said.decode().splitlines() if " requests in " in line)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return spent / int(line.split()[0]) * 1000


def resident_bytes() -> int:
    """Resident memory of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) * 1024


async def measure(nodes: int, ready: Path) -> dict[str, object]:
    """All rows: each way's milliseconds are the least and the median of its rounds."""
    arguments = [f"--nodes={nodes}", "--pods=30", "--containers=2", f"--ready-file={ready}"]
    async with SimProcess(arguments, limit=300.0) as process, AsyncExitStack() as stack:
        cluster = await described(process, ready)
        options = KubeletOptions(ca_files=(cluster.ca_file,), token=lambda: cluster.token, time_limit_s=300)
        client = await stack.enter_async_context(KubeletClient(options))

        async def ours(target: KubeletTarget) -> int:
            return len(await client.fetch(target))

        warm = Cluster(cluster.targets[:CONCURRENCY], cluster.ca_file, cluster.token)
        await ask_all(warm, ours)
        before = resident_bytes()
        first, _ = await ask_all(cluster, ours)
        idle = (resident_bytes() - before) / max(1, len(cluster.targets) - len(warm.targets))
        connector = aiohttp.TCPConnector(limit=0)
        session = await stack.enter_async_context(
            aiohttp.ClientSession(connector=connector, headers={"Authorization": f"Bearer {cluster.token}"})
        )
        ways = {"collector": ours, "aiohttp": by_aiohttp(cluster, session)}
        spent: dict[str, list[float]] = {name: [] for name in ways}
        size = 0
        for round_number in range(ROUNDS + 1):
            for name, way in ways.items():
                milliseconds, size = await ask_all(cluster, way)
                if round_number:  # the first makes the connections
                    spent[name].append(milliseconds)
        return {
            "nodes": nodes,
            "bytes": size,
            "fetch_cpu_ms": {
                name: {"least": min(rounds), "median": statistics.median(rounds)} for name, rounds in spent.items()
            },
            "wrk_cpu_ms": await by_wrk(cluster),
            "first_fetch_cpu_ms": first,
            "idle_connection_bytes": round(idle),
        }


def main() -> int:
    """The number of nodes may be given as the first argument."""
    nodes = int(sys.argv[1]) if len(sys.argv) > 1 else 400
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(uvloop.run(measure(nodes, Path(folder) / "ready.json"))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
