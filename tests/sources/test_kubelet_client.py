"""The kubelet client over plain http: what is asked, what comes back, and what each failure says."""

import asyncio
import errno
import gzip
import os
import socket
import zlib

import pytest

from collector import __version__
from collector.errors import FetchError, UsageError
from collector.sources import faults
from collector.sources.kubelet import KubeletClient, KubeletOptions, KubeletTarget
from collector.sources.link import NotConnectedError
from tests.sources.fake_kubelet import (
    Asked,
    FakeKubelet,
    Script,
    chunked,
    hanging,
    head,
    response,
    saying,
    saying_and_closing,
    serving,
)

pytestmark = pytest.mark.usefixtures("nothing_left")

BODY = b'{"node":{}}'


def options(**changed: object) -> KubeletOptions:
    return KubeletOptions(https=False, **changed)  # type: ignore[arg-type]


async def fetched(script: Script, path: str = "/stats/summary", **changed: object) -> bytes:
    async with FakeKubelet(script) as kubelet, KubeletClient(options(**changed)) as client:
        return await client.fetch(kubelet.target(), path)


async def failure(script: Script, path: str = "/stats/summary", **changed: object) -> FetchError:
    with pytest.raises(FetchError) as caught:
        await fetched(script, path, **changed)
    message = str(caught.value)
    assert message.startswith("node node-1: http://127.0.0.1:")
    assert message.isprintable()
    return caught.value


# What is asked.


async def test_the_summary_is_asked_for_without_a_trailing_slash_and_comes_back_whole() -> None:
    async with FakeKubelet(serving(BODY)) as kubelet, KubeletClient(options()) as client:
        assert await client.fetch(kubelet.target()) == BODY
    asked = kubelet.asked[0]
    assert asked.path == "/stats/summary"
    assert asked.headers == {
        "host": f"127.0.0.1:{kubelet.port}",
        "accept": "*/*",
        "accept-encoding": "identity",
        "user-agent": f"heapster/{__version__}",
    }


async def test_connections_are_kept_alive() -> None:
    async with FakeKubelet(serving(BODY)) as kubelet, KubeletClient(options()) as client:
        for path in ("/stats/summary", "/metrics/resource", "/stats/summary"):
            assert await client.fetch(kubelet.target(), path) == BODY
    assert kubelet.connections == 1
    assert [asked.path for asked in kubelet.asked] == ["/stats/summary", "/metrics/resource", "/stats/summary"]


async def test_a_refusal_that_was_read_whole_keeps_its_connection() -> None:
    refusing = saying(response("503 Service Unavailable", b"later"))
    async with FakeKubelet(refusing) as kubelet, KubeletClient(options()) as client:
        for _ in range(3):
            with pytest.raises(FetchError):
                await client.fetch(kubelet.target())
    assert kubelet.connections == 1


async def test_a_connection_the_kubelet_has_closed_meanwhile_is_replaced() -> None:
    async with FakeKubelet(saying_and_closing(response("200 OK", BODY))) as kubelet, KubeletClient(options()) as client:
        for _ in range(3):
            assert await client.fetch(kubelet.target()) == BODY
    assert kubelet.connections == 3


async def test_proxies_of_the_environment_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    assert await fetched(serving(BODY)) == BODY


async def test_cookies_are_not_sent_back() -> None:
    async with FakeKubelet(serving(BODY, set_cookie="crumb=1")) as kubelet, KubeletClient(options()) as client:
        for _ in range(2):
            await client.fetch(kubelet.target())
    assert "cookie" not in kubelet.asked[1].headers


async def test_a_token_is_not_even_asked_for_over_plain_http() -> None:
    def token() -> str:
        raise AssertionError

    async with FakeKubelet(serving(BODY)) as kubelet, KubeletClient(options(token=token)) as client:
        await client.fetch(kubelet.target())
    assert "authorization" not in kubelet.asked[0].headers


async def test_the_constructor_opens_nothing_and_close_comes_without_start() -> None:
    await KubeletClient(options()).close()


