"""The second server over real sockets, its reviews and its config map from the simulated API server over TLS."""

import asyncio
import json
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme
from api.identities import Reply, ask, client, expired, write_pair

from collector.api import aggregated, health, metrics_objects
from collector.api.dispatch import Dispatcher
from collector.api.route import Answer, Context, Request, Route, Style
from collector.core.store import MetricStore
from collector.errors import ServerStoppedError, StartError, UsageError
from collector.kube import auth_config, auth_reviews
from collector.kube.config import connect
from collector.options import SECOND, Options
from collector.secure import SecureServer, start_if_asked
from collector.selfmetrics import SelfMetrics
from collector.sim import SimConfig, SimulatedCluster
from collector.sim.reviews import MASTERS, Account, Reviews, Right

SERVER_CA, PROXY_CA, USER_CA, FOREIGN_CA = (trustme.CA() for _ in range(4))
SERVER = SERVER_CA.issue_cert("127.0.0.1", "heapster.kube-system.svc")
PROXY = client(PROXY_CA, "front-proxy-client")
NODES = "/apis/metrics.k8s.io/v1beta1/nodes"
PODS = "/apis/metrics.k8s.io/v1beta1/namespaces/team/pods"
WATCHED = "/apis/metrics.k8s.io/v1/nodes"


def nodes(_context: Context, request: Request) -> Answer:
    return Answer(f"{request.method} {request.path}".encode())


ROUTES = (
    *health.routes(aggregated.CHECKS),
    Route("GET", NODES, nodes, Style.PRETTY, "nodes"),
    Route("GET", "/apis/metrics.k8s.io/v1beta1/namespaces/{ns}/pods", nodes, Style.PRETTY, "pods"),
    Route(
        "GET", WATCHED, aggregated.listing(metrics_objects.AGGREGATED[0], metrics_objects.NODES), Style.PLAIN, "watched"
    ),
)


def published() -> dict[str, str]:
    """The config map as kubeadm's API server writes it."""
    return {
        "client-ca-file": USER_CA.cert_pem.bytes().decode(),
        "requestheader-client-ca-file": PROXY_CA.cert_pem.bytes().decode(),
        "requestheader-allowed-names": '["front-proxy-client"]',
        "requestheader-username-headers": '["X-Remote-User"]',
        "requestheader-group-headers": '["X-Remote-Group"]',
        "requestheader-uid-headers": '["X-Remote-Uid"]',
        "requestheader-extra-headers-prefix": '["X-Remote-Extra-"]',
    }


@dataclass
class Running:
    cluster: SimulatedCluster
    server: SecureServer

    @property
    def reviews(self) -> Reviews:
        return self.cluster.api.reviews

    async def ask(
        self, path: str = NODES, identity: trustme.LeafCert | None = None, *headers: tuple[str, str]
    ) -> Reply:
        return await ask(f"https://127.0.0.1:{self.server.port}{path}", SERVER_CA, identity, headers=list(headers))

    async def bearer(self, token: str, path: str = NODES) -> Reply:
        return await self.ask(path, None, ("Authorization", f"Bearer {token}"))


@asynccontextmanager
async def running(folder: Path, *, watchable: bool = True, **changed: object) -> AsyncIterator[Running]:
    async with SimulatedCluster(SimConfig(nodes=1, pods=1)) as cluster:
        cluster.api.reviews.config_map = published()
        cluster.api.reviews.watchable = watchable
        follows = watchable and not changed.keys() & {"authentication_skip_lookup", "client_ca_file"}
        certificate, key = write_pair(folder, SERVER)
        options = Options(
            **{  # type: ignore[arg-type]
                "api_server": True,
                "secure_port": 0,
                "bind_address": "127.0.0.1",
                "tls_cert_file": certificate,
                "tls_private_key_file": key,
                **changed,
            }
        )
        context = Context(MetricStore(), SelfMetrics())
        connection = await connect(kubeconfig=str(cluster.kubeconfig))
        server = SecureServer(options, context, Dispatcher(context, ROUTES, ["/apis"]))
        try:
            await server.start(connection)
            async with asyncio.timeout(5):
                while follows and not cluster.api.reviews.watching:
                    await asyncio.sleep(0.01)
            yield Running(cluster, server)
        finally:
            await server.stop()
            await connection.close()


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path) as found:
        yield found


