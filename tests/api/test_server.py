"""The listening server: what the dispatcher answers, as bytes on a socket."""

import asyncio
import gzip
import json
import zlib

import aiohttp
import pytest
from api import synthetic
from api.golden import Replay
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from collector.api import dispatch, offered, server
from collector.api.route import ANY, Answer, Context, Route, Style
from collector.api.server import ApiServer
from collector.core.store import MetricStore
from collector.errors import StartError
from collector.selfmetrics import SelfMetrics
from collector.turns import SHORT_S

NOW = 1_790_000_005.0


@pytest.fixture
async def large():
    """A server over a batch whose text is some megabytes long."""
    store = MetricStore(clock=lambda: NOW)
    store.add(synthetic.batch(synthetic.cluster(40, 30, 2)))
    running = ApiServer(Context(store, SelfMetrics(), clock=lambda: NOW), host="127.0.0.1", port=0)
    await running.start()
    yield running
    await running.stop()


async def test_a_long_answer_is_streamed_and_compressed_when_asked(large, session):
    url = f"http://127.0.0.1:{large.port}/metrics/cluster"
    plain, zipped = {"Accept-Encoding": ""}, {"Accept-Encoding": "gzip"}
    async with session.get(url, headers=plain) as response:
        text = await response.read()
        assert "Content-Length" not in response.headers
    async with aiohttp.ClientSession(auto_decompress=False) as raw, raw.get(url, headers=zipped) as response:
        assert response.headers["Content-Encoding"] == "gzip"
        body = await response.read()
    assert gzip.decompress(body) == text
    assert len(body) < len(text) / 4
    assert len(text) > 2 * server.WHOLE_BYTES
    assert text.count(b"# TYPE") > 50


async def test_background_work_is_told_of_clients_and_hurried_until_their_answer(large, session, monkeypatch):
    turns = large._context.turns
    told = []
    for name in ("asked", "served"):
        original = getattr(turns, name)
        monkeypatch.setattr(turns, name, lambda name=name, original=original: (told.append(name), original()))
    assert not turns.attentive
    async with session.get(f"http://127.0.0.1:{large.port}/healthz") as response:
        await response.read()
    assert told[0] == "asked"
    assert set(told[1:]) == {"served"}
    assert turns.stretch(1.0) == SHORT_S
    async with session.get(f"http://127.0.0.1:{large.port}/metrics/cluster") as response:
        await response.read()
    assert told.count("served") > 3, "a long answer keeps telling"


async def test_a_list_of_all_keys_is_streamed_whole(large, session):
    async with session.get(f"http://127.0.0.1:{large.port}/api/v1/model/debug/allkeys") as response:
        keys = json.loads(await response.read())
    assert keys == sorted(keys)
    assert len(keys) == 1 + 10 + 40 * (1 + 3 + 30 * 3)


