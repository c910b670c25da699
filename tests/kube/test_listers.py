import asyncio
import gc

import pytest

from collector.kube.faults import ApiServerError
from collector.kube.listers import NamespaceLister, PodLister
from collector.kube.objects import Namespace, Pod


def pod(name, **fields):
    return Pod(namespace="shop", name=name, **fields)


def key(name):
    return ("shop", name)


@pytest.fixture
async def pods():
    return PodLister()


async def test_a_lister_is_empty_and_not_synced_before_the_first_list(pods):
    assert not pods.synced
    assert dict(pods.items) == {}
    assert pods.get(key("a")) is None
    assert pods.statistics().lists == 0


async def test_an_empty_list_is_a_whole_list(pods):
    pods.replace([])
    assert pods.synced
    assert await pods.wait_synced(0)


async def test_objects_are_found_by_namespace_and_name(pods):
    pods.replace([pod("a"), Pod("other", "a", phase="Failed")])
    assert pods.get(key("a")) == pod("a")
    assert pods.get(("other", "a")).phase == "Failed"
    namespaces = NamespaceLister()
    namespaces.replace([Namespace("shop", "u1")])
    assert namespaces.get("shop").uid == "u1"


async def test_the_view_is_read_only_and_a_list_replaces_it_whole(pods):
    pods.replace([pod("a")])
    before = pods.items
    with pytest.raises(TypeError):
        before[key("b")] = pod("b")
    pods.replace([pod("b")])
    assert list(before) == [key("a")]
    assert list(pods.items) == [key("b")]


async def test_a_new_subscriber_is_told_everything_once(pods):
    pods.replace([pod("a"), pod("b")])
    changes = pods.subscribe()
    assert changes.take() == {key("a"), key("b")}
    assert changes.take() == set()


async def test_changes_are_told_to_every_subscriber_on_its_own(pods):
    one, two = pods.subscribe(), pods.subscribe()
    pods.replace([pod("a"), pod("b")])
    assert one.take() == {key("a"), key("b")}
    pods.apply([(key("a"), pod("a", phase="Failed")), (key("c"), pod("c")), (key("b"), None)])
    assert one.take() == {key("a"), key("b"), key("c")}
    assert two.take() == {key("a"), key("b"), key("c")}
    assert set(pods.items) == {key("a"), key("c")}


async def test_only_real_changes_are_told(pods):
    pods.replace([pod("a", uid="1"), pod("b"), pod("c")])
    changes = pods.subscribe()
    changes.take()
    pods.apply([(key("b"), pod("b")), (key("nobody"), None)])
    assert changes.take() == set()
    pods.replace([pod("a", uid="2"), pod("b"), pod("d")])
    assert changes.take() == {key("a"), key("c"), key("d")}
    assert pods.statistics().changes == 0


async def test_what_is_listed_again_unchanged_stays_the_same_object(pods):
    pods.replace([pod("a"), pod("b")])
    kept = pods.get(key("a"))
    pods.replace(pods.reuse([pod("a"), pod("b", phase="Failed")]))
    assert pods.get(key("a")) is kept
    assert pods.get(key("b")).phase == "Failed"


async def test_a_subscriber_that_is_gone_is_forgotten(pods):
    changes = pods.subscribe()
    assert len(pods._subscribers) == 1
    del changes
    gc.collect()
    assert len(pods._subscribers) == 0


@pytest.mark.looptime
async def test_waiting_ends_when_synced_or_when_time_is_over(pods):
    loop = asyncio.get_running_loop()
    assert await pods.wait_synced(30) is False
    assert loop.time() == pytest.approx(30)
    loop.call_later(5, pods.replace, [])
    assert await pods.wait_synced(30) is True
    assert loop.time() == pytest.approx(35)


@pytest.mark.looptime
async def test_waiting_ends_early_only_for_a_refusal_that_lasts(pods):
    loop = asyncio.get_running_loop()
    loop.call_later(1, pods.failed, ApiServerError("connection refused"))
    loop.call_later(2, pods.failed, ApiServerError("403", lasting=True))
    assert await pods.wait_synced(30) is False
    assert loop.time() == pytest.approx(2)


async def test_statistics_tell_contact_and_trouble(pods):
    pods.failed(ApiServerError("connection refused"))
    told = pods.statistics()
    assert (told.errors, told.last_error, told.last_contact) == (1, "connection refused", 0.0)
    pods.replace([pod("a")])
    pods.apply([(key("b"), pod("b"))])
    pods.reached(oddities=3)
    told = pods.statistics()
    assert (told.objects, told.lists, told.changes, told.oddities) == (2, 1, 1, 3)
    assert told.last_error == ""
    assert told.last_contact > 0
