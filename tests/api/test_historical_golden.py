"""Every recorded answer of the historical API, byte for byte, over a real InfluxDB and over the embedded history."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from api.golden import Recorded
from api.past import ROOT, Answered, context, expected, questions

from collector.api import API_ROOTS, ROUTES
from collector.api.dispatch import Dispatcher
from collector.api.route import Answer
from collector.core.contracts import Sink
from collector.core.entities import EntityTable
from collector.core.metrics import MetricTable
from collector.history.contracts import HistoricalSink, History
from sinks.base import build as build_sink
from tests.servers import Influxd, influxd
from tests.sinks.exact import exact
from tests.sinks.golden import SOURCES, build

EXPLAINED = {
    "F10 lists": 10,
    "F10 pod ids, F11 no data": 4,
    "F11 forbidden characters": 8,
}
"""Why an answer differs -> in how many questions of each recording."""

NO_DATA = {"summary": 11, "kubelet": 17}
"""The same for "F11 no data"."""

NAMES_NOT_THERE = {
    "summary": (),
    "kubelet": (
        "/namespaces/default/pods/cron-tbx59/containers/log-agent/metrics/",
        "/namespaces/default/pods/cron-tbx59/containers/sidecar/metrics/",
        "/namespaces/default/pods/db-143ebc0a7b-p4f8x/containers/sidecar/metrics/",
        "/namespaces/default/pods/ingest-1/containers/sidecar/metrics/",
        "/namespaces/kube-system/pods/kube-proxy-rcq6f/containers/sidecar/metrics/",
        "/namespaces/team-a/pods/search-040e5d5f63-blbzs/containers/sidecar/metrics/",
        "/namespaces/team-b/pods/frontend-942889cb84-gw2md/containers/sidecar/metrics/",
    ),
}
"""SHOW MEASUREMENTS looks for each of its conditions alone: it names what these containers never had."""

LAST_DIGIT = (
    ("/namespaces/team-a/pods/search-040e5d5f63-blbzs/", "network/rx_errors_rate"),
    ("/namespaces/team-a/pods/web-tlmcx/", "network/tx_errors_rate"),
    ("/nodes/node-0001/", "cpu/node_reservation"),
    ("/nodes/node-0001/", "memory/page_faults_rate"),
    ("/nodes/node-0001/", "network/rx_rate"),
)
"""Averages of floats of what was relabelled in step 7: InfluxDB sums each of its two series first, we go by time."""

MISSING = "the influxdb sink stores no pod ids; with its option store_pod_id=true it does from then on"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Influxd]:
    with influxd(tmp_path_factory.mktemp("influxd")) as running:
        yield running


@asynccontextmanager
async def filled(sink: Sink, source: str) -> AsyncIterator[History]:
    """The past of a sink that was given the recorded batches."""
    entities, metrics = EntityTable(), MetricTable()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(sink.stop)
        for step in exact(source):
            await sink.export(build(step, entities, metrics))
        assert isinstance(sink, HistoricalSink)
        history = sink.history()
        assert history is not None
        stack.push_async_callback(history.stop)
        yield history


@pytest.mark.parametrize(
    ("source", "options"),
    [("summary", ""), ("kubelet", ""), ("kubelet", "&store_pod_id=true&cluster_name=other")],
)
async def test_over_influxdb_every_answer_is_the_recorded_one(server: Influxd, source: str, options: str) -> None:
    uri = f"influxdb:{server.url}?db={source}{len(options)}{options}"
    async with filled(build_sink(uri), source) as history:
        differences = await compare(source, history, pod_ids_missing="" if options else MISSING)
    assert not differences


async def test_over_influxdb_with_fields_every_answer_is_the_recorded_one(server: Influxd) -> None:
    async with filled(build_sink(f"influxdb:{server.url}?db=fields&withfields=true"), "kubelet") as history:
        differences = await compare("kubelet", history, pod_ids_missing=MISSING)
    less = only_names_less(differences)
    assert sorted(less) == sorted(NAMES_NOT_THERE["kubelet"])
    assert len(less) == len(differences)


@pytest.mark.parametrize("source", SOURCES)
async def test_over_the_embedded_history_every_answer_is_the_recorded_one(tmp_path: Path, source: str) -> None:
    async with filled(build_sink(f"history:{tmp_path}?retention=100000h"), source) as history:
        differences = await compare(source, history)
    less, rounded = only_names_less(differences), only_rounded(differences)
    assert sorted(less) == sorted(NAMES_NOT_THERE[source])
    assert len(rounded) == len(LAST_DIGIT)
    assert all(any(path in target and f"/{metric}?" in target for path, metric in LAST_DIGIT) for target in rounded)
    assert len(less) + len(rounded) == len(differences)


Difference = tuple[str, Answered, Answered]
"""Target, what was seen, what was to be seen."""


async def compare(source: str, history: History, *, pod_ids_missing: str = "") -> list[Difference]:
    """All that differs and is not explained by F10 or F11."""
    dispatcher = Dispatcher(context(source, history), ROUTES, API_ROOTS)
    permits, explained = asyncio.Semaphore(8), Counter[str]()

    async def one(question: Recorded) -> Difference:
        async with permits:
            answer = (await dispatcher.answer(question.method, question.target, question.headers)).answer
            seen = (answer.status, answer.content_type, await whole_body(answer))
        why, wanted = expected(question, source, pod_ids_missing=pod_ids_missing)
        explained[why] += 1
        return question.target.removeprefix(ROOT), seen, wanted

    found = await asyncio.gather(*map(one, questions(source)))
    assert explained.pop("") > 2_000
    assert explained == {**EXPLAINED, "F11 no data": NO_DATA[source]}
    return [one for one in found if one[1] != one[2]]


def only_names_less(differences: list[Difference]) -> list[str]:
    """The targets of lists of names that lack the disk's metrics and no others."""
    return [
        target
        for target, seen, wanted in differences
        if target.endswith("/metrics/")
        and seen[:2] == wanted[:2]
        and json.loads(seen[2]) == [name for name in json.loads(wanted[2]) if not name.startswith("disk/")]
    ]


def only_rounded(differences: list[Difference]) -> list[str]:
    """The targets of aggregations whose averages differ by less than 1e-12, and nothing else."""
    found = []
    for target, seen, wanted in differences:
        if "/metrics-aggregated/" in target and seen[:2] == wanted[:2]:
            ours, theirs = json.loads(seen[2]), json.loads(wanted[2])
            for bucket, other in zip(ours["buckets"], theirs["buckets"], strict=True):
                assert bucket.pop("average") == pytest.approx(other.pop("average"), rel=1e-12)
            assert ours == theirs
            found.append(target)
    return found


async def whole_body(answer: Answer) -> bytes:
    if isinstance(answer.body, bytes):
        return answer.body
    return b"".join([chunk async for chunk in answer.body])
