"""The kubelet client over TLS: whom it trusts, to whom it shows its token, and that a link carries bytes faithfully."""

import asyncio
import contextlib
import os
import random
import shutil
import socket
import ssl
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from collector.errors import FetchError, StartError
from collector.sources.kubelet import KubeletClient, KubeletOptions, KubeletTarget
from tests.sources.conftest import Authority
from tests.sources.fake_kubelet import (
    Asked,
    FakeKubelet,
    LoopbackServer,
    Script,
    chunked,
    hanging,
    head,
    response,
    serving,
)

pytestmark = pytest.mark.usefixtures("nothing_left")

BODY = b'{"node":{}}'
Days = Callable[[int], datetime]


def options(authority: Authority, **changed: object) -> KubeletOptions:
    return KubeletOptions(ca_files=(authority.file,), **changed)  # type: ignore[arg-type]


async def fetched(context: ssl.SSLContext, with_options: KubeletOptions, script: Script | None = None) -> bytes:
    async with FakeKubelet(script or serving(BODY), context) as kubelet, KubeletClient(with_options) as client:
        return await client.fetch(kubelet.target())


def self_signed(*names: str) -> ssl.SSLContext:
    """The server side of a kubelet that has made its certificate itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, names[0])])
    now = datetime.now(UTC)
    alternatives = [x509.DNSName(names[0]), *(x509.IPAddress(ip_address(each)) for each in names[1:])]
    certificate = (
        x509.CertificateBuilder(
            subject, subject, key.public_key(), x509.random_serial_number(), now, now + timedelta(1)
        )
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile() as file:
        file.write(private + certificate.public_bytes(serialization.Encoding.PEM))
        file.flush()
        context.load_cert_chain(file.name)
    return context


def wiretap(kubelet: FakeKubelet, heard: bytearray) -> LoopbackServer:
    """Passes everything on, and keeps what the client sends."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream, downstream = await asyncio.open_connection("127.0.0.1", kubelet.port)

        async def forth() -> None:
            while piece := await reader.read(1000):
                heard.extend(piece)
                downstream.write(piece)
            downstream.close()

        async def back() -> None:
            while piece := await upstream.read(1000):
                writer.write(piece)
            writer.close()

        try:
            await asyncio.gather(forth(), back())
        finally:
            downstream.close()

    return LoopbackServer(serve)


async def failure(context: ssl.SSLContext, with_options: KubeletOptions, script: Script | None = None) -> FetchError:
    with pytest.raises(FetchError) as caught:
        await fetched(context, with_options, script)
    assert str(caught.value).startswith("node node-1: https://127.0.0.1:")
    return caught.value


# Whom it trusts.


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_a_kubelet_is_verified_by_the_address_that_is_dialled(
    authority: Authority, kubelet_tls: ssl.SSLContext, host: str
) -> None:
    async with (
        FakeKubelet(serving(BODY), kubelet_tls, host) as kubelet,
        KubeletClient(options(authority)) as client,
    ):
        for node in ("node-1", "node-1", "whatever", "whatever"):
            assert await client.fetch(kubelet.target(node)) == BODY
    assert kubelet.connections == 2  # a connection is lent to no other node


async def test_a_kubelet_is_verified_by_the_name_of_its_node_where_asked_for(authority: Authority) -> None:
    context = authority.server("node-1")
    assert await fetched(context, options(authority, verify_name="node")) == BODY


@pytest.mark.parametrize("names", [["node-1"], ["127.0.0.1"], ["node-2", "127.0.0.1"], ["NODE-1", "127.0.0.2"]])
async def test_a_certificate_is_good_for_the_nodes_name_or_the_address(authority: Authority, names: list[str]) -> None:
    assert await fetched(authority.server(*names), options(authority)) == BODY


