"""The model API beyond what the recordings show."""

import asyncio
import json

import numpy as np
import pytest
from api import synthetic
from api.golden import Replay
from hypothesis import given
from hypothesis import strategies as st

from collector.api import API_ROOTS, ROUTES
from collector.api.dispatch import Dispatcher
from collector.api.model import MAX_REPEATS, unsigned
from collector.api.names import BITE, name_list
from collector.api.route import Context
from collector.core.batch import DataBatch
from collector.core.entities import EntityTable
from collector.core.metrics import FILESYSTEM, INDEX, Kind, MetricTable
from collector.core.store import MetricStore
from collector.selfmetrics import SelfMetrics

MODEL = "/api/v1/model"
SECOND = 10**9


def dispatcher_of(*batches: DataBatch, now: float = 100.0, extended: bool = False) -> Dispatcher:
    store = MetricStore(clock=lambda: now)
    for batch in batches:
        store.add(batch)
    return Dispatcher(Context(store, SelfMetrics(), clock=lambda: now, extended=extended), ROUTES, API_ROOTS)


async def asked(dispatcher: Dispatcher, path: str) -> tuple[int, object]:
    answer = (await dispatcher.answer("GET", MODEL + path, {})).answer
    body = answer.body if isinstance(answer.body, bytes) else b"".join([chunk async for chunk in answer.body])
    return answer.status, json.loads(body) if answer.status == 200 else body.decode()


def two_nodes() -> DataBatch:
    """node `n1` is host `h1`; node `n2` has no host name of its own; each has one system container."""
    entities = EntityTable()
    batch = DataBatch(entities, MetricTable(), 60 * SECOND)
    for name in ("n1", "n2"):
        node = entities.node_row(name)
        system = entities.child_row(Kind.SYS_CONTAINER, node, "kubelet", node)
        batch.ensure_rows()
        batch.exists[[node, system]] = True
        batch.put(INDEX["cpu/usage"], np.array([node, system]), np.array([7, 8]))
    entities.set_own_labels(entities.find_node("n1"), {"hostname": "h1", "host_id": ""})
    batch.freeze()
    return batch


async def test_the_node_list_prints_host_names_and_lookups_take_either_name():
    dispatcher = dispatcher_of(two_nodes())
    assert await asked(dispatcher, "/nodes") == (200, ["h1", "n2"])
    for name in ("h1", "n1", "n2"):
        assert await asked(dispatcher, f"/nodes/{name}/metrics/") == (200, ["cpu/usage"])
        assert await asked(dispatcher, f"/nodes/{name}/freecontainers") == (200, ["kubelet"])
        _, series = await asked(dispatcher, f"/nodes/{name}/freecontainers/kubelet/metrics/cpu/usage")
        assert series == {
            "metrics": [{"timestamp": "1970-01-01T00:01:00Z", "value": 8}],
            "latestTimestamp": "1970-01-01T00:01:00Z",
        }


def with_extended_metrics() -> DataBatch:
    """A namespace with a sum Heapster had and one it had not, a pod with swap and an extended labelled value."""
    entities = EntityTable()
    batch = DataBatch(entities, MetricTable(), 60 * SECOND)
    pod = entities.pod_row("default", "web", entities.node_row("n1"))
    namespace = entities.find_namespace("default")
    batch.ensure_rows()
    batch.exists[[namespace, pod]] = True
    both = np.array([namespace, pod])
    for name in ("memory/usage", "memory/working_set"):
        batch.put(INDEX[name], both, np.array([7, 8]))
    batch.put(INDEX["swap/usage"], both, np.array([1, 2]))
    label = np.array([entities.labels.resource("/")], np.int32)
    batch.labeled[FILESYSTEM.name].append(np.array([pod], np.int32), label, np.array([[5], [6], [7], [8], [9], [10]]))
    batch.freeze()
    return batch


@pytest.mark.parametrize("extended", [False, True])
async def test_metrics_heapster_did_not_have_are_there_only_when_asked_for(*, extended: bool):
    dispatcher = dispatcher_of(with_extended_metrics(), extended=extended)
    namespace, pod = "/namespaces/default", "/namespaces/default/pods/web"
    further = ["swap/usage"] if extended else []
    of_namespace = ["memory/usage", "memory/working_set", "swap/usage"] if extended else ["memory/usage"]
    assert await asked(dispatcher, f"{namespace}/metrics") == (200, of_namespace)
    assert await asked(dispatcher, f"{pod}/metrics") == (200, ["memory/usage", "memory/working_set", *further])

    async def values(path: str) -> list[int]:
        _, series = await asked(dispatcher, path)
        return [point["value"] for point in series["metrics"]]

    assert await values(f"{pod}/metrics/memory/working_set") == [8]
    assert await values(f"{namespace}/metrics/memory/working_set") == ([7] if extended else [])
    assert await values(f"{pod}/metrics/swap/usage") == ([2] if extended else [])
    assert await values(f"{pod}/metrics/filesystem/inodes_free?labels=resource_id:/") == [9]
    assert await values(f"{pod}/metrics/filesystem/inodes_used?labels=resource_id:/") == ([10] if extended else [])
    _, items = await asked(dispatcher, f"{namespace}/pod-list/web/metrics/swap/usage")
    assert [len(item["metrics"]) for item in items["items"]] == ([1] if extended else [0])


