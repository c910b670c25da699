"""schemathesis against the running collector: made-up requests that fit the OpenAPI document, and such that do not.

The collector runs as a process of its own, collects from a simulated cluster, and is asked over its socket. The
document is the one it serves; only, names of the cluster's own entities are added to its parameters, so that requests
find something. FUZZ_EXAMPLES sets how many requests an operation gets at random, besides those that cover each part of
its schema: `make fuzz` asks for many.
"""

import asyncio
import json
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from collector.sim import SimConfig, SimulatedCluster
from tests.e2e.process import BRISK, heapster, source

EXAMPLES = os.environ.get("FUZZ_EXAMPLES", "12")
SEED = os.environ.get("FUZZ_SEED", "7")
TIME_LIMIT_S = 120 + 5 * int(EXAMPLES)

SLOW = "/debug/pprof/profile"
"""Takes as many seconds as it is asked for; tested on its own."""

CHECKS = (
    *("not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance"),
    "response_headers_conformance",
)
"""Not whether what fits is taken and the rest rejected: in a path all is text, and no schema tells a label selector."""


@asynccontextmanager
async def running_collector(directory: Path) -> AsyncIterator[str]:
    """The address of a collector that has two batches, and keeps them on disk for the historical API."""
    async with (
        SimulatedCluster(SimConfig(nodes=2, pods=3)) as cluster,
        heapster(source(cluster), f"--sink=history:{directory}", *BRISK) as running,
    ):
        await running.until("2 nodes answered", times=2)
        yield await running.url()
        assert await running.stop() == 0
    assert "Traceback" not in running.said, running.said


async def names_of(session: aiohttp.ClientSession, address: str) -> dict[str, list[str]]:
    """Parameter -> values that name something in this cluster."""

    async def names(path: str) -> list[str]:
        async with session.get(f"{address}/api/v1/model/{path}") as response:
            return await response.json()

    [node, *_] = await names("nodes")
    [namespace, *_] = await names("namespaces")
    [pod, *_] = pods = await names(f"namespaces/{namespace}/pods")
    containers = await names(f"namespaces/{namespace}/pods/{pod}/containers")
    containers += await names(f"nodes/{node}/freecontainers")
    async with session.get(f"{address}/api/v1/metric-export") as response:
        uids = sorted({one["labels"]["pod_id"] for one in await response.json() if "pod_id" in one["labels"]})
    return {
        "node": [node],
        "namespace": [namespace],
        "pod": [pod],
        "pods": [",".join(pods), f"{pod},unknown"],
        "pod_id": uids[:1],
        "pod_ids": [",".join(uids[:3])],
        "container": containers,
        "aggregations": ["average", "max,min,count", "median,50-perc,95-perc,99-perc"],
        "metric": ["cpu/usage_rate", "memory/usage", "network/tx_rate", "filesystem/usage", "cpu-usage"],
    }


def with_names(document: dict[str, Any], names: dict[str, list[str]]) -> dict[str, Any]:
    """`document` with real names among the values of its path parameters."""
    for name, values in names.items():
        parameter = document["components"]["parameters"][name]
        parameter["schema"] = {"anyOf": [{"enum": values}, parameter["schema"]]}
        parameter["examples"] = {str(n): {"value": value} for n, value in enumerate(values)}
    return document


async def test_no_request_is_answered_with_an_error_of_the_server_or_against_the_document(tmp_path: Path):
    async with running_collector(tmp_path / "history") as address:
        async with aiohttp.ClientSession() as session:
            async with session.get(f"{address}/openapi.json") as response:
                document = await response.json()
            document = with_names(document, await names_of(session, address))
        (tmp_path / "openapi.json").write_text(json.dumps(document))
        fuzzing = await asyncio.create_subprocess_exec(
            *(
                Path(sys.executable).with_name("schemathesis"),
                "--no-color",
                "run",
                tmp_path / "openapi.json",
                f"--url={address}",
                f"--checks={','.join(CHECKS)}",
            ),
            *(f"--exclude-path={SLOW}", f"--max-examples={EXAMPLES}", f"--seed={SEED}", "--continue-on-failure"),
            *("--phases=examples,coverage,fuzzing", "--warnings=off", "--request-timeout=10"),
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        assert fuzzing.stdout is not None
        try:
            async with asyncio.timeout(TIME_LIMIT_S):
                report = (await fuzzing.stdout.read()).decode()
                status = await fuzzing.wait()
        finally:
            if fuzzing.returncode is None:
                fuzzing.kill()
                await fuzzing.wait()
    assert status == 0, report
    tested = re.search(r"(\d+) generated", report)
    assert tested is not None, report
    assert int(tested[1]) > 10 * len(document["paths"]), report
