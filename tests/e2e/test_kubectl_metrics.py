"""A real kubectl that gets, watches and explains the objects of the resource metrics API, over the light cadence."""

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pytest

from collector.api import aggregated
from collector.api.dispatch import Dispatcher
from collector.api.server import ApiServer
from collector.app import Collector
from collector.kube.quantity import binary_text
from collector.sim import SimulatedCluster
from tests.e2e.test_kubectl import Front, Stage
from tests.e2e.test_light import Key, collecting, expected, light_round

Amounts = dict[Key, tuple[int, int]]


@dataclass
class Show:
    """The collector behind the front, after two light rounds."""

    cluster: SimulatedCluster
    collector: Collector
    stage: Stage
    rounds: list[dict[Key, tuple[int, int, int]]]
    """What the kubelets said in each round."""

    @property
    def truth(self) -> Amounts:
        """Nanocores and bytes of everything, now."""
        return expected(self.rounds[-2], self.rounds[-1])

    async def tick(self) -> None:
        """One more round."""
        truth, _ = await light_round(self.cluster, self.collector, later=15)
        self.rounds.append(truth)

    async def kubectl(self, *arguments: str) -> str:
        status, out, err = await self.stage.kubectl(*arguments)
        assert status == 0, err
        return out

    def pods(self) -> dict[tuple[str, str], tuple[int, int]]:
        """(namespace, pod) -> the sums over its containers."""
        found: dict[tuple[str, str], tuple[int, int]] = {}
        for key, (nano, memory) in self.truth.items():
            if len(key) == 3:
                before = found.get(key[:2], (0, 0))
                found[key[:2]] = before[0] + nano, before[1] + memory
        return found

    def nodes(self) -> dict[str, tuple[int, int]]:
        return {key[0]: amounts for key, amounts in self.truth.items() if len(key) == 1}


