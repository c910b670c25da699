"""How long clients wait while cycles run, and how long the event loop is held up. Prints one line of JSON.

    python -m benchmarks.latency 5000-nodes

Cycles follow one another without a pause, so every answer is given during one. The client is a process of its own; with
the simulated cluster that makes three for two cores. The simulated cluster stands for machines of their own, so it gets
the cores that the others leave; what the client waits for a core, and the collector for it, is in the numbers.

Each question has cycles of its own; then all are asked at once, by which lists hold up one another and everything else.
Last `kubectl top pods -A` is run, where there is a kubectl. In life it has a machine of its own, and it takes a core
for itself: it is alone, comes before the others where that is permitted, and is held against itself with the answer
ready, see `benchmarks.kubectl_top`.
"""

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, TypeAlias

import uvloop

from benchmarks import asking, kubectl_top
from benchmarks.asking import Answered
from benchmarks.proc import behind_others, load, niceness, peak_mib
from benchmarks.shapes import LATENCY, Shape
from benchmarks.stage import WARM_UP, Cost, Stage, staged
from benchmarks.statistics import Spread, spread
from benchmarks.watchdog import Block, Watchdog
from collector.api import aggregated
from collector.api.dispatch import Dispatcher
from collector.api.server import ApiServer
from collector.core.metrics import Kind

Questions: TypeAlias = Mapping[str, object]
"""Name -> what the client's module asks."""

GOALS_MS = {"one pod": 10.0, "namespace list": 100.0, "top pods": 3_000.0, "kubectl top pods": 3_000.0}
"""The aims of the 99th percentile while cycles of 5,000 nodes run: a value of one pod, a list of LIST_PODS pods of one
namespace, and the list of all 150,000 pods, of which kubectl's includes what kubectl makes of it."""
VALUES = ("one pod", "healthz")
"""Questions whose answer takes next to no time to make."""
LIST_PODS = 3_000
PAUSE_S = 1.1
"""Between two cycles that must both have fresh samples: their times are whole seconds."""


async def measure(shape: Shape) -> dict[str, object]:
    """Latencies in milliseconds by question, blocks of the event loop, the cycles' costs."""
    async with staged(shape) as stage:
        behind_others(stage.cluster.pid)
        with Watchdog() as first:
            await stage.cycle()
        await asyncio.sleep(PAUSE_S)
        for _ in range(WARM_UP - 1):
            await stage.cycle()
            await asyncio.sleep(PAUSE_S)
        second = await _second_server(stage)
        answers: dict[str, Spread] = {}
        sizes: dict[str, int] = {}
        costs: list[Cost] = []
        watched: list[Watchdog] = []
        kubectl: dict[str, Any] = {}
        try:
            for told, questions in _phases(_questions(stage, second.port)):
                found, spans, some, watchdog = await _asked_while_cycles_run(stage, questions, shape.cycles)
                for name, asked in found.items():
                    sizes[told.format(name)] = asked[-1].size
                    if of := _during(asked, spans):
                        answers[told.format(name)] = of
                costs += some
                watched.append(watchdog)
            await asyncio.sleep(PAUSE_S)
            await stage.cycle()  # of an empty list kubectl makes an error
            kubectl = await _kubectl(stage, f"http://127.0.0.1:{second.port}", shape.cycles)
            if kubectl and (asked := kubectl.pop("asked")):
                answers[kubectl_top.COLLECTOR] = spread([1000 * one.seconds for one in asked])
                sizes[kubectl_top.COLLECTOR] = asked[-1].size
        finally:
            await second.stop()
        return {
            "nodes": shape.nodes,
            "answers_ms": answers,
            "kubectl": kubectl,
            "bytes": sizes,
            "goals_ms": GOALS_MS,
            "cycles": [asdict(cost) for cost in costs],
            "blocks": blocks_of(*watched),
            "blocks_first_cycle": blocks_of(first),
            "peak_mib": peak_mib(),
            "machine": load(),
        }


def _phases(questions: Questions) -> list[tuple[str, Questions]]:
    """How the answers are called, and what is asked at the same time."""
    value = {name: questions[name] for name in VALUES}
    lists = [{name: question} for name, question in questions.items() if name not in VALUES]
    return [("{}", value), *(("{}", alone) for alone in lists), ("{}, all at once", questions)]


def _during(asked: Sequence[Answered], spans: Sequence[tuple[float, float]]) -> Spread | None:
    times = during(asked, spans)
    return spread(times) if times else None


async def _asked_while_cycles_run(
    stage: Stage, questions: Questions, cycles: int, pause_s: float = 0.0, module: str = asking.__name__
) -> tuple[dict[str, list[Answered]], list[tuple[float, float]], list[Cost], Watchdog]:
    """What was answered, when cycles were under way (Unix times), their costs, and who held up the event loop."""
    client = await _client(questions, module)
    spans, costs = [], []
    with Watchdog() as watchdog:
        for _ in range(cycles):
            await asyncio.sleep(pause_s)
            began = time.time()
            costs.append(await stage.cycle())
            spans.append((began, time.time()))
    return await _told(client), spans, costs, watchdog


async def _client(questions: Questions, module: str) -> asyncio.subprocess.Process:
    """A process that asks, and has been answered everything once."""
    pipe = asyncio.subprocess.PIPE
    words = (sys.executable, "-m", module)
    client = await asyncio.create_subprocess_exec(*words, stdin=pipe, stdout=pipe, limit=1 << 26)
    assert client.stdin is not None
    assert client.stdout is not None
    client.stdin.write(json.dumps(questions).encode() + b"\n")
    await client.stdin.drain()
    await client.stdout.readline()
    return client