def message(reply: Reply) -> str:
    """The message of a Status that is one in every part."""
    status = json.loads(reply.text)
    assert reply.headers["Content-Type"] == "application/json"
    assert (status["kind"], status["apiVersion"], status["status"]) == ("Status", "v1", "Failure")
    assert status["code"] == reply.status
    assert status["reason"] == {401: "Unauthorized", 403: "Forbidden", 500: "InternalError"}[reply.status]
    return status["message"]


# Who asks.


async def test_the_aggregator_s_requests_pass(served):
    served.reviews.rights = {Right("hpa", "list", "pods.metrics.k8s.io", "team")}
    probe = (("X-Remote-User", "system:kube-aggregator"), ("X-Remote-Group", "system:masters"))
    assert (await served.ask(NODES, PROXY, *probe)).text == f"GET {NODES}"
    user = (
        ("X-Remote-User", "hpa"),
        ("X-Remote-Group", "system:serviceaccounts"),
        ("X-Remote-Group", "others"),
        ("X-Remote-Uid", "1234"),
        ("X-Remote-Extra-Authentication.kubernetes.io%2fcredential-Id", "JTI=1"),
        ("X-Remote-Extra-Scopes", "a"),
        ("X-Remote-Extra-Scopes", "b"),
    )
    assert (await served.ask(PODS, PROXY, *user)).status == 200
    assert served.reviews.specs[-1] == {
        "user": "hpa",
        "groups": ["system:serviceaccounts", "others", "system:authenticated"],
        "uid": "1234",
        "extra": {"authentication.kubernetes.io/credential-id": ["JTI=1"], "scopes": ["a", "b"]},
        "resourceAttributes": {
            "verb": "list",
            "group": "metrics.k8s.io",
            "version": "v1beta1",
            "resource": "pods",
            "namespace": "team",
        },
    }
    assert message(await served.ask(NODES, PROXY, *user)) == (
        'nodes.metrics.k8s.io is forbidden: User "hpa" cannot list resource "nodes" in API group "metrics.k8s.io" '
        "at the cluster scope"
    )


async def test_a_watch_is_a_verb_of_its_own_and_is_streamed(served):
    jane = client(USER_CA, "jane", "devs")
    served.reviews.rights = {Right("devs", "list", "nodes.metrics.k8s.io")}
    path = f"{WATCHED}?watch=true&timeoutSeconds=1&allowWatchBookmarks=true&sendInitialEvents=true"
    path += "&resourceVersionMatch=NotOlderThan"
    assert 'User "jane" cannot watch resource "nodes"' in message(await served.ask(path, jane))
    served.reviews.rights = {Right("devs", "watch", "nodes.metrics.k8s.io")}
    reply = await served.ask(path, client(USER_CA, "joe", "devs"))
    assert (reply.status, reply.headers["Transfer-Encoding"]) == (200, "chunked")
    assert [json.loads(line)["type"] for line in reply.text.splitlines()] == ["BOOKMARK"]


SPOOFED = (("X-Remote-User", "admin"), ("X-Remote-Group", MASTERS))


@pytest.mark.parametrize(
    "identity",
    [
        None,
        client(USER_CA, "jane", "devs"),
        client(USER_CA, "front-proxy-client"),
        client(PROXY_CA, "not-the-proxy"),
        client(FOREIGN_CA, "front-proxy-client"),
        expired(PROXY_CA, "front-proxy-client"),
    ],
    ids=["nobody", "a user", "a user named like it", "another of its CA", "foreign", "expired"],
)
async def test_headers_without_the_proxy_s_certificate_are_never_believed(served, identity):
    reply = await served.ask(NODES, identity, *SPOOFED)
    assert reply.status in {401, 403}
    assert "admin" not in reply.text
    assert all("admin" not in str(spec) and MASTERS not in str(spec) for spec in served.reviews.specs)


async def test_who_shows_nothing_is_anonymous_and_may_what_the_rules_say(served):
    assert message(await served.ask(NODES)).startswith('nodes.metrics.k8s.io is forbidden: User "system:anonymous"')
    assert (
        message(await served.ask("/healthz/ping"))
        == 'forbidden: User "system:anonymous" cannot get path "/healthz/ping"'
    )
    assert served.reviews.specs[-1]["groups"] == ["system:unauthenticated"]
    served.reviews.rights = {Right("system:unauthenticated", "get", "/healthz")}
    assert (await served.ask("/healthz")).status == 500  # let in: there is no batch


