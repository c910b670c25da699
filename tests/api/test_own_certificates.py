"""The CA of our own: what is due when, what a restart finds, and clients that notice nothing of a rotation."""

import asyncio
import base64
import datetime as dt
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from api.test_second_server import NODES, ROUTES, USER_CA, published
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from collector import certdir
from collector.api.dispatch import Dispatcher
from collector.api.route import Answer, Context, Request, Route, Style
from collector.authority import Keyring, Lives, Service, is_authority_of
from collector.core.store import MetricStore
from collector.kube import apiservices
from collector.kube.config import connect
from collector.options import Options
from collector.secure import SecureServer, own_namespace
from collector.selfmetrics import SelfMetrics
from collector.sim import SimConfig, SimulatedCluster
from collector.sim.reviews import MASTERS, Account

SERVICE = Service("heapster", "kube-system")
NOW = dt.datetime(2030, 1, 1, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)
V1BETA1, V1 = apiservices.NAMES


def keyring() -> Keyring:
    made = Keyring(SERVICE, ["127.0.0.1"])
    assert made.step(NOW)
    return made


# What is due when.


def test_what_is_made_is_an_elliptic_ca_and_a_short_lived_certificate_for_the_service():
    made = keyring()
    [authority], serving = made.bundle(), made.serving.certificate
    assert isinstance(serving.public_key().curve, ec.SECP256R1)
    assert (authority.not_valid_after_utc, serving.not_valid_after_utc) == (NOW + 90 * DAY, NOW + 7 * DAY)
    names = serving.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {"heapster.kube-system.svc", "heapster.kube-system.svc.cluster.local"} <= set(
        names.get_values_for_type(x509.DNSName)
    )
    usages = serving.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usages) == [x509.ExtendedKeyUsageOID.SERVER_AUTH]
    assert is_authority_of(SERVICE.mark, authority)
    assert not is_authority_of(SERVICE.mark, serving)
    assert not is_authority_of(Service("other", "x").mark, authority)
    assert not made.step(NOW + DAY)


def test_the_certificate_is_renewed_when_a_third_of_its_life_is_left():
    made = keyring()
    first = made.serving
    assert not made.step(NOW + 4 * DAY)
    assert made.step(NOW + 5 * DAY)
    assert made.serving is not first
    assert made.issuer().certificate == made.bundle()[0]
    assert len(made.bundle()) == 1


def test_a_new_ca_is_trusted_for_a_day_before_it_signs():
    made = keyring()
    old = made.issuer()
    at = NOW + 61 * DAY
    made.step(at)
    assert len(made.bundle()) == 2
    made.step(at + 5 * DAY)
    assert made.issuer() is old  # nobody has said that the new one is known
    made.trust(made.bundle(), at + 5 * DAY)
    made.step(at + 5 * DAY + dt.timedelta(hours=23))
    assert made.issuer() is old
    made.step(at + 6 * DAY)
    assert made.issuer().certificate == made.bundle()[1]
    assert len(made.bundle()) == 2  # the old one stays until it ends
    made.step(NOW + 91 * DAY)
    assert made.bundle() == (made.issuer().certificate,)


def test_a_ca_that_nobody_takes_signs_when_there_is_no_other_way():
    made = keyring()
    old = made.issuer()
    for day in range(62, 88):
        made.step(NOW + day * DAY)
        assert made.issuer() is old
        assert made.serving.left(NOW + day * DAY) > dt.timedelta()
    made.step(NOW + 88 * DAY)
    assert made.issuer() is not old
    assert made.serving.left(NOW + 88 * DAY) == 7 * DAY


def test_a_long_sleep_ends_with_new_ones():
    made = keyring()
    made.step(NOW + 400 * DAY)
    assert made.serving.left(NOW + 400 * DAY) == 7 * DAY
    assert len(made.bundle()) == 1


# What a restart finds.


def test_a_restart_goes_on_with_what_is_there(tmp_path):
    made = keyring()
    certdir.save(str(tmp_path), made)
    again = Keyring(SERVICE, ["127.0.0.1"])
    certdir.load(str(tmp_path), again)
    assert not again.step(NOW + DAY)
    assert (again.bundle(), again.serving.certificate) == (made.bundle(), made.serving.certificate)
    other = Keyring(SERVICE, ["127.0.0.1", "10.0.0.1"])  # another --bind-address
    certdir.load(str(tmp_path), other)
    assert other.step(NOW + DAY)
    assert other.bundle() == made.bundle()
    assert other.serving.certificate != made.serving.certificate


