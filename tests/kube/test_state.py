"""The three listers together, against a server on loopback."""

import asyncio

import aiohttp
import pytest
from kube.fake_api import (
    QUICK,
    bookmark,
    expired_line,
    line,
    page,
    pod,
    refuse,
    server_context,
    serving,
    stream,
    text,
    until,
)

from collector.errors import StartError
from collector.kube.config import connect
from collector.kube.listers import KubeState


@pytest.fixture
async def state(connection):
    state = KubeState(connection, QUICK)
    yield state
    await state.stop()


def named(name):
    return {"metadata": {"name": name, "uid": f"uid-{name}"}}


async def test_all_three_collections_are_listed_and_then_followed(api, state):
    api.on_list("nodes", page(named("n1")))
    api.on_list("namespaces", page(named("shop")))
    api.on_list("pods", page(pod("a"), token="t"), page(pod("b")))
    more = asyncio.Event()
    api.on_watch("pods", stream(line("ADDED", pod("c", "11")), line("DELETED", pod("a", "12")), wait=more))
    await state.start()
    await state.wait_synced(5)
    assert list(state.nodes.items) == ["n1"]
    assert state.namespaces.get("shop").uid == "uid-shop"
    await until(lambda: set(state.pods.items) == {("shop", "b"), ("shop", "c")})
    assert state.pods.statistics().last_contact > 0


async def test_nothing_is_seen_of_a_list_that_is_not_whole(api, state):
    hold = asyncio.Event()

    async def late(request):
        await hold.wait()
        return await page(pod("b"))(request)

    api.on_list("pods", page(pod("a"), token="t"), late)
    await state.start()
    await until(lambda: len(api.asked("pods")) == 2)
    assert not state.pods.synced
    assert dict(state.pods.items) == {}
    hold.set()
    await state.wait_synced(5)
    assert len(state.pods.items) == 2


async def test_an_expired_watch_lists_again_and_only_differences_are_told(api, state):
    api.on_list("pods", page(pod("a"), pod("b")), page(pod("b"), pod("c"), version="30"))
    go = asyncio.Event()

    async def expire(request):
        await go.wait()
        return await stream(expired_line())(request)

    api.on_watch("pods", expire)
    await state.start()
    await state.wait_synced(5)
    changes = state.pods.subscribe()
    changes.take()
    go.set()
    await until(lambda: state.pods.statistics().lists == 2)
    assert changes.take() == {("shop", "a"), ("shop", "c")}
    await until(lambda: len(api.asked("pods", "watch")) == 2)
    assert api.asked("pods", "watch")[-1]["resourceVersion"] == "30"


async def test_a_list_whose_token_expires_begins_again_with_larger_pages(api, state):
    api.on_list("pods", page(pod("x"), token="t"), refuse(410, "Expired", "too old"), page(pod("a"), pod("b")))
    await state.start()
    await state.wait_synced(5)
    assert [q["limit"] for q in api.asked("pods")] == ["2", "2", "4"]
    assert set(state.pods.items) == {("shop", "a"), ("shop", "b")}


async def test_a_watch_cut_inside_a_line_goes_on_from_the_last_whole_event(api, state):
    half = line("ADDED", pod("b", "12"))[:30]
    api.on_watch("pods", stream(line("ADDED", pod("a", "11")), half, cut=True), stream(line("ADDED", pod("b", "12"))))
    await state.start()
    await until(lambda: set(state.pods.items) == {("shop", "a"), ("shop", "b")})
    assert [q["resourceVersion"] for q in api.asked("pods", "watch")][:2] == ["10", "11"]
    assert len(api.asked("pods")) == 1


async def test_a_bookmark_saves_a_list_after_a_quiet_time(api, state):
    api.on_watch("pods", stream(bookmark("77"), cut=True))
    await state.start()
    await until(lambda: len(api.asked("pods", "watch")) == 2)
    assert api.asked("pods", "watch")[1]["resourceVersion"] == "77"


async def test_what_is_known_stays_readable_while_the_server_is_away(connection, api):
    state = KubeState(connection, QUICK)
    api.on_list("pods", page(pod("a")))
    await state.start()
    await state.wait_synced(5)
    for _ in range(3):
        api.on_watch("pods", refuse(503, "ServiceUnavailable", "starting"))
    api.close()  # ends the silent watches
    await until(lambda: state.pods.statistics().errors > 0)
    assert list(state.pods.items) == [("shop", "a")]
    await state.stop()


async def test_stopping_ends_every_task_and_leaves_the_connection_open(api, connection):
    state = KubeState(connection, QUICK)
    await state.start()
    await state.wait_synced(5)
    names = {task.get_name() for task in asyncio.all_tasks()}
    assert {"kube-nodes", "kube-pods", "kube-namespaces"} <= names
    await state.stop()
    await state.stop()
    assert not {task.get_name() for task in asyncio.all_tasks()} & {"kube-nodes", "kube-pods", "kube-namespaces"}
    response = await connection.get("/api/v1/pods", [], aiohttp.ClientTimeout(5))
    assert response.status == 200
    response.close()


async def started(state, seconds):
    await state.start()
    try:
        await state.wait_synced(seconds)
    finally:
        await state.stop()


async def test_a_server_that_is_not_there_is_told_once_time_is_over(unused_tcp_port):
    connection = await connect(server=f"http://127.0.0.1:{unused_tcp_port}")
    with pytest.raises(StartError) as told:
        await started(KubeState(connection, QUICK), 0.1)
    await connection.close()
    assert str(told.value) == (
        f"cannot read nodes, pods, namespaces: API server http://127.0.0.1:{unused_tcp_port} (the address given on the "
        "command line): no connection: Connection refused. Is it up, and is this its address?"
    )


async def test_a_wrong_ca_is_told_at_once(authority, stranger, tmp_path):
    wrong = tmp_path / "wrong.crt"
    stranger.cert_pem.write_to_path(str(wrong))
    async with serving(tls=server_context(authority)) as api:
        connection = await connect(server=api.url, ca_file=str(wrong))
        with pytest.raises(StartError, match=f"{api.url}.*certificate is not accepted.*CA file {wrong}"):
            await started(KubeState(connection, QUICK), 60)
        await connection.close()


async def test_missing_rights_are_told_at_once_with_the_rule_to_add(api, connection):
    api.on_list("pods", refuse(403, "Forbidden", "no"))
    with pytest.raises(StartError, match=r'cannot read .*pods.*verb "list" on resource "pods"'):
        await started(KubeState(connection, QUICK), 60)


async def test_refused_credentials_are_told_at_once(api, connection):
    api.tokens = {"another"}
    with pytest.raises(StartError, match=r"status 401.*renew the token"):
        await started(KubeState(connection, QUICK), 60)


async def test_another_kind_of_server_is_told(api, connection):
    api.on_list("nodes", *[text("<html>welcome</html>")] * 100)
    with pytest.raises(StartError, match=r"cannot read nodes: .*<html>welcome"):
        await started(KubeState(connection, QUICK), 0.2)
