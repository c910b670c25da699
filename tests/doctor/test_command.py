"""`heapster doctor` as a process: what it prints, and its exit status."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import jsonschema
import pytest

from collector.doctor.checks import CHECKS
from collector.doctor.view import SCHEMA
from collector.sim import SimConfig, SimulatedCluster
from collector.sim.faults import FaultKind
from tests.doctor.setup import Ward, untouched


@pytest.fixture
async def ward(tmp_path: Path) -> AsyncIterator[Ward]:
    (tmp_path / "state").mkdir()
    async with SimulatedCluster(SimConfig(nodes=5, pods=1, containers=1)) as cluster:
        yield Ward(cluster, tmp_path / "state")


async def doctor(*arguments: str) -> tuple[int, str, str]:
    """Exit status, standard output and standard error."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "collector", "doctor", *arguments), stdout=pipe, stderr=pipe
    )
    async with asyncio.timeout(60):
        said, complained = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode(), complained.decode()


async def test_all_is_well_in_plain_text(ward: Ward) -> None:
    with untouched(ward.directory):
        status, said, complained = await doctor(*ward.arguments)
    assert (status, complained) == (0, "")
    lines = said.splitlines()
    assert [line.split()[0] for line in lines[:-1]].count("ok") == len(lines) - 2
    assert lines[-1] == f"{len(CHECKS)} checks: {len(CHECKS) - 1} ok, 1 skipped. Nothing is broken."
    assert "5: sim-node-00000, sim-node-00001, sim-node-00002 and 2 more" in said


async def test_what_is_broken_in_plain_text(ward: Ward) -> None:
    for node in range(4):
        await ward.cluster.set_fault(node, FaultKind.DOWN)
    ward.revoke("list", "pods")
    status, said, complained = await doctor(*ward.arguments, "--output=table")
    assert (status, complained) == (1, "")
    told = [line for line in said.splitlines() if line.startswith("broken")]
    assert len(told) == 2
    assert "rights" in told[0]
    assert "4 (sim-node-00000, sim-node-00001, sim-node-00002 and 1 more), such as sim-node-00000: https://" in told[1]
    assert said.count("-> Is the kubelet running, and does it listen on that port (kubeletPort)?") == 1
    assert said.endswith("Broken: rights, kubelet-address.\n")


async def test_json_is_by_the_schema_and_has_every_node(ward: Ward) -> None:
    for node in range(4):
        await ward.cluster.set_fault(node, FaultKind.DOWN)
    status, said, _ = await doctor("--output", "json", *ward.arguments)
    document = json.loads(said)
    jsonschema.validate(document, SCHEMA)
    assert (status, document["state"]) == (1, "broken")
    assert [check["check"] for check in document["checks"]] == [check.name for check in CHECKS]
    found = next(check["findings"] for check in document["checks"] if check["check"] == "kubelet-address")
    assert [(each["subject"], each["state"]) for each in found] == [
        *((node, "broken") for node in ward.nodes[:4]),
        (ward.nodes[4], "ok"),
    ]


async def test_what_cannot_be_read_is_status_2_and_what_is_asked_for_help_0() -> None:
    for arguments, words in (
        (["--no-such-flag"], "--no-such-flag is no flag"),
        ([], "no Kubernetes source"),
        (["--source=kubernetes:", "--output=xml"], "--output is 'xml': choose table or json"),
        (["--source=nothing:"], "is not of kubernetes"),
        (["--source=kubernetes:", "--scrape-timeout=soon"], "is no duration"),
    ):
        status, said, complained = await doctor(*arguments)
        assert (status, said) == (2, ""), arguments
        assert words in complained
    status, said, complained = await doctor("--help")
    assert (status, complained) == (0, "")
    assert said.startswith("Usage: heapster doctor")


async def test_outside_of_a_cluster_a_pods_arguments_are_told_so(tmp_path: Path) -> None:
    status, said, _ = await doctor("--source=kubernetes.summary_api:''?kubeletHttps=true")
    assert status == 1
    assert "-> Correct --source: in a pod inClusterConfig=true and a mounted service account" in said