async def test_a_user_s_certificate_gives_name_and_groups(served):
    served.reviews.rights = {Right("devs", "list", "nodes.metrics.k8s.io")}
    assert (await served.ask(NODES, client(USER_CA, "jane", "devs"))).status == 200
    assert served.reviews.specs[-1]["user"] == "jane"
    refused = await served.ask(NODES, client(USER_CA, "joe", "guests"))
    assert 'User "joe" cannot list' in message(refused)


@pytest.mark.parametrize(
    "identity", [client(FOREIGN_CA, "jane", MASTERS), expired(USER_CA, "jane")], ids=["foreign", "expired"]
)
async def test_a_certificate_that_does_not_count_is_401_but_a_good_token_beside_it_does(served, identity):
    assert message(await served.ask(NODES, identity)) == "Unauthorized"
    token = ("Authorization", f"Bearer {served.cluster.config.token}")
    assert (await served.ask(NODES, identity, token)).status == 200


async def test_tokens_are_reviewed(served):
    served.reviews.accounts["jane-token"] = Account("jane", ("devs",), "7")
    served.reviews.rights = {Right("jane", "list", "nodes.metrics.k8s.io")}
    assert (await served.bearer("jane-token")).status == 200
    assert served.reviews.specs[-1]["groups"] == ["devs", "system:authenticated"]
    assert served.reviews.specs[-1]["uid"] == "7"
    assert message(await served.bearer("no-token")) == "Unauthorized"
    assert (await served.ask(NODES, None, ("Authorization", "Basic amFuZTpqYW5l"))).status == 403  # anonymous


async def test_reviews_are_remembered_and_asked_once(served):
    asked = served.reviews.asked
    await asyncio.gather(*(served.bearer(served.cluster.config.token) for _ in range(8)))
    assert asked == {"tokenreviews": 1, "subjectaccessreviews": 1}
    await asyncio.gather(*(served.bearer("bad") for _ in range(8)))
    assert asked == {"tokenreviews": 2, "subjectaccessreviews": 1}


async def test_a_revoked_token_and_a_withdrawn_right_are_gone_within_their_time(tmp_path):
    lives = {
        "authentication_token_webhook_cache_ttl": SECOND // 4,
        "authorization_webhook_cache_authorized_ttl": SECOND // 4,
        "authorization_webhook_cache_unauthorized_ttl": SECOND // 4,
    }
    async with running(tmp_path, **lives) as served:
        served.reviews.accounts["t"] = Account("jane")
        rights = {Right("jane", "list", "nodes.metrics.k8s.io")}
        for granted, status in ((set(), 403), (rights, 200), (set(), 403)):
            served.reviews.rights = granted
            await asyncio.sleep(0.3)
            assert (await served.bearer("t")).status == status
        served.reviews.rights = rights
        await asyncio.sleep(0.3)
        assert (await served.bearer("t")).status == 200
        del served.reviews.accounts["t"]
        await asyncio.sleep(0.3)
        assert (await served.bearer("t")).status == 401


async def test_no_token_is_kept_or_logged(served, caplog):
    caplog.set_level(logging.DEBUG)
    for token in ("very-secret", served.cluster.config.token):
        await served.bearer(token)
    assert "very-secret" not in caplog.text
    assert served.cluster.config.token not in caplog.text
    remembered = served.server.authenticator._tokens._known
    assert len(remembered) == 2
    assert {len(key) for key in remembered} == {32}


# The API server's side.


@pytest.mark.parametrize("version", ["v1", "v1beta1"])
async def test_either_version_of_the_reviews_will_do(served, version):
    served.reviews.versions = frozenset({version})
    served.reviews.accounts["t"] = Account("jane", ("devs",))
    served.reviews.rights = {Right("devs", "list", "nodes.metrics.k8s.io")}
    assert (await served.bearer("t")).status == 200
    served.reviews.versions = frozenset({"v1", "v1beta1"} - {version})  # an upgrade, say
    assert 'cannot list resource "pods"' in message(await served.bearer("t", PODS))


