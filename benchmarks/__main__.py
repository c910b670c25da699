"""`make bench`: what a cycle costs at 100, 1,000 and 5,000 nodes, and what the hot functions do on their own."""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import micro
from benchmarks.shapes import SHAPES

RESULTS = Path(__file__).parent / "results"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--shape", action="append", choices=SHAPES, help="measure only this shape; may be repeated")
    parser.add_argument("--no-micro", action="store_true", help="leave out the single functions")
    arguments = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 140)
    found: dict[str, object] = {"at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    if not arguments.no_micro:
        results = micro.run()
        found["micro"] = results
        console.print(_micro_table(results))
    cycles = {}
    for name in arguments.shape or SHAPES:
        console.print(f"measuring {name} ...", style="dim")
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.cycle", name], stdout=subprocess.PIPE, text=True, check=False
        )
        if done.returncode:
            console.print(f"{name} failed with exit status {done.returncode}", style="red")
            return 1
        cycles[name] = json.loads(done.stdout)
    found["cycles"] = cycles
    console.print(_cycle_table(cycles))
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}.json"
    path.write_text(json.dumps(found, indent=1) + "\n")
    console.print(
        f"written to {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}", style="dim"
    )
    return 0


def _micro_table(results: list[micro.Result]) -> Table:
    table = Table(title="One function, one core (CPU time, best of several runs)", title_justify="left")
    for column in ("function", "on", "CPU", "rate"):
        table.add_column(column, justify="left" if column in {"function", "on"} else "right")
    for result in results:
        table.add_row(
            result["function"],
            result["on"],
            f"{1000 * result['cpu_s']:.2f} ms",
            f"{result['rate']:,.0f} {result['unit']}",
        )
    return table


def _cycle_table(cycles: dict[str, dict]) -> Table:
    table = Table(title="One cycle: fetch over verified TLS, decode, process, store", title_justify="left")
    columns = (
        "shape",
        "entities",
        "answered",
        "CPU s",
        "ms a node",
        "processors ms",
        "first CPU s",
        "peak MiB",
        "KB a node",
        "simulator CPU s",
    )
    for i, column in enumerate(columns):
        table.add_column(column, justify="right" if i else "left")
    for name, cycle in cycles.items():
        cpu = cycle["cycle_cpu_s"]["median"]
        table.add_row(
            name,
            f"{cycle['entities']:,}",
            f"{cycle['answered']:,}",
            f"{cpu:.2f}",
            f"{1000 * cpu / cycle['nodes']:.2f}",
            f"{1000 * cycle['processors_s']:.0f}",
            f"{cycle['first_cycle_cpu_s']:.2f}",
            f"{cycle['peak_rss_mib']:,.0f}",
            f"{cycle['bytes_per_node'] / 1000:.0f}",
            f"{cycle['simulator_cpu_s']:.2f}",
        )
    return table


if __name__ == "__main__":
    sys.exit(main())
