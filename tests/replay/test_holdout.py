"""Another cluster than the recorded one through the same harness: what is built for is the behaviour.

Nothing was recorded of it. What is expected comes from slow references: of decoding, of processing, of answering.
"""

import asyncio
import random
import tempfile
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.replay import batchtext, influx
from tests.replay.asking import Reply, Request, ask
from tests.replay.cluster import replay_cluster
from tests.replay.explained import Expected
from tests.replay.judge import JSON, TEXT, compare
from tests.replay.madeup import Madeup
from tests.replay.oracle import NOTHING, UNTAGGED, Gone, Oracle
from tests.replay.recording import SECOND, Question, ns
from tests.replay.replaying import read_points
from tests.replay.running import PATIENCE, running
from tests.replay.slowly import LabelOptions, world_of
from tests.replay.world import Point, World
from tests.servers import influxd

FIRST = ns("2026-03-01T10:00:00Z")
RESOLUTION = 60 * SECOND
STEPS = 8
SEEDS = (1, 2)
OPTIONS = LabelOptions({"team": "team", "app_name": "app"}, frozenset({"pod-template-hash"}), ";")
FLAGS = ("--store-label=team,app_name=app", "--ignore-label=pod-template-hash", "--label-separator=;")
ASKED = 1_500
"""Questions after each step, picked by chance."""


@dataclass
class Held:
    """What came of one made-up cluster."""

    world: World
    answers: list[tuple[Question, Expected, Reply, float]]
    texts: list[str]
    points: list[Point]


@pytest.fixture(scope="module", params=SEEDS)
def held(request: pytest.FixtureRequest) -> Held:
    return asyncio.run(_run(request.param, tls=request.param % 2 == 0))


async def _run(seed: int, *, tls: bool) -> Held:
    shown = Madeup(seed).steps(STEPS)
    world = world_of(shown, FIRST, RESOLUTION, OPTIONS)
    oracle, made, pick = Oracle(world), Held(world, [], [], []), random.Random(seed)
    async with AsyncExitStack() as closing:
        directory = Path(closing.enter_context(tempfile.TemporaryDirectory()))
        server = closing.enter_context(influxd(directory))
        cluster = await closing.enter_async_context(replay_cluster(shown[0], tls=tls))
        host, options = cluster.source_options(directory)
        database = f"influxdb:{server.url}"
        arguments = [f"--source=kubernetes.summary_api:{host}?{options}", f"--sink={database}", "--sink=log"]
        arguments += [
            f"--historical-source={database}",
            "--listen-ip=127.0.0.1",
            "--heapster-port=0",
            *FLAGS,
            *PATIENCE,
        ]
        run = await closing.enter_async_context(running(arguments, cluster))
        for step, inputs in enumerate(shown):
            at = world.arrivals[step]
            await run.step(inputs, world.timestamps[step], decoded=at, arrival=at)
            run.clock.now = now = at + 1
            everything = list(questions(world, step))
            asked = pick.sample(everything, min(ASKED, len(everything)))
            replies = await ask(run.port, [Request(one.method, one.target, one.headers) for one in asked])
            made.answers += [
                (one, expected(oracle, one), reply, now) for one, reply in zip(asked, replies, strict=True)
            ]
        made.texts = run.texts
        made.points = await asyncio.to_thread(read_points, server, world.timestamps)
    return made


def expected(oracle: Oracle, question: Question) -> Expected:
    seen = oracle.seen(question)
    if seen is not None:
        return Expected(200, JSON, seen, "pretty") if seen else _nobody(question)
    found = oracle.answer(question)
    assert found is not NOTHING, question
    if isinstance(found, Gone):
        return Expected(found.status, TEXT, text=found.text)
    style = "compact+nl" if "/pod-list/" in question.target or "/metric-export" in question.target else "pretty"
    return Expected(200, JSON, found, style)


def _nobody(question: Question) -> Expected:
    """What an empty list of the past is answered."""
    _, _, rest = question.target.partition("/historical/")
    kind, name, listed = rest.rstrip("/").split("/")
    assert (kind, listed) == ("nodes", "freecontainers")
    return Expected(404, TEXT, text=f'Unable to list system containers on node "{name}"')