async def test_without_a_verdict_nobody_is_let_in_and_the_log_says_why(served, caplog):
    served.cluster.api.fail_next(2)
    reply = await served.bearer(served.cluster.config.token)
    assert reply.status == 500
    assert "gave no verdict" in message(reply)
    assert served.cluster.api_url not in reply.text
    assert "etcdserver: request timed out" in caplog.text
    assert (await served.bearer(served.cluster.config.token)).status == 200
    served.cluster.api.fail_next(1)  # one failure is asked again
    assert (await served.bearer("another")).status == 401
    served.cluster.api.refuse(True)
    assert (await served.bearer("third")).status == 500
    served.reviews.versions = frozenset()
    served.cluster.api.refuse(False)
    assert (await served.bearer("fourth")).status == 500


async def test_a_review_that_hangs_is_given_up(served, monkeypatch, caplog):
    monkeypatch.setattr(auth_reviews, "DEADLINE_S", 0.2)
    gate = asyncio.Event()

    async def hang(*_arguments: object) -> tuple[int, bytes]:
        await gate.wait()
        raise AssertionError

    monkeypatch.setattr(auth_reviews.Reviewer, "_post", hang)
    assert (await served.bearer("t")).status == 500
    assert "no TokenReview within 0.2 s" in caplog.text


async def test_a_new_proxy_ca_in_the_config_map_counts_at_its_first_certificate(served, monkeypatch):
    monkeypatch.setattr(auth_config, "HURRY_S", 0.0)
    fresh = trustme.CA()
    proxy = client(fresh, "front-proxy-client")
    probe = (("X-Remote-User", "system:kube-aggregator"), ("X-Remote-Group", MASTERS))
    assert (await served.ask(NODES, proxy, *probe)).status == 401
    served.reviews.config_map = {**published(), "requestheader-client-ca-file": fresh.cert_pem.bytes().decode()}
    assert (await served.ask(NODES, proxy, *probe)).status == 200
    assert (await served.ask(NODES, PROXY, *probe)).status == 401


async def test_a_change_of_the_config_map_counts_at_once(served):
    jane = client(USER_CA, "jane", MASTERS)
    assert (await served.ask(NODES, jane)).status == 200
    await asyncio.sleep(0.2)
    reads = served.reviews.config_map_reads
    for authority, status in ((FOREIGN_CA, 401), (USER_CA, 200), (FOREIGN_CA, 401)):
        served.reviews.config_map = {**published(), "client-ca-file": authority.cert_pem.bytes().decode()}
        await asyncio.sleep(0.2)
        # A certificate that counts is asked for no review of the config map: only the watch can have told.
        assert (await served.ask(NODES, jane)).status == status
    assert served.reviews.config_map_reads == reads


async def test_a_config_map_that_is_gone_leaves_what_was_known_until_it_is_back(tmp_path, monkeypatch, caplog):
    for name, value in (("REJOIN_S", 0.05), ("HURRY_S", 0.0), ("PERIOD_FAILED_S", 0.05)):
        monkeypatch.setattr(auth_config, name, value)
    async with running(tmp_path) as served:
        jane = client(USER_CA, "jane", MASTERS)
        served.reviews.config_map = {}
        await asyncio.sleep(0.3)
        assert (await served.ask(NODES, jane)).status == 200
        assert caplog.text.count("are not recognised anew") == 1
        served.reviews.config_map = {**published(), "client-ca-file": FOREIGN_CA.cert_pem.bytes().decode()}
        await asyncio.sleep(0.3)
        assert (await served.ask(NODES, jane)).status == 401


