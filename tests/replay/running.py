"""A real collector on a replayed cluster, one step at a time, under a clock that the replay sets.

The command line is the recorded one; only addresses and ports are replaced. Windows end where Heapster's did, so every
time in an answer is the recorded one; only the present is made up: while a step is collected it is five seconds after
the window, the batch arrives when Heapster's arrived, and questions are asked when Heapster was asked.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from collector.app import Collector
from collector.kube import wire
from collector.kube.build import Builder, Oddities
from collector.manager import Tick
from collector.options import parse
from tests.replay.cluster import ReplayCluster
from tests.replay.recording import Inputs

WAIT_S = 300.0
PATIENCE = ("--node-timeout=2m", "--scrape-timeout=4m", "--sink-export-data-timeout=5m", "--kube-start-timeout=5m")
"""A busy machine fails no test."""


class Clock:
    """Unix time in seconds, as told."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Running:
    """One started collector and what it has logged of its batches."""

    def __init__(self, arguments: Sequence[str], cluster: ReplayCluster) -> None:
        self.clock = Clock()
        self._arrival = 0.0
        self.cluster = cluster
        self.collector = Collector(
            parse(arguments).validated(), clock=self.clock, ticked=self._ticked, port_flag="--heapster-port"
        )
        self.texts: list[str] = []
        """The log sink's text of each batch."""
        self._ticks = 0

    @property
    def port(self) -> int:
        return self.collector.port

    async def step(self, shown: Inputs, end: int, *, decoded: float, arrival: float) -> Tick:
        """One cycle over `shown`, delivered to every sink. `end` in ns, `decoded` and `arrival` Unix time in s."""
        if self._ticks:
            await self.cluster.show(shown)
        await until(self._listed(shown))
        self.clock.now, self._arrival = decoded, arrival
        self.texts.append("")
        tick = await self.collector.tick(end)
        self._ticks += 1
        await until(self._delivered)
        return tick

    def _ticked(self, _tick: Tick) -> None:
        """The batch is offered, no sink has run yet: from now on it is later."""
        self.clock.now = self._arrival

    def _delivered(self) -> bool:
        return all(sink.delivered == self._ticks for sink in self.collector.sinks.statistics())

    def _listed(self, shown: Inputs) -> Callable[[], bool]:
        listers = self.collector._listers
        nodes, pods, spaces = (Builder(Oddities(plural)) for plural in ("nodes", "pods", "namespaces"))
        objects: Mapping[str, list[dict[str, Any]]] = shown.objects
        expected = (
            {one.name: one for one in (nodes.node(msgspec.convert(o, wire.NodeObject)) for o in objects["nodes"])},
            {
                (one.namespace, one.name): one
                for one in (pods.pod(msgspec.convert(o, wire.PodObject)) for o in objects["pods"])
            },
            {
                one.name: one
                for one in (spaces.namespace(msgspec.convert(o, wire.NamespaceObject)) for o in objects["namespaces"])
            },
        )
        return lambda: (dict(listers.nodes.items), dict(listers.pods.items), dict(listers.namespaces.items)) == expected


@contextlib.asynccontextmanager
async def running(arguments: Sequence[str], cluster: ReplayCluster) -> AsyncIterator[Running]:
    """The collector of a command line, started; its log sink's texts are kept."""
    made = Running(arguments, cluster)
    logger = logging.getLogger("sinks.log")
    handler, level = _Texts(made.texts), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        await made.collector.start()
        yield made
    finally:
        await made.collector.stop()
        logger.removeHandler(handler)
        logger.setLevel(level)


def command_line(recorded: Sequence[str], cluster: ReplayCluster, directory: Path, influxdb: str = "") -> list[str]:
    """A recorded command line for this cluster. Without an `influxdb` URL the embedded history takes its place."""
    host, options = cluster.source_options(directory)
    history = f"--sink=history:{directory / 'history'}"
    found = []
    for argument in recorded[1:]:
        name, _, value = argument.partition("=")
        if name == "--source":
            found.append(f"{name}={value.partition(':')[0]}:{host}?{options}")
        elif value.startswith("influxdb:"):
            kept = value.partition("?")[2]
            if influxdb:
                found.append(f"{name}=influxdb:{influxdb}?{kept}&timeout=2m")
            elif name == "--sink":
                found.append(history)
        elif name == "--heapster-port":
            found.append(f"{name}=0")
        else:
            found.append(argument)
    return [*found, *PATIENCE]


async def until(condition: Callable[[], bool], seconds: float = WAIT_S) -> None:
    """Wait for what another task will make true."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.002)


class _Texts(logging.Handler):
    """Appends what is logged to the last text."""

    def __init__(self, texts: list[str]) -> None:
        super().__init__(logging.INFO)
        self._texts = texts

    def emit(self, record: logging.LogRecord) -> None:
        self._texts[-1] += record.getMessage()