async def test_an_ipv6_address_is_put_into_brackets() -> None:
    async with FakeKubelet(serving(BODY), host="::1") as kubelet, KubeletClient(options()) as client:
        assert await client.fetch(kubelet.target()) == BODY
    assert kubelet.asked[0].headers["host"] == f"[::1]:{kubelet.port}"


@pytest.mark.parametrize(
    "address",
    [
        "node 1",
        "127.1",
        "node-1.example:10250",
        "a\r\nb",
        "10.0.0.1:10250",
        "10.0.0.1/x",
        "fe80::1%eth0",
        "[::1]",
        "",
        "-a",
    ],
)
@pytest.mark.parametrize("as_other", [False, True])
def test_an_address_that_is_neither_ip_nor_name_is_refused(address: str, as_other: bool) -> None:
    with pytest.raises(UsageError, match=r"node n: .* is no IPv4 or IPv6 address, nor a DNS name"):
        KubeletTarget("n", "10.0.0.1", others=(address,)) if as_other else KubeletTarget("n", address)


def test_all_options_out_of_bounds_are_named_at_once() -> None:
    with pytest.raises(UsageError) as caught:
        KubeletOptions(port=0, time_limit_s=0, max_body_bytes=0, connections=-1, client_key="k.pem")
    assert [fault.split(" is ")[0] for fault in caught.value.faults] == [
        "kubeletPort",
        "--node-timeout",
        "--max-answer-bytes",
        "the limit of kubelet connections",
        "client key k.pem for the kubelets comes without its certificate: name both",
    ]


# How large, how packed.


@pytest.mark.parametrize(("length", "size"), [(5_000, 1), (300_000, 4096), (300_000, 1_000_000)])
async def test_a_chunked_answer_is_put_together(length: int, size: int) -> None:
    body = b"{" + os.urandom(length)
    assert await fetched(saying(head("200 OK", transfer_encoding="chunked"), chunked(body, size))) == body


async def test_an_answer_of_exactly_the_cap_passes() -> None:
    assert await fetched(serving(b"x" * 1000), max_body_bytes=1000) == b"x" * 1000


async def test_an_announced_answer_above_the_cap_is_refused_before_it_is_read() -> None:
    script = saying(head("200 OK", content_length="10000000000"), b"x")
    fault = await failure(script, max_body_bytes=1000)
    assert fault.reason == "too_large"
    assert "10000000000 bytes, more than the 1000 bytes allowed (--max-answer-bytes)" in str(fault)


