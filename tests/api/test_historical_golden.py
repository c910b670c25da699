"""Every recorded answer of the historical API, byte for byte, over a real InfluxDB and over the embedded history."""

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from api.past import context, expected, questions

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
    "F10 lists": 9,
    "F10 pod ids, F11 no data": 4,
    "F11 forbidden characters": 8,
}
"""Why an answer differs -> in how many questions of each recording."""

NO_DATA = {"summary": 12, "kubelet": 18}
"""The same for "F11 no data"."""

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


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("options", ["", "&store_pod_id=true", "&cluster_name=other"])
async def test_over_influxdb_every_answer_is_the_recorded_one(server: Influxd, source: str, options: str) -> None:
    uri = f"influxdb:{server.url}?db={source}{len(options)}{options}"
    async with filled(build_sink(uri), source) as history:
        await compare(source, history, pod_ids_missing="" if "pod_id" in options else MISSING)


@pytest.mark.parametrize("source", SOURCES)
async def test_over_influxdb_with_fields_every_answer_is_the_recorded_one(server: Influxd, source: str) -> None:
    async with filled(build_sink(f"influxdb:{server.url}?db={source}_fields&withfields=true"), source) as history:
        await compare(source, history, pod_ids_missing=MISSING)


@pytest.mark.parametrize("source", SOURCES)
async def test_over_the_embedded_history_every_answer_is_the_recorded_one(tmp_path: Path, source: str) -> None:
    async with filled(build_sink(f"history:{tmp_path}?retention=100000h"), source) as history:
        await compare(source, history)


async def compare(source: str, history: History, *, pod_ids_missing: str = "") -> None:
    dispatcher = Dispatcher(context(source, history), ROUTES, API_ROOTS)
    differences, explained = [], Counter[str]()
    for question in questions(source):
        answer = (await dispatcher.answer(question.method, question.target, question.headers)).answer
        why, wanted = expected(question, source, pod_ids_missing=pod_ids_missing)
        explained[why] += 1
        seen = (answer.status, answer.content_type, await whole_body(answer))
        if seen != wanted:
            differences.append((question.target, seen, wanted))
    assert not differences, (len(differences), differences[:5])
    assert explained.pop("") > 2_000
    assert explained == {**EXPLAINED, "F11 no data": NO_DATA[source]}


async def whole_body(answer: Answer) -> bytes:
    if isinstance(answer.body, bytes):
        return answer.body
    return b"".join([chunk async for chunk in answer.body])