@pytest.mark.parametrize(
    ("names", "node"),
    [
        (["node-2", "127.0.0.2", "::1"], "node-1"),
        (["node-1.example"], "node-1"),
        (["node-1"], "node-1.example"),
        (["*.example"], "node-1.example"),  # one label alone is nobody's domain
        (["*.nodes.example"], "a.b.nodes.example"),
    ],
)
async def test_a_certificate_for_neither_is_refused_and_says_whom_it_is_for(
    authority: Authority, names: list[str], node: str
) -> None:
    async with (
        FakeKubelet(serving(BODY), authority.server(*names)) as kubelet,
        KubeletClient(options(authority)) as client,
    ):
        with pytest.raises(FetchError) as caught:
            await client.fetch(kubelet.target(node))
    assert caught.value.reason == "tls"
    assert f"neither for {node} nor for 127.0.0.1, but for {names[0]}" in str(caught.value)
    assert not kubelet.asked


async def test_a_star_stands_for_the_first_label(authority: Authority) -> None:
    context = authority.server("*.nodes.example")
    async with FakeKubelet(serving(BODY), context) as kubelet, KubeletClient(options(authority)) as client:
        assert await client.fetch(kubelet.target("node-1.nodes.example")) == BODY


async def test_a_node_that_is_named_by_its_address_is_verified_by_it(authority: Authority) -> None:
    context = authority.server("10.1.2.3")
    async with FakeKubelet(serving(BODY), context) as kubelet, KubeletClient(options(authority)) as client:
        assert await client.fetch(kubelet.target("10.1.2.3")) == BODY


@pytest.mark.parametrize("verify_name", ["any", "node", "address"])
async def test_a_common_name_is_no_name(authority: Authority, verify_name: str) -> None:
    context = authority.server(common_name="node-1" if verify_name != "address" else "127.0.0.1")
    fault = await failure(context, options(authority, verify_name=verify_name))
    assert fault.reason == "tls"
    assert "for node-1" in str(fault) or "for 127.0.0.1" in str(fault)


async def test_a_certificate_for_another_address_names_the_flag_for_the_other_way(authority: Authority) -> None:
    fault = await failure(authority.server("node-1", "127.0.0.2"), options(authority, verify_name="address"))
    assert fault.reason == "tls"
    assert "shows a certificate that is not for 127.0.0.1" in str(fault)
    assert "--kubelet-verify-name=node" in str(fault)


async def test_a_certificate_of_another_node_is_refused(authority: Authority) -> None:
    fault = await failure(authority.server("node-2", "127.0.0.1"), options(authority, verify_name="node"))
    assert fault.reason == "tls"
    assert "shows a certificate that is not for node-1" in str(fault)


@pytest.mark.parametrize("name", ["any", "node"])
async def test_one_node_verified_by_name_lends_its_connection_to_no_other(authority: Authority, name: str) -> None:
    context = authority.server("node-1")
    async with (
        FakeKubelet(serving(BODY), context) as kubelet,
        KubeletClient(options(authority, verify_name=name)) as client,
    ):
        await client.fetch(kubelet.target("node-1"))
        with pytest.raises(FetchError, match="for node-2"):
            await client.fetch(kubelet.target("node-2"))


async def test_a_certificate_of_an_unknown_authority_names_ours_and_the_ways_out(
    authority: Authority, authority_named: Callable[[str], Authority]
) -> None:
    fault = await failure(authority_named("stranger").server("127.0.0.1"), options(authority))
    assert fault.reason == "tls"
    assert f"none of the CAs in {authority.file} signed" in str(fault)
    assert "--kubelet-ca-file" in str(fault)
    assert "--kubelet-insecure-tls" in str(fault)


@pytest.mark.parametrize(
    ("begins", "ends", "words"), [(-9, -2, "has expired"), (2, 9, "is not valid yet")], ids=["expired", "early"]
)
async def test_a_certificate_is_refused_outside_of_its_time(
    authority: Authority, days: Days, begins: int, ends: int, words: str
) -> None:
    context = authority.server("127.0.0.1", not_before=days(begins), not_after=days(ends))
    fault = await failure(context, options(authority))
    assert fault.reason == "tls"
    assert f"shows a certificate that {words}" in str(fault)


async def test_insecure_takes_any_certificate(authority_named: Callable[[str], Authority], days: Days) -> None:
    context = authority_named("stranger").server("elsewhere", not_before=days(-9), not_after=days(-2))
    assert await fetched(context, KubeletOptions(identity="insecure")) == BODY