@pytest.mark.parametrize("name", [certdir.AUTHORITIES, certdir.KEY, certdir.CERTIFICATE])
@pytest.mark.parametrize("content", ["", "no PEM", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_what_cannot_be_read_is_made_anew(tmp_path, name, content):
    certdir.save(str(tmp_path), keyring())
    (tmp_path / name).write_text(content)
    again = Keyring(SERVICE, ["127.0.0.1"])
    certdir.load(str(tmp_path), again)
    again.step(NOW)
    assert again.issuer().signed(again.serving)


def test_a_pair_that_somebody_else_put_there_is_used(tmp_path):
    issued = USER_CA.issue_cert("heapster.kube-system.svc")
    (tmp_path / "apiserver.key").write_bytes(issued.private_key_pem.bytes())
    (tmp_path / "apiserver.crt").write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
    assert certdir.given_pair(str(tmp_path), SERVICE.mark) == (
        str(tmp_path / "apiserver.crt"),
        str(tmp_path / "apiserver.key"),
    )
    certdir.save(str(tmp_path), keyring())
    assert certdir.given_pair(str(tmp_path), SERVICE.mark) is None
    assert certdir.given_pair(str(tmp_path / "nowhere"), SERVICE.mark) is None


def test_a_pair_that_heapster_signed_itself_gives_way(tmp_path):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "heapster.kube-system@1712345678")])
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now - DAY, now + 3650 * DAY)
    pem = builder.sign(key, x509.base.hashes.SHA256()).public_bytes(Encoding.PEM)
    (tmp_path / "apiserver.crt").write_bytes(pem)
    (tmp_path / "apiserver.key").write_text("x")
    assert certdir.given_pair(str(tmp_path), SERVICE.mark) is None


def test_the_namespace_is_the_pod_s(tmp_path):
    (tmp_path / "namespace").write_text("monitoring\n")
    assert own_namespace({"POD_NAMESPACE": "mine"}, tmp_path) == "mine"
    assert own_namespace({}, tmp_path) == "monitoring"
    assert own_namespace({}, tmp_path / "nowhere") == "kube-system"


# Served.


QUICK = Lives(dt.timedelta(seconds=4), dt.timedelta(seconds=12), dt.timedelta(seconds=1.5))


@asynccontextmanager
async def replica(cluster: SimulatedCluster, folder: Path, **changed: object) -> AsyncIterator[SecureServer]:
    given = {"cert_dir": str(folder / "pair"), **changed}
    options = Options(api_server=True, secure_port=0, bind_address="127.0.0.1", **given)  # type: ignore[arg-type]
    context = Context(MetricStore(), SelfMetrics())
    connection = await connect(kubeconfig=str(cluster.kubeconfig))
    server = SecureServer(
        options, context, Dispatcher(context, (*ROUTES, Route("GET", SLOW, slowly, Style.PLAIN, "slow")), ["/apis"])
    )
    try:
        await server.start(connection)
        yield server
    finally:
        await server.stop()
        await connection.close()


@pytest.fixture
async def cluster() -> AsyncIterator[SimulatedCluster]:
    async with SimulatedCluster(SimConfig(nodes=1, pods=1)) as simulated:
        simulated.api.reviews.config_map = published()
        simulated.api.reviews.accounts["t"] = Account("root", (MASTERS,))
        simulated.api.apiservices.apply(V1BETA1, "heapster", "kube-system")
        yield simulated


SLOW = f"{NODES}/slow"


async def slowly(_context: Context, _request: Request) -> Answer:
    await asyncio.sleep(1.5)
    return Answer(b"{}")


class Aggregator:
    """Asks as the aggregation layer does: by the APIService's bundle of the moment, for the service's name."""

    def __init__(self, cluster: SimulatedCluster, name: str = V1BETA1) -> None:
        self.apiservices = cluster.api.apiservices
        self.name = name
        self.connections = 0
        self._sessions: dict[str, aiohttp.ClientSession] = {}

    async def ask(self, port: int, path: str = NODES) -> int:
        bundle = self.apiservices.bundle(self.name)
        session = self._sessions.get(bundle)
        if session is None:
            context = ssl.create_default_context(cadata=base64.b64decode(bundle).decode())
            session = self._sessions[bundle] = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context))
        headers = {"Authorization": "Bearer t"}
        url = f"https://127.0.0.1:{port}{path}"
        async with session.get(url, headers=headers, server_hostname="heapster.kube-system.svc") as answer:
            await answer.read()
            return answer.status

    async def close(self) -> None:
        for session in self._sessions.values():
            await session.close()


