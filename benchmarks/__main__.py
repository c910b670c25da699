"""`make bench`: what a cycle costs, what the hot functions do on their own, and how long clients wait meanwhile.

Without arguments it measures small and middle clusters in a few minutes; with --full everything, the largest cluster
and the sinks included.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import tables
from benchmarks.proc import load
from benchmarks.repeat import MeasurementError, light_summed_up, run, summed_up
from benchmarks.shapes import EXPOSITION, LATENCY, LIGHT, QUICK, SHAPES, SMOKE, STAGES

RESULTS = Path(__file__).parent / "results"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--full", action="store_true", help="every shape, and latencies with 5,000 nodes")
    parser.add_argument("--shape", action="append", choices=SHAPES, help="only this shape; may be repeated")
    parser.add_argument("--runs", type=int, default=0, help="runs of each shape, each in a process of its own")
    parser.add_argument("--no-micro", action="store_true", help="leave out the single functions")
    parser.add_argument("--latency", action="append", choices=LATENCY, help="only this cluster; may be repeated")
    parser.add_argument("--no-latency", action="store_true", help="leave out the answers while cycles run")
    parser.add_argument("--stages", action="append", choices=STAGES, help="only this cluster; may be repeated")
    parser.add_argument("--no-stages", action="store_true", help="leave out the parts of a cycle")
    parser.add_argument("--light", action="append", choices=LIGHT, help="only this cluster; may be repeated")
    parser.add_argument("--no-light", action="store_true", help="leave out the light cadence")
    parser.add_argument("--against", type=Path, help="a binary that takes Heapster's flags, measured beside ours")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the JSON file goes")
    arguments = parser.parse_args()
    runs = arguments.runs or (2 if arguments.full else 1)
    console = Console(width=None if sys.stdout.isatty() else 180)
    found: dict[str, Any] = {"at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "machine": load()}
    file = arguments.results / f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}.json"
    if not arguments.no_micro:
        _measure(console, file, found, "micro", ["functions"], lambda _: run("micro"))
        if found["micro"]:
            found["micro"] = found["micro"]["functions"]
            console.print(tables.micro_table(found["micro"]))
    shapes = arguments.shape or ([name for name in SHAPES if name != SMOKE] if arguments.full else QUICK)
    _measure(console, file, found, "cycles", shapes, lambda name: summed_up([run("cycle", name) for _ in range(runs)]))
    if found["cycles"]:
        console.print(tables.cycle_table(found["cycles"]))
    if not arguments.no_stages:
        names = arguments.stages or [name for name in STAGES if name != SMOKE][: None if arguments.full else 1]
        _measure(console, file, found, "stages", names, lambda name: run("stages", name))
        if found["stages"]:
            console.print(tables.stages_table(found["stages"]))
    if arguments.full and not arguments.no_micro:
        names = [name for name in EXPOSITION if name != SMOKE]
        _measure(console, file, found, "exposition", names, lambda name: run("exposition", name))
        if found["exposition"]:
            console.print(tables.exposition_table(found["exposition"]))
    if not arguments.no_light:
        names = arguments.light or [name for name in LIGHT if name != SMOKE][: None if arguments.full else 1]
        _measure(
            console,
            file,
            found,
            "light",
            names,
            lambda name: light_summed_up([run("light", name) for _ in range(runs)]),
        )
        if found["light"]:
            console.print(tables.light_table(found["light"]))
    if not arguments.no_latency:
        clusters = arguments.latency or [name for name in LATENCY if name != SMOKE][: None if arguments.full else 1]
        _measure(console, file, found, "latency", clusters, lambda name: run("latency", name))
        if found["latency"]:
            console.print(tables.latency_table(found["latency"]))
            console.print(tables.kubectl_table(found["latency"]))
            console.print(tables.block_table(found["latency"]))
    if arguments.against:
        _measure(console, file, found, "against", ["both"], lambda _: run("against", str(arguments.against.absolute())))
        if found["against"]:
            console.print(tables.against_table(found["against"]["both"]))
    console.print(f"written to {file}", style="dim")
    return 1 if found.get("failed") else 0


def _measure(
    console: Console, file: Path, found: dict[str, Any], what: str, names: Sequence[str], measure: Callable[[str], Any]
) -> None:
    """Measure all `names`, and write what is found so far behind each; one that fails is told and costs no other."""
    measured: dict[str, Any] = {}
    found[what] = measured
    for number, name in enumerate(names, 1):
        console.print(f"measuring {what} {number} of {len(names)}: {name} ...", style="dim")
        try:
            measured[name] = measure(name)
        except MeasurementError as error:
            console.print(f"{what} {name} failed: {error}", style="red")
            found.setdefault("failed", []).append(f"{what} {name}")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