async def test_before_the_first_batch_every_answer_is_empty():
    dispatcher = dispatcher_of()
    nothing = {"metrics": [], "latestTimestamp": "0001-01-01T00:00:00Z"}
    for path in ("/nodes", "/namespaces", "/debug/allkeys", "/metrics", "/namespaces/x/pods", "/nodes/x/metrics"):
        assert await asked(dispatcher, path) == (200, [])
    assert await asked(dispatcher, "/metrics/memory/usage") == (200, nothing)
    assert await asked(dispatcher, "/namespaces/x/pod-list/a,b/metrics/m") == (200, {"items": [nothing, nothing]})


async def test_a_window_without_end_ends_now():
    entities = EntityTable()
    batches = []
    for second in (90, 110):
        batch = DataBatch(entities, MetricTable(), second * SECOND)
        batch.put(INDEX["memory/usage"], np.array([entities.cluster]), np.array([second]))
        batch.freeze()
        batches.append(batch)
    _, series = await asked(dispatcher_of(*batches, now=100.0), "/metrics/memory/usage")
    assert [point["value"] for point in series["metrics"]] == [90]


@given(st.integers(-(2**63), 2**63 - 1))
def test_a_value_is_an_unsigned_integer(value):
    assert unsigned(value) == value % 2**64


@given(st.floats(-(2.0**62), 2.0**62))
def test_a_float_is_cut_toward_zero_before_it_wraps(value):
    assert unsigned(value) == int(value) % 2**64


@pytest.mark.parametrize("value", [2.0**63, -1.5e30, 1e300, float("inf"), float("-inf"), float("nan")])
def test_a_float_beyond_64_bits_is_the_one_number_heapsters_processors_made_of_it(value):
    assert unsigned(value) == 2**63


async def test_a_pod_list_keeps_order_and_length_and_repeats_what_is_named_twice():
    replay = Replay()
    replay.until(1)
    dispatcher = Dispatcher(replay.context, ROUTES, API_ROOTS)
    path = "/namespaces/default/pod-list/{}/metrics/memory/usage"
    _, single = await asked(dispatcher, path.format("ingest-1"))
    _, several = await asked(dispatcher, path.format("nosuch,ingest-1,ingest-1"))
    points = single["items"][0]["metrics"]
    assert [item["metrics"] for item in several["items"]] == [[], *2 * [[p for p in points for _ in range(2)]]]


async def test_a_pod_list_cannot_be_made_to_explode():
    dispatcher = dispatcher_of(two_nodes())
    path = "/namespaces/default/pod-list/{}/metrics/memory/usage"
    status, text = await asked(dispatcher, path.format(",".join(["web"] * (MAX_REPEATS + 1))))
    assert (status, text) == (400, f'pod "web" is named {MAX_REPEATS + 1} times in the pod-list, at most {MAX_REPEATS}')
    assert (await asked(dispatcher, path.format(",".join(["web"] * MAX_REPEATS))))[0] == 200


async def test_lists_show_the_latest_batch_only():
    entities = EntityTable()
    batches = []
    for second, pods in ((60, ("a", "b")), (120, ("b", "c"))):
        batch = DataBatch(entities, MetricTable(), second * SECOND)
        rows = np.array([entities.namespace_row("ns"), *(entities.pod_row("ns", pod) for pod in pods)])
        batch.ensure_rows()
        batch.exists[rows] = True
        batch.put(INDEX["memory/usage"], rows, np.full(rows.size, second))
        batch.freeze()
        batches.append(batch)
    dispatcher = dispatcher_of(*batches, now=125.0)
    assert await asked(dispatcher, "/namespaces/ns/pods") == (200, ["b", "c"])
    keys = ["cluster", "namespace:ns", "namespace:ns/pod:b", "namespace:ns/pod:c"]
    assert await asked(dispatcher, "/debug/allkeys") == (200, keys)
    _, series = await asked(dispatcher, "/namespaces/ns/pods/a/metrics/memory/usage")
    assert [point["value"] for point in series["metrics"]] == [60]


async def test_a_long_list_is_sorted_and_leaves_the_event_loop_free():
    names = [f"pod-{i * 7919 % 100_003:06d}" for i in range(100_003)]
    batch = synthetic.batch(synthetic.cluster(1, 1, 1))
    turns = 0

    async def count_turns():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count_turns())
    longest, chunks = 0, []
    async for chunk in name_list(batch, np.arange(len(names)), lambda _batch, row: names[row]):
        longest = max(longest, chunk.count(b"\n"))
        chunks.append(chunk)
    counting.cancel()
    assert json.loads(b"".join(chunks)) == sorted(names)
    assert longest < 2 * BITE
    assert turns > 2 * len(names) / BITE


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]))))
def test_any_list_of_names_comes_back_from_its_json(names):
    async def listed() -> bytes:
        chunks = name_list(None, np.arange(len(names)), lambda _batch, row: names[row])  # type: ignore[arg-type]
        return b"".join([chunk async for chunk in chunks])

    assert json.loads(asyncio.run(listed())) == sorted(names)
