"""Measurements in processes of their own, repeated, and what several of them say together."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.statistics import Spread, spread

ROOT = Path(__file__).resolve().parent.parent
LIMIT_S = 1_200


class MeasurementError(Exception):
    """A measuring process failed; the text is the end of what it said."""


def run(module: str, *arguments: str, path: Sequence[Path] = (ROOT,)) -> Any:
    """What `python -m benchmarks.MODULE` prints as JSON, with `path` before what Python finds otherwise."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))}
    try:
        done = subprocess.run(
            [sys.executable, "-m", f"benchmarks.{module}", *arguments],
            capture_output=True,
            text=True,
            check=False,
            env=environment,
            cwd=path[0],
            timeout=LIMIT_S,
        )
    except subprocess.TimeoutExpired as error:
        raise MeasurementError(f"not done within {LIMIT_S} s") from error
    if done.returncode or not done.stdout:
        raise MeasurementError("\n".join(done.stderr.strip().splitlines()[-4:]) or f"exit status {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])


def summed_up(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Several runs of one shape as one: spreads over all their cycles."""
    cycles = [cycle for run in runs for cycle in run["cycles"]]
    nodes = runs[0]["nodes"]

    def over(name: str, scale: float = 1.0) -> Spread:
        return spread(scale * cycle[name] for cycle in cycles)

    return {
        "nodes": nodes,
        "entities": runs[0]["entities"],
        "answered": min(run["answered"] for run in runs),
        "runs": len(runs),
        "cpu_s": over("cpu_s"),
        "cpu_ms_a_node": over("cpu_s", 1000 / nodes),
        "wall_s": over("wall_s"),
        "processors_s": over("processors_s"),
        "simulator_cpu_s": over("sim_cpu_s"),
        "bytes_read": over("bytes_read"),
        "bytes_written": over("bytes_written"),
        "first_cycle_cpu_s": spread(run["first"]["cpu_s"] for run in runs),
        "start_cpu_s": spread(run["start_cpu_s"] for run in runs),
        "peak_mib": spread(run["peak_mib"] for run in runs),
        "machine": runs[-1]["machine"],
    }


def light_summed_up(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Several runs of the light cadence as one."""
    rounds = [each for run in runs for each in run["cycles"]]
    nodes = runs[0]["nodes"]
    return {
        "nodes": nodes,
        "answered": min(run["answered"] for run in runs),
        "runs": len(runs),
        "cpu_s": spread(each["cpu_s"] for each in rounds),
        "cpu_ms_a_node": spread(1000 * each["cpu_s"] / nodes for each in rounds),
        "wall_s": spread(each["wall_s"] for each in rounds),
        "simulator_cpu_s": spread(each["sim_cpu_s"] for each in rounds),
        "bytes_read": spread(each["bytes_read"] for each in rounds),
        "first_round_cpu_s": spread(run["first"]["cpu_s"] for run in runs),
        "added_mib": spread(run["added_mib"] for run in runs),
        "peak_mib": spread(run["peak_mib"] for run in runs),
        "blocks_first_cycle": runs[-1]["blocks_first_cycle"],
        "blocks": runs[-1]["blocks"],
        "machine": runs[-1]["machine"],
    }
