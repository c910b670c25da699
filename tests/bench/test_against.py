"""Another collector beside ours: here a second one of ours stands in, given by its path as any other binary."""

import sys
from pathlib import Path

import pytest

from benchmarks import against
from benchmarks.repeat import ROOT
from benchmarks.tables import against_table

NODES, CYCLES, RESOLUTION = 3, 1, "5s"  # the least that is allowed


def script(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(("#!/bin/sh", *lines)) + "\n")
    path.chmod(0o755)
    return path


async def test_both_are_measured_on_the_same_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(against, "WARM_UP_CYCLES", 1)
    asked = tmp_path / "asked"
    other = script(
        tmp_path / "heapster",
        f'echo "$@" > {asked}',
        f"export PYTHONPATH={ROOT}",
        f'exec {sys.executable} -m collector "$@"',
    )
    found = await against.measure(other, NODES, CYCLES, RESOLUTION)
    assert f"--metric-resolution={RESOLUTION}" in asked.read_text()
    for name in ("other", "ours"):
        one = found[name]
        assert one["cycles"] >= CYCLES
        assert one["cpu_s"] > 0
        assert one["cpu_ms_a_node_and_cycle"] == pytest.approx(1000 * one["cpu_s"] / one["cycles"] / NODES)
        assert one["peak_mib"] > 50
        assert one["sim_cpu_s"] > 0, "its kubelets were not asked"
    assert found["other"]["command"] == str(other)
    assert list(against_table(found).columns[0].cells) == [str(other), "ours"]


async def test_a_binary_that_ends_is_named_with_its_words(tmp_path: Path):
    other = script(tmp_path / "broken", "echo no such flag >&2", "exit 3")
    with pytest.raises(RuntimeError, match=r"broken.*ended with exit status 3.*no such flag"):
        await against.measure(other, NODES, CYCLES, RESOLUTION)
