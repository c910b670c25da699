"""`python -m collector.sim`: the simulated cluster as a process of its own.

Prints one line of JSON when it listens (kubeconfig, api_url, kubelet_port) and runs until SIGINT or SIGTERM. Exit
status 0 after a signal, 1 when it cannot run here, 2 for wrong arguments.
"""

import argparse
import asyncio
import dataclasses
import os
import signal
import sys
from pathlib import Path

import msgspec
import uvloop

from collector.errors import StartError, UsageError
from collector.sim.cluster import SimulatedCluster
from collector.sim.config import SimConfig

_FLAGS: dict[str, tuple[type, str]] = {
    "nodes": (int, "nodes, each with a kubelet"),
    "pods": (int, "pods on each node"),
    "containers": (int, "containers in each pod"),
    "namespaces": (int, "most namespaces of services, 0 for as many as the Deployments fill"),
    "deployments": (int, "Deployments, 0 for one per ten pods"),
    "seed": (int, "the same seed and clock give the same bytes"),
    "captures": (Path, "directory of recorded summaries to replay instead of inventing nodes"),
    "churn": (float, "fraction of all pods replaced each minute"),
    "housekeeping": (int, "seconds between two samples of one entity"),
    "down": (float, "fraction of nodes that refuse connections"),
    "slow": (float, "fraction of nodes that answer late"),
    "drip": (float, "fraction of nodes whose body arrives in small pieces"),
    "error": (float, "fraction of nodes that answer HTTP 500"),
    "garbage": (float, "fraction of nodes that answer HTML or bytes"),
    "truncated": (float, "fraction of nodes whose answer is cut"),
    "hang": (float, "fraction of nodes that never answer"),
    "fault_seconds": (float, "how late a slow answer is, how long a dripping one takes"),
    "watch_history": (float, "seconds for which old resource versions are kept"),
    "bookmarks": (float, "seconds between two bookmarks of a watch"),
    "kubelet_port": (int, "port of every kubelet, 0 takes a free one"),
    "api_port": (int, "port of the API server, 0 takes a free one"),
    "network": (str, "loopback network of the nodes"),
    "token": (str, "bearer token both servers require"),
}


def parser() -> argparse.ArgumentParser:
    """The command line: one flag for each field of SimConfig, and where to say that all is ready."""
    known = argparse.ArgumentParser(prog="python -m collector.sim", description=__doc__, allow_abbrev=False)
    defaults = {field.name: field.default for field in dataclasses.fields(SimConfig)}
    for name, (kind, text) in _FLAGS.items():
        default = defaults[name]
        shown = "" if default is None else f" (default {default})"
        known.add_argument(f"--{name.replace('_', '-')}", type=kind, default=default, help=text + shown)
    known.add_argument("--tls", action=argparse.BooleanOptionalAction, default=True, help="HTTPS with a generated CA")
    known.add_argument(
        "--psi", action=argparse.BooleanOptionalAction, default=True, help="report pressure stall sections"
    )
    known.add_argument(
        "--old-kubelets",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="kubelets that serve cAdvisor's JSON",
    )
    known.add_argument("--ready-file", "--port-file", type=Path, help="write the line of JSON to this file too")
    known.add_argument("--until-eof", action="store_true", help="stop when standard input ends, as well as by signal")
    return known


async def run(config: SimConfig, ready_file: Path | None, *, until_eof: bool) -> None:
    """Run until a signal, or until standard input ends: then nothing is left when the caller is killed."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    if until_eof:
        loop.add_reader(sys.stdin.fileno(), _read_on, sys.stdin.fileno(), stopped)
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    cluster = SimulatedCluster(config)
    async with cluster:
        line = msgspec.json.encode(
            {
                "kubeconfig": str(cluster.kubeconfig),
                "api_url": cluster.api_url,
                "kubelet_port": cluster.kubelet_port,
                "ca_file": str(cluster.ca_file) if config.tls else "",
                "token_file": str(cluster.token_file),
                "nodes": len(cluster.node_names),
            }
        ).decode()
        _announce(line, ready_file)
        await stopped.wait()


def _read_on(descriptor: int, ended: asyncio.Event) -> None:
    """Throw away what comes in; set `ended` when nothing can come any more."""
    if not os.read(descriptor, 4096):
        ended.set()


def _announce(line: str, ready_file: Path | None) -> None:
    """Say that all is ready: standard output is how the caller learns the ports."""
    if ready_file is not None:
        ready_file.write_text(line + "\n")
    print(line, flush=True)  # noqa: T201 - see above


def main() -> int:
    """Arguments in, exit status out."""
    arguments = vars(parser().parse_args())
    ready_file, until_eof = arguments.pop("ready_file"), arguments.pop("until_eof")
    try:
        config = SimConfig(**arguments)
        uvloop.run(run(config, ready_file, until_eof=until_eof))
    except UsageError as error:
        for fault in error.faults:
            sys.stderr.write(f"error: {fault}\n")
        return 2
    except (StartError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
