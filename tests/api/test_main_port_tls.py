"""The main port over HTTPS: every row of the table of serving modes, and certificates that change while it runs."""

import asyncio
import contextlib
import datetime as dt
import logging
import shutil
import socket
import ssl
import subprocess
from pathlib import Path

import aiohttp
import pytest
import trustme
from api import synthetic
from api.identities import ask, client, expired, write_pair
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from collector.api import tlslink
from collector.api.route import Context
from collector.api.security import main_port_security
from collector.api.server import ApiServer
from collector.core.store import MetricStore
from collector.errors import StartError
from collector.options import Options
from collector.selfmetrics import SelfMetrics

NOW = 1_790_000_005.0
CA, OTHER_CA = trustme.CA(), trustme.CA()
SERVER = CA.issue_cert("localhost", "127.0.0.1")
NODES = "/api/v1/model/nodes"
HEALTH = ("/healthz", "/healthz/healthz")
UNKNOWN = "x509: certificate signed by unknown authority\n"


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """The flags of everything; a test leaves out what its mode leaves out."""
    certificate, key = write_pair(tmp_path, SERVER)
    CA.cert_pem.write_to_path(tmp_path / "ca.crt")
    return {"tls_cert": certificate, "tls_key": key, "tls_client_ca": str(tmp_path / "ca.crt")}


@contextlib.asynccontextmanager
async def serving(**flags: str):
    store = MetricStore(clock=lambda: NOW)
    store.add(synthetic.batch(synthetic.cluster(20, 20, 2)))
    tls, gate = main_port_security(Options(**flags))
    context = Context(store, SelfMetrics(), clock=lambda: NOW)
    server = ApiServer(context, host="127.0.0.1", port=0, tls=tls, gate=gate)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


def url(server: ApiServer, path: str = NODES) -> str:
    return f"https://127.0.0.1:{server.port}{path}"


async def answers(server: ApiServer, identity: trustme.LeafCert | None) -> tuple[int, str]:
    """What the model API gives to somebody; health must be open to anybody."""
    for path in HEALTH:
        health = await ask(url(server, path), CA, identity)
        assert (health.status, health.text) == (200, "ok")
    reply = await ask(url(server), CA, identity)
    return reply.status, reply.text if reply.status != 200 else "the nodes"


IDENTITIES = {
    "nobody": None,
    "reader": client(CA, "reader"),
    "stranger": client(CA, "stranger"),
    "foreign reader": client(OTHER_CA, "reader"),
    "expired reader": expired(CA, "reader"),
}
LET_IN = (200, "the nodes")
EXPIRED = (500, "x509: certificate has expired or is not yet valid\n")


@pytest.mark.parametrize(
    ("given", "users", "expected"),
    [
        ((), "", [LET_IN] * 5),
        (("tls_client_ca",), "", [(401, "Unauthorized\n"), LET_IN, LET_IN, (500, UNKNOWN), EXPIRED]),
        (
            ("tls_client_ca",),
            "writer,reader",
            [(401, "Unauthorized\n"), LET_IN, (403, "Forbidden\n"), (500, UNKNOWN), EXPIRED],
        ),
        ((), "writer,reader", [LET_IN] * 5),
    ],
    ids=["pair", "pair and CA", "pair, CA and users", "pair and users"],
)
async def test_who_is_let_in(files, given, users, expected):
    flags = {name: path for name, path in files.items() if name in {"tls_cert", "tls_key", *given}}
    async with serving(**flags, allowed_users=users) as server:
        found = [await answers(server, identity) for identity in IDENTITIES.values()]
    assert found == expected


async def test_without_a_pair_it_is_http(session):
    async with serving() as server:
        async with session.get(f"http://127.0.0.1:{server.port}{NODES}") as response:
            assert response.status == 200
        with pytest.raises(aiohttp.ClientConnectorError):
            await ask(url(server), CA)