async def test_several_authorities_are_trusted_side_by_side(
    authority: Authority, authority_named: Callable[[str], Authority]
) -> None:
    other = authority_named("other")
    both = KubeletOptions(ca_files=(other.file, authority.file))
    assert await fetched(authority.server("127.0.0.1"), both) == BODY
    assert await fetched(other.server("127.0.0.1"), both) == BODY


async def test_an_authority_that_changes_counts_from_the_next_round_on(
    authority: Authority, authority_named: Callable[[str], Authority], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    later = authority_named("later")
    file = tmp_path / "ca.pem"
    shutil.copy(authority.file, file)
    async with (
        FakeKubelet(serving(BODY), authority.server("127.0.0.1")) as kubelet,
        FakeKubelet(serving(BODY), later.server("127.0.0.1")) as renewed,
        KubeletClient(KubeletOptions(ca_files=(str(file),))) as client,
    ):
        for _ in range(2):
            client.refresh()
            assert await client.fetch(kubelet.target()) == BODY
        assert kubelet.connections == 1
        file.write_text("being written")
        client.refresh()  # told, and the one before stays
        assert "must hold PEM certificates; the one read before stays in use" in caplog.text
        assert await client.fetch(kubelet.target()) == BODY
        shutil.copy(later.file, file)
        client.refresh()
        assert await client.fetch(renewed.target()) == BODY
        with pytest.raises(FetchError, match="none of the CAs"):  # a connection from before is not used again
            await client.fetch(kubelet.target())
        assert kubelet.connections == 1


async def test_a_connection_in_use_while_an_authority_changes_is_not_used_again(
    authority: Authority, kubelet_tls: ssl.SSLContext, tmp_path: Path
) -> None:
    file = tmp_path / "ca.pem"
    shutil.copy(authority.file, file)
    waiting, go_on = asyncio.Event(), asyncio.Event()

    async def slowly(asked: Asked, writer: asyncio.StreamWriter) -> None:
        waiting.set()
        await go_on.wait()
        writer.write(response("200 OK", BODY))

    async with (
        FakeKubelet(slowly, kubelet_tls) as kubelet,
        KubeletClient(KubeletOptions(ca_files=(str(file),))) as client,
    ):
        fetching = asyncio.create_task(client.fetch(kubelet.target()))
        await waiting.wait()
        file.write_text(Path(authority.file).read_text() * 2)
        client.refresh()
        go_on.set()
        assert await fetching == BODY
        assert await client.fetch(kubelet.target()) == BODY
        assert await client.fetch(kubelet.target()) == BODY
    assert kubelet.connections == 2


async def test_a_bundle_may_hold_comments_in_any_language(authority: Authority, tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("# Übergreifend\n" + Path(authority.file).read_text() * 2)
    assert await fetched(authority.server("127.0.0.1"), KubeletOptions(ca_files=(str(file),))) == BODY


@pytest.mark.parametrize("identity", ["verify", "pin"])
@pytest.mark.parametrize("imposter", ["self-signed", "other CA", "another node"])
async def test_somebody_in_between_never_sees_the_token(
    authority: Authority,
    authority_named: Callable[[str], Authority],
    kubelet_tls: ssl.SSLContext,
    imposter: str,
    identity: str,
) -> None:
    context = {
        "self-signed": self_signed("node-1", "127.0.0.1"),
        "other CA": authority_named("stranger").server("node-1", "127.0.0.1"),
        "another node": authority.server("node-2", "127.0.0.2"),
    }[imposter]
    with_token = options(authority, identity=identity, token=lambda: "secret")
    async with KubeletClient(with_token) as client:
        async with FakeKubelet(serving(BODY), kubelet_tls) as kubelet:
            target = KubeletTarget("node-1", "127.0.0.1", kubelet.port, "uid-1")
            assert await client.fetch(target) == BODY
            assert kubelet.asked[0].headers["authorization"] == "Bearer secret"
        heard = bytearray()
        async with FakeKubelet(serving(BODY), context, port=kubelet.port) as man, wiretap(man, heard) as wire:
            with pytest.raises(FetchError) as caught:
                await client.fetch(replace(target, port=wire.port))
            assert not man.asked
        assert caught.value.reason == ("pin" if identity == "pin" else "tls")
        assert heard  # the handshake, and nothing in clear
        assert b"secret" not in heard
        assert "secret" not in str(caught.value)


async def test_https_without_any_authority_does_not_start() -> None:
    with pytest.raises(StartError, match=r"--kubelet-ca-file.*--kubelet-identity=pin.*--kubelet-insecure-tls"):
        await KubeletClient(KubeletOptions()).start()


async def test_an_authority_that_cannot_be_read_does_not_start(tmp_path: Path) -> None:
    missing, empty = tmp_path / "missing.pem", tmp_path / "empty.pem"
    empty.write_text("no certificate")
    for path in (missing, empty):
        with pytest.raises(StartError, match=f"CA file {path}"):
            await KubeletClient(KubeletOptions(ca_files=(str(path),))).start()


async def test_a_port_that_speaks_plain_http_names_the_option_for_it(authority: Authority) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with LoopbackServer(greet) as server, KubeletClient(options(authority)) as client:
        with pytest.raises(FetchError, match="kubeletHttps=false") as caught:
            await client.fetch(server.target())
    assert caught.value.reason == "tls"


async def test_a_connection_cut_during_the_handshake_is_told_so(authority: Authority) -> None:
    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)

    async with LoopbackServer(cut) as server, KubeletClient(options(authority)) as client:
        with pytest.raises(FetchError, match="broke the connection off while it was made") as caught:
            await client.fetch(server.target())
    assert caught.value.reason == "protocol"


async def test_a_handshake_that_hangs_ends_at_the_limit_per_node(authority: Authority) -> None:
    closed = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        closed.set()

    async with LoopbackServer(silent) as server, KubeletClient(options(authority, time_limit_s=0.05)) as client:
        with pytest.raises(FetchError) as caught:
            await client.fetch(server.target())
        async with asyncio.timeout(5):
            await closed.wait()
    assert caught.value.reason == "timeout"


# To whom it shows what.


async def test_the_token_is_sent_over_tls_and_each_new_one_from_then_on(
    authority: Authority, kubelet_tls: ssl.SSLContext
) -> None:
    tokens: Iterator[str | None] = iter(["one", "one", "two", None])
    async with (
        FakeKubelet(serving(BODY), kubelet_tls) as kubelet,
        KubeletClient(options(authority, token=lambda: next(tokens))) as client,
    ):
        for _ in range(4):
            await client.fetch(kubelet.target())
    sent = [asked.headers.get("authorization") for asked in kubelet.asked]
    assert sent == ["Bearer one", "Bearer one", "Bearer two", None]


class Rotation:
    """A token that is replaced when it is read again."""

    def __init__(self, *later: str) -> None:
        self.current = "old"
        self.renewals = 0
        self._later = list(later)

    def token(self) -> str:
        return self.current

    async def renew(self) -> None:
        self.renewals += 1
        await asyncio.sleep(0)
        if self._later:
            self.current = self._later.pop(0)


async def accepting_new(asked: Asked, writer: asyncio.StreamWriter) -> None:
    accepted = asked.headers.get("authorization") == "Bearer new"
    writer.write(response("200 OK", BODY) if accepted else response("401 Unauthorized", b"Unauthorized"))


async def test_a_refused_token_is_read_again_and_the_new_one_succeeds(
    authority: Authority, kubelet_tls: ssl.SSLContext
) -> None:
    rotation = Rotation("new")
    with_tokens = options(authority, token=rotation.token, renew_token=rotation.renew)
    async with FakeKubelet(accepting_new, kubelet_tls) as kubelet, KubeletClient(with_tokens) as client:
        assert await client.fetch(kubelet.target()) == BODY
        assert await client.fetch(kubelet.target()) == BODY
    assert rotation.renewals == 1
    assert len(kubelet.asked) == 3


async def test_the_file_of_a_refused_token_is_looked_at_each_time(
    authority: Authority, kubelet_tls: ssl.SSLContext
) -> None:
    on_disk, current, renewals = ["one"], ["one"], [0]

    async def reread() -> None:
        current[0] = on_disk[0]

    async def renew() -> None:
        renewals[0] += 1

    async def accepting_the_file(asked: Asked, writer: asyncio.StreamWriter) -> None:
        accepted = asked.headers.get("authorization") == f"Bearer {on_disk[0]}"
        writer.write(response("200 OK", BODY) if accepted else response("401 Unauthorized", b"Unauthorized"))

    with_tokens = options(authority, token=lambda: current[0], reread_token=reread, renew_token=renew)
    async with FakeKubelet(accepting_the_file, kubelet_tls) as kubelet, KubeletClient(with_tokens) as client:
        for token in ("one", "two", "three", "four"):  # more often than RENEWAL_PAUSE lets credentials be renewed
            on_disk[0] = token
            assert await client.fetch(kubelet.target()) == BODY
    assert renewals == [0]


async def test_a_token_replaced_meanwhile_is_tried_without_reading_it_again(
    authority: Authority, kubelet_tls: ssl.SSLContext
) -> None:
    rotation = Rotation()

    async def refusing_old(asked: Asked, writer: asyncio.StreamWriter) -> None:
        rotation.current = "new"
        await accepting_new(asked, writer)

    with_tokens = options(authority, token=rotation.token, renew_token=rotation.renew)
    assert await fetched(kubelet_tls, with_tokens, refusing_old) == BODY
    assert rotation.renewals == 0


async def test_a_token_refused_by_all_kubelets_at_once_is_read_again_once(
    authority: Authority, kubelet_tls: ssl.SSLContext
) -> None:
    rotation = Rotation("also-refused", "refused-as-well", "new")
    with_tokens = options(authority, token=rotation.token, renew_token=rotation.renew)
    async with FakeKubelet(accepting_new, kubelet_tls) as kubelet, KubeletClient(with_tokens) as client:
        target = kubelet.target()
        faults = await asyncio.gather(*(client.fetch(target) for _ in range(20)), return_exceptions=True)
    assert rotation.renewals == 1
    assert {getattr(fault, "reason", None) for fault in faults} == {"unauthorized"}
    assert "the token is not accepted" in str(faults[0])


async def test_a_refused_token_that_stays_the_same_is_not_sent_twice(
    authority: Authority, kubelet_tls: ssl.SSLContext
) -> None:
    rotation = Rotation()
    with_tokens = options(authority, token=rotation.token, renew_token=rotation.renew)
    async with FakeKubelet(accepting_new, kubelet_tls) as kubelet, KubeletClient(with_tokens) as client:
        with pytest.raises(FetchError):
            await client.fetch(kubelet.target())
    assert len(kubelet.asked) == 1


async def test_unauthorized_without_a_token_says_so(authority: Authority, kubelet_tls: ssl.SSLContext) -> None:
    fault = await failure(kubelet_tls, options(authority), accepting_new)
    assert fault.reason == "unauthorized"
    assert "no token was sent, since none is configured" in str(fault)


@pytest.mark.parametrize("token", ["a\r\nX-Injected: b", "a b", "schlüssel"])
async def test_a_token_that_is_none_is_not_sent(authority: Authority, kubelet_tls: ssl.SSLContext, token: str) -> None:
    async with (
        FakeKubelet(serving(BODY), kubelet_tls) as kubelet,
        KubeletClient(options(authority, token=lambda: token)) as client,
    ):
        with pytest.raises(FetchError, match="holds blanks, line breaks") as caught:
            await client.fetch(kubelet.target())
    assert token not in str(caught.value)
    assert kubelet.asked == []


async def test_a_client_certificate_is_shown(authority: Authority) -> None:
    context = authority.server("127.0.0.1")
    authority.trust_clients(context)
    certificate, key = authority.client_files("heapster")
    shown = options(authority, client_certificate=certificate, client_key=key)
    assert await fetched(context, shown) == BODY


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_missing_client_certificate_is_what_the_failure_names(
    authority: Authority, version: ssl.TLSVersion
) -> None:
    context = authority.server("127.0.0.1")
    context.minimum_version = context.maximum_version = version
    authority.trust_clients(context)

    def refuse(listener: socket.socket) -> None:
        """By blocking calls: asyncio's own server drops the alert that says what is wrong."""
        for _ in range(2):  # aiohttp asks again where it may have met a connection that had just been closed
            with contextlib.suppress(OSError):  # the test has shut the listener
                connection, _ = listener.accept()
                with (
                    connection,
                    context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False) as tls,
                ):
                    with pytest.raises(ssl.SSLError):
                        tls.do_handshake()
                    plain = socket.socket(fileno=os.dup(tls.fileno()))
                    with plain:
                        plain.shutdown(socket.SHUT_WR)
                        while plain.recv(4096):
                            pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        target = KubeletTarget("node-1", "127.0.0.1", listener.getsockname()[1])
        refusing = asyncio.create_task(asyncio.to_thread(refuse, listener))
        async with KubeletClient(options(authority)) as client:
            with pytest.raises(FetchError, match="does the kubelet refuse the client certificate") as caught:
                await client.fetch(target)
        listener.shutdown(socket.SHUT_RDWR)
        await refusing
    assert caught.value.reason == "tls"