@pytest.fixture
async def aggregator(cluster) -> AsyncIterator[Aggregator]:
    made = Aggregator(cluster)
    yield made
    await made.close()


async def test_no_request_fails_across_rotations(cluster, tmp_path, aggregator, monkeypatch):
    monkeypatch.setattr("collector.secure.Keyring", lambda *given: Keyring(*given, lives=QUICK))
    monkeypatch.setattr("collector.owncertificates.LOOK_S", 0.2)
    async with replica(cluster, tmp_path) as server:
        kept = ssl.create_default_context(cadata=base64.b64decode(cluster.api.apiservices.bundle(V1BETA1)).decode())
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", server.port, ssl=kept, server_hostname="heapster.kube-system.svc"
        )
        fresh, bundles, asked = set(), set(), 0

        async def in_flight() -> list[int]:
            return [await aggregator.ask(server.port, SLOW) for _ in range(8)]

        flying = [asyncio.create_task(in_flight()) for _ in range(3)]
        ends = asyncio.get_running_loop().time() + 15
        while asyncio.get_running_loop().time() < ends:
            statuses = await asyncio.gather(*(aggregator.ask(server.port) for _ in range(4)))
            assert set(statuses) == {200}
            verified = ssl.create_default_context(
                cadata=base64.b64decode(cluster.api.apiservices.bundle(V1BETA1)).decode()
            )
            _, new = await asyncio.open_connection(
                "127.0.0.1", server.port, ssl=verified, server_hostname="heapster.kube-system.svc"
            )
            fresh.add(new.get_extra_info("ssl_object").getpeercert(binary_form=True))
            new.close()
            bundles.add(cluster.api.apiservices.bundle(V1BETA1))
            asked += 1
            await asyncio.sleep(0.1)
        assert {status for statuses in await asyncio.gather(*flying) for status in statuses} == {200}
        # The connection of the very beginning has been open all the while.
        writer.write(f"GET {NODES} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer t\r\n\r\n".encode())
        assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200")
        writer.close()
        issuers = {x509.load_der_x509_certificate(found).issuer.rfc4514_string() for found in fresh}
        assert len(fresh) > 3
        assert len(issuers) > 1
        assert len(bundles) > 2
        assert asked > 20


async def test_replicas_keep_each_other_s_cas(cluster, tmp_path, aggregator):
    held = cluster.api.apiservices
    async with (
        replica(cluster, tmp_path / "a") as first,
        replica(cluster, tmp_path / "b") as second,
        replica(cluster, tmp_path / "c") as third,
    ):
        for server in (first, second, third):
            assert await aggregator.ask(server.port) == 200
        assert held.patches == 3
        # Nobody writes again what is there already.
        settled = held.bundle(V1BETA1)
        for server in (first, second, third):
            assert await publisher_of(cluster, server).publish()
        assert (held.bundle(V1BETA1), held.patches) == (settled, 3)
        # All at once, from nothing.
        held.apply(V1BETA1, "heapster", "kube-system")
        await asyncio.gather(*(publisher_of(cluster, server).publish() for server in (first, second, third)))
        assert held.bundle(V1BETA1) == settled
        assert held.conflicts >= 1


def publisher_of(cluster: SimulatedCluster, server: SecureServer) -> apiservices.CaPublisher:
    found = next(task.get_coro().cr_frame.f_locals["self"] for task in server._tasks if task.get_name() == "CA bundles")
    assert isinstance(found, apiservices.CaPublisher)
    return found


async def test_a_manifest_applied_again_is_mended(cluster, tmp_path, aggregator, monkeypatch):
    monkeypatch.setattr(apiservices, "CHECK_S", 0.2)
    held = cluster.api.apiservices
    async with replica(cluster, tmp_path) as server:
        assert await aggregator.ask(server.port) == 200
        held.apply(V1BETA1, "heapster", "kube-system", insecureSkipTLSVerify=True)
        held.apply(V1, "heapster", "kube-system")  # and one that was not there before
        async with asyncio.timeout(5):
            while not held.bundle(V1BETA1) or not held.bundle(V1):
                await asyncio.sleep(0.02)
        assert "insecureSkipTLSVerify" not in held.objects[V1BETA1]["spec"]
        assert await aggregator.ask(server.port) == 200