async def test_a_client_that_leaves_early_disturbs_nobody(large, session):
    for _ in range(3):
        reader, writer = await asyncio.open_connection("127.0.0.1", large.port)
        writer.write(b"GET /metrics/cluster HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.read(100)
        writer.transport.abort()
    async with session.get(f"http://127.0.0.1:{large.port}/api/v1/model/nodes") as response:
        assert len(await response.json()) == 40


async def test_a_client_that_does_not_read_is_cut_off(large, monkeypatch):
    monkeypatch.setattr(server, "ANSWER_DEADLINE_S", 0.2)
    reader, writer = await asyncio.open_connection("127.0.0.1", large.port, limit=1 << 26)
    writer.write(b"GET /metrics/cluster HTTP/1.1\r\nHost: x\r\n\r\n")
    writer.transport.pause_reading()
    await asyncio.sleep(0.6)
    writer.transport.resume_reading()
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await reader.readuntil(b"0\r\n\r\n")
    writer.close()


async def test_head_sends_headers_and_no_body(large, session):
    for path in ("/metrics", "/metrics/cluster", "/healthz"):
        async with session.head(f"http://127.0.0.1:{large.port}{path}") as response:
            assert response.status == 200
            assert await response.read() == b""


async def test_short_answers_beside_the_api_are_plain_and_those_of_the_api_are_not(large):
    async with aiohttp.ClientSession(auto_decompress=False, headers={"Accept-Encoding": "gzip"}) as raw:
        found = {}
        for path in ("/healthz", "/nosuch", "/metrics", "/openapi.json", "/api/v1/model/nosuch", "/api/v1/model/nodes"):
            async with raw.get(f"http://127.0.0.1:{large.port}{path}") as response:
                found[path] = response.headers.get("Content-Encoding")
    assert found == {"/healthz": None, "/nosuch": None, **dict.fromkeys(list(found)[2:], "gzip")}


async def test_only_who_wanted_to_read_gets_the_body_of_a_redirect(large):
    for method, body in (("GET", b"Moved Permanently"), ("HEAD", b""), ("POST", b"")):
        reader, writer = await asyncio.open_connection("127.0.0.1", large.port)
        writer.write(f"{method} /api//v1/model HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        head, _, rest = (await reader.read()).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 301 ")
        assert b"Location: /api/v1/model\r\n" in head + b"\r\n"
        assert body in rest
        assert bool(rest) == bool(body)
        writer.close()


async def test_a_taken_port_names_address_port_and_flag(served):
    second = ApiServer(served.replay.context, host="127.0.0.1", port=served.server.port, flag="--port")
    with pytest.raises(StartError) as refusal:
        await second.start()
    assert str(refusal.value) == (
        f"cannot listen on 127.0.0.1 port {served.server.port}: the port is in use; choose another with --port"
    )
    await second.stop()


async def test_an_address_that_is_not_ours_is_named():
    elsewhere = ApiServer(Context(MetricStore(), SelfMetrics()), host="192.0.2.1", port=0)
    with pytest.raises(StartError, match=r"cannot listen on 192\.0\.2\.1 port 0: .*--listen-ip"):
        await elsewhere.start()


async def test_requests_are_counted_by_route(served, session):
    for target in ("/api/v1/model/nodes", "/api/v1/model/nodes/", "/api/v1/model/nosuch", "/metrics/cluster"):
        async with session.get(served.url(target)) as response:
            await response.read()
    async with session.request("PROPFIND", served.url("/healthz")) as response:
        assert response.status == 200
    async with session.get(served.url("/metrics")) as response:
        text = await response.text()
    counted = {
        tuple(sorted(sample.labels.items())): sample.value
        for family in parse_text(text)
        for sample in family.samples
        if sample.name == "http_requests_total"
    }
    assert counted == {
        (("code", "200"), ("handler", "nodeList"), ("method", "get")): 2,
        (("code", "404"), ("handler", "none"), ("method", "get")): 1,
        (("code", "200"), ("handler", "prometheusCluster"), ("method", "get")): 1,
        (("code", "200"), ("handler", "healthz"), ("method", "other")): 1,
    }


async def test_a_malformed_target_is_a_400_and_a_whole_url_is_taken(served):
    for target, status in (("/api/v1/%zz", 400), (f"http://{served.address}/api/v1/model/nodes", 200)):
        reader, writer = await asyncio.open_connection("127.0.0.1", served.server.port)
        writer.write(f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        assert (await reader.readline()).split()[1] == str(status).encode()
        await reader.read()
        writer.close()


async def test_what_is_no_http_is_refused_without_a_trace_in_the_log(served, caplog):
    reader, writer = await asyncio.open_connection("127.0.0.1", served.server.port)
    writer.write(b"\x16\x03\x01 a TLS hello, say\r\n\r\n")
    assert b"400 Bad Request" in await reader.read()
    writer.close()
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_a_pod_list_of_thousands_fits_into_the_request_line(served, session):
    pods = ",".join(f"web-frontend-{i:06d}" for i in range(5000))
    async with session.get(
        served.url(f"/api/v1/model/namespaces/default/pod-list/{pods}/metrics/cpu-usage")
    ) as response:
        assert len((await response.json())["items"]) == 5000


async def test_cluster_text_follows_the_accept_header(served, session):
    openmetrics = {"Accept": "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"}
    async with session.get(served.url("/metrics/cluster"), headers=openmetrics) as response:
        assert response.headers["Content-Type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
        assert sum(1 for _ in parse_openmetrics(await response.text())) > 50
    async with session.get(served.url("/metrics/cluster")) as response:
        assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"


async def test_kinds_are_chosen_in_the_query(served, session):
    async with session.get(served.url("/metrics/cluster?kind=node,namespace&kind=cluster")) as response:
        text = await response.text()
    kinds = {family.name.split("_")[1] for family in parse_text(text)}
    assert kinds == {"node", "namespace", "cluster"}
    async with session.get(served.url("/metrics/cluster?kind=nodes")) as response:
        assert response.status == 400
        assert await response.text() == (
            "kind 'nodes' is not known; there are cluster, node, namespace, pod, container, system_container"
        )


async def test_old_samples_are_withheld_once_collecting_has_stopped(served, session):
    async with session.get(served.url("/metrics/cluster")) as response:
        assert await response.text()
    served.replay.now += 200
    for accept, text in (("text/plain", ""), ("application/openmetrics-text", "# EOF\n")):
        async with session.get(served.url("/metrics/cluster"), headers={"Accept": accept}) as response:
            assert await response.text() == text


async def test_a_handler_that_fails_is_a_500_and_is_logged(session, caplog):
    def broken(_context, _request):
        raise RuntimeError("no such luck")

    context = Context(MetricStore(), SelfMetrics())
    table = dispatch.Dispatcher(context, [Route(ANY, "/broken", broken, Style.PLAIN, "x")], [])
    running = ApiServer(context, host="127.0.0.1", port=0, dispatcher=table)
    await running.start()
    async with session.get(f"http://127.0.0.1:{running.port}/broken") as response:
        assert response.status == 500
        assert await response.text() == "500: Internal Server Error"
    await running.stop()
    assert "no such luck" in caplog.text


def test_a_json_route_outside_the_roots_is_refused():
    route = Route("GET", "/elsewhere", lambda _context, _request: [], Style.PRETTY, "x")
    with pytest.raises(ValueError, match="/elsewhere"):
        dispatch.Dispatcher(Context(MetricStore(), SelfMetrics()), [route], ["/api"])


async def test_a_literal_goes_before_a_parameter_and_a_dead_end_is_left_again():
    def names(which):
        return lambda _context, request: Answer(f"{which} {dict(request.params)}".encode())

    routes = [
        Route("GET", "/api/{a}/x", names("one"), Style.PRETTY, "one"),
        Route("GET", "/api/fixed", names("two"), Style.PRETTY, "two"),
        Route("GET", "/api/{a}/{b:*}", names("three"), Style.PRETTY, "three"),
        Route("POST", "/api/fixed", names("four"), Style.PRETTY, "four"),
    ]
    found = dispatch.Dispatcher(Context(MetricStore(), SelfMetrics()), routes, ["/api"])

    async def body(method, target):
        return (await found.answer(method, target, {})).answer.body.decode()

    assert await body("GET", "/api/fixed") == "two {}"
    assert await body("POST", "/api/fixed") == "four {}"
    assert await body("GET", "/api/fixed/x") == "one {'a': 'fixed'}"
    assert await body("GET", "/api/fixed/y/z/") == "three {'a': 'fixed', 'b': 'y/z'}"
    assert await body("PUT", "/api/fixed") == "405: Method Not Allowed"


async def test_errors_of_the_api_are_compressed_like_its_answers(served):
    url, headers = served.url("/api/v1/model"), {"Accept-Encoding": "deflate"}
    async with aiohttp.ClientSession(auto_decompress=False) as raw, raw.get(url, headers=headers) as response:
        assert (response.status, response.headers["Content-Encoding"]) == (404, "deflate")
        assert zlib.decompress(await response.read()) == b"404: Page Not Found"


async def test_the_names_in_a_list_are_those_of_its_batch_however_late_it_is_read():
    replay = Replay()
    replay.until(0)
    pods = "/api/v1/model/namespaces/team-b/pods"
    answer = (await dispatch.Dispatcher(replay.context, *offered(replay.context)).answer("GET", pods, {})).answer
    replay.until(10)  # a pod of the first batch is long gone
    listed = json.loads(b"".join([chunk async for chunk in answer.body]))
    assert "api-102" in listed
    assert [f"namespace:team-b/pod:{name}" in replay.cluster.sets[0] for name in listed] == [True] * len(listed)