async def test_a_client_certificate_that_cannot_be_used_does_not_start(authority: Authority, tmp_path: Path) -> None:
    certificate, _ = authority.client_files("other")
    nothing = str(tmp_path / "nothing.key")
    with pytest.raises(StartError, match=f"client key for the kubelets, {nothing} cannot be read"):
        await KubeletClient(options(authority, client_certificate=certificate, client_key=nothing)).start()
    with pytest.raises(StartError, match=f"client certificate {certificate} .key {authority.file}. for the kubelets"):
        await KubeletClient(options(authority, client_certificate=certificate, client_key=authority.file)).start()


# That a link carries bytes faithfully.


@pytest.mark.parametrize("size", [1, 16_383, 16_384, 16_385, 262_144, 262_145, 3_000_001])
async def test_a_body_of_any_size_arrives_as_it_was_sent(
    authority: Authority, kubelet_tls: ssl.SSLContext, size: int
) -> None:
    body = os.urandom(size - 1) + b"}"
    if body.startswith(b"<"):
        body = b"{" + body[1:]
    assert await fetched(kubelet_tls, options(authority), serving(body)) == body


async def test_many_small_records_arrive_in_order(authority: Authority, kubelet_tls: ssl.SSLContext) -> None:
    body = bytes(range(48, 123)) * 400

    async def bit_by_bit(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(head("200 OK", transfer_encoding="chunked"))
        for at in range(0, len(body), 150):
            writer.write(chunked(body[at : at + 150], 150)[:-5])
        writer.write(b"0\r\n\r\n")

    assert await fetched(kubelet_tls, options(authority), bit_by_bit) == body


async def links_side_by_side(authority: Authority, context: ssl.SSLContext) -> None:
    """Thirty links that share the buffers, all reading at the same time."""
    bodies = [b"{" + os.urandom(200_000 + 7 * n) for n in range(30)]

    async def numbered(asked: Asked, writer: asyncio.StreamWriter) -> None:
        body = bodies[int(asked.path[1:])]
        writer.write(head("200 OK", content_length=str(len(body))))
        for at in range(0, len(body), 30_000):
            writer.write(body[at : at + 30_000])
            await writer.drain()
            await asyncio.sleep(0)

    async with FakeKubelet(numbered, context) as kubelet, KubeletClient(options(authority)) as client:
        for _ in range(2):
            found = await asyncio.gather(*(client.fetch(kubelet.target(), f"/{n}") for n in range(30)))
            assert found == bodies
    assert kubelet.connections == 30


async def test_links_that_share_the_buffers_do_not_mix(authority: Authority, kubelet_tls: ssl.SSLContext) -> None:
    await links_side_by_side(authority, kubelet_tls)


async def test_an_answer_that_could_have_been_cut_anywhere_is_none(
    authority: Authority, kubelet_tls: ssl.SSLContext
) -> None:
    async def without_length(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(head("200 OK", connection="close") + BODY)
        writer.close()

    fault = await failure(kubelet_tls, options(authority), without_length)
    assert fault.reason == "protocol"
    assert "or one without a length" in str(fault)


def relay(kubelet: FakeKubelet, passing: Callable[[asyncio.StreamReader], AsyncIterator[bytes]]) -> LoopbackServer:
    """Stands between the client and the kubelet; what the kubelet sends goes through `passing`."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream, downstream = await asyncio.open_connection("127.0.0.1", kubelet.port)

        async def forth() -> None:
            while piece := await reader.read(1000):
                downstream.write(piece)
            downstream.close()

        async def back() -> None:
            async for piece in passing(upstream):
                writer.write(piece)
                await writer.drain()
            writer.close()

        try:
            await asyncio.gather(forth(), back())
        finally:
            downstream.close()

    return LoopbackServer(serve)


@pytest.mark.parametrize("seed", range(4))
async def test_the_network_may_cut_the_stream_anywhere(
    authority: Authority, kubelet_tls: ssl.SSLContext, seed: int
) -> None:
    chance = random.Random(seed)
    body = chance.randbytes(150_000)

    async def cut_anywhere(upstream: asyncio.StreamReader) -> AsyncIterator[bytes]:
        while piece := await upstream.read(chance.choice([1, 5, 6, 700, 16_389, 60_000])):
            yield piece
            await asyncio.sleep(0)

    async with (
        FakeKubelet(serving(b"{" + body), kubelet_tls) as kubelet,
        relay(kubelet, cut_anywhere) as network,
        KubeletClient(options(authority)) as client,
    ):
        for _ in range(2):
            assert await client.fetch(network.target()) == b"{" + body


async def test_a_record_that_was_tampered_with_ends_the_connection(
    authority: Authority, kubelet_tls: ssl.SSLContext
) -> None:
    async def flip_a_bit(upstream: asyncio.StreamReader) -> AsyncIterator[bytes]:
        passed = 0
        while piece := await upstream.read(1000):
            late = passed <= 50_000 < passed + len(piece)
            yield bytes([piece[0] ^ 1]) + piece[1:] if late else piece
            passed += len(piece)

    async with (
        FakeKubelet(serving(b"{" * 100_000), kubelet_tls) as kubelet,
        relay(kubelet, flip_a_bit) as network,
        KubeletClient(options(authority)) as client,
    ):
        with pytest.raises(FetchError, match="breaks TLS off") as caught:
            await client.fetch(network.target())
    assert caught.value.reason == "tls"


async def hanging_then_closed(authority: Authority, context: ssl.SSLContext) -> None:
    """The client is closed while a request is under way: the request fails, nothing hangs."""
    async with FakeKubelet(hanging, context) as kubelet:
        client = KubeletClient(options(authority))
        await client.start()
        fetch = asyncio.create_task(client.fetch(kubelet.target()))
        while not kubelet.asked:
            await asyncio.sleep(0.001)
        await client.close()
        with pytest.raises(FetchError) as caught:
            await fetch
        assert caught.value.reason == "protocol"


async def test_closing_the_client_ends_requests_under_way(authority: Authority, kubelet_tls: ssl.SSLContext) -> None:
    await hanging_then_closed(authority, kubelet_tls)


@pytest.mark.parametrize("scenario", [links_side_by_side, hanging_then_closed])
def test_the_same_holds_on_uvloop(
    authority: Authority,
    kubelet_tls: ssl.SSLContext,
    scenario: Callable[[Authority, ssl.SSLContext], Awaitable[None]],
) -> None:
    async def run() -> None:
        await scenario(authority, kubelet_tls)

    uvloop.run(run())


def test_a_wrong_certificate_is_refused_on_uvloop_too(authority: Authority) -> None:
    async def run() -> None:
        fault = await failure(authority.server("127.0.0.2"), options(authority))
        assert fault.reason == "tls"

    uvloop.run(run())
