"""How long clients wait while cycles run, and how long the event loop is held up. Prints one line of JSON.

    python -m benchmarks.latency 5000-nodes

Cycles follow one another without a pause, so every answer is given during one. The client is a process of its own; with
the simulated cluster that makes three for two cores, and what the client waits for a core is in its numbers.

Each question has cycles of its own; then all are asked at once, by which lists hold up one another and everything else.
Last `kubectl top pods -A` is run, where there is a kubectl: alone, since it takes a core for itself.
"""

import asyncio
import json
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import TypeAlias

import uvloop

from benchmarks.asking import Answered
from benchmarks.proc import load, peak_mib
from benchmarks.shapes import LATENCY, Shape
from benchmarks.stage import WARM_UP, Cost, Stage, staged
from benchmarks.statistics import Spread, spread
from benchmarks.watchdog import Block, Watchdog
from collector.api import aggregated
from collector.api.dispatch import Dispatcher
from collector.api.server import ApiServer
from collector.core.metrics import Kind

Questions: TypeAlias = dict[str, dict[str, object]]
"""Name -> what `asking` does, and how often."""

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
        kubectl_cpu_s: dict[str, Spread] = {}
        try:
            for told, questions in _phases(_questions(stage, second.port)):
                found, spans, some, watchdog = await _asked_while_cycles_run(stage, questions, shape.cycles)
                for name, asked in found.items():
                    if of := _during(asked, spans):
                        answers[told.format(name)], sizes[told.format(name)] = of, asked[-1][2]
                costs += some
                watched.append(watchdog)
            await asyncio.sleep(PAUSE_S)
            await stage.cycle()  # of an empty list kubectl makes an error
            if questions := _kubectl(second.port):
                found, spans, *_ = await _asked_while_cycles_run(stage, questions, shape.cycles, PAUSE_S)
                for name, asked in found.items():
                    if of := _during(asked, spans):
                        answers[name], sizes[name] = of, asked[-1][2]
                        kubectl_cpu_s[name] = spread([cpu_s for *_, cpu_s in asked])
        finally:
            await second.stop()
        return {
            "nodes": shape.nodes,
            "answers_ms": answers,
            "kubectl_cpu_s": kubectl_cpu_s,
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
    stage: Stage, questions: Questions, cycles: int, pause_s: float = 0.0
) -> tuple[dict[str, list[Answered]], list[tuple[float, float]], list[Cost], Watchdog]:
    """What was answered, when cycles were under way (Unix times), their costs, and who held up the event loop."""
    client = await _client(questions)
    assert client.stdin is not None
    assert client.stdout is not None
    await client.stdout.readline()
    spans, costs = [], []
    with Watchdog() as watchdog:
        for _ in range(cycles):
            await asyncio.sleep(pause_s)
            began = time.time()
            costs.append(await stage.cycle())
            spans.append((began, time.time()))
    client.stdin.close()
    found = json.loads(await client.stdout.read())
    await client.wait()
    return found, spans, costs, watchdog


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


def _kubectl(second_port: int) -> Questions:
    """The real kubectl, where it is installed."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        return {}
    options = (f"--server=http://127.0.0.1:{second_port}", f"--kubeconfig={os.devnull}", f"--cache-dir={os.devnull}")
    return {"kubectl top pods": {"command": [kubectl, *options, "top", "pods", "-A"], "every_s": 1.0}}


async def _client(questions: Questions) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    client = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.asking"), stdin=pipe, stdout=pipe, limit=1 << 26
    )
    assert client.stdin is not None
    client.stdin.write(json.dumps(questions).encode() + b"\n")
    await client.stdin.drain()
    return client


def during(asked: Sequence[Answered], spans: Sequence[tuple[float, float]]) -> list[float]:
    """Milliseconds of what was asked while a cycle was under way; a small cluster's may be over before the question."""
    return [1000 * took for at, took, *_ in asked if any(began <= at <= ended for began, ended in spans)]


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