async def test_an_endless_chunked_answer_is_cut_off_at_the_cap() -> None:
    sent = 0

    async def endless(asked: Asked, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(head("200 OK", transfer_encoding="chunked"))
        while True:
            writer.write(b"10000\r\n" + b"x" * 65536 + b"\r\n")
            sent += 65536
            await writer.drain()

    fault = await failure(endless, max_body_bytes=1_000_000)
    assert fault.reason == "too_large"
    assert "more than the 1000000 bytes allowed" in str(fault)
    assert sent < 50_000_000


async def test_a_packed_answer_is_unpacked_though_none_was_asked_for() -> None:
    packed = gzip.compress(BODY)
    assert await fetched(serving(packed, content_encoding="gzip")) == BODY


async def test_the_cap_counts_unpacked_bytes() -> None:
    bomb = gzip.compress(b" " * 20_000_000, compresslevel=1)
    assert len(bomb) < 1_000_000
    fault = await failure(serving(bomb, content_encoding="gzip"), max_body_bytes=1_000_000)
    assert fault.reason == "too_large"


async def test_a_packed_answer_that_is_damaged_says_so() -> None:
    fault = await failure(serving(b"\x1f\x8b" + zlib.compress(BODY), content_encoding="gzip"))
    assert fault.reason == "protocol"


# What goes wrong.


async def test_a_content_length_that_promises_more_than_comes_is_a_broken_answer() -> None:
    fault = await failure(saying_and_closing(head("200 OK", content_length="100"), BODY))
    assert fault.reason == "protocol"
    assert "broke the answer off" in str(fault)


async def test_bytes_after_the_announced_length_are_no_part_of_any_answer() -> None:
    script = saying(response("200 OK", BODY), b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nbad")
    async with FakeKubelet(script) as kubelet, KubeletClient(options()) as client:
        assert await client.fetch(kubelet.target()) == BODY
        assert await client.fetch(kubelet.target()) == BODY
    assert kubelet.connections == 2


async def test_a_redirect_is_not_followed_but_named() -> None:
    async with FakeKubelet(serving(BODY)) as other:
        elsewhere = f"http://127.0.0.1:{other.port}/stats/summary\x07"
        fault = await failure(saying(response("307 Temporary Redirect", location=elsewhere)))
    assert fault.reason == "redirect"
    assert f"redirects to http://127.0.0.1:{other.port}/stats/summary (status 307)" in str(fault)
    assert other.connections == 0


@pytest.mark.parametrize(
    ("path", "resource"),
    [("/stats/summary", "nodes/stats"), ("/metrics/resource", "nodes/metrics"), ("/pods", "nodes/proxy")],
)
async def test_forbidden_names_the_rbac_rule_that_is_missing(path: str, resource: str) -> None:
    said = b"Forbidden (user=system:serviceaccount:kube-system:heapster, verb=get, resource=nodes)"
    fault = await failure(saying(response("403 Forbidden", said)), path)
    assert fault.reason == "forbidden"
    assert said.decode() in str(fault)
    assert f'must allow verb "get" on resource "{resource}"' in str(fault)


async def test_unauthorized_over_plain_http_says_why_no_token_was_sent() -> None:
    fault = await failure(saying(response("401 Unauthorized", b"Unauthorized")))
    assert fault.reason == "unauthorized"
    assert "tokens are never sent over plain http: set kubeletHttps=true" in str(fault)


async def test_not_found_names_the_path() -> None:
    fault = await failure(saying(response("404 Not Found", b"404 page not found")), "/metrics/resource")
    assert fault.reason == "not_found"
    assert "404 page not found; this kubelet does not serve /metrics/resource" in str(fault)


async def test_what_a_kubelet_says_is_shown_on_one_line_short_and_without_control_characters() -> None:
    said = b"\x1b[31mfailed\r\nto get\tstats \xff\x00" + b"x" * 10_000
    fault = await failure(saying(response("500 Internal Server Error", said)))
    assert fault.reason == "status"
    assert "answers status 500: [31mfailed to get stats \ufffd x" in str(fault)
    assert str(fault).endswith("x…")
    assert len(str(fault)) < 300


async def test_a_refusal_without_words_is_one_too() -> None:
    fault = await failure(saying(response("503 Service Unavailable")))
    assert "answers status 503: nothing" in str(fault)


async def test_a_page_behind_a_refusal_is_named_by_its_title() -> None:
    page = b"<!DOCTYPE html><html><head><title>502 Bad\nGateway</title></head><body>" + b"x" * 9000
    fault = await failure(saying(response("502 Bad Gateway", page)))
    assert "answers status 502: an HTML page titled '502 Bad Gateway'" in str(fault)


@pytest.mark.parametrize("page", [b"<html><title>Log in</title></html>", b"\n <!doctype html><title>Log in</title>"])
async def test_a_page_instead_of_a_document_is_refused(page: bytes) -> None:
    fault = await failure(serving(page, content_type="application/json"))
    assert fault.reason == "protocol"
    assert "answers an HTML page titled 'Log in': is something else than a kubelet at kubeletPort" in str(fault)


async def test_an_empty_answer_is_none() -> None:
    fault = await failure(serving(b""))
    assert fault.reason == "protocol"
    assert "status 200 with an empty body" in str(fault)


@pytest.mark.parametrize("wire", [b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 two hundred\r\n\r\n", b"\x00" * 100])
async def test_something_that_is_not_http_is_told_apart(wire: bytes) -> None:
    fault = await failure(saying(wire))
    assert fault.reason == "protocol"
    assert "does not speak HTTP" in str(fault)


async def test_a_connection_closed_without_an_answer_is_a_broken_answer() -> None:
    fault = await failure(saying_and_closing())
    assert fault.reason == "protocol"
    assert "broke the answer off" in str(fault)


async def test_a_port_where_nothing_listens_names_the_option_for_it() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        target = KubeletTarget("node-1", "127.0.0.1", reserved.getsockname()[1])
        async with KubeletClient(options()) as client:
            with pytest.raises(
                FetchError, match=rf"refuses connections: .* is kubeletPort {target.port} its port"
            ) as caught:
                await client.fetch(target)
    assert caught.value.reason == "refused"


async def test_plain_http_to_a_port_that_speaks_tls_names_the_option_for_it() -> None:
    said = b"Client sent an HTTP request to an HTTPS server.\n"
    fault = await failure(saying_and_closing(b"HTTP/1.0 400 Bad Request\r\n\r\n" + said))
    assert fault.reason == "status"
    assert "if this port speaks TLS, set kubeletHttps=true" in str(fault)


async def test_a_kubelet_that_hangs_ends_at_the_limit_per_node_and_its_connection_with_it() -> None:
    async with FakeKubelet(hanging) as kubelet, KubeletClient(options(time_limit_s=0.5)) as client:
        with pytest.raises(FetchError, match=r"no whole answer within 0.5 s \(--node-timeout\)") as caught:
            await client.fetch(kubelet.target())
        kubelet.script = serving(BODY)
        assert await client.fetch(kubelet.target()) == BODY
    assert caught.value.reason == "timeout"
    assert kubelet.connections == 2


async def test_an_answer_that_drips_ends_at_the_limit_per_node() -> None:
    async def dripping(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(head("200 OK", content_length="1000"))
        while True:
            writer.write(b"x")
            await asyncio.sleep(0.01)

    fault = await failure(dripping, time_limit_s=0.05)
    assert fault.reason == "timeout"


async def test_a_cancelled_fetch_takes_its_connection_with_it() -> None:
    async with FakeKubelet(hanging) as kubelet, KubeletClient(options()) as client:
        fetch = asyncio.create_task(client.fetch(kubelet.target()))
        while not kubelet.asked:
            await asyncio.sleep(0.001)
        fetch.cancel()
        with pytest.raises(asyncio.CancelledError):
            await fetch
        kubelet.script = serving(BODY)
        assert await client.fetch(kubelet.target()) == BODY
    assert kubelet.connections == 2


async def test_no_more_connections_are_in_use_than_allowed() -> None:
    busy = most = 0

    async def slowly(asked: Asked, writer: asyncio.StreamWriter) -> None:
        nonlocal busy, most
        busy += 1
        most = max(most, busy)
        await asyncio.sleep(0.005)
        busy -= 1
        writer.write(response("200 OK", BODY))

    async with FakeKubelet(slowly) as kubelet, KubeletClient(options(connections=3)) as client:
        bodies = await asyncio.gather(*(client.fetch(kubelet.target()) for _ in range(12)))
    assert bodies == [BODY] * 12
    assert most == 3


@pytest.mark.parametrize(
    ("number", "reason", "words"),
    [
        (errno.EHOSTUNREACH, "unreachable", "cannot be reached: No route to host"),
        (errno.ETIMEDOUT, "unreachable", "cannot be reached: Connection timed out"),
        (errno.EMFILE, "internal", "this process is at a limit (Too many open files): raise its open files"),
        (errno.ECONNRESET, "protocol", "broke the connection off while it was made: Connection reset by peer"),
    ],
)
def test_failures_to_connect_are_told_apart_by_their_number(number: int, reason: str, words: str) -> None:
    target = KubeletTarget("node-1", "127.0.0.1")
    error = NotConnectedError(OSError(number, os.strerror(number)))
    fault = faults.broken(target, target.url("/", https=True), error, KubeletOptions())
    assert fault.reason == reason
    assert words in str(fault)
