"""Every way a node can fail, set at start and at runtime."""

import asyncio
import json
import time

import aiohttp
import pytest

from collector.errors import StartError, UsageError
from collector.sim import Fault, FaultKind, ManualClock, SimConfig, SimulatedCluster
from collector.sim.cluster import _raise_file_limit


async def test_a_node_that_is_down_refuses_connections_and_comes_back(simulate):
    simulation = await simulate(nodes=2)
    await simulation.kubelet(0)
    await simulation.cluster.set_fault(0, "down")
    for _ in range(2):  # the connection that was open is gone as well
        with pytest.raises(aiohttp.ClientConnectorError):
            await simulation.kubelet(0)
    assert (await simulation.kubelet(1)).status == 200

    await simulation.cluster.set_fault(0, None)
    assert (await simulation.kubelet(0)).status == 200


async def test_a_slow_node_answers_whole_and_late(simulate):
    simulation = await simulate(nodes=1)
    await simulation.cluster.set_fault(0, Fault(FaultKind.SLOW, 0.2))

    begun = time.monotonic()
    answer = await simulation.kubelet(0)

    assert time.monotonic() - begun >= 0.2
    assert answer.decoded() == simulation.cluster.truth(0)


async def test_a_dripping_node_sends_its_head_at_once_and_its_body_in_pieces(simulate):
    simulation = await simulate(nodes=1)
    await simulation.cluster.set_fault("sim-node-00000", Fault(FaultKind.DRIP, 0.3))

    begun = time.monotonic()
    async with simulation.session.get(simulation.url(0)) as response:
        first = await response.content.readany()
        body = first + await response.read()

    assert time.monotonic() - begun >= 0.25
    assert len(first) < len(body) // 5
    assert json.loads(body) == simulation.cluster.truth(0)
    assert (await simulation.kubelet(0)).status == 200


async def test_an_erring_node_answers_500(simulate):
    simulation = await simulate(nodes=1)
    await simulation.cluster.set_fault(0, FaultKind.ERROR)

    answer = await simulation.kubelet(0)

    assert answer.status == 500
    assert answer.body.startswith(b"Internal Error")


async def test_garbage_is_html_from_even_nodes_and_bytes_from_odd_ones(simulate):
    simulation = await simulate(nodes=2)
    await simulation.cluster.set_fault(0, "garbage")
    await simulation.cluster.set_fault(1, "garbage")

    page, noise = await simulation.kubelet(0), await simulation.kubelet(1)

    assert page.status == noise.status == 200
    assert page.body.startswith(b"<!DOCTYPE html>")
    with pytest.raises(UnicodeDecodeError):
        noise.body.decode()


async def test_a_truncated_answer_claims_the_length_it_has(simulate):
    simulation = await simulate(nodes=1)
    whole = await simulation.kubelet(0)
    await simulation.cluster.set_fault(0, "truncated")

    cut = await simulation.kubelet(0)

    assert int(cut.headers["Content-Length"]) == len(cut.body) < len(whole.body)
    assert whole.body.startswith(cut.body)
    with pytest.raises(json.JSONDecodeError):
        cut.decoded()


async def test_a_hanging_node_never_answers(simulate):
    simulation = await simulate(nodes=1)
    await simulation.cluster.set_fault(0, "hang")

    with pytest.raises(asyncio.TimeoutError):
        await simulation.kubelet(0, timeout=aiohttp.ClientTimeout(0.2))


async def test_fractions_choose_nodes_by_the_seed(simulate):
    simulation = await simulate(nodes=10, error=0.2, down=0.1, truncated=0.01)
    outcomes = []
    for node in range(10):
        try:
            outcomes.append((await simulation.kubelet(node)).status)
        except aiohttp.ClientConnectorError:
            outcomes.append("refused")

    assert sorted(map(str, outcomes)) == ["200"] * 7 + ["500"] * 2 + ["refused"]


async def test_an_unknown_fault_or_node_is_refused(simulate):
    simulation = await simulate(nodes=1)

    with pytest.raises(UsageError, match="choose one of down, slow"):
        await simulation.cluster.set_fault(0, "tired")
    with pytest.raises(UsageError, match="'nobody': not in the simulated cluster"):
        await simulation.cluster.set_fault("nobody", "down")


async def test_a_taken_port_names_the_flag_to_turn(simulate):
    simulation = await simulate(nodes=2)
    port = simulation.cluster.kubelet_port
    api_port = int(simulation.cluster.api_url.rpartition(":")[2])

    second = SimulatedCluster(SimConfig(nodes=1, kubelet_port=port))
    with pytest.raises(StartError, match=rf"127\.77\.0\.1:{port}.*--kubelet-port"):
        await second.start()
    third = SimulatedCluster(SimConfig(nodes=1, api_port=api_port))
    with pytest.raises(StartError, match="--api-port"):
        await third.start()
    await third.stop()


async def test_a_cluster_can_be_stopped_twice_and_leaves_nothing(simulate):
    cluster = SimulatedCluster(SimConfig(nodes=1, clock=ManualClock()))
    await cluster.stop()
    await cluster.start()
    directory = cluster.kubeconfig.parent
    await cluster.stop()
    await cluster.stop()

    assert not directory.exists()


def test_too_few_open_files_name_the_flag_to_turn():
    with pytest.raises(StartError, match=r"--nodes 2147483647: needs .* open files"):
        _raise_file_limit(2**31 - 1)


def test_every_fault_of_a_configuration_is_named():
    with pytest.raises(UsageError) as refused:
        SimConfig(nodes=0, slow=2.0, churn=-1.0, network="10.0.0.0/8", kubelet_port=70_000, token="")
    text = str(refused.value)
    for flag in ("--nodes", "--slow", "--churn", "--network", "--kubelet-port", "--token"):
        assert flag in text


def test_too_many_pods_and_too_small_networks_are_refused(tmp_path):
    with pytest.raises(UsageError, match="at most 499999"):
        SimConfig(nodes=1_000, pods=1_000)
    with pytest.raises(UsageError, match="--network"):
        SimConfig(nodes=300, network="127.5.0.0/24")
    with pytest.raises(UsageError, match="--captures"):
        SimConfig(captures=tmp_path / "missing")
    with pytest.raises(UsageError, match="add up to more than 1"):
        SimConfig(slow=0.6, hang=0.6)
    with pytest.raises(UsageError, match="not a ManualClock"):
        SimulatedCluster(SimConfig(nodes=1)).advance(1)