async def test_an_apiservice_that_leads_elsewhere_is_left_alone(cluster, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    held = cluster.api.apiservices
    held.apply(V1BETA1, "metrics-server", "kube-system")
    held.apply(V1, "heapster", "kube-system")
    held.objects[V1]["metadata"]["annotations"] = {"cert-manager.io/inject-ca-from": "kube-system/x"}
    before = str(held.objects)
    async with replica(cluster, tmp_path) as server:
        publisher = publisher_of(cluster, server)
        await publisher.publish()
        await publisher.publish()
        assert str(held.objects) == before
        assert publisher.states == {
            V1BETA1: apiservices.State.OTHER_SERVICE,
            V1: apiservices.State.OTHER_WRITER,
        }
        assert caplog.text.count("leads to service kube-system/metrics-server, not to kube-system/heapster") == 1
        assert caplog.text.count("annotation cert-manager.io/inject-ca-from") == 1


async def test_a_right_that_is_missing_is_a_state_told_once_and_tried_again(cluster, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(apiservices, "RETRY_S", (0.05, 0.1))
    held = cluster.api.apiservices
    held.refusing = True
    async with replica(cluster, tmp_path) as server:
        await asyncio.sleep(0.5)
        registry = server._context.metrics.registry
        labels = {"apiservice": V1BETA1, "state": "refused"}
        assert registry.get_sample_value("heapster_apiservice_ca_bundle", labels) == 1
        complaints = [record for record in caplog.records if "APIService v1beta1" in record.getMessage()]
        assert len(complaints) == 1
        assert (
            'allow verb "get" on resource "apiservices" of API group apiregistration.k8s.io'
            in complaints[0].getMessage()
        )
        held.refusing = False
        async with asyncio.timeout(5):
            while not held.bundle(V1BETA1):
                await asyncio.sleep(0.02)
        await asyncio.sleep(0.1)
        assert registry.get_sample_value("heapster_apiservice_ca_bundle", labels) == 0
        labels["state"] = "current"
        assert registry.get_sample_value("heapster_apiservice_ca_bundle", labels) == 1


async def test_nothing_is_patched_when_the_flag_says_so_or_files_are_given(cluster, tmp_path):
    async with replica(cluster, tmp_path, patch_apiservices=False) as server:
        assert server.own is not None
    pair = certdir.Path(tmp_path, "pair")
    flags = {"tls_cert_file": str(pair / "apiserver.crt"), "tls_private_key_file": str(pair / "apiserver.key")}
    async with replica(cluster, tmp_path, **flags) as server:
        assert server.own is None
    assert cluster.api.apiservices.bundle(V1BETA1) == ""


async def test_a_directory_that_cannot_be_written_to_is_no_fault(cluster, tmp_path, caplog, aggregator):
    async with replica(cluster, tmp_path, cert_dir="/proc/nowhere") as server:
        assert await aggregator.ask(server.port) == 200
    assert caplog.text.count("kept in memory") == 1


async def test_what_nobody_foresaw_is_a_state_too(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(apiservices, "RETRY_S", (0.05, 0.05))

    def fail(*_given: object) -> apiservices.Finding:
        raise RuntimeError("a certificate of another world")

    async with replica(cluster, tmp_path) as server:
        monkeypatch.setattr(apiservices, "judge", fail)
        publisher = publisher_of(cluster, server)
        assert not await publisher.publish()
        assert publisher.states[V1BETA1] is apiservices.State.FAILED


def test_a_bundle_is_bounded_and_keeps_the_newest_of_others():
    own = keyring().bundle()
    others = []
    for hour in range(apiservices.MOST + 6):
        other = Keyring(SERVICE)
        other.step(NOW + dt.timedelta(hours=hour))
        others += other.bundle()
    stranger = Keyring(Service("other", "kube-system"))
    stranger.step(NOW)
    found = apiservices.merged([*others, *stranger.bundle()], own, SERVICE.mark, NOW)
    assert len(found) == apiservices.MOST
    assert set(own) <= set(found)
    assert set(others[-apiservices.MOST + 1 :]) <= set(found)
    assert stranger.bundle()[0] not in found
    assert apiservices.merged(found, own, SERVICE.mark, NOW) == found
    assert apiservices.merged(found, own, SERVICE.mark, NOW + 400 * DAY) == list(own)


@pytest.mark.parametrize("text", ["", "####", base64.b64encode(b"no PEM").decode()])
def test_a_bundle_that_cannot_be_read_is_replaced(text):
    found = apiservices.ApiService()
    found.spec.service = apiservices._ServiceReference("heapster", "kube-system")
    found.spec.bundle = text
    finding = apiservices.judge(found, SERVICE, keyring().bundle(), NOW)
    assert finding.patch["spec"].keys() == {"caBundle"}