async def test_where_it_may_not_be_watched_the_config_map_is_read_as_time_goes_by(tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(auth_config, "PERIOD_S", 0.05)
    monkeypatch.setattr(auth_config, "HURRY_S", 0.0)
    async with running(tmp_path, watchable=False) as served:
        jane = client(USER_CA, "jane", MASTERS)
        assert (await served.ask(NODES, jane)).status == 200
        served.reviews.config_map = {**published(), "client-ca-file": FOREIGN_CA.cert_pem.bytes().decode()}
        async with asyncio.timeout(5):
            while (await served.ask(NODES, jane)).status != 401:
                await asyncio.sleep(0.05)
        assert "is read every" in caplog.text
        assert 'allow verb "watch" on resource "configmaps"' in caplog.text


async def test_a_config_map_that_cannot_be_used_leaves_what_was_known(served, monkeypatch, caplog):
    monkeypatch.setattr(auth_config, "HURRY_S", 0.0)
    jane, nobody = client(USER_CA, "jane", MASTERS), client(FOREIGN_CA, "x")
    for broken in ({"client-ca-file": "no PEM"}, {"requestheader-allowed-names": "no JSON"}):
        served.reviews.config_map = {**published(), **broken}
        assert (await served.ask(NODES, nobody)).status == 401  # which makes it look
        assert (await served.ask(NODES, jane)).status == 200
        assert (await served.ask(NODES, PROXY, *SPOOFED)).status == 200  # it is the proxy that says so
    served.cluster.api.refuse(True)
    assert (await served.ask(NODES, nobody)).status == 401
    assert "client-ca-file cannot be read" in caplog.text
    assert "are not recognised anew" in caplog.text


async def test_without_the_lookup_nothing_of_the_config_map_counts(tmp_path):
    async with running(tmp_path, authentication_skip_lookup=True) as served:
        assert (await served.ask(NODES, PROXY, *SPOOFED)).status == 401
        assert (await served.bearer(served.cluster.config.token)).status == 200


async def test_flags_win_over_the_config_map(tmp_path):
    FOREIGN_CA.cert_pem.write_to_path(tmp_path / "ca.crt")
    flags = {
        "requestheader_client_ca_file": str(tmp_path / "ca.crt"),
        "requestheader_allowed_names": ("other-proxy",),
        "requestheader_username_headers": ("X-User",),
        "client_ca_file": str(tmp_path / "ca.crt"),
    }
    async with running(tmp_path, **flags) as served:
        user = (("X-User", "someone"), ("X-Remote-Group", MASTERS))
        assert (await served.ask(NODES, client(FOREIGN_CA, "other-proxy"), *user)).status == 200
        assert (await served.ask(NODES, PROXY, *user)).status == 401
        assert 'User "jane"' in message(await served.ask(NODES, client(FOREIGN_CA, "jane"), *user))


async def test_reviews_may_have_api_servers_of_their_own(tmp_path):
    async with SimulatedCluster(SimConfig(nodes=1, pods=1, token="other")) as second:
        paths = dict.fromkeys(("authentication_kubeconfig", "authorization_kubeconfig"), str(second.kubeconfig))
        async with running(tmp_path, **paths, authentication_skip_lookup=True) as served:
            assert (await served.bearer("other")).status == 200
            assert second.api.reviews.asked == {"tokenreviews": 1, "subjectaccessreviews": 1}
            assert (await served.bearer(served.cluster.config.token)).status == 401
            assert served.reviews.asked == {"tokenreviews": 0, "subjectaccessreviews": 0}


# How it is served.


async def shown(port: int, server_hostname: str | None) -> bytes | None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    _reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=context, server_hostname=server_hostname or ""
    )
    found = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return found


def der(issued: trustme.LeafCert) -> bytes:
    return ssl.PEM_cert_to_DER_cert(issued.cert_chain_pems[0].bytes().decode())


async def test_the_asked_name_chooses_the_pair_also_once_it_is_replaced(tmp_path):
    named, wild = SERVER_CA.issue_cert("metrics.example"), SERVER_CA.issue_cert("*.wild.example")
    texts = (
        ",".join(write_pair(tmp_path, named, "named")),
        ",".join(write_pair(tmp_path, wild, "wild")) + ":*.wild.example,Extra.example",
    )
    async with running(tmp_path, tls_sni_cert_key=texts) as served:
        port = served.server.port
        expected = {
            "metrics.example": named, "a.wild.example": wild, "extra.example": wild,
            "wild.example": SERVER, "a.b.wild.example": SERVER, "else.example": SERVER, None: SERVER,
        }  # fmt: skip
        for name, issued in expected.items():
            assert await shown(port, name) == der(issued), name
        fresh = SERVER_CA.issue_cert("metrics.example")
        write_pair(tmp_path, fresh, "named")
        assert await shown(port, "metrics.example") == der(fresh)
        # The choice of a pair does not change who is let in.
        reply = await ask(
            f"https://127.0.0.1:{port}{NODES}",
            SERVER_CA,
            client(USER_CA, "jane", MASTERS),
            server_hostname="metrics.example",
        )
        assert reply.status == 200