def questions(world: World, step: int) -> Iterator[Question]:
    """Everything that can be asked of the newest batch, and of what is gone by now."""
    model, past, plain = "/api/v1/model", "/api/v1/historical", "/apis/metrics.k8s.io/v1alpha1"

    def question(target: str) -> Question:
        return Question("summary", step, "GET", target, {}, {"class": "holdout", "status": 200})

    begin, end = quote("2026-03-01T09:00:00Z"), quote("2026-03-01T11:00:00Z")
    for path in ("/debug/allkeys", "/nodes", "/namespaces", "/metrics"):
        yield question(f"{model}{path}")
    for path in ("/nodes", "/namespaces"):
        yield question(f"{past}{path}")
    yield question("/api/v1/metric-export")
    for path in ("/nodes", "/pods", "/nodes?labelSelector=team", "/pods?labelSelector=app%3Dalpha%2Ctier%21%3Dbeta"):
        yield question(plain + path)
    shown = world.shown[step].objects
    for node in shown["nodes"]:
        yield question(f"{plain}/nodes/{node['metadata']['name']}")
    for pod in shown["pods"]:
        yield question(f"{plain}/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}")
    spaces: dict[str, list[str]] = {}
    for key, entity in _known(world, step):
        path = _path(key)
        labels = entity.labels
        if labels["type"] == "pod":
            spaces.setdefault(labels["namespace_name"], []).append(labels["pod_name"])
            yield question(f"{model}{path}/containers")
        elif labels["type"] == "ns":
            yield question(f"{model}{path}/pods")
            yield question(f"{past}{path}/pods")
        elif labels["type"] == "node":
            yield question(f"{model}{path}/freecontainers")
            yield question(f"{past}{path}/freecontainers")
        yield question(f"{model}{path}/metrics")
        yield question(f"{past}{path}/metrics/")
        for metric in entity.metrics:
            yield question(f"{model}{path}/metrics/{metric}")
            yield question(f"{past}{path}/metrics/{metric}?start={begin}")
            functions = "average,max,min,median,count,50-perc,95-perc,99-perc"
            yield question(f"{past}{path}/metrics-aggregated/{functions}/{metric}?start={begin}&end={end}&bucket=5m")
        for metric, pairs in entity.labeled:
            text = quote(",".join(f"{name}:{value}" for name, value in pairs))
            if not any(":" in value or "," in value for _, value in pairs):
                yield question(f"{model}{path}/metrics/{metric}?labels={text}")
                yield question(f"{past}{path}/metrics/{metric}?start={begin}&labels={text}")
    for namespace, pods in spaces.items():
        for metric in ("cpu/usage_rate", "memory/usage", "memory/working_set", "restart_count"):
            names = ",".join([*pods, "nosuch", pods[0]])
            yield question(f"{model}/namespaces/{namespace}/pod-list/{names}/metrics/{metric}")


def _known(world: World, step: int) -> Iterator[tuple[str, object]]:
    """Every entity of this step and of the one before it, as it is known."""
    for one in range(max(0, step - 1), step + 1):
        for key, entity in world.sets[one].items():
            if one == step or key not in world.sets[step]:
                yield key, entity


def _path(key: str) -> str:
    if key == "cluster":
        return ""
    kinds = {"node": "nodes", "namespace": "namespaces", "pod": "pods", "container": "containers"}
    parts = [part.partition(":") for part in key.split("/")]
    path = "".join(f"/{kinds[kind]}/{name}" for kind, _, name in parts)
    return path.replace("/containers/", "/freecontainers/") if key.startswith("node:") else path


def test_the_made_up_cluster_is_worth_something(held: Held) -> None:
    sets = [entity for batch in held.world.sets for entity in batch.values()]
    names = {name for entity in sets for name in entity.metrics}
    assert {"cpu/usage_rate", "network/rx_rate", "custom/qps", "nvidia.com/gpu/request", "restart_count"} <= names
    assert {"accelerator/duty_cycle", "filesystem/inodes_free"} <= {name for one in sets for name, _ in one.labeled}
    assert any("labels" not in entity.labels for entity in sets if entity.labels["type"] == "pod")
    assert any(entity.labels["hostname"] != entity.labels["nodename"] for entity in sets if "nodename" in entity.labels)
    assert len({len(batch) for batch in held.world.sets}) > 3
    assert any("app_name" in entity.labels for entity in sets)


def test_every_batch_is_what_the_slow_references_make_of_it(held: Held) -> None:
    found = []
    for step, text in enumerate(held.texts):
        _, sets = batchtext.read(text)
        found += [f"step {step}: {line}" for line in batchtext.differences(held.world.sets[step], sets)]
    assert not found, f"{len(found)} differences, such as\n  " + "\n  ".join(found[:20])


def test_every_answer_is_what_the_oracle_says(held: Held) -> None:
    found = [
        f"{question}: {line}"
        for question, wanted, reply, now in held.answers
        for line in compare(question, wanted, reply, now, held.world, "influxdb")
    ]
    assert len(held.answers) > 8_000
    assert not found, f"{len(found)} differences, such as\n  " + "\n  ".join(found[:20])


def test_every_point_in_influxdb_is_of_a_batch(held: Held) -> None:
    wanted = {}
    for step, batch in enumerate(held.world.sets):
        for entity in batch.values():
            values = [(name, (), value) for name, value in entity.metrics.items()]
            values += [(name, labels, value) for (name, labels), value in entity.labeled.items()]
            for name, labels, value in values:
                tags = {**entity.labels, **dict(labels), "cluster_name": "default"}
                kept = tuple(sorted((tag, text) for tag, text in tags.items() if text and tag not in UNTAGGED))
                wanted[step, name, kept] = value
    found = influx.values_differ(held.points, wanted, held.world)
    assert not found, f"{len(found)} differences, such as\n  " + "\n  ".join(found[:20])
