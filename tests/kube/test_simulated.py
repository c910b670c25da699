"""The listers against the simulated cluster: TLS, kubeconfig, pages, churn and every way to lose a watch."""

import pytest
from kube.fake_api import until

from collector.kube.client import Collection, Pace
from collector.kube.config import connect
from collector.kube.listers import KubeState
from collector.kube.resources import PODS
from collector.sim import ManualClock, SimConfig, SimulatedCluster

PACE = Pace(page_limit=20, pause_first=0.01, pause_most=0.02, watch_shortest=0.0)


@pytest.fixture
async def cluster():
    config = SimConfig(nodes=3, pods=30, seed=7, churn=1.0, clock=ManualClock())
    async with SimulatedCluster(config) as cluster:
        yield cluster


@pytest.fixture
async def state(cluster):
    connection = await connect(kubeconfig=str(cluster.kubeconfig))
    state = KubeState(connection, PACE)
    state.connection = connection
    await state.start()
    await state.wait_synced(10)
    yield state
    await state.stop()
    await connection.close()


async def truth(state):
    """All pods as one fresh list gives them."""
    pages = Collection(state.connection, PODS, PACE).pages(1000)
    return {(pod.namespace, pod.name): pod async for page in pages for pod in page.objects}


async def follows(state):
    """Wait until what the watch built equals a fresh list."""
    expected = await truth(state)
    await until(lambda: dict(state.pods.items) == expected)
    return expected


async def test_what_is_listed_is_what_the_cluster_has(cluster, state):
    assert set(state.nodes.items) == set(cluster.node_names)
    assert [state.nodes.get(name).scrape_address for name in cluster.node_names] == list(cluster.addresses)
    assert all(node.ready and node.allocatable.cpu and node.allocatable.memory for node in state.nodes.items.values())
    pods = await follows(state)
    assert {pod.namespace for pod in pods.values()} <= set(state.namespaces.items)
    reported = cluster.truth(0)["pods"]
    assert {(p["podRef"]["namespace"], p["podRef"]["name"]) for p in reported} <= set(pods)
    assert state.pods.statistics().oddities == 0


async def test_churn_is_followed_by_the_watch_alone(cluster, state):
    before = await follows(state)
    changes = state.pods.subscribe()
    changes.take()
    for _ in range(4):
        cluster.advance(60)
        after = await follows(state)
    assert before.keys() != after.keys()
    assert changes.take() >= before.keys() ^ after.keys()
    assert state.pods.statistics().lists == 1


async def test_nothing_is_missed_when_watches_are_lost_or_expire(cluster, state):
    for trouble in (
        cluster.api.watches.drop,
        cluster.api.watches.expire,
        lambda: cluster.api.fail_next(5),
        lambda: cluster.advance(1000),  # further than versions are kept
    ):
        trouble()
        cluster.advance(45)
        cluster.api.watches.drop()
        cluster.advance(45)
        await until(lambda: cluster.api._failing == 0)
        await follows(state)
    assert state.pods.statistics().lists > 1