@pytest.mark.parametrize(
    ("flags", "asked"),
    [((), False), (("tls_client_ca",), True), (("allowed_users",), True)],
    ids=["pair", "pair and CA", "pair and users"],
)
async def test_a_certificate_is_asked_for_where_it_can_count(files, flags, asked):
    given = {**files, "allowed_users": "reader"}
    async with serving(**{name: given[name] for name in ("tls_cert", "tls_key", *flags)}) as server:
        said = await asyncio.to_thread(
            subprocess.run,
            ["openssl", "s_client", "-connect", f"127.0.0.1:{server.port}", "-tls1_2", "-msg"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
    assert (b"CertificateRequest" in said.stdout) == asked


@pytest.mark.parametrize(
    "path", ["/", "/metrics", "/healthz/", "/healthz/other", "//healthz", "/api/../healthz", "/%zz"]
)
async def test_nothing_but_the_two_health_paths_is_open(files, path):
    async with serving(**files) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=trusting(CA))
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        said = (await reader.read()).decode()
        writer.close()
    assert said.startswith("HTTP/1.1 401 ")
    assert said.endswith("\r\n\r\nUnauthorized\n")


async def test_refusals_are_plain_text_and_counted(files):
    async with serving(**files) as server:
        refused = await ask(url(server), CA)
        assert refused.headers["Content-Type"] == "text/plain; charset=utf-8"
        assert refused.headers["X-Content-Type-Options"] == "nosniff"
        own = (await ask(url(server, "/metrics"), CA, IDENTITIES["reader"])).text
    assert 'http_requests_total{code="401",handler="refused",method="get"} 1.0' in own


async def test_a_certificate_without_a_name_is_nobody_s(files):
    async with serving(**files) as server:
        assert (await ask(url(server), CA, CA.issue_cert("client.test"))).status == 401


async def test_a_certificate_that_is_for_servers_only_is_refused(files, tmp_path):
    context = trusting(CA)
    context.load_cert_chain(*pair_for_servers(tmp_path))
    async with (
        serving(**{**files, "tls_client_ca": str(tmp_path / "own-ca.pem")}) as server,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session,
        session.get(url(server)) as response,
    ):
        assert response.status == 500
        assert await response.text() == "x509: certificate specifies an incompatible key usage\n"


async def test_a_chain_over_an_intermediate_ca_counts(files):
    intermediate = CA.create_child_ca()
    async with serving(**files, allowed_users="reader") as server:
        assert (await ask(url(server), CA, client(intermediate, "reader"))).status == 200
        foreign = OTHER_CA.create_child_ca()
        assert (await ask(url(server), CA, client(foreign, "reader"))).text == UNKNOWN


async def test_a_ca_that_another_signed_is_a_root_of_its_own(files, tmp_path):
    intermediate = OTHER_CA.create_child_ca()
    (tmp_path / "ca.crt").write_bytes(intermediate.cert_pem.bytes())
    async with serving(**files) as server:
        assert (await ask(url(server), CA, client(intermediate, "reader"))).status == 200
        assert (await ask(url(server), CA, client(OTHER_CA, "reader"))).status == 500


def trusting(ca: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    ca.configure_trust(context)
    return context


async def shown(server: ApiServer) -> bytes | None:
    """The certificate that a new connection is shown."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    _reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=context)
    found = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return found


async def wait_cut_off(reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(5):
            assert await reader.read() == b""


def der(issued: trustme.LeafCert) -> bytes:
    return ssl.PEM_cert_to_DER_cert(issued.cert_chain_pems[0].bytes().decode())


def overwritten(folder: Path, issued: trustme.LeafCert) -> None:
    write_pair(folder, issued)


def renamed(folder: Path, issued: trustme.LeafCert) -> None:
    draft = folder / "draft"
    draft.mkdir()
    for path in map(Path, write_pair(draft, issued)):
        path.rename(folder / path.name)
    draft.rmdir()


def swapped(folder: Path, issued: trustme.LeafCert) -> None:
    """As the kubelet replaces a mounted secret: a new directory, and one symbolic link renamed over another."""
    fresh = folder / f"..{dt.datetime.now(dt.UTC).timestamp()}"
    fresh.mkdir()
    write_pair(fresh, issued)
    (folder / "..data_tmp").symlink_to(fresh.name)
    (folder / "..data_tmp").rename(folder / "..data")


@pytest.mark.parametrize("replace", [overwritten, renamed, swapped])
async def test_a_new_pair_is_shown_by_the_next_connection(tmp_path, replace, session):
    if replace is swapped:
        swapped(tmp_path, SERVER)
        for name in ("tls.crt", "tls.key"):
            (tmp_path / name).symlink_to(f"..data/{name}")
    else:
        write_pair(tmp_path, SERVER)
    async with serving(tls_cert=str(tmp_path / "tls.crt"), tls_key=str(tmp_path / "tls.key")) as server:
        assert await shown(server) == der(SERVER)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trusting(CA), limit=1)) as kept:
            async with kept.get(url(server)) as response:
                assert response.status == 200
            for _ in range(2):
                issued = CA.issue_cert("localhost", "127.0.0.1")
                replace(tmp_path, issued)
                assert await shown(server) == der(issued)
            async with kept.get(url(server)) as response:  # what is connected stays so
                assert response.status == 200


async def test_a_broken_pair_is_said_once_and_the_old_one_stays(tmp_path, caplog):
    flags = dict(zip(("tls_cert", "tls_key"), write_pair(tmp_path, SERVER), strict=True))
    caplog.set_level(logging.INFO)
    other = CA.issue_cert("localhost")
    async with serving(**flags) as server:

        async def complaints() -> list[str]:
            caplog.clear()
            for _ in range(3):
                assert await shown(server) == der(SERVER)
            return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]

        assert await complaints() == []
        write_pair(tmp_path, other, "other")
        shutil.copy(tmp_path / "other.crt", flags["tls_cert"])
        (mismatch,) = await complaints()
        assert f"--tls-key {flags['tls_key']} is not the key of --tls-cert {flags['tls_cert']}" in mismatch
        assert "stays in use" in mismatch
        Path(flags["tls_cert"]).write_text("-----BEGIN CERTIFICATE-----\nhalf")
        (broken,) = await complaints()
        assert "holds no certificates in PEM form" in broken
        Path(flags["tls_cert"]).unlink()
        (gone,) = await complaints()
        assert gone.startswith(f"--tls-cert {flags['tls_cert']} cannot be read: No such file")
        caplog.clear()
        write_pair(tmp_path, other)
        assert await shown(server) == der(other)
        assert [record.levelname for record in caplog.records] == ["INFO"]


async def test_a_new_client_ca_counts_at_once_also_on_open_connections(files, caplog):
    reader, foreign = IDENTITIES["reader"], IDENTITIES["foreign reader"]
    context = trusting(CA)
    reader.configure_cert(context)
    async with (
        serving(**files) as server,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context, limit=1)) as kept,
    ):

        async def on_open() -> int:
            async with kept.get(url(server)) as response:
                await response.read()
                return response.status

        assert await on_open() == 200
        path = Path(files["tls_client_ca"])
        draft = path.with_name("draft")
        draft.write_bytes(OTHER_CA.cert_pem.bytes())
        draft.rename(path)
        assert await on_open() == 500
        assert (await ask(url(server), CA, foreign)).status == 200
        path.write_bytes(b"nothing of use")
        assert (await ask(url(server), CA, foreign)).status == 200
        assert (await ask(url(server), CA, foreign)).status == 200
        assert sum("holds no certificates" in record.getMessage() for record in caplog.records) == 1
        path.write_bytes(OTHER_CA.cert_pem.bytes() + CA.cert_pem.bytes())
        assert await on_open() == 200
        assert (await ask(url(server), CA, foreign)).status == 200


@pytest.mark.parametrize(
    ("flag", "content", "reason"),
    [
        ("tls_cert", None, "cannot be read: No such file or directory"),
        ("tls_cert", b"", "--tls-cert {path} holds no certificates in PEM form"),
        ("tls_key", b"no key", "--tls-key {path} holds no private key in PEM form"),
        ("tls_key", OTHER_CA.issue_cert("x").private_key_pem.bytes(), "--tls-key {path} is not the key of --tls-cert"),
        ("tls_client_ca", b"", "--tls-client-ca {path} holds no certificates in PEM form"),
        ("tls_client_ca", None, "cannot be read"),
        ("tls_client_ca", b"x" * (5 << 20), "is longer than"),
    ],
)
async def test_what_cannot_be_used_at_start_names_flag_file_and_reason(files, flag, content, reason):
    path = Path(files[flag])
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(StartError) as refusal:
        async with serving(**files):
            pass
    assert reason.format(path=path) in str(refusal.value)
    assert f"--{flag.replace('_', '-')} {path}" in str(refusal.value)


async def test_curl_shows_its_certificate(files, tmp_path):
    pair = write_pair(tmp_path, IDENTITIES["reader"], "client")
    CA.cert_pem.write_to_path(tmp_path / "server-ca.crt")
    async with serving(**files, allowed_users="reader") as server:
        for arguments, expected in ((["--cert", pair[0], "--key", pair[1]], "200"), ([], "401")):
            done = await asyncio.create_subprocess_exec(
                *("curl", "--silent", "--cacert", str(tmp_path / "server-ca.crt"), *arguments),
                *("--output", "/dev/null", "--write-out", "%{http_code} %{http_version}", url(server)),
                stdout=asyncio.subprocess.PIPE,
            )
            said, _ = await done.communicate()
            assert said.decode() == f"{expected} 1.1"


async def test_long_answers_go_through_whole(files):
    async with serving(**{name: files[name] for name in ("tls_cert", "tls_key")}) as server:
        replies = await asyncio.gather(*(ask(url(server, "/metrics/cluster"), CA) for _ in range(4)))
    assert {reply.status for reply in replies} == {200}
    assert len({reply.text for reply in replies}) == 1
    assert len(replies[0].text) > 500_000


async def test_a_handshake_that_does_not_end_is_cut_off(files, monkeypatch):
    monkeypatch.setattr(tlslink, "HANDSHAKE_S", 0.1)
    async with serving(**files) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"\x16\x03\x01")
        await wait_cut_off(reader)
        writer.close()


async def test_stopping_ends_a_handshake_under_way(files):
    async with serving(**files) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        await asyncio.sleep(0.05)
        async with asyncio.timeout(2):
            await server.stop()
        await wait_cut_off(reader)
        writer.close()


async def test_plain_http_and_old_tls_are_refused(files, caplog):
    async with serving(**files) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"HTTP" not in await reader.read()
        writer.close()
        with socket.create_connection(("127.0.0.1", server.port)) as plain:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            context.set_ciphers("ALL:@SECLEVEL=0")
            with pytest.warns(DeprecationWarning, match="TLSv1_1"):
                context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1

            def shake() -> None:
                with context.wrap_socket(plain):
                    pass

            with pytest.raises((ssl.SSLError, ConnectionError)):
                await asyncio.to_thread(shake)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def pair_for_servers(folder: Path) -> tuple[Path, Path]:
    """A certificate that its CA, in own-ca.pem, signed for servers only."""
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    now = dt.datetime.now(dt.UTC)

    def made(subject: str, public_key: ec.EllipticCurvePublicKey, *, ca: bool) -> bytes:
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "own")]))
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if not ca:
            builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        return builder.sign(ca_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    (folder / "own-ca.pem").write_bytes(made("own", ca_key.public_key(), ca=True))
    pair = folder / "server-only.crt", folder / "server-only.key"
    pair[0].write_bytes(made("reader", key.public_key(), ca=False))
    pair[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return pair