async def test_without_a_pair_one_is_made_and_used_again(tmp_path):
    folder = tmp_path / "made" / "here"
    flags = {"tls_cert_file": "", "tls_private_key_file": "", "cert_dir": str(folder)}
    for _ in range(2):
        async with running(tmp_path, **flags) as served:
            pem = (folder / "apiserver.crt").read_text()
            first, _, _ = pem.partition("-----END CERTIFICATE-----\n")
            assert await shown(served.server.port, None) == ssl.PEM_cert_to_DER_cert(
                f"{first}-----END CERTIFICATE-----\n"
            )
            context = ssl.create_default_context(cafile=folder / "ca.crt")
            for name in ("heapster.kube-system", "heapster.kube-system.svc", "127.0.0.1"):
                _reader, writer = await asyncio.open_connection(
                    "127.0.0.1", served.server.port, ssl=context, server_hostname=name
                )
                writer.close()
    context = ssl.create_default_context(cafile=folder / "ca.crt")
    assert len(context.get_ca_certs()) == 1
    modes = {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}
    assert modes == {"apiserver.crt": 0o644, "apiserver.key": 0o600, "authorities.pem": 0o600, "ca.crt": 0o644}
    assert (folder / "apiserver.crt").read_text() == pem


async def test_a_kept_connection_serves_many_requests_over_http_1_1(served):
    context = ssl.create_default_context()
    SERVER_CA.configure_trust(context)
    context.set_alpn_protocols(["h2", "http/1.1"])
    reader, writer = await asyncio.open_connection("127.0.0.1", served.server.port, ssl=context)
    assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
    for _ in range(3):
        writer.write(f"GET {NODES} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer sim-token\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length"))
        await reader.readexactly(length)
    writer.close()


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"tls_cert_file": "/nowhere"}, "--tls-cert-file /nowhere cannot be read"),
        ({"tls_private_key_file": ""}, "--tls-cert-file is given without --tls-private-key-file"),
        ({"tls_sni_cert_key": ("one",)}, "--tls-sni-cert-key 'one': write CERT,KEY"),
        ({"tls_ca_file": "/nowhere"}, "--tls-ca-file /nowhere cannot be read"),
        ({"client_ca_file": "/nowhere"}, "--client-ca-file /nowhere cannot be read"),
        ({"requestheader_client_ca_file": "/nowhere"}, "--requestheader-client-ca-file /nowhere cannot be read"),
        ({"authentication_kubeconfig": "/nowhere"}, "kubeconfig /nowhere does not exist"),
        (
            {"tls_cert_file": "", "tls_private_key_file": "", "service_namespace": "Kube System"},
            "--service-namespace is 'Kube System'",
        ),
        ({"bind_address": "192.0.2.1"}, "the address is --bind-address, the port --secure-port"),
    ],
)
async def test_what_cannot_be_built_is_told_and_left_out(tmp_path, changed, fault, caplog):
    with pytest.raises((StartError, UsageError)) as refusal:
        async with running(tmp_path, **changed):
            pass
    assert fault in str(refusal.value)


async def test_the_process_goes_on_without_a_second_server(caplog):
    context = Context(MetricStore(), SelfMetrics())
    dispatcher = Dispatcher(context, ROUTES, ["/apis"])
    connection = await connect(server="http://127.0.0.1:1")
    for flags in ({}, {"api_server": True, "secure_port": 0}):
        assert await start_if_asked(Options(**flags), context, connection, dispatcher) is None
    assert not caplog.records
    failing = Options(api_server=True, secure_port=1, tls_cert_file="/nowhere", tls_private_key_file="/nowhere")
    assert await start_if_asked(failing, context, connection, dispatcher) is None
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "cannot be built, going on without it: --tls-cert-file /nowhere cannot be read" in caplog.text
    await connection.close()


async def test_a_server_that_stops_is_noticed(served, monkeypatch):
    monkeypatch.setattr("collector.secure.CHECK_S", 0.05)
    watching = asyncio.create_task(served.server.run())
    await asyncio.sleep(0.2)
    assert not watching.done()
    await served.server._server.stop()
    with pytest.raises(ServerStoppedError, match="listens no longer"):
        async with asyncio.timeout(5):
            await watching
