"""List, get, watch, paging, bookmarks, 410 Gone and access of the simulated API server."""

import aiohttp
import pytest

from collector.sim.access import FORBIDDEN_TOKEN


def key(body):
    return body["metadata"].get("namespace", ""), body["metadata"]["name"]


def applied(bodies, events):
    """A client's cache after `events`."""
    cache = {key(body): body for body in bodies}
    for event in events:
        body = event["object"]
        if event["type"] == "DELETED":
            assert cache.pop(key(body))["metadata"]["uid"] == body["metadata"]["uid"]
        elif event["type"] != "BOOKMARK":
            assert (key(body) in cache) == (event["type"] == "MODIFIED")
            cache[key(body)] = body
    return cache


async def test_a_list_and_the_watch_after_it_lead_to_the_next_list(simulate):
    simulation = await simulate(nodes=3, pods=20, churn=1.0)
    first = (await simulation.api("/api/v1/pods")).decoded()

    simulation.cluster.advance(140)
    events = await simulation.watch("/api/v1/pods", first["metadata"]["resourceVersion"])
    last = (await simulation.api("/api/v1/pods")).decoded()

    assert {event["type"] for event in events} == {"ADDED", "MODIFIED", "DELETED"}
    versions = [int(event["object"]["metadata"]["resourceVersion"]) for event in events]
    assert versions == sorted(set(versions))
    for event in events:
        event["object"].pop("kind")
        event["object"].pop("apiVersion")
    assert applied(first["items"], events) == {key(body): body for body in last["items"]}


