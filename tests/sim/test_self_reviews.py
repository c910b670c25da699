"""Who am I, and what may I: the simulated API server's reviews of whoever asks, and the clocks it shows."""

import time
from email.utils import parsedate_to_datetime

import aiohttp
import pytest

from collector.sim import SimConfig, SimulatedCluster
from collector.sim.reviews import Account, Right


@pytest.fixture
async def cluster():
    async with SimulatedCluster(SimConfig(nodes=1, pods=1, containers=1, tls=False)) as started:
        yield started


async def asked(cluster, path, body=None):
    headers = {"Authorization": f"Bearer {cluster.config.token}"}
    async with aiohttp.ClientSession(headers=headers) as session:
        if body is None:
            answer = await session.get(f"{cluster.api_url}{path}")
        else:
            answer = await session.post(f"{cluster.api_url}{path}", json=body)
        return answer.status, await answer.json(), answer.headers


async def may(cluster, version="v1", **attributes):
    spec = {"resourceAttributes": {"verb": "get", "resource": "nodes", **attributes}}
    path = f"/apis/authorization.k8s.io/{version}/selfsubjectaccessreviews"
    status, review, _ = await asked(cluster, path, {"spec": spec})
    assert status == 201
    return review["status"]["allowed"]


async def test_a_user_is_told_who_it_is_and_what_it_may(cluster):
    reviews = cluster.api.reviews
    reviews.accounts[cluster.config.token] = Account("me", ("mine",))
    reviews.rights = {Right("me", "get", "nodes/stats"), Right("mine", "get", "leases.coordination.k8s.io", "here")}
    path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    status, review, _ = await asked(cluster, path, {})
    assert (status, review["status"]["userInfo"]["username"]) == (201, "me")
    assert review["status"]["userInfo"]["groups"] == ["mine", "system:authenticated"]
    assert await may(cluster, subresource="stats")
    assert not await may(cluster)
    assert not await may(cluster, subresource="metrics")
    for version in ("v1", "v1beta1"):
        lease = {"resource": "leases", "group": "coordination.k8s.io"}
        assert await may(cluster, version, namespace="here", **lease)
        assert not await may(cluster, version, namespace="there", **lease)
    reviews.self_reviews = frozenset()
    status, _, _ = await asked(cluster, path, {})
    assert status == 404


@pytest.mark.parametrize("ahead", [0, 3600, -3600])
async def test_the_clock_of_the_api_server_can_be_wrong(cluster, ahead):
    cluster.api.date_offset = float(ahead)
    _, _, headers = await asked(cluster, "/version")
    assert abs(parsedate_to_datetime(headers["Date"]).timestamp() - time.time() - ahead) < 30
