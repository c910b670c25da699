"""/api/v2/write through influxdb-client: VictoriaMetrics takes it for real, InfluxDB 1.6 does not know it."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from collector.core.contracts import Sink
from collector.errors import ExportError
from sinks.influxdb import InfluxdbSink
from tests.servers import Influxd, VictoriaMetrics
from tests.sinks.batches import MINUTE, TIMESTAMP, Cluster, expected_points
from tests.sinks.test_influxdb_text import written

Make = Callable[[str], Sink]


def sent(batches: list[object], extra: dict[str, str] | None = None) -> dict[object, dict[int, object]]:
    """What VictoriaMetrics is to hold of batches: sorted labels -> ms -> value."""
    found: dict[object, dict[int, object]] = {}
    for batch in batches:
        for (name, tags), value in expected_points(batch).items():  # type: ignore[arg-type]
            labels = {written(k): written(v) for k, v in tags} | {"__name__": f"{name}_value"} | (extra or {})
            # It keeps some 15 decimal digits of a value.
            kept = pytest.approx(value, rel=1e-12)
            found.setdefault(tuple(sorted(labels.items())), {})[batch.timestamp // 1_000_000] = kept  # type: ignore[attr-defined]
    return found


@pytest.mark.parametrize("options", ["org=o&bucket=b", "token=t&gzip=true&concurrency=3", "api=v2"])
async def test_every_point_is_found_again(victoria: VictoriaMetrics, made: Make, options: str) -> None:
    sink, cluster = made(f"influxdb:{victoria.url}?{options}"), Cluster(pods=20)
    batches = [cluster.batch(TIMESTAMP + i * MINUTE, seed=i) for i in range(2)]
    for batch in [*batches, batches[0]]:
        await sink.export(batch)
    assert victoria.export() == sent(batches)  # type: ignore[arg-type]


async def test_a_write_of_full_size_goes_out_as_it_is(victoria: VictoriaMetrics, made: Make) -> None:
    # aiohttp has a warning, which is an error here, for bytes beyond a mebibyte: a write is twice that.
    batch = Cluster(pods=150).batch()
    sink = made(f"influxdb:{victoria.url}?api=v2")
    assert isinstance(sink, InfluxdbSink)
    assert max(len(write.body) for write in sink.encode(batch)) > 1 << 20
    await sink.export(batch)
    assert victoria.export() == sent([batch])


async def test_the_1x_write_of_a_server_without_policies_works_too(
    victoria: VictoriaMetrics, made: Make, caplog: pytest.LogCaptureFixture
) -> None:
    batch = Cluster().batch()
    await made(f"influxdb:{victoria.url}?db=prod&retention=7d").export(batch)
    assert victoria.export() == sent([batch], {"db": "prod"})
    assert "this server has no retention policies" in caplog.text


async def test_a_path_before_the_api_is_kept(victoria: VictoriaMetrics, made: Make) -> None:
    batch = Cluster().batch()
    await made(f"influxdb:{victoria.url}/influx/?api=v2").export(batch)
    assert victoria.export() == sent([batch])


async def test_a_restarted_server_loses_no_batch(victoria: VictoriaMetrics, made: Make) -> None:
    sink, cluster = made(f"influxdb:{victoria.url}?api=v2"), Cluster()
    batches = [cluster.batch(TIMESTAMP + i * MINUTE, seed=i) for i in range(3)]
    for batch in batches:
        await sink.export(batch)
        victoria.stop()
        victoria.start()
    assert victoria.export() == sent(batches)  # type: ignore[arg-type]


async def test_down_and_frozen_servers_may_be_tried_again(victoria: VictoriaMetrics, made: Make) -> None:
    sink, batch = made(f"influxdb:{victoria.url}?api=v2&timeout=200ms"), Cluster().batch()
    victoria.freeze()
    with pytest.raises(ExportError, match=r"did not answer within 0\.2 s") as caught:
        await sink.export(batch)
    assert caught.value.retryable
    victoria.thaw()
    victoria.stop()
    with pytest.raises(ExportError, match="cannot be reached") as caught:
        await sink.export(batch)
    assert caught.value.retryable


async def test_an_influxdb_without_the_api_is_told_apart(shared_influxd: Influxd, made: Make) -> None:
    with pytest.raises(ExportError, match=r"404.*InfluxDB before 1\.8 needs api=v1") as caught:
        await made(f"influxdb:{shared_influxd.url}?bucket=b").export(Cluster().batch())
    assert not caught.value.retryable


class Recorder:
    """A server on loopback that answers every request with what the test says and keeps what it was asked."""

    def __init__(self) -> None:
        self.answer = b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"
        self.requests: list[tuple[str, dict[str, str], bytes]] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in head[1:] if line)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        self.requests.append((head[0], headers, body))
        writer.write(self.answer.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    def respond(self, status: str, body: bytes = b"", *headers: str) -> None:
        head = "".join(f"{line}\r\n" for line in (f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers))
        self.answer = head.encode() + b"\r\n" + body


async def _prepared(_: object) -> dict[str, str]:
    return {"db": "k8s"}


@pytest.fixture
async def recorder() -> object:
    found = Recorder()
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0)
    found.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"  # type: ignore[attr-defined]
    async with server:
        yield found


@pytest.mark.parametrize("api", ["v1", "v2"])
@pytest.mark.parametrize(
    ("status", "body", "headers", "retryable", "words"),
    [
        ("429 Too Many Requests", b'{"error": "slow down"}', ("Retry-After: 3",), True, "answered 429: slow down"),
        ("503 Service Unavailable", b"<html>\n busy </html>", (), True, "answered 503: <html> busy </html>"),
        ("500 Oops", b'{"message": "partial write", "code": "internal error"}', (), True, "partial write"),
        ("400 Bad", b'{"error": "unable to parse ' + b"x" * 9_999 + b'"}', (), False, "unable to parse xxx"),
        ("413 Too Large", b"", (), False, "answered 413"),
        ("401 Unauthorized", b'{"error":"authorization failed"}', (), False, "check the option"),
        ("302 Found", b"", ("Location: http://127.0.0.1:1/",), False, "redirects are not followed"),
        ("405 No", b"", (), False, "check scheme, host and path"),
    ],
)
async def test_a_refusal_says_whether_to_try_again_in_the_servers_words(
    recorder: Recorder,
    made: Make,
    monkeypatch: pytest.MonkeyPatch,
    api: str,
    status: str,
    body: bytes,
    headers: tuple[str, ...],
    retryable: bool,
    words: str,
) -> None:
    monkeypatch.setattr("sinks.influxdb.v1.WireV1._prepared", _prepared)
    recorder.respond(status, body, *headers)
    with pytest.raises(ExportError) as caught:
        await made(f"influxdb:{recorder.url}?api={api}").export(Cluster().batch())  # type: ignore[attr-defined]
    assert caught.value.retryable is retryable
    assert words in str(caught.value)
    assert len(str(caught.value)) < 600
    assert len(recorder.requests) == 1, "neither redirects nor refusals are followed up"


async def test_the_token_comes_from_its_file_and_is_read_again_for_every_write(
    recorder: Recorder, made: Make, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("one\n")
    sink = made(f"influxdb:{recorder.url}?org=o%20o&bucket=b&token_file={token}")  # type: ignore[attr-defined]
    batch = Cluster().batch()
    await sink.export(batch)
    line, headers, body = recorder.requests[-1]
    assert line == "POST /api/v2/write?org=o+o&bucket=b&precision=ns HTTP/1.1"
    assert headers["authorization"] == "Token one"
    assert body.count(b"\n") == len(expected_points(batch))
    recorder.respond("401 Unauthorized")
    with pytest.raises(ExportError, match="token_file") as refused:
        await sink.export(batch)
    assert "Token" not in str(refused.value)
    token.write_text("two")
    recorder.respond("204 No Content")
    await sink.export(batch)
    assert recorder.requests[-1][1]["authorization"] == "Token two"
    token.write_text("three")
    await sink.export(batch)
    assert recorder.requests[-1][1]["authorization"] == "Token three", "it did not wait for a refusal"
    token.unlink()
    with pytest.raises(ExportError, match=r"token file .* cannot be read") as caught:
        await sink.export(batch)
    assert caught.value.retryable


@pytest.mark.parametrize(
    ("options", "authorization"),
    [("bucket=b", None), ("api=v2&user=u&pw=p", "Token u:p"), ("token=t", "Token t")],
)
async def test_a_token_may_be_a_user_and_password_or_missing(
    recorder: Recorder, made: Make, options: str, authorization: str | None
) -> None:
    await made(f"influxdb:{recorder.url}?{options}").export(Cluster().batch())  # type: ignore[attr-defined]
    assert recorder.requests[-1][1].get("authorization") == authorization


async def test_a_server_that_answers_a_write_with_a_page_is_no_influxdb(recorder: Recorder, made: Make) -> None:
    recorder.respond("200 OK", b"<html>hello</html>")
    with pytest.raises(ExportError, match="is it InfluxDB"):
        await made(f"influxdb:{recorder.url}?api=v2").export(Cluster().batch())  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "body",
    [
        b'{"error":"timeout"}',
        b'{"results":[{"error":"engine is closed"}]}',
        b"<html>log in</html>",
        b"[]",
        b"[" * 99_999,
    ],
)
async def test_a_200_with_anything_but_success_in_it_keeps_the_points(
    recorder: Recorder, made: Make, monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    monkeypatch.setattr("sinks.influxdb.v1.WireV1._prepared", _prepared)
    recorder.respond("200 OK", body)
    with pytest.raises(ExportError, match=r"answered 200: .*is it InfluxDB") as caught:
        await made(f"influxdb:{recorder.url}").export(Cluster().batch())  # type: ignore[attr-defined]
    assert caught.value.retryable


async def test_a_partial_write_told_within_a_200_is_one(
    recorder: Recorder, made: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sinks.influxdb.v1.WireV1._prepared", _prepared)
    recorder.respond("200 OK", b'{"error":"partial write: field type conflict dropped=3"}')
    sink = made(f"influxdb:{recorder.url}")  # type: ignore[attr-defined]
    assert isinstance(sink, InfluxdbSink)
    with pytest.raises(ExportError) as caught:
        await sink.send(b"a value=1i 1\n")
    assert (caught.value.retryable, caught.value.refuses_us, caught.value.refused_points) == (False, False, 3)


@pytest.mark.parametrize("body", [b"", b"\n", b"{}", b'{"results":[{}]}'])
async def test_a_200_without_an_error_is_success(
    recorder: Recorder, made: Make, monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    monkeypatch.setattr("sinks.influxdb.v1.WireV1._prepared", _prepared)
    recorder.respond("200 OK", body)
    await made(f"influxdb:{recorder.url}").export(Cluster().batch())  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "body", [b"<html>", b"{}", b"[]", b'{"results":[]}', b'{"results":[{"error":"nope"}]}', b"\xff"]
)
async def test_an_answer_to_a_statement_that_makes_no_sense_is_an_error(
    recorder: Recorder, made: Make, body: bytes
) -> None:
    recorder.respond("200 OK", body)
    with pytest.raises(ExportError, match="SHOW RETENTION POLICIES") as caught:
        await made(f"influxdb:{recorder.url}").export(Cluster().batch())  # type: ignore[attr-defined]
    assert caught.value.retryable
