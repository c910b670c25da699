"""List and watch against a server that answers as scripted."""

import asyncio
from contextlib import aclosing

import pytest
from aiohttp import web
from kube.fake_api import QUICK, bookmark, expired_line, line, page, pod, refuse, stream, text

from collector.errors import ExpiredError, KubernetesError
from collector.kube import client
from collector.kube.client import Collection
from collector.kube.faults import ApiServerError
from collector.kube.resources import PODS


@pytest.fixture
def pods(connection):
    return Collection(connection, PODS, QUICK)


async def listed(pods, limit=2):
    async with aclosing(pods.pages(limit)) as pages:
        return [page async for page in pages]


async def watched(pods, version="10"):
    """The changes and last resource version until the watch ends."""
    changes, last = [], ""
    async with aclosing(pods.watch(version)) as batches:
        async for batch in batches:
            changes += [(key, kept is not None) for key, kept in batch.changes]
            last = batch.resource_version or last
    return changes, last


async def test_a_list_is_asked_for_in_pages_until_there_is_no_token(api, pods):
    api.on_list("pods", page(pod("a"), pod("b"), token="t1"), page(pod("c"), token="t/2 +"), page(pod("d")))
    pages = await listed(pods)
    assert [[p.name for p in page.objects] for page in pages] == [["a", "b"], ["c"], ["d"]]
    assert api.asked("pods") == [
        {"limit": "2"},
        {"limit": "2", "continue": "t1"},
        {"limit": "2", "continue": "t/2 +"},
    ]


async def test_pages_come_over_one_connection(api, pods):
    ports = set()

    def noting(reply):
        async def noted(request):
            ports.add(request.transport.get_extra_info("peername"))
            return await reply(request)

        return noted

    api.on_list("pods", noting(page(pod("a"), token="t1")), noting(page(pod("b"), token="t2")), noting(page(pod("c"))))
    assert len(await listed(pods)) == 3
    assert len(ports) == 1


async def test_a_page_that_names_itself_as_the_next_is_no_endless_list(api, pods):
    api.on_list("pods", *[page(pod("a"), token="t1")] * 5)
    with pytest.raises(KubernetesError, match="a page of pods names itself as the next one"):
        await listed(pods)


async def test_a_token_that_expired_on_the_way_is_an_expired_list(api, pods):
    gone = refuse(410, "Expired", "The provided continue parameter is too old")
    api.on_list("pods", page(pod("a"), token="t1"), gone)
    with pytest.raises(ExpiredError, match="too old"):
        await listed(pods)


async def test_a_watch_asks_for_bookmarks_and_for_an_end(api, pods):
    api.on_watch("pods", stream(line("ADDED", pod("a", "11")), bookmark("15")))
    assert await watched(pods) == ([(("shop", "a"), True)], "15")
    assert api.asked("pods", "watch") == [
        {"watch": "true", "resourceVersion": "10", "allowWatchBookmarks": "true", "timeoutSeconds": "20"}
    ]


async def test_the_first_batch_of_a_watch_tells_that_it_was_accepted(api, pods):
    async with aclosing(pods.watch("10")) as batches:
        first = await anext(batches)
    assert (first.changes, first.resource_version) == ([], "")


async def test_events_cut_anywhere_by_the_network_are_joined(api, pods):
    body = line("ADDED", pod("a", "11")) + line("MODIFIED", pod("a", "12")) + line("DELETED", pod("a", "13"))
    api.on_watch("pods", stream(*(body[i : i + 7] for i in range(0, len(body), 7))))
    assert await watched(pods) == ([(("shop", "a"), True)] * 2 + [(("shop", "a"), False)], "13")


async def test_one_event_of_several_megabytes_is_read_whole(api, pods):
    large = pod("a", "11")
    large["metadata"]["annotations"] = {"blob": "x" * 5_000_000}
    api.on_watch("pods", stream(line("ADDED", large)))
    assert await watched(pods) == ([(("shop", "a"), True)], "11")


async def test_an_event_beyond_the_limit_is_left_out_and_the_next_one_kept(api, pods, monkeypatch):
    monkeypatch.setattr(client, "_LINE_BYTES", 1000)
    large = pod("a", "11")
    large["metadata"]["annotations"] = {"blob": "x" * 5_000}
    api.on_watch("pods", stream(line("ADDED", large), line("ADDED", pod("b", "12"))))
    assert await watched(pods) == ([(("shop", "b"), True)], "12")
    assert pods.oddities_count == 1


