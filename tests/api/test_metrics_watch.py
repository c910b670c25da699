"""Watches of the resource metrics API: events of every kind, where they begin, and how they end."""

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any, Self

import aiohttp
import pytest
from api.test_metrics_kubectl_forms import MAIN, ROOT, TABLE, Cluster, some, where

from collector.api import aggregated, metrics_scenes, metrics_shown, server
from collector.api.dispatch import Dispatcher
from collector.api.metrics_shown import Comparing, Scene
from collector.api.revisions import KEPT_NS, Revisions
from collector.api.server import ApiServer
from collector.kube.objects import Node, Pod

S = 10**9


class Watch:
    """An open watch."""

    def __init__(self, cluster: Cluster, target: str, **headers: str) -> None:
        self._cluster, self._target, self._headers = cluster, target, headers
        self._lines: list[bytes] = []

    async def __aenter__(self) -> Self:
        join = "&" if "?" in self._target else "?"
        answer = await self._cluster.answer(f"{ROOT}/{self._target}{join}watch=true", **self._headers)
        assert answer.live
        assert answer.status == 200
        assert not isinstance(answer.body, bytes)
        self._body = answer.body
        assert await anext(self._body) == b"", "a client learns at once that it is let in"
        return self

    async def events(self) -> list[dict[str, Any]]:
        """What has come until the watch waits for the next tick, or has ended."""
        found = b""
        while True:
            task = asyncio.ensure_future(anext(self._body))
            for _ in range(200):
                await asyncio.sleep(0)
                if task.done():
                    break
            else:
                self._waiting = task
                break
            try:
                found += task.result()
            except StopAsyncIteration:
                break
        return [json.loads(line) for line in found.splitlines()]

    async def next(self) -> list[dict[str, Any]]:
        """The same behind the wait."""
        async with asyncio.timeout(10):
            first = await self._waiting
        return [json.loads(line) for line in first.splitlines()] + await self.events()

    async def __aexit__(self, *_exception: object) -> None:
        waiting = getattr(self, "_waiting", None)
        if waiting is not None:
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
        await self._body.aclose()