async def _told(client: asyncio.subprocess.Process) -> dict[str, list[Answered]]:
    """Let it end, and read what it has found. Raises RuntimeError where it failed; why is in standard error."""
    assert client.stdin is not None
    assert client.stdout is not None
    client.stdin.close()
    told = await client.stdout.read()
    if status := await client.wait():
        raise RuntimeError(f"the client ended with status {status}")
    return {name: [Answered(*one) for one in asked] for name, asked in json.loads(told.splitlines()[-1]).items()}


async def _second_server(stage: Stage) -> ApiServer:
    """The resource metrics API without its TLS and its reviews: what is measured is the making of the answer."""
    served = Dispatcher(stage.collector.context, aggregated.ROUTES, aggregated.API_ROOTS, aggregated.MANNER)
    server = ApiServer(stage.collector.context, host="127.0.0.1", port=0, flag="--secure-port", dispatcher=served)
    await server.start()
    return server


def _questions(stage: Stage, second_port: int) -> Questions:
    """What is asked, and how often."""
    batch = stage.collector.store.latest()
    assert batch is not None
    entities = batch.entities
    of_namespace = Counter(entities.parent[batch.rows_of(Kind.POD)].tolist())
    namespace = min(of_namespace, key=lambda row: abs(of_namespace[row] - LIST_PODS))
    pod = next(iter(entities.children(namespace)))
    name = entities.name[namespace]
    main, second = f"http://127.0.0.1:{stage.collector.port}", f"http://127.0.0.1:{second_port}"
    resource = f"{second}{aggregated.GROUP_ROOT}/v1beta1"
    asked = {
        "one pod": (f"{main}/api/v1/model/namespaces/{name}/pods/{pod}/metrics/cpu/usage_rate", 0.05),
        "healthz": (f"{main}/healthz", 0.1),
        "namespace list": (f"{resource}/namespaces/{name}/pods", 1.0),
        "top pods": (f"{resource}/pods", 15.0),
    }
    return {name: {"url": url, "every_s": every_s} for name, (url, every_s) in asked.items()}


async def _kubectl(stage: Stage, server: str, cycles: int) -> dict[str, Any]:
    """What the real kubectl takes, and `asked`: its runs during cycles. Nothing, where it is not installed."""
    if not kubectl_top.command(server):
        return {}
    async with kubectl_top.answer_ready(server) as ready:
        servers = {kubectl_top.COLLECTOR: server, kubectl_top.READY: ready}
        before = time.process_time()
        client = await _client(servers, kubectl_top.__name__)
        clients_first = niceness(client.pid) < niceness()
        assert client.stdout is not None
        for _ in range(kubectl_top.RUNS - 1):
            await client.stdout.readline()
        quiet = await _told(client)
        cpu_s = (time.process_time() - before) / len(quiet[kubectl_top.COLLECTOR])
        found, spans, *_ = await _asked_while_cycles_run(stage, servers, cycles, PAUSE_S, kubectl_top.__name__)
    busy = {name: [one for one in asked if beside(one, spans)] for name, asked in found.items()}
    return {
        "clients_first": clients_first,
        "collector_cpu_s": cpu_s,
        "rows": [*kubectl_top.rows("no cycle", quiet), *kubectl_top.rows("cycles run", busy)],
        "asked": busy[kubectl_top.COLLECTOR],
    }


def during(asked: Sequence[Answered], spans: Sequence[tuple[float, float]]) -> list[float]:
    """Milliseconds of what was asked while a cycle was under way; a small cluster's may be over before the question."""
    return [1000 * one.seconds for one in asked if _within(one, spans)]


def beside(one: Answered, spans: Sequence[tuple[float, float]]) -> bool:
    """Whether any of it was during a cycle: kubectl takes longer than one."""
    return any(began <= one.at + one.seconds and one.at <= ended for began, ended in spans)


def _within(one: Answered, spans: Sequence[tuple[float, float]]) -> bool:
    return any(began <= one.at <= ended for began, ended in spans)


def blocks_of(*watched: Watchdog) -> dict[str, object]:
    """The longest ones, and where they were."""
    longest = sorted((block for watchdog in watched for block in watchdog.blocks), key=lambda block: -block.cpu_seconds)

    collections = [each for watchdog in watched for each in watchdog.collections]

    def told(block: Block) -> dict[str, object]:
        ms, cpu_ms = (round(1000 * seconds, 1) for seconds in (block.seconds, block.cpu_seconds))
        return {"ms": ms, "cpu_ms": cpu_ms, "where": [where for where, _ in block.frames.most_common(2)]}

    return {
        "longest_ms": round(1000 * max((block.seconds for block in longest), default=0.0), 1),
        "longest_cpu_ms": round(1000 * longest[0].cpu_seconds, 1) if longest else 0.0,
        "above_50_ms": sum(block.seconds > 0.05 for block in longest),
        "above_50_ms_cpu": sum(block.cpu_seconds > 0.05 for block in longest),
        "longest": [told(block) for block in longest[:12]],
        "collections_ms": [
            (generation, round(1000 * took, 1))
            for generation, took in sorted(collections, key=lambda each: -each[1])[:5]
        ],
    }


def main() -> int:
    print(json.dumps(uvloop.run(measure(LATENCY[sys.argv[1]]))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