async def test_a_connection_lost_inside_a_line_loses_only_that_line(api, pods):
    whole, half = line("ADDED", pod("a", "11")), line("ADDED", pod("b", "12"))[:20]
    api.on_watch("pods", stream(whole, half, cut=True))
    seen = []

    async def watch():
        async for batch in pods.watch("10"):
            seen.extend(key for key, _ in batch.changes)

    with pytest.raises(ApiServerError, match="the connection broke"):
        await watch()
    assert seen == [("shop", "a")]


async def test_a_page_cut_short_is_an_error_and_not_a_short_list(api, pods):
    async def short(request):
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b'{"items": []}')
        request.transport.abort()
        return response

    api.on_list("pods", short)
    with pytest.raises(ApiServerError, match="the connection broke"):
        await listed(pods)


async def test_gone_is_expired_as_a_status_and_as_an_event(api, pods):
    api.on_watch("pods", refuse(410, "Gone", "too old resource version"), stream(expired_line()))
    for _ in range(2):
        with pytest.raises(ExpiredError, match="too old resource version"):
            await watched(pods)


async def test_a_page_beyond_the_limit_is_refused(api, pods, monkeypatch):
    monkeypatch.setattr(client, "_PAGE_BYTES", 100)
    api.on_list("pods", page(pod("a"), pod("b")))
    with pytest.raises(KubernetesError, match="a page of pods is longer than 100 bytes"):
        await listed(pods)


async def test_an_answer_in_html_is_quoted(api, pods):
    api.on_list("pods", text("<html>sign in</html>"))
    with pytest.raises(
        KubernetesError,
        match=r"the list of pods cannot be read.*sign in.*comes from the address given on the command line",
    ):
        await listed(pods)


@pytest.mark.parametrize(
    ("reply", "lasting", "words"),
    [
        (
            refuse(403, "Forbidden", 'User "heapster" cannot list resource "pods"'),
            True,
            'status 403: User "heapster" cannot list resource "pods"; its RBAC rules must allow verb "list" on .*pods',
        ),
        (
            text("404 page not found", 404, "text/plain"),
            True,
            "404 page not found; is http://.* a Kubernetes API server",
        ),
        (refuse(500, "InternalError", "etcdserver: no leader"), False, "status 500: etcdserver: no leader"),
        (text("", 502), False, "status 502: no reason given"),
    ],
)
async def test_a_refusal_is_told_in_words(api, pods, reply, lasting, words):
    api.on_list("pods", reply)
    with pytest.raises(ApiServerError, match=words) as refused:
        await listed(pods)
    assert refused.value.lasting is lasting


@pytest.mark.parametrize(("header", "seconds"), [("7", 7.0), ("100000", 60.0), ("Wed, 21 Oct 2015", 0.0), ("", 0.0)])
async def test_the_pause_a_busy_server_asks_for_is_heard(api, pods, header, seconds):
    api.on_watch("pods", refuse(429, "TooManyRequests", "slow down", **{"Retry-After": header}))
    with pytest.raises(ApiServerError, match="refused to watch pods with status 429: slow down") as refused:
        await watched(pods)
    assert refused.value.retry_after == seconds


async def test_no_server_is_told_with_address_and_reason(api, connection, unused_tcp_port):
    connection._configuration.host = f"http://127.0.0.1:{unused_tcp_port}"
    pods = Collection(connection, PODS, QUICK)
    with pytest.raises(ApiServerError, match=f"127.0.0.1:{unused_tcp_port}.*Connection refused.*this its address"):
        await listed(pods)


async def test_a_server_that_never_answers_is_told_after_the_deadline(api, connection):
    async def silent(_request):
        await asyncio.sleep(60)

    api.on_list("pods", silent)
    pods = Collection(connection, PODS, client.Pace(page_seconds=0.05))
    with pytest.raises(ApiServerError, match="no answer in time"):
        await listed(pods)


async def test_leaving_a_watch_early_closes_it(api, pods):
    left = asyncio.Event()

    async def endless(request):
        try:
            await stream(line("ADDED", pod("a", "11")), wait=asyncio.Event())(request)
        finally:
            left.set()

    api.on_watch("pods", endless)
    async with aclosing(pods.watch("10")) as batches:
        async for batch in batches:
            if batch.changes:
                break
    async with asyncio.timeout(5):
        await left.wait()