def told(events: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Type and name of each event."""
    return [(event["type"], where([event["object"]])[0]) for event in events]


PODS = [f"other/p-{n}" for n in (0, 2, 4, 6)] + [f"team/p-{n}" for n in (1, 3, 5)] + ["team/two"]


@pytest.mark.parametrize("version", ["", "&resourceVersion=0"])
async def test_a_watch_begins_with_all_there_is_and_tells_every_new_point(version):
    cluster = some()
    async with Watch(cluster, f"pods?{version}") as watch:
        first = await watch.events()
        assert told(first) == [("ADDED", name) for name in PODS]
        for _ in range(3):
            cluster.tick()
            later = await watch.next()
            assert told(later) == [("MODIFIED", name) for name in PODS]
            _, listed = await cluster.ask(f"{ROOT}/pods")
            kind = {"kind": "PodMetrics", "apiVersion": "metrics.k8s.io/v1beta1"}
            assert [event["object"] for event in later] == [{**kind, **item} for item in listed["items"]]
        assert cluster.context.revisions.watches == 1
    assert cluster.context.revisions.watches == 0


async def test_versions_of_an_object_rise():
    cluster = some()
    async with Watch(cluster, "nodes") as watch:
        seen = [event["object"]["metadata"]["resourceVersion"] for event in await watch.events()]
        for _ in range(3):
            cluster.tick()
            seen += [event["object"]["metadata"]["resourceVersion"] for event in await watch.next()]
    assert len(seen) == 4
    assert [int(version) for version in seen] == sorted({int(version) for version in seen})


@pytest.mark.parametrize("limit", ["", "?limit=500"])
async def test_from_a_list_on_a_watch_tells_what_changed_since(limit):
    cluster = some()
    _, listed = await cluster.ask(f"{ROOT}/pods{limit}")
    version = listed["metadata"]["resourceVersion"]
    pods = cluster.context.listers.pods
    pods.apply([(("team", "p-3"), None), (("team", "new"), Pod("team", "new", labels={"n": "9"}, containers=(MAIN,)))])
    async with Watch(cluster, f"pods?resourceVersion={version}") as watch:
        assert await watch.events() == [], "nothing has changed before the next tick"
        cluster.tick()
        expected = [("DELETED", "team/p-3")] + [("MODIFIED", name) for name in PODS if name != "team/p-3"]
        first = await watch.next()
        assert told(first) == expected
        assert first[0]["object"]["metadata"]["labels"] == {"n": "3"}
        cluster.tick()  # of the new one there are two samples now
        assert [each for each in told(await watch.next()) if each[0] != "MODIFIED"] == [("ADDED", "team/new")]


@pytest.mark.parametrize("limit", ["", "?limit=500"])
async def test_a_tick_between_list_and_watch_loses_nothing(limit):
    cluster = some()
    _, listed = await cluster.ask(f"{ROOT}/pods{limit}")
    cluster.context.listers.pods.apply([(("team", "p-3"), None)])
    cluster.tick()
    async with Watch(cluster, f"pods?resourceVersion={listed['metadata']['resourceVersion']}") as watch:
        assert told(await watch.events()) == [("DELETED", "team/p-3")] + [
            ("MODIFIED", name) for name in PODS if name != "team/p-3"
        ]


async def test_a_watch_that_was_cut_within_a_tick_is_taken_up_without_loss():
    cluster = some()
    async with Watch(cluster, "pods") as watch:
        await watch.events()
        cluster.context.listers.pods.apply([(("team", "two"), None)])
        cluster.tick()
        events = await watch.next()
    cut = events[3]["object"]["metadata"]["resourceVersion"]
    async with Watch(cluster, f"pods?resourceVersion={cut}") as watch:
        assert told(await watch.events()) == told(events)


async def test_what_has_no_sample_any_more_is_deleted_and_comes_again():
    cluster = some()
    async with Watch(cluster, "namespaces/team/pods?fieldSelector=metadata.name%3Dp-1") as watch:
        assert told(await watch.events()) == [("ADDED", "team/p-1")]
        cluster.silent = {"team/p-1/main"}
        cluster.tick()
        gone = await watch.next()
        assert told(gone) == [("DELETED", "team/p-1")]
        assert gone[0]["object"]["containers"][0]["usage"]["cpu"] == "66666666n", "what it used last"
        cluster.silent = set()
        for _ in range(2):
            cluster.tick()
        found = await watch.next()
        while not found:
            found = await watch.next()
        assert told(found) == [("ADDED", "team/p-1")]


async def test_a_label_that_changes_takes_a_pod_out_of_the_selection_and_into_it():
    cluster = some()
    pods = cluster.context.listers.pods
    async with Watch(cluster, "pods?labelSelector=n%3D3") as watch:
        assert told(await watch.events()) == [("ADDED", "team/p-3")]
        pods.apply([(("team", "p-3"), Pod("team", "p-3", labels={"n": "x"}, containers=(MAIN,)))])
        cluster.tick()
        assert told(await watch.next()) == [("DELETED", "team/p-3")]
        pods.apply([(("team", "p-1"), Pod("team", "p-1", labels={"n": "3"}, containers=(MAIN,)))])
        cluster.tick()
        found = await watch.next()
        assert told(found) == [("ADDED", "team/p-1")]


async def test_nodes_come_and_go():
    cluster = some()
    async with Watch(cluster, "nodes") as watch:
        assert told(await watch.events()) == [("ADDED", "/node-a")]
        cluster.context.listers.nodes.replace([Node("node-b")])
        cluster.tick()
        assert told(await watch.next()) == [("DELETED", "/node-a")]


async def test_of_a_node_that_went_after_a_list_it_is_told_that_it_is_gone():
    cluster = some()
    _, listed = await cluster.ask(f"{ROOT}/nodes")
    cluster.context.listers.nodes.replace([])
    async with Watch(cluster, f"nodes?resourceVersion={listed['metadata']['resourceVersion']}") as watch:
        assert await watch.events() == []
        cluster.tick()
        (gone,) = await watch.next()
        assert told([gone]) == [("DELETED", "/node-a")]
        assert gone["object"] == {
            "kind": "NodeMetrics",
            "apiVersion": "metrics.k8s.io/v1beta1",
            "metadata": {**gone["object"]["metadata"], "name": "node-a", "labels": {"zone": "x"}},
            "timestamp": gone["object"]["metadata"]["creationTimestamp"],
            "window": "0s",
            "usage": {},
        }


async def test_rows_come_with_columns_once():
    cluster = some()
    async with Watch(cluster, "pods?includeObject=None&allowWatchBookmarks=true", Accept=TABLE) as watch:
        first = await watch.events()
        cluster.tick()
        first += await watch.next()
    tables = [event["object"] for event in first]
    assert [len(table["columnDefinitions"]) for table in tables] == [6, *[0] * (2 * len(PODS))]
    assert [event["type"] for event in first] == ["ADDED"] * 8 + ["MODIFIED"] * 8 + ["BOOKMARK"]
    assert [row["cells"][0] for table in tables for row in table["rows"]] == [
        name.partition("/")[2] for name in PODS + PODS
    ]
    assert tables[-1]["rows"] == []
    assert int(tables[-1]["metadata"]["resourceVersion"]) > int(tables[0]["metadata"]["resourceVersion"])
    cluster.tick()  # at this version nobody has looked at pods
    _, listed = await cluster.ask(f"{ROOT}/nodes")
    cluster.context.listers.pods.apply([(("team", "two"), None)])
    async with Watch(cluster, f"pods?resourceVersion={listed['metadata']['resourceVersion']}", Accept=TABLE) as watch:
        await watch.events()
        cluster.tick()
        (gone, *_) = await watch.next()
    assert gone["type"] == "DELETED"
    assert gone["object"]["rows"][0]["cells"] == ["two", *["<none>"] * 5]
    assert gone["object"]["rows"][0]["object"]["metadata"]["name"] == "two"


async def test_bookmarks_are_versions_to_go_on_from():
    cluster = some()
    async with Watch(cluster, "pods?allowWatchBookmarks=1&labelSelector=nosuch") as watch:
        assert await watch.events() == []
        cluster.tick()
        (mark,) = await watch.next()
    assert mark["type"] == "BOOKMARK"
    assert mark["object"]["kind"] == "PodMetrics"
    version = mark["object"]["metadata"]["resourceVersion"]
    assert version == (await cluster.ask(f"{ROOT}/pods"))[1]["metadata"]["resourceVersion"]
    cluster.context.listers.pods.apply([(("team", "two"), None)])
    cluster.tick()
    async with Watch(cluster, f"pods?resourceVersion={version}") as watch:
        assert told(await watch.events())[0] == ("DELETED", "team/two")


async def test_initial_events_end_with_a_marked_bookmark_where_that_is_asked_for():
    cluster = some()
    query = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    async with Watch(cluster, f"nodes?{query}") as watch:
        added, mark = await watch.events()
    assert (added["type"], mark["type"]) == ("ADDED", "BOOKMARK")
    assert mark["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    async with Watch(cluster, "nodes?sendInitialEvents=false&resourceVersionMatch=NotOlderThan") as watch:
        assert await watch.events() == []
        cluster.tick()
        assert told(await watch.next()) == [("MODIFIED", "/node-a")]


async def test_a_version_that_is_forgotten_is_an_error_event():
    cluster = some()
    _, listed = await cluster.ask(f"{ROOT}/pods?limit=1")
    for _ in range(KEPT_NS // (15 * S) + 1):
        cluster.tick()
    async with Watch(cluster, f"pods?resourceVersion={listed['metadata']['resourceVersion']}") as watch:
        (error,) = await watch.events()
    assert error["type"] == "ERROR"
    assert (error["object"]["kind"], error["object"]["code"], error["object"]["reason"]) == ("Status", 410, "Expired")
    assert error["object"]["message"].startswith(f"too old resource version: {listed['metadata']['resourceVersion']} (")


async def test_there_is_a_limit_of_watches():
    cluster = some()
    cluster.context = replace(cluster.context, most_watches=2)
    async with Watch(cluster, "pods"), Watch(cluster, "nodes"):
        answer = await cluster.answer(f"{ROOT}/pods?watch=1")
        assert (answer.status, answer.headers["Retry-After"]) == (429, "5")
        refusal = json.loads(answer.body)
        assert (refusal["reason"], refusal["details"]) == ("TooManyRequests", {"retryAfterSeconds": 5})
        assert "--api-max-watches" in refusal["message"]
        assert "nodes and pods" in refusal["message"]
        assert (await cluster.ask(f"{ROOT}/pods"))[0] == 200
    opened = [(await cluster.answer(f"{ROOT}/pods?watch=1")) for _ in range(2)]
    assert (await cluster.answer(f"{ROOT}/pods?watch=1")).status == 429, "one that was not read yet counts, too"
    for each in opened:
        await each.body.aclose()
    async with Watch(cluster, f"pods?timeoutSeconds={(1 << 63) - 1}") as watch:
        assert len(await watch.events()) == len(PODS)


async def test_revisions_are_remembered_within_a_bound(monkeypatch):
    from collector.api import revisions

    monkeypatch.setattr(revisions, "KEPT_BYTES", 100_000)
    kept = Revisions()
    pods = tuple(Pod("team", f"p-{n}") for n in range(2_000))
    for n in range(20):
        kept.advance(n * 15 * S, (), pods)
    assert sum(revision.size_bytes for revision in kept._kept) <= 100_000
    assert len(kept._kept) == 6


# Differences.


def scene(number: int, pods: dict[str, tuple[int, str]]) -> Scene:
    """A scene of pods: name -> (seconds of the sample, label)."""
    made = some(0)
    listed = [Pod("team", name, labels={"a": label}, containers=(MAIN,)) for name, (_, label) in sorted(pods.items())]
    made = Cluster(*listed)
    from collector.api.metrics_reader import Reader

    shown = Reader(made.context, metrics_scenes.SAMPLED).pods(listed)
    for at, (seconds, _) in enumerate(value for _, value in sorted(pods.items())):
        shown.usage.times[at] = seconds * S
    return Scene(number, number + 1, shown)


def test_differences_are_those_of_two_dictionaries():
    chance = random.Random(7)
    for _ in range(30):
        before, after = (
            {
                f"p-{n}": (chance.randrange(1, 3), chance.choice("xy"))
                for n in chance.sample(range(12), chance.randrange(12))
            }
            for _ in range(2)
        )
        old, new = scene(1, before), scene(2, after)
        comparing = Comparing(old, new)
        for _ in comparing.steps(chance.randrange(1, 9)):
            pass
        found = comparing.found()
        old_names, new_names = ([each.name for each in some.shown.objects] for some in (old, new))
        assert [old_names[each] for each in found.deleted] == sorted(before.keys() - after.keys())
        assert [new_names[each] for each in found.now] == sorted(
            name for name in after if after[name] != before.get(name)
        )
        assert [None if each < 0 else old_names[each] for each in found.before] == [
            name if name in before else None for name in (new_names[each] for each in found.now)
        ]
    assert metrics_shown.key(Node("a")) == ("", "a")


# Over sockets.


@contextlib.asynccontextmanager
async def serving(cluster: Cluster) -> AsyncIterator[tuple[ApiServer, str]]:
    answering = Dispatcher(cluster.context, aggregated.ROUTES, aggregated.API_ROOTS, aggregated.MANNER)
    api = ApiServer(cluster.context, host="127.0.0.1", port=0, dispatcher=answering)
    await api.start()
    try:
        yield api, f"http://127.0.0.1:{api.port}{ROOT}"
    finally:
        await api.stop()


async def _watches(cluster: Cluster, count: int) -> None:
    async with asyncio.timeout(10):
        while cluster.context.revisions.watches != count:
            await asyncio.sleep(0.01)


async def test_a_watch_ends_after_its_time_and_is_never_compressed(session):
    cluster = some()
    async with serving(cluster) as (_, url):
        headers = {"Accept-Encoding": "gzip"}
        async with session.get(f"{url}/pods?watch=true&timeoutSeconds=1", headers=headers) as response:
            assert response.status == 200
            assert response.content_type == "application/json"
            assert "Content-Encoding" not in response.headers
            async with asyncio.timeout(10):
                body = await response.read()
        assert len(body.splitlines()) == len(PODS)
        await _watches(cluster, 0)


async def test_a_watch_ends_when_the_server_stops(session):
    cluster = some()
    async with serving(cluster) as (api, url), session.get(f"{url}/pods?watch=true") as response:
        for _ in PODS:
            await response.content.readline()
        stopping = asyncio.create_task(api.stop())
        async with asyncio.timeout(3):
            assert await response.content.read() == b""
            await stopping
    await _watches(cluster, 0)


async def test_a_client_that_goes_leaves_nothing_behind(session):
    cluster = some()
    async with serving(cluster) as (_, url):
        async with session.get(f"{url}/pods?watch=true&labelSelector=nosuch") as response:
            assert response.status == 200
            await _watches(cluster, 1)
            response.close()
        async with asyncio.timeout(10):
            while cluster.context.revisions.watches:
                cluster.tick()
                await asyncio.sleep(0.01)


async def test_a_client_that_does_not_read_is_cut_off_and_holds_no_events(monkeypatch, caplog):
    monkeypatch.setattr(server, "LIVE_DEADLINE_S", 0.5)
    labels = {"long": "x" * 4_000}
    cluster = Cluster(*(Pod("team", f"p-{n}", labels=labels, containers=(MAIN,)) for n in range(600)))
    async with serving(cluster) as (api, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", api.port, limit=1)
        writer.write(f"GET {ROOT}/pods?watch=true HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await writer.drain()
        await _watches(cluster, 1)
        async with asyncio.timeout(20):
            while cluster.context.revisions.watches:
                cluster.tick()
                await asyncio.sleep(0.05)
        assert "cut off: the client does not read" in caplog.text
        writer.close()
        del reader


async def test_the_event_loop_has_its_turn_while_thousands_of_pods_are_told_of(session):
    count = 20_000
    cluster = Cluster(*(Pod(f"team-{n % 7}", f"p-{n}", containers=(MAIN,)) for n in range(count)))
    async with serving(cluster) as (_, url), session.get(f"{url}/pods?watch=true&timeoutSeconds=60") as response:
        longest, done = 0.0, False

        async def heart() -> None:
            nonlocal longest
            loop = asyncio.get_running_loop()
            while not done:
                began = loop.time()
                await asyncio.sleep(0.001)
                longest = max(longest, loop.time() - began)

        beating = asyncio.create_task(heart())
        for _ in range(count):
            assert await response.content.readline()
        done = True
        await beating
    assert longest < 0.5, "not one slice of many seconds"
    assert isinstance(session, aiohttp.ClientSession)
