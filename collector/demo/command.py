"""`heapster demo`: a simulated cluster in a process of its own, the collector in this one, the numbers on screen."""

import argparse
import asyncio
import contextlib
import dataclasses
import signal
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

import uvloop
from rich.console import Console
from rich.live import Live

from collector import logs
from collector.app import Collector
from collector.demo import view
from collector.durations import format_duration, parse_duration_ns
from collector.errors import UsageError
from collector.manager import Tick
from collector.options import SECOND, Options
from collector.sim.process import SimProcess

LEAST_RESOLUTION = SECOND
LINES_KEPT = 5


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """What `heapster demo` was asked for."""

    nodes: int = 20
    pods: int = 15
    containers: int = 2
    seed: int = 1
    resolution: int = 5 * SECOND
    """ns"""
    cycles: int = 0
    """0: until interrupted"""
    captures: Path | None = None
    port: int = 8082
    history: Path | None = None
    """Where the embedded history goes; None for a temporary directory."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"demo: {message}")


def _duration(text: str) -> int:
    try:
        return parse_duration_ns(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def parse(arguments: Sequence[str]) -> DemoOptions:
    """The options of a command line. Raises UsageError naming each fault."""
    parser = _Parser(prog="heapster demo", description=__doc__, allow_abbrev=False)
    defaults = DemoOptions()
    parser.add_argument("--nodes", type=int, default=defaults.nodes, help="simulated nodes (default %(default)s)")
    parser.add_argument("--pods", type=int, default=defaults.pods, help="pods a node (default %(default)s)")
    parser.add_argument(
        "--containers", type=int, default=defaults.containers, help="containers a pod (default %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=defaults.seed, help="same seed, same cluster (default %(default)s)")
    parser.add_argument(
        "--resolution", type=_duration, default=defaults.resolution, help="length of a cycle, 1s or more (default 5s)"
    )
    parser.add_argument("--cycles", type=int, default=0, help="end by itself after so many cycles (default: go on)")
    parser.add_argument("--captures", type=Path, help="replay recorded kubelet summaries from this directory")
    parser.add_argument("--port", type=int, default=defaults.port, help="port of the REST API (default %(default)s)")
    parser.add_argument("--history", type=Path, help="keep the embedded history here (default: a temporary directory)")
    options = DemoOptions(**vars(parser.parse_args(arguments)))
    faults = []
    if options.resolution < LEAST_RESOLUTION:
        faults.append(
            f"demo: --resolution is {format_duration(options.resolution)}, below the least allowed, 1s: raise it"
        )
    if options.cycles < 0:
        faults.append(f"demo: --cycles is {options.cycles}: give a number of cycles, or 0 to go on until interrupted")
    if faults:
        raise UsageError(*faults)
    return options


def main(arguments: Sequence[str]) -> int:
    """Run the demo; returns the exit status."""
    options = parse(arguments)
    logs.configure(0)
    return uvloop.run(_run(options))


async def _run(options: DemoOptions) -> int:
    console = Console()
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    with contextlib.ExitStack() as files:
        history = options.history or Path(files.enter_context(tempfile.TemporaryDirectory(prefix="heapster-demo-")))
        async with SimProcess(_sim_arguments(options)) as cluster:
            demo = _Demo(options, console, stopped)
            collector = Collector(_collector_options(options, cluster, history), ticked=demo.ticked, port_flag="--port")
            await collector.start()
            try:
                await _until_stopped(collector, demo, stopped)
            finally:
                await collector.stop()
            console.print(demo.summary(collector, history))
    return 0


async def _until_stopped(collector: Collector, demo: "_Demo", stopped: asyncio.Event) -> None:
    running = asyncio.create_task(collector.run(), name="manager")
    waiting = asyncio.create_task(stopped.wait(), name="stop")
    try:
        with demo.showing(collector.port):
            await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()
    finally:
        for task in (running, waiting):
            task.cancel()
        await asyncio.gather(running, waiting, return_exceptions=True)


class _Demo:
    """What has been seen so far, and how it is shown: a live screen on a terminal, a line a cycle elsewhere."""

    def __init__(self, options: DemoOptions, console: Console, stopped: asyncio.Event) -> None:
        self._options = options
        self._console = console
        self._stopped = stopped
        self._live: Live | None = None
        self._lines: deque[str] = deque(maxlen=LINES_KEPT)
        self._urls: list[str] = []
        self._cycles = 0
        self._cpu_seconds = 0.0

    @contextlib.contextmanager
    def showing(self, port: int) -> Iterator[None]:
        """Show what happens until the end of the block."""
        self._urls = _urls(port)
        if not self._console.is_terminal:
            self._console.print(view.screen(None, 0, (), self._urls))
            yield
            return
        with Live(view.screen(None, 0, (), self._urls), console=self._console, auto_refresh=False) as self._live:
            yield

    def ticked(self, tick: Tick) -> None:
        """Show one more tick, and end after the last one wanted."""
        self._cycles += 1
        self._cpu_seconds += tick.cpu_seconds
        if self._live is not None:
            self._live.update(view.screen(tick, self._cycles, list(self._lines), self._urls), refresh=True)
            self._lines.append(f"cycle {self._cycles}: {view.cost(tick)}")
        else:
            if self._cycles == 1:
                self._console.print("first cycle done")
            self._console.print(f"cycle {self._cycles}: {view.cost(tick)}", soft_wrap=True)
            self._console.print(view.nodes(tick.batch), view.busiest_pods(tick.batch), sep="\n")
        if self._cycles == self._options.cycles:
            self._stopped.set()

    def summary(self, collector: Collector, history: Path) -> str:
        """What was done, in a few lines."""
        files = [path for path in history.rglob("*.parquet") if path.is_file()] if history.exists() else []
        sinks = ", ".join(
            f"{sink.name}: {sink.ticks.delivered} of {sink.ticks.scraped} batches" for sink in collector.sinks.ledger()
        )
        each = f", {1000 * self._cpu_seconds / self._cycles:.0f} ms CPU each" if self._cycles else ""
        return (
            f"{self._cycles} cycles{each}. Delivered: {sinks}.\n"
            f"Embedded history: {len(files)} Parquet files, {sum(path.stat().st_size for path in files) >> 10:,} KiB"
            + (f" in {history}." if self._options.history else ", in a temporary directory, removed now.")
        )


def _urls(port: int) -> list[str]:
    base = f"http://localhost:{port}"
    return [
        f"{base}/api/v1/model/namespaces/",
        f"{base}/api/v1/model/metrics/cpu/usage_rate",
        f"{base}/metrics/cluster",
        f"{base}/metrics",
        f"{base}/healthz",
    ]


def _sim_arguments(options: DemoOptions) -> list[str]:
    # Kubelets sample every 10 s or so; a demo with shorter cycles wants fresher samples to show rates.
    housekeeping = max(1, min(10, options.resolution // SECOND))
    return [
        f"--nodes={options.nodes}",
        f"--pods={options.pods}",
        f"--containers={options.containers}",
        f"--seed={options.seed}",
        f"--housekeeping={housekeeping}",
        *([f"--captures={options.captures}"] if options.captures else []),
    ]


def _collector_options(options: DemoOptions, cluster: SimProcess, history: Path) -> Options:
    access = f"inClusterConfig=false&auth={cluster.kubeconfig}&kubeletHttps=true&kubeletPort={cluster.kubelet_port}"
    return Options(
        source=(f"kubernetes.summary_api:?{access}",),
        sink=(f"history:{history}",),
        metric_resolution=options.resolution,
        scrape_offset=0,
        listen_ip="127.0.0.1",
        heapster_port=options.port,
    )
