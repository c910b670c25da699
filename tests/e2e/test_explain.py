"""Why is it missing, asked of the whole collector over its port while simulated kubelets misbehave."""

from typing import Any

import aiohttp
import pytest

from collector.app import Collector
from collector.options import SECOND
from collector.sim import SimConfig, SimulatedCluster
from collector.sim.faults import Fault, FaultKind
from tests.e2e.test_collector import running, window
from tests.e2e.test_kubelet_identity import options


async def asked(collector: Collector, path: str) -> dict[str, Any]:
    url = f"http://127.0.0.1:{collector.port}/api/v1/explain/{path}"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        assert answer.status == 200, await answer.text()
        found: dict[str, Any] = await answer.json()
        return found


@pytest.mark.parametrize(
    ("fault", "cause", "words"),
    [
        (FaultKind.DOWN, "kubelet-refused", "refuses connections"),
        (FaultKind.HANG, "kubelet-timeout", "within 0.5 s (--node-timeout)"),
        (FaultKind.GARBAGE, "kubelet-other", "answers"),
        (FaultKind.ERROR, "kubelet-other", "status 500"),
    ],
)
async def test_a_kubelet_that_fails_explains_its_pods_and_theirs_alone(
    fault: FaultKind, cause: str, words: str
) -> None:
    async with SimulatedCluster(SimConfig(nodes=2, pods=1, containers=1, churn=0)) as cluster:
        failing, well = cluster.node_names
        await cluster.set_fault(0, Fault(fault))
        async with running(Collector(options(cluster, node_timeout=SECOND // 2))) as collector:
            pods = {pod.node_name: pod for pod in collector.context.listers.pods.items.values()}
            before = await asked(collector, f"namespaces/{pods[well].namespace}/pods/{pods[well].name}")
            assert {view["cause"] for view in before["views"]} == {"node-not-asked-yet"}
            await collector.tick(window(0))
            await collector.tick(window(1))
            missing = await asked(collector, f"namespaces/{pods[failing].namespace}/pods/{pods[failing].name}")
            model = next(view for view in missing["views"] if view["view"] == "model")
            assert model["cause"] == cause
            assert words in model["explanation"]
            assert model["since"]
            node = await asked(collector, f"nodes/{failing}")
            assert node["kubelet"]["state"] == "failing"
            assert [view["cause"] for view in node["views"]] == [cause, cause]
            there = await asked(collector, f"namespaces/{pods[well].namespace}/pods/{pods[well].name}")
            assert next(view for view in there["views"] if view["view"] == "model")["cause"] == "shown"
            nobody = await asked(collector, "namespaces/none/pods/nobody")
            assert {view["cause"] for view in nobody["views"]} == {"no-such-pod"}