async def test_a_watch_can_go_on_from_any_event(simulate):
    simulation = await simulate(nodes=3, pods=20, churn=1.0)
    version = (await simulation.api("/api/v1/pods")).decoded()["metadata"]["resourceVersion"]
    simulation.cluster.advance(60)
    whole = await simulation.watch("/api/v1/pods", version)

    middle = whole[len(whole) // 2]["object"]["metadata"]["resourceVersion"]
    rest = await simulation.watch("/api/v1/pods", middle)

    assert rest == whole[len(whole) // 2 + 1 :]


async def test_pages_show_one_moment_and_hold_every_object_once(simulate):
    simulation = await simulate(nodes=4, pods=20, churn=1.0)
    whole = (await simulation.api("/api/v1/pods")).decoded()
    page = (await simulation.api("/api/v1/pods", params={"limit": "7"})).decoded()
    assert page["metadata"]["remainingItemCount"] == 73
    collected, version = page["items"], page["metadata"]["resourceVersion"]
    while token := page["metadata"].get("continue"):
        simulation.cluster.advance(10)
        page = (await simulation.api("/api/v1/pods", params={"limit": "7", "continue": token})).decoded()
        assert page["metadata"]["resourceVersion"] == version
        collected += page["items"]

    assert collected == whole["items"]


async def test_a_continue_token_that_is_too_old_is_410_gone(simulate):
    simulation = await simulate(watch_history=60)
    token = (await simulation.api("/api/v1/pods", params={"limit": "3"})).decoded()["metadata"]["continue"]
    simulation.cluster.advance(120)

    answer = await simulation.api("/api/v1/pods", params={"limit": "3", "continue": token})

    assert answer.status == 410
    assert answer.decoded()["reason"] == "Expired"
    assert answer.decoded()["kind"] == "Status"


@pytest.mark.parametrize(
    "params", [{"continue": "nonsense"}, {"limit": "many"}, {"watch": "true", "resourceVersion": "old"}]
)
async def test_a_request_with_nonsense_in_it_is_refused(simulate, params):
    simulation = await simulate(nodes=1)

    answer = await simulation.api("/api/v1/pods", params=params)

    assert (answer.status, answer.decoded()["reason"]) == (400, "BadRequest")


async def test_a_watch_can_be_narrowed_to_one_node(simulate):
    simulation = await simulate(nodes=3, pods=20, churn=1.0)
    version = (await simulation.api("/api/v1/pods")).decoded()["metadata"]["resourceVersion"]
    simulation.cluster.advance(100)
    everything = await simulation.watch("/api/v1/pods", version)

    selected = await simulation.watch("/api/v1/pods", version, fieldSelector="spec.nodeName=sim-node-00001")

    wanted = [event for event in everything if event["object"]["spec"]["nodeName"] == "sim-node-00001"]
    assert selected == wanted != everything


async def test_a_watch_of_a_version_that_is_too_old_ends_with_an_error_event(simulate):
    simulation = await simulate(watch_history=60)
    version = (await simulation.api("/api/v1/nodes")).decoded()["metadata"]["resourceVersion"]
    simulation.cluster.advance(120)

    (event,) = await simulation.watch("/api/v1/nodes", version)

    assert event["type"] == "ERROR"
    assert (event["object"]["code"], event["object"]["reason"]) == (410, "Expired")


async def test_bookmarks_come_when_allowed_and_tell_a_version_to_go_on_from(simulate):
    simulation = await simulate(bookmarks=10, churn=0.0)
    version = (await simulation.api("/api/v1/namespaces")).decoded()["metadata"]["resourceVersion"]
    simulation.cluster.advance(30)

    (mark,) = await simulation.watch("/api/v1/namespaces", version, allowWatchBookmarks="true")

    assert mark["type"] == "BOOKMARK"
    assert mark["object"]["kind"] == "Namespace"
    assert int(mark["object"]["metadata"]["resourceVersion"]) > int(version)
    assert await simulation.watch("/api/v1/namespaces", version) == []


async def test_a_watch_without_a_version_begins_with_everything(simulate):
    simulation = await simulate(nodes=3)

    events = await simulation.watch("/api/v1/nodes", "")

    assert [event["type"] for event in events] == ["ADDED"] * 3


async def test_an_open_watch_tells_at_once_when_the_clock_moves(simulate):
    simulation = await simulate(nodes=1, pods=20, churn=1.0)
    params = {"watch": "true", "resourceVersion": "0"}
    async with simulation.session.get(simulation.cluster.api_url + "/api/v1/pods", params=params) as response:
        for _ in range(20):
            assert b'"ADDED"' in await response.content.readline()
        simulation.cluster.advance(60)
        assert b'"type":' in await response.content.readline()


async def test_nodes_beat_every_five_minutes(simulate):
    simulation = await simulate(nodes=3)
    version = (await simulation.api("/api/v1/nodes")).decoded()["metadata"]["resourceVersion"]
    simulation.cluster.advance(299)

    events = await simulation.watch("/api/v1/nodes", version)

    assert sorted(event["object"]["metadata"]["name"] for event in events) == sorted(
        simulation.cluster.node_names[1:]
    )  # the first beats in the second the cluster was made
    assert {event["type"] for event in events} == {"MODIFIED"}


async def test_expired_watches_end_with_410_and_new_lists_go_on(simulate):
    simulation = await simulate(nodes=1)
    version = (await simulation.api("/api/v1/pods")).decoded()["metadata"]["resourceVersion"]
    simulation.cluster.api.watches.expire()

    (event,) = await simulation.watch("/api/v1/pods", version)
    assert event["object"]["code"] == 410
    simulation.cluster.advance(1)
    version = (await simulation.api("/api/v1/pods")).decoded()["metadata"]["resourceVersion"]
    assert await simulation.watch("/api/v1/pods", version) == []


async def test_dropped_watches_break_off(simulate):
    simulation = await simulate(nodes=1)
    params = {"watch": "true", "resourceVersion": "0"}
    async with simulation.session.get(simulation.cluster.api_url + "/api/v1/nodes", params=params) as response:
        await response.content.readline()
        simulation.cluster.api.watches.drop()
        with pytest.raises(aiohttp.ClientError):
            await response.content.readline()


async def test_a_failing_server_answers_500_so_often_and_then_well(simulate):
    simulation = await simulate(nodes=1)
    simulation.cluster.api.fail_next(2)

    assert [(await simulation.api("/api/v1/nodes")).status for _ in range(3)] == [500, 500, 200]


async def test_a_refusing_server_drops_connections(simulate):
    simulation = await simulate(nodes=1)
    simulation.cluster.api.refuse(True)
    with pytest.raises(aiohttp.ClientError):
        await simulation.api("/api/v1/nodes")

    simulation.cluster.api.refuse(False)
    assert (await simulation.api("/api/v1/nodes")).status == 200


@pytest.mark.parametrize(("token", "status"), [("", 401), ("wrong", 401), (FORBIDDEN_TOKEN, 403)])
async def test_without_the_token_nothing_is_told(simulate, token, status):
    simulation = await simulate(nodes=1)
    headers = {"Authorization": f"Bearer {token}"}

    answer = await simulation.api("/api/v1/pods", headers=headers)

    assert answer.status == status
    assert answer.decoded()["kind"] == "Status"
    assert (await simulation.api("/healthz", headers=headers)).body == b"ok"


async def test_discovery_names_the_resources(simulate):
    simulation = await simulate(nodes=1)

    resources = (await simulation.api("/api/v1")).decoded()["resources"]

    assert {part["name"] for part in resources} == {"nodes", "pods", "namespaces"}
    assert (await simulation.api("/version")).decoded()["gitVersion"] == "v1.36.2"
    assert (await simulation.api("/readyz")).body == b"ok"
    assert (await simulation.api("/apis")).decoded()["groups"] == []
    assert (await simulation.api("/api/v1/secrets")).status == 404


async def test_objects_are_found_by_name_namespace_and_node(simulate):
    simulation = await simulate(nodes=3, pods=20)
    pods = await simulation.items("/api/v1/pods", limit="9")
    node = simulation.cluster.node_names[1]

    on_node = await simulation.items("/api/v1/pods", fieldSelector=f"spec.nodeName={node}")
    assert on_node == [pod for pod in pods if pod["spec"]["nodeName"] == node]
    in_system = await simulation.items("/api/v1/namespaces/kube-system/pods")
    assert in_system == [pod for pod in pods if pod["metadata"]["namespace"] == "kube-system"]
    wanted = pods[11]["metadata"]
    path = f"/api/v1/namespaces/{wanted['namespace']}/pods/{wanted['name']}"
    assert (await simulation.api(path)).decoded()["metadata"] == wanted
    assert (await simulation.api(f"/api/v1/nodes/{node}")).decoded()["metadata"]["name"] == node
    assert (await simulation.api("/api/v1/nodes/nobody")).status == 404
    assert (await simulation.api("/api/v1/namespaces/leaky")).decoded()["status"] == {"phase": "Active"}


async def test_nodes_tell_where_their_kubelets_listen(simulate):
    simulation = await simulate(nodes=3)
    nodes = await simulation.items("/api/v1/nodes")

    for row, node in enumerate(nodes):
        addresses = {part["type"]: part["address"] for part in node["status"]["addresses"]}
        assert addresses == {"InternalIP": simulation.cluster.addresses[row], "Hostname": node["metadata"]["name"]}
        port = node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"]
        assert port == simulation.cluster.kubelet_port
        assert node["status"]["conditions"][-1]["status"] == "True"
