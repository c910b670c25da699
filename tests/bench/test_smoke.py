"""The smallest cluster, measured for real: what is measured is what was there."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.kubectl_top import COLLECTOR, READY, RUNS
from benchmarks.repeat import MeasurementError, run
from benchmarks.shapes import EXPOSITION, LATENCY, LIGHT, SHAPES, SMOKE


def test_every_number_of_a_cycle_is_there(tmp_path: Path):
    done = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks", "--shape", SMOKE, "--latency", SMOKE),
            *("--light", SMOKE, "--stages", SMOKE),
            *("--runs", "2", "--no-micro", "--results", str(tmp_path)),
        ],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (written,) = tmp_path.glob("*.json")
    found = json.loads(written.read_text())
    cycle = found["cycles"][SMOKE]
    shape = SHAPES[SMOKE]
    assert (cycle["runs"], cycle["answered"], cycle["cpu_s"]["count"]) == (2, shape.nodes, 2 * shape.cycles)
    assert 0 < cycle["cpu_s"]["least"] <= cycle["cpu_s"]["most"] < 10
    assert cycle["bytes_read"]["p50"] > 3_000
    assert cycle["peak_mib"]["most"] > 50
    assert found["stages"][SMOKE]["whole_ms_a_node"] > 0
    light = found["light"][SMOKE]
    assert (light["runs"], light["answered"]) == (2, LIGHT[SMOKE].nodes)
    assert light["cpu_s"]["count"] == 2 * LIGHT[SMOKE].cycles
    assert 0 < light["cpu_s"]["least"] < 10
    assert light["bytes_read"]["p50"] > 1_000
    latency = found["latency"][SMOKE]
    assert latency["bytes"]["one pod"] > 0
    if shutil.which("kubectl"):
        quiet = {row["server"]: row for row in latency["kubectl"]["rows"] if row["when"] == "no cycle"}
        assert set(quiet) == {COLLECTOR, READY}
        assert all(row["wall_s"]["count"] >= RUNS and 0 < row["wall_s"]["least"] < 10 for row in quiet.values())
        assert 0 < latency["kubectl"]["collector_cpu_s"] < 5
    assert len(latency["cycles"]) == 4 * LATENCY[SMOKE].cycles  # values, each of two lists, all at once


def test_single_functions_are_measured_beside_the_librarys_way():
    found = {result["function"]: result for result in run("micro", "--nodes=2", "--runs=1", "decode", "json.loads")}
    light = {"decode_forms", "decode_new", "decode_resource"}
    assert set(found) == {"decode_together", "decode_summary", "json.loads alone", *light}
    assert found["json.loads alone"]["ratio"] > 0


def test_the_text_of_a_cluster_is_measured_beside_the_registrys():
    found = run("exposition", SMOKE)
    assert found["samples"] > found["registry"]["samples"] > EXPOSITION[SMOKE].nodes
    assert 0 < found["largest_piece_bytes"] <= found["bytes"]
    assert found["times_the_registry"] > 0


def test_a_measurement_that_fails_says_why():
    with pytest.raises(MeasurementError, match="no-such-shape"):
        run("cycle", "no-such-shape")