class Watching:
    """A kubectl that prints until it is killed."""

    def __init__(self, show: Show, *arguments: str) -> None:
        self._show, self._arguments = show, arguments

    async def __aenter__(self) -> Self:
        stage = self._show.stage
        self._process = await asyncio.create_subprocess_exec(
            *("kubectl", f"--server=http://127.0.0.1:{stage.front.port}", *self._arguments),
            env={"PATH": os.environ["PATH"], "HOME": str(stage.home), "KUBECONFIG": str(stage.home / "none")},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
        )
        return self

    async def lines(self, count: int) -> list[list[str]]:
        """The next lines, as their columns."""
        assert self._process.stdout is not None
        async with asyncio.timeout(30):
            return [(await self._process.stdout.readline()).decode().split() for _ in range(count)]

    async def watches(self, count: int = 1) -> None:
        """Until the server has so many watches."""
        async with asyncio.timeout(30):
            while self._show.collector.context.revisions.watches < count:
                await asyncio.sleep(0.02)

    async def __aexit__(self, *_exception: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.communicate()


@pytest.fixture
async def show(tmp_path: Path) -> AsyncIterator[Show]:
    async with collecting(tmp_path) as (cluster, collector):
        answering = Dispatcher(collector.context, aggregated.ROUTES, aggregated.API_ROOTS, aggregated.MANNER)
        server = ApiServer(collector.context, host="127.0.0.1", port=0, flag="--secure-port", dispatcher=answering)
        await server.start()
        try:
            async with Front(cluster, server.port) as front:
                made = Show(cluster, collector, Stage(cluster, front, tmp_path, ({}, {})), [])
                made.rounds.append((await light_round(cluster, collector))[0])
                await made.tick()
                yield made
        finally:
            await server.stop()


def amounts(nano: int, memory: int) -> list[str]:
    """As cells of a table."""
    powers = ((10**9, ""), (10**6, "m"), (10**3, "u"), (1, "n"))
    unit, suffix = next((unit, suffix) for unit, suffix in powers if nano % unit == 0)
    return [f"{nano // unit}{suffix}", f"{memory}" if memory % 1024 else binary_text(memory)]


async def test_get_prints_a_table_of_nodes_and_of_pods(show):
    out = (await show.kubectl("get", "nodemetrics")).splitlines()
    assert out[0].split() == ["NAME", "CPU", "MEMORY", "WINDOW"]
    rows = [line.split() for line in out[1:]]
    assert [row[:3] for row in rows] == [[name, *amounts(*of)] for name, of in sorted(show.nodes().items())]
    out = (await show.kubectl("get", "podmetrics", "-A")).splitlines()
    assert out[0].split() == ["NAMESPACE", "NAME", "CPU", "MEMORY", "WINDOW"]
    rows = [line.split() for line in out[1:]]
    assert [row[:4] for row in rows] == [[*pod, *amounts(*of)] for pod, of in sorted(show.pods().items())]
    assert all(row[-1].endswith("s") for row in rows)
    wide = (await show.kubectl("get", "nodemetrics", "-o", "wide")).splitlines()
    assert wide[0].split() == ["NAME", "CPU", "MEMORY", "WINDOW", "EPHEMERAL-STORAGE", "SWAP"]
    namespace, name = next(iter(show.pods()))
    (head, one) = (await show.kubectl("get", "podmetrics", name, "-n", namespace)).splitlines()
    assert head.split() == ["NAME", "CPU", "MEMORY", "WINDOW"]
    assert one.split()[:3] == [name, *amounts(*show.pods()[namespace, name])]


async def test_get_with_a_small_chunk_size_gets_everything_once(show):
    whole = await show.kubectl("get", "podmetrics", "-A")
    before = len(show.stage.front.asked)
    assert await show.kubectl("get", "podmetrics", "-A", "--chunk-size=5") == whole
    pages = [path for path, _ in show.stage.front.asked[before:] if path.endswith("/pods")]
    assert len(pages) == -(-len(show.pods()) // 5)


async def test_get_gives_the_objects_and_selects(show):
    listed = json.loads(await show.kubectl("get", "nodemetrics", "-o", "json"))["items"]
    assert {each["metadata"]["name"] for each in listed} == show.nodes().keys()
    text = await show.kubectl("get", "nodemetrics", show.cluster.node_names[0], "-o", "yaml")
    assert "kind: NodeMetrics\n" in text
    assert f"  name: {show.cluster.node_names[0]}\n" in text
    pods = show.pods()
    _, name = next(iter(pods))
    every = ("get", "podmetrics", "-A", "-o", "name")
    assert (await show.kubectl(*every, f"--field-selector=metadata.name={name}")).count("\n") == sum(
        pod == name for _, pod in pods
    )
    labelled, without = [(await show.kubectl(*every, "-l", text)).splitlines() for text in ("app", "!app")]
    assert len(labelled) + len(without) == len(pods)
    status, _, err = await show.stage.kubectl(*every, "--field-selector=spec.nodeName=a")
    assert status == 1
    assert '"spec.nodeName" is not a known field selector' in err


async def test_top_sorts_and_selects(show):
    by_cpu = [line.split() for line in (await show.kubectl("top", "pods", "-A", "--sort-by=cpu")).splitlines()[1:]]
    nanocores = [show.pods()[row[0], row[1]][0] for row in by_cpu]
    assert nanocores == sorted(nanocores, reverse=True)
    assert len(nanocores) == len(show.pods())
    by_memory = [line.split() for line in (await show.kubectl("top", "nodes", "--sort-by=memory")).splitlines()[1:]]
    sizes = [show.nodes()[row[0]][1] for row in by_memory]
    assert sizes == sorted(sizes, reverse=True)
    namespace, name = next(iter(show.pods()))
    only = await show.kubectl("top", "pods", "-n", namespace, f"--field-selector=metadata.name={name}")
    assert [line.split()[0] for line in only.splitlines()[1:]] == [name]


@pytest.mark.parametrize("only", [False, True])
async def test_watch_prints_every_pod_again_with_each_tick(show, only):
    count = len(show.pods())
    async with Watching(show, "get", "podmetrics", "-A", "--watch-only" if only else "-w") as watching:
        if not only:
            (head, *rows) = await watching.lines(1 + count)
            assert head == ["NAMESPACE", "NAME", "CPU", "MEMORY", "WINDOW"]
            assert {tuple(row[:4]) for row in rows} == {(*pod, *amounts(*of)) for pod, of in show.pods().items()}
        await watching.watches()
        for _ in range(2):
            await show.tick()
            rows = await watching.lines(count + (only and not _))
            if only and not _:
                assert rows.pop(0) == ["NAMESPACE", "NAME", "CPU", "MEMORY", "WINDOW"]
            assert {tuple(row[:4]) for row in rows} == {(*pod, *amounts(*of)) for pod, of in show.pods().items()}


async def test_watch_of_one_node_tells_of_that_node(show):
    name = show.cluster.node_names[1]
    async with Watching(show, "get", "nodemetrics", name, "-w", "--output-watch-events") as watching:
        head, first = await watching.lines(2)
        assert head == ["EVENT", "NAME", "CPU", "MEMORY", "WINDOW"]
        assert first[:4] == ["ADDED", name, *amounts(*show.nodes()[name])]
        await watching.watches()
        await show.tick()
        while True:
            ((event, *row),) = await watching.lines(1)
            assert row[0] == name
            if event == "MODIFIED":
                break
        assert row[1:3] == amounts(*show.nodes()[name])


async def test_watch_in_json_tells_of_pods_that_come_and_go(show):
    namespace, name = next(iter(show.pods()))
    arguments = ("get", "podmetrics", "-n", namespace, "-w", "--output-watch-events", "-o", "json")
    async with Watching(show, *arguments) as watching:
        await watching.watches()
        await show.tick()
        found = await _events(watching, until=lambda event: event["type"] == "MODIFIED")
        assert {event["type"] for event in found} == {"ADDED", "MODIFIED"}
        listers = show.collector.context.listers
        listers.pods.apply([((namespace, name), None)])
        await show.tick()
        found = await _events(watching, until=lambda event: event["type"] == "DELETED")
    assert found[-1]["object"]["metadata"]["name"] == name
    assert found[-1]["object"]["kind"] == "PodMetrics"


async def _events(watching: Watching, until: Any) -> list[dict[str, Any]]:
    """Events up to the first that `until` is true of; kubectl prints them over many lines."""
    found: list[dict[str, Any]] = []
    text = ""
    while not (found and until(found[-1])):
        ((*words,),) = await watching.lines(1)
        text += " ".join(words)
        try:
            found.append(json.loads(text))
        except json.JSONDecodeError:
            continue
        text = ""
    return found


@pytest.mark.parametrize("output", ["plaintext", "plaintext-openapiv2"])
async def test_explain_tells_of_kinds_and_fields(show, output):
    told = await show.kubectl("explain", "nodemetrics", f"--output={output}")
    assert "KIND:     NodeMetrics" in told or "KIND:       NodeMetrics" in told
    for field in ("timestamp", "window", "usage", "metadata"):
        assert f"\n  {field}\t<" in told.replace("   ", "  ") or f"{field}\t<" in told
    told = await show.kubectl("explain", "podmetrics.containers", f"--output={output}")
    assert "Usage of each container" in told
    assert "name\t<string>" in told
    assert "usage\t<map[string]" in told
    paths = {path for path, status in show.stage.front.asked if status == 200}
    assert ("/openapi/v2" if output == "plaintext-openapiv2" else "/openapi/v3") in paths
