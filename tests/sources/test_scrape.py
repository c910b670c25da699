"""The scrape of a fleet: every node's answer or failure ends where it belongs, however answers are grouped."""

import asyncio
import itertools
import json
from dataclasses import replace
from pathlib import Path

import pytest

from collector.core.entities import EntityTable
from collector.core.metrics import INDEX, Kind, MetricTable
from collector.errors import FetchError
from collector.kube.listers import NodeLister
from collector.kube.objects import Node
from collector.sources import scrape
from collector.sources.endpoints import SUMMARY, SourcePlan
from collector.sources.kubelet import KubeletTarget
from collector.sources.rounds import CLIENTS_TOGETHER
from collector.sources.scrape import ScrapeManager
from collector.turns import Turns

CAPTURE = Path(__file__).parents[1] / "captures" / "summary" / "k8s-1.18-linux-metrics-server-2020.json"
MINUTE = 60_000_000_000


def answer(node: str, number: int) -> bytes:
    """A real answer, as this node's and with a figure of its own."""
    document = json.loads(CAPTURE.read_bytes())
    document["node"]["nodeName"] = node
    document["node"]["memory"]["usageBytes"] = number
    for pod in document["pods"]:
        pod["podRef"]["name"] += f"-{node}"
    if number % 9 == 4:
        document["comment"] = "a\nb"  # correct, and still not for the extension
    return json.dumps(document).encode()


class Fleet:
    """`fetch` of so many kubelets; every tenth refuses, every fifteenth talks nonsense."""

    def __init__(self, count: int) -> None:
        self.names = [f"node-{i:03d}" for i in range(count)]
        self.refusing = set(self.names[::10])
        self.raving = set(self.names[7::15]) - self.refusing
        self.nodes = NodeLister()
        self.nodes.replace(
            [Node(name, addresses=(("InternalIP", f"10.0.0.{i}"),), ready=True) for i, name in enumerate(self.names)]
        )

    async def fetch(self, target: KubeletTarget, path: str, question: bytes | None) -> bytes:
        assert (path, question) == ("/stats/summary", None)
        number = self.names.index(target.node)
        await asyncio.sleep(0.001 * (number * 7 % 11))  # answers arrive in another order than asked
        if target.node in self.refusing:
            raise FetchError(f"{target}: connection refused", reason="refused")
        return b"<html>" if target.node in self.raving else answer(target.node, number)


@pytest.mark.parametrize("endpoint", [SUMMARY, replace(SUMMARY, decode_together=None)], ids=["together", "alone"])
@pytest.mark.parametrize("together", [1, 7, 32, 1000])
async def test_every_answer_and_every_failure_is_accounted_for_however_answers_are_grouped(
    monkeypatch, together, endpoint
):
    monkeypatch.setattr(scrape, "DECODED_TOGETHER", together)
    fleet = Fleet(100)
    seen: list[tuple[str, str | None]] = []
    manager = ScrapeManager(
        fleet.fetch,
        fleet.nodes,
        EntityTable(),
        MetricTable(),
        port=10250,
        timeout_s=30,
        concurrency=16,
        plan=SourcePlan(endpoint),
        scraped=lambda _source, node, _seconds, reason: seen.append((node, reason)),
    )
    batch = await manager.scrape(0, MINUTE)
    batch.freeze()
    failed = {"refused": len(fleet.refusing), "decode": len(fleet.raving)}
    assert dict(manager.report.failed) == failed
    assert manager.report.answered == 100 - sum(failed.values()) == batch.count(Kind.NODE)
    assert sorted(node for node, _ in seen) == fleet.names
    assert {node for node, reason in seen if reason == "refused"} == fleet.refusing
    assert {node for node, reason in seen if reason == "decode"} == fleet.raving
    for number, name in enumerate(fleet.names):
        expected = None if name in fleet.refusing | fleet.raving else number
        row = batch.entities.find_node(name)
        assert (None if row < 0 else batch.value(row, INDEX["memory/usage"])) == expected


@pytest.mark.parametrize("clients", [False, True])
async def test_answers_are_decoded_in_smaller_groups_while_there_are_clients(monkeypatch, clients):
    turns, sizes = Turns(), []

    def decode(bodies, *rest):
        sizes.append(len(bodies))
        assert SUMMARY.decode_together is not None
        return SUMMARY.decode_together(bodies, *rest)

    monkeypatch.setattr(scrape, "FIRST_TOGETHER", 32)
    if clients:
        turns.served()
    fleet = Fleet(64)
    fleet.refusing = fleet.raving = set()
    manager = ScrapeManager(
        fleet.fetch,
        fleet.nodes,
        EntityTable(),
        MetricTable(),
        port=10250,
        timeout_s=30,
        concurrency=64,
        plan=SourcePlan(replace(SUMMARY, decode_together=decode)),
        turns=turns,
    )
    await manager.scrape(0, MINUTE)
    assert max(sizes) == (CLIENTS_TOGETHER if clients else 32)
    assert manager.report.answered == 64


async def test_nodes_that_are_not_ready_or_have_no_address_are_not_asked(caplog):
    fleet = Fleet(3)
    fleet.refusing = set()
    fleet.nodes.replace(
        [
            Node("node-000", addresses=(("InternalIP", "10.0.0.1"),), ready=False),
            Node("node-001", addresses=(("Hostname", "node-001"),), ready=True),
            Node("node-002", addresses=(("InternalIP", "10.0.0.3"),), ready=None),
        ]
    )
    manager = ScrapeManager(
        fleet.fetch, fleet.nodes, EntityTable(), MetricTable(), port=10250, timeout_s=30, concurrency=4
    )
    for tick in (1, 2):
        batch = await manager.scrape(0, tick * MINUTE)
        batch.freeze()
        assert manager.report.answered == 1
    assert caplog.text.count("node node-000 is left out: it is not ready") == 1
    assert caplog.text.count("node node-001 is left out: it has no address") == 1


@pytest.mark.looptime
@pytest.mark.parametrize(
    ("count", "jitter", "timeout", "spread"),
    [
        (100, 4.0, 20.0, 0.8),
        (1000, 4.0, 20.0, 4.0),
        (1000, 0.5, 20.0, 0.5),
        (1000, 4.0, 6.0, 3.0),
        (100, 0.0, 20.0, 0.0),
    ],
)
async def test_nodes_are_asked_over_8_ms_a_node_each_in_its_place(count, jitter, timeout, spread):
    loop = asyncio.get_running_loop()
    nodes = NodeLister()
    nodes.replace([Node(f"n{i}", addresses=(("InternalIP", "10.0.0.1"),), ready=True) for i in range(count)])
    asked: list[dict[str, float]] = []

    async def fetch(target: KubeletTarget, _path: str, _question: bytes | None) -> bytes:
        asked[-1][target.node] = loop.time() - began
        raise FetchError("nobody there", reason="refused")

    manager = ScrapeManager(
        fetch,
        nodes,
        EntityTable(),
        MetricTable(),
        port=10255,
        timeout_s=timeout,
        concurrency=2000,
        jitter_s=jitter,
    )
    for end in (MINUTE, 2 * MINUTE):
        began = loop.time()
        asked.append({})
        await manager.scrape(end - MINUTE, end)
    first, second = asked
    assert len(first) == count
    places = sorted(first.values())
    assert places[0] == pytest.approx(0, abs=0.01)
    assert places[-1] == pytest.approx(spread, abs=0.05)
    assert all(after - before < spread / count + 0.01 for before, after in itertools.pairwise(places))
    assert second == pytest.approx(first, abs=0.01)
