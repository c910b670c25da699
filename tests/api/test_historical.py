"""The historical API over a past made by hand: what is read from a request, what is asked, how it is laid out."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from api.golden import Replay
from api.past import context as past_context
from hypothesis import given
from hypothesis import strategies as st

from collector.api import API_ROOTS, ROUTES, historical, jsontext, offered
from collector.api import longjson as long
from collector.api.dispatch import Dispatcher
from collector.api.longjson import Elements, long_items, long_object
from collector.api.model import parse_labels
from collector.api.pasttext import aggregations_of, bucket_documents, bucket_size, described, point_documents
from collector.api.route import BadRequestError, Context, Style
from collector.core.metrics import Kind
from collector.core.store import MetricStore
from collector.errors import HistoryError
from collector.history.contracts import Aggregation, Bucket, EntityKey, Series
from collector.selfmetrics import SelfMetrics

SECOND = 1_000_000_000
START = 1_795_397_280 * SECOND
AT = "2026-11-23T01:28:00Z"
ROOT = "/api/v1/historical"


@dataclass
class Past:
    """A history that answers what it is told to, and notes what it was asked."""

    points: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """Pod -> values, a second apart."""
    fault: str = ""
    without_pod_ids: str = ""
    asked: list[tuple[object, ...]] = field(default_factory=list)

    async def entities(
        self, kind: Kind, start: int, end: int, *, namespace: str = "", pod: str = "", node: str = ""
    ) -> list[EntityKey]:
        self._note(kind, start, end, namespace, pod, node)
        return [EntityKey(kind, namespace=namespace, pod=name, container=name) for name in sorted(self.points)]

    async def metric_names(self, key: EntityKey, start: int, end: int) -> list[str]:
        self._note(key, start, end)
        return ["cpu/usage", "swap/usage"] if key.pod in self.points else []

    async def series(
        self, keys: Sequence[EntityKey], metric: str, start: int, end: int, labels: Mapping[str, str] | None = None
    ) -> list[Series]:
        self._note(tuple(keys), metric, start, end, dict(labels or {}))
        values = [np.array(self.points.get(key.pod or key.pod_id, ())) for key in keys]
        return [Series(START + SECOND * np.arange(one.size), one) for one in values]

    async def aggregate(
        self,
        keys: Sequence[EntityKey],
        metric: str,
        aggregations: Collection[Aggregation],
        start: int,
        end: int,
        *,
        bucket_ns: int = 0,
        labels: Mapping[str, str] | None = None,
    ) -> list[list[Bucket]]:
        self._note(tuple(keys), metric, tuple(aggregations), start, end, bucket_ns, dict(labels or {}))
        return [
            [Bucket(START, dict.fromkeys(aggregations, value)) for value in self.points.get(key.pod, ())]
            for key in keys
        ]

    async def stop(self) -> None:
        raise AssertionError

    def _note(self, *asked: object) -> None:
        self.asked.append(asked)
        if self.fault:
            raise HistoryError(self.fault)


async def answer(past: Past, target: str, context: Context | None = None) -> tuple[int, str]:
    context = context or Context(MetricStore(), SelfMetrics("test"), clock=lambda: START / SECOND + 3.7)
    dispatcher = Dispatcher(replace(context, history=past), ROUTES, API_ROOTS)
    found = (await dispatcher.answer("GET", ROOT + target, {})).answer
    body = found.body if isinstance(found.body, bytes) else b"".join([piece async for piece in found.body])
    return found.status, body.decode()


def pod(name: str) -> EntityKey:
    return EntityKey(Kind.POD, namespace="a", pod=name)


# What a request says.


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("", 0), ("0s", 0), ("1s", SECOND), ("10s", 10 * SECOND), ("007m", 420 * SECOND), ("2h", 7200 * SECOND),
        ("1d", 86_400 * SECOND), ("5ms", 5_000_000), ("1500ms", 1_500_000_000),
        ("106751d", 106_751 * 86_400 * SECOND),
    ],
)  # fmt: skip
def test_bucket_sizes(text: str, size: int) -> None:
    assert bucket_size(text) == size


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("s", '"s" is too short to be a duration'),
        ("5", '"5" is too short to be a duration'),
        ("10", '"10" has no known duration suffix'),
        ("10w", '"10w" has no known duration suffix'),
        ("10S", '"10S" has no known duration suffix'),
        ("1é", '"1é" has no known duration suffix'),
        ("ms", 'strconv.ParseUint: parsing "m": invalid syntax'),
        ("-1m", 'strconv.ParseUint: parsing "-1": invalid syntax'),
        ("+1m", 'strconv.ParseUint: parsing "+1": invalid syntax'),
        ("1.5m", 'strconv.ParseUint: parsing "1.5": invalid syntax'),
        ("1_0m", 'strconv.ParseUint: parsing "1_0": invalid syntax'),
        ("\u0661s", 'strconv.ParseUint: parsing "\u0661": invalid syntax'),
        (" 1s", 'strconv.ParseUint: parsing " 1": invalid syntax'),
        ("106752d", 'strconv.ParseUint: parsing "106752": value out of range'),
        ("9" * 5000 + "d", "value out of range"),
    ],
)
def test_what_is_no_bucket_size_is_refused_in_heapsters_words(text: str, words: str) -> None:
    with pytest.raises(BadRequestError) as caught:
        bucket_size(text)
    assert words in str(caught.value)
    assert caught.value.status == 400


def test_aggregations() -> None:
    text = "average,max,min,median,count,50-perc,95-perc,99-perc"
    assert aggregations_of(text) == list(Aggregation)
    assert aggregations_of("max,max") == [Aggregation.MAXIMUM] * 2
    for name in ("", "Max", "75-perc", "max "):
        with pytest.raises(BadRequestError, match=f'Unknown aggregation "{name}"'):
            aggregations_of(f"count,{name}")


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (EntityKey(Kind.CLUSTER), "(cluster)[cluster]"),
        (EntityKey(Kind.NODE, node="n"), "(node)node:n"),
        (EntityKey(Kind.NAMESPACE, namespace="a"), "(ns)ns:a"),
        (pod("b"), "(pod)ns:a/pod:b"),
        (EntityKey(Kind.POD, pod_id="u"), "(pod)poduid:u"),
        (EntityKey(Kind.POD_CONTAINER, namespace="a", pod="b", container="c"), "(pod_container)ns:a/pod:b/container:c"),
        (EntityKey(Kind.POD_CONTAINER, pod_id="u", container="c"), "(pod_container)poduid:u/container:c"),
        (EntityKey(Kind.SYS_CONTAINER, node="n", container="c"), "(sys_container)node:n/container:c"),
    ],
)
def test_how_an_entity_is_named_in_a_refusal(key: EntityKey, text: str) -> None:
    assert described(key) == text


async def test_ranges_are_exclusive_and_cut_to_seconds() -> None:
    for query, start, end in (
        (f"start={AT}", START + 1, START + 3 * SECOND - 1),
        (f"start={AT}&end=2026-11-23T01:28:09.999Z", START + 1, START + 9 * SECOND - 1),
        ("start=2026-11-23T01:28:00.999Z&end=2026-11-23T02:28:01%2B01:00", START + 1, START + SECOND - 1),
        ("start=0001-01-01T00:00:01Z&end=9999-12-31T00:00:00Z", *historical.FOREVER),
    ):
        past = Past({"b": [1]})
        assert (await answer(past, f"/namespaces/a/pods/b/metrics/cpu-usage?{query}"))[0] == 200
        assert past.asked == [((pod("b"),), "cpu/usage_rate", start, end, {})]
        past = Past({"b": [1]})
        target = f"/namespaces/a/pods/b/metrics-aggregated/max/x?{query}&bucket=1m&labels=k:v:w,resource_id:/"
        assert (await answer(past, target))[0] == 200
        labels = {"k": "v:w", "resource_id": "/"}
        wanted = (Aggregation.MAXIMUM,)
        assert past.asked == [((pod("b"),), "x", wanted, start, end, 60 * SECOND, labels)]


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("/namespaces/a%3Bb/metrics/x?{}", 'Invalid namespace name "a;b"'),
        ("/namespaces/a/pods/%C3%A9/metrics/x?{}", 'Invalid pod name "é"'),
        ("/namespaces/a/pods/%FF/metrics/", 'Invalid pod name "\\xff"'),
        ("/namespaces/a/pods/b/containers/c%20d/metrics/x?{}", 'Invalid container name "c d"'),
        ("/namespaces/a/pods/b%0A/containers", 'Invalid pod name "b\\n"'),
        ("/nodes/n%27/freecontainers/c/metrics/x?{}", 'Invalid node name "n\'"'),
        ("/pod-id/u:1/metrics/x?{}", 'Invalid pod id "u:1"'),
        ("/namespaces/a/pod-list/b,c%22/metrics-aggregated/max/x?{}", 'Invalid pod name "c\\""'),
        ("/metrics/a%22b?{}", 'Invalid metric name "a\\"b"'),
        ("/metrics/x%0A?{}", 'Invalid metric name "x\\n"'),
        ("/metrics/x?{}&labels=a%20b:c", 'Invalid label name "a b"'),
        ("/metrics/x?{}&labels=a:it%27s", 'Invalid label value "it\'s"'),
        ("/metrics/x?{}&labels=a:%E2%80%A8", 'Invalid label value "\\u2028"'),
    ],
)
async def test_names_no_object_can_have_are_refused(target: str, words: str) -> None:
    past = Past({"b": [1]})
    assert await answer(past, target.format(f"start={AT}")) == (400, words)
    assert past.asked == []


async def test_label_values_may_hold_all_that_prints() -> None:
    past = Past({"b": [1]})
    target = f"/namespaces/a/pods/b/metrics/x?start={AT}&labels=a:%C3%A9%20%5C%3B(%F0%9F%99%82)"
    assert (await answer(past, target))[0] == 200
    assert past.asked[0][-1] == {"a": "é \\;(🙂)"}
    assert parse_labels("a:b:c") == {"a": "b:c"}


async def test_faults_are_told_in_heapsters_order() -> None:
    target = "/metrics-aggregated/no/a%22?labels=x&bucket=y"
    for query, words in (
        ("&start=z&end=z", 'parsing time "z"'),
        (f"&start={AT}&end=z", 'parsing time "z"'),
        ("", "no start time (or a start time of zero) provided"),
        (f"&start={AT}", "unable to parse bucket size"),
        (f"&start={AT}&bucket=", "unable to parse bucket size"),
    ):
        status, text = await answer(Past(), target + query)
        assert (status, words in text) == (400, True), text
    target = f"/metrics-aggregated/no/a%22?labels=x&start={AT}"
    assert await answer(Past(), target) == (400, 'Unknown aggregation "no"')
    assert await answer(Past(), target.replace("/no/", "/max/")) == (400, 'invalid label pair "x"')


# Lists of pods.


async def test_a_list_keeps_its_order_and_its_repeats() -> None:
    past = Past({"b": [1, 2], "c": [3]})
    status, text = await answer(past, f"/namespaces/a/pod-list/c,b,c/metrics/x?start={AT}")
    assert status == 200
    assert text.endswith("}]}\n")
    assert "\n" not in text[:-1]
    assert [[point["value"] for point in item["metrics"]] for item in json.loads(text)["items"]] == [[3], [1, 2], [3]]
    assert past.asked[0][0] == (pod("c"), pod("b")), "asked once each"
    status, text = await answer(past, f"/namespaces/a/pod-list/c,b,c/metrics-aggregated/max/x?start={AT}")
    assert [len(item["buckets"]) for item in json.loads(text)["items"]] == [1, 2, 1]


async def test_the_first_pod_without_points_is_named() -> None:
    past = Past({"b": [1]})
    refusal = 'No results for metric "x" describing "(pod)ns:a/pod:{}"'
    for pods, name in (("b,no,none", "no"), ("none,no", "none"), ("b,", ""), (",", ""), (",no", "")):
        for what in ("metrics", "metrics-aggregated/max"):
            target = f"/namespaces/a/pod-list/{pods}/{what}/x?start={AT}"
            assert await answer(past, target) == (404, refusal.format(name))
    assert all(key.pod for keys, *_ in past.asked for key in keys), "no name does not mean all of them"
    target = f"/pod-id-list/,/metrics/x?start={AT}"
    assert await answer(past, target) == (404, 'No results for metric "x" describing "(pod)ns:/pod:"')


async def test_a_list_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    past, target = Past({"b": [1] * 10}), "/namespaces/a/pod-list/{}/metrics/x?start=" + AT
    assert (await answer(past, target.format(",".join(["b"] * 1000))))[0] == 200
    status, text = await answer(past, target.format(",".join(["b"] * 1001)))
    assert (status, text) == (400, "the list names 1001 pods, at most 1000 are allowed")
    monkeypatch.setattr(historical, "MAX_POINTS", 29)
    status, text = await answer(past, target.format("b,b,b"))
    assert status == 400
    assert "30 points, at most 29 are allowed" in text


async def test_pods_by_uid_where_the_store_has_none() -> None:
    past = Past({"u-1": [1]}, without_pod_ids="turn this")
    target = "/pod-id/u-1/metrics/x?start=" + AT
    words = 'No results for metric "x" describing "(pod)poduid:u-1" (turn this)'
    assert await answer(past, target) == (404, words)
    assert past.asked == []
    past.without_pod_ids = ""
    assert (await answer(past, target))[0] == 200
    assert past.asked[0][0] == (EntityKey(Kind.POD, pod_id="u-1"),)
    target = "/pod-id-list/u-1,u-2/metrics-aggregated/max/x?start=" + AT
    past.without_pod_ids = "turn this"
    assert (await answer(past, target))[0] == 404


# Names and lists.


async def test_names_and_lists_ask_for_all_that_is_kept() -> None:
    past = Past({"b": [1], "a": [2]})
    assert json.loads((await answer(past, "/namespaces/a/pods/b/metrics"))[1]) == ["cpu/usage"]
    assert json.loads((await answer(past, "/namespaces/a/pods"))[1]) == ["a", "b"]
    assert json.loads((await answer(past, "/namespaces/a/pods/b/containers"))[1]) == ["a", "b"]
    assert past.asked == [
        (pod("b"), *historical.FOREVER),
        (Kind.POD, *historical.FOREVER, "a", "", ""),
        (Kind.POD_CONTAINER, *historical.FOREVER, "a", "b", ""),
    ]


async def test_nothing_to_list() -> None:
    for target, words in (
        ("/nodes", "Unable to list all nodes"),
        ("/namespaces/", "Unable to list all namespaces"),
        ("/namespaces/a/pods", 'Unable to list pods in namespace "a"'),
        ("/nodes/n/freecontainers", 'Unable to list system containers on node "n"'),
        ("/nodes/n/metrics", "Unable to list available metrics"),
    ):
        assert await answer(Past(), target) == (404, words)
    # Heapster answered these from memory, where nothing is nothing wrong.
    assert await answer(Past(), "/namespaces/a/pods/b/containers") == (200, "[]")


@pytest.mark.parametrize(
    "target",
    ["/nodes", "/metrics", f"/metrics/cpu/limit?start={AT}", f"/metrics-aggregated/max/cpu/limit?start={AT}"],
)
async def test_what_keeps_the_store_from_answering_is_told(target: str) -> None:
    assert await answer(Past(fault="the disk is on fire"), target) == (500, "the disk is on fire")


async def test_a_node_may_be_called_by_its_host_name() -> None:
    past = Past()
    cluster = past_context("summary", past)
    batch = cluster.store.latest()
    assert batch is not None
    row = int(batch.rows_of(Kind.NODE)[0])
    name = batch.entities.name[row]
    labels = {**batch.entities.own_labels(row), "hostname": "host-of-it"}
    batch.entities.set_own_labels(row, labels)
    status, text = await answer(past, f"/nodes/host-of-it/metrics/cpu/usage?start={AT}", cluster)
    assert (status, "node:host-of-it" in text) == (404, True)
    await answer(past, "/nodes/host-of-it/freecontainers", cluster)
    assert past.asked[0][0] == (EntityKey(Kind.NODE, node=name),)
    assert past.asked[1][-1] == name


# Without a past.


async def test_without_a_past_the_api_is_not_there() -> None:
    context = Replay().context
    routes, roots = offered(context)
    assert not [route for route in routes if route.path.startswith(ROOT)]
    dispatcher = Dispatcher(context, routes, roots)
    for path in (ROOT, f"{ROOT}/nodes"):
        found = (await dispatcher.answer("GET", path, {})).answer
        assert (found.status, found.body) == (404, b"404 page not found\n"), "as any path that is not there"
    routes, roots = offered(replace(context, history=Past()))
    assert roots == API_ROOTS
    assert sorted(route.path for route in routes) == sorted(route.path for route in ROUTES)


def test_the_names_of_the_routes_are_heapsters() -> None:
    names = {route.path.removeprefix(ROOT): route.name for route in historical.ROUTES}
    assert len(names) == 31
    assert names["/namespaces/{namespace}/pod-list/{pods}/metrics/{metric:*}"] == "podListMetric"
    assert names["/pod-id-list/{pod_ids}/metrics/{metric:*}"] == "podListAggregations"
    aggregated = {path.partition("/metrics-aggregated/")[0]: names[path] for path in names if "aggregated" in path}
    assert aggregated[""] == "clusterMetrics"
    assert aggregated["/pod-id/{pod_id}/containers/{container}"] == "podContainerMetrics"
    assert aggregated["/nodes/{node}/freecontainers/{container}"] == "freeContainerMetrics"


# Layout.


@pytest.mark.parametrize("style", [Style.PRETTY, Style.COMPACT])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 7])
async def test_a_long_answer_is_laid_out_as_a_short_one(
    style: Style, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(long, "BITE", 3)
    documents = [{"timestamp": "t", "value": k, "more": {"x": [], "y": [k]}} for k in range(count)]

    def elements() -> Elements:
        return Elements("metrics", count, iter(documents), {"latest": "t", "deep": {"z": 1}})

    whole = jsontext.lay_out({"metrics": documents, "latest": "t", "deep": {"z": 1}}, style)
    pieces = [piece async for piece in long_object(elements(), style)]
    assert b"".join(pieces).decode() == whole
    if style is Style.COMPACT:
        items = b"".join([piece async for piece in long_items([elements(), elements()])])
        assert items.decode() == f'{{"items":[{whole[:-1]},{whole[:-1]}]}}\n'


@given(st.lists(st.integers(-(2**63), 2**63 - 1) | st.floats(-1e25, 1e25), min_size=1, max_size=5))
def test_a_value_is_an_integer_where_all_of_its_kind_read_as_integers(values: list[float]) -> None:
    wanted = [Aggregation.MAXIMUM, Aggregation.COUNT, Aggregation.PERCENTILE_95]
    buckets = [Bucket(START, {wanted[0]: value, wanted[1]: 7, wanted[2]: 1.5}) for value in values]
    texts = [jsontext.number(value) for value in values]
    whole = all(set(text) <= set("-0123456789") and -(2**63) <= int(text) < 2**63 for text in texts)
    for document, text, value in zip(bucket_documents(buckets, wanted), texts, values, strict=True):
        maximum = {"intValue": int(text)} if whole else {"floatValue": float(value)}
        assert document == {
            "timestamp": AT,
            "count": 7,
            "maximum": maximum,
            "percentiles": {"95": {"floatValue": 1.5}},
        }


def test_points_are_cut_to_unsigned_integers() -> None:
    series = Series(np.array([START, START + SECOND, START + 2]), np.array([1.9, -1.0, 2.0**40]))
    found = [(one["timestamp"], one["value"]) for one in point_documents(series)]  # type: ignore[index, call-overload]
    assert found == [(AT, 1), ("2026-11-23T01:28:01Z", 2**64 - 1), ("2026-11-23T01:28:00.000000002Z", 2**40)]


async def test_what_heapster_did_not_have_is_shown_only_when_asked_for() -> None:
    past = Past({"b": [1.0]})
    extended = Context(MetricStore(), SelfMetrics("test"), extended=True)
    names, swap = "/namespaces/a/pods/b/metrics", f"/namespaces/a/pods/b/metrics/swap/usage?start={AT}"
    assert json.loads((await answer(past, names))[1]) == ["cpu/usage"]
    assert json.loads((await answer(past, names, extended))[1]) == ["cpu/usage", "swap/usage"]
    assert (await answer(past, swap))[0] == 404
    assert (await answer(past, swap, extended))[0] == 200
