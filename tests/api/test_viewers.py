"""The model API on the second server: alice has one namespace, bob the nodes, admin everything, nobody nothing."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from api.golden import Replay
from api.identities import Reply, ask, write_pair
from api.test_second_server import SERVER, SERVER_CA, message, published

from collector.api import ROUTES, offered, viewer
from collector.api.dispatch import Dispatcher
from collector.api.gate import is_viewed
from collector.api.rights import Right as Needed
from collector.api.route import RequestError, Route, Sight, Style
from collector.api.second import SecondApi
from collector.api.viewer import Viewer, ViewersManner
from collector.core.metrics import Kind
from collector.history.contracts import EntityKey
from collector.kube.auth import Authorizer, Lifetimes
from collector.kube.auth_reviews import AccessStatus
from collector.kube.auth_user import User
from collector.kube.config import connect
from collector.options import Options
from collector.secure import SecureServer
from collector.sim import SimConfig, SimulatedCluster
from collector.sim.reviews import Account, Right

MODEL = "/api/v1/model"
PODS, NODES = "pods.metrics.k8s.io", "nodes.metrics.k8s.io"


class Served:
    def __init__(self, cluster: SimulatedCluster, server: SecureServer, replay: Replay) -> None:
        self.reviews = cluster.api.reviews
        self.port = server.port
        self.replay = replay
        self.namespaces: list[str] = []
        self.nodes: list[str] = []
        self.keys: list[str] = []

    async def learn(self) -> None:
        self.namespaces = json.loads(await self.plain(f"{MODEL}/namespaces/"))
        self.nodes = json.loads(await self.plain(f"{MODEL}/nodes/"))
        self.keys = json.loads(await self.plain(f"{MODEL}/debug/allkeys"))

    async def ask(self, who: str, path: str) -> Reply:
        headers = [("Authorization", f"Bearer {who}")] if who else []
        return await ask(f"https://127.0.0.1:{self.port}{path}", SERVER_CA, headers=headers)

    async def listed(self, who: str, path: str) -> list[str]:
        reply = await self.ask(who, MODEL + path)
        assert reply.status == 200, reply.text
        return json.loads(reply.text)

    async def plain(self, path: str) -> str:
        """What the main port says, where nobody is asked for rights."""
        context = self.replay.context
        body = (await Dispatcher(context, *offered(context)).answer("GET", path, {})).answer.body
        return (body if isinstance(body, bytes) else b"".join([piece async for piece in body])).decode()


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[Served]:
    replay = Replay()
    replay.until(10)
    async with SimulatedCluster(SimConfig(nodes=1, pods=1)) as cluster:
        cluster.api.reviews.config_map = published()
        cluster.api.reviews.accounts |= {name: Account(name) for name in ("alice", "bob", "admin", "pods", "mallory")}
        certificate, key = write_pair(folder, SERVER)
        options = Options(
            api_server=True,
            secure_port=0,
            bind_address="127.0.0.1",
            tls_cert_file=certificate,
            tls_private_key_file=key,
        )
        connection = await connect(kubeconfig=str(cluster.kubeconfig))
        server = SecureServer(options, replay.context, SecondApi(replay.context))
        try:
            await server.start(connection)
            served = Served(cluster, server, replay)
            await served.learn()
            cluster.api.reviews.rights = {
                Right("alice", "get", PODS, served.namespaces[0]),
                Right("bob", "get", NODES),
                Right("admin", "get", MODEL),
                Right("pods", "get", PODS),
            }
            yield served
        finally:
            await server.stop()
            await connection.close()


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with serving(tmp_path) as found:
        yield found


async def test_alice_sees_her_namespace_and_no_other(served):
    own, other = served.namespaces[:2]
    assert await served.listed("alice", "/namespaces/") == [own]
    assert await served.listed("alice", f"/namespaces/{own}/pods/") == json.loads(
        await served.plain(f"{MODEL}/namespaces/{own}/pods/")
    )
    keys = await served.listed("alice", "/debug/allkeys")
    wanted = f"namespace:{own}"
    assert keys == [key for key in served.keys if key == wanted or key.startswith(f"{wanted}/")]
    assert len(keys) > 2
    for path in ("", "/pods/", "/metrics/", "/metrics/cpu/usage_rate", "/pods/x/metrics/", "/pod-list/a,b/metrics/x"):
        refused = await served.ask("alice", f"{MODEL}/namespaces/{other}{path}")
        if path:
            assert message(refused) == (
                'pods.metrics.k8s.io is forbidden: User "alice" cannot get resource "pods" in API group '
                f'"metrics.k8s.io" in the namespace "{other}"'
            )
        # Nothing tells a namespace that is there from one that is not.
        unknown = await served.ask("alice", f"{MODEL}/namespaces/no-such{path}")
        assert (unknown.status, unknown.text.replace("no-such", other)) == (refused.status, refused.text)
    for path in ("/nodes/", f"/nodes/{served.nodes[0]}/metrics/", "/metrics/", "/metrics/cpu/usage", "/nothing/here"):
        assert (await served.ask("alice", MODEL + path)).status == 403, path
    for path in ("/api/v1/metric-export", "/api/v1/metric-export-schema", "/api/v1/ledger"):
        assert "cannot get path" in message(await served.ask("alice", path))


async def test_bob_sees_nodes_only(served):
    node = served.nodes[0]
    assert await served.listed("bob", "/nodes/") == served.nodes
    metrics = await served.listed("bob", f"/nodes/{node}/metrics/")
    assert "cpu/usage_rate" in metrics
    assert all(key.startswith("node:") for key in await served.listed("bob", "/debug/allkeys"))
    assert await served.listed("bob", "/debug/allkeys") == [key for key in served.keys if key.startswith("node:")]
    assert message(await served.ask("bob", f"{MODEL}/namespaces/")).endswith("at the cluster scope")
    for path in (f"/namespaces/{served.namespaces[0]}/pods/", "/metrics/"):
        assert (await served.ask("bob", MODEL + path)).status == 403


async def test_who_may_read_all_pods_sees_every_namespace_and_is_asked_about_once(served):
    before = served.reviews.asked["subjectaccessreviews"]
    assert await served.listed("pods", "/namespaces/") == served.namespaces
    assert served.reviews.asked["subjectaccessreviews"] == before + 2  # everything? no. all pods? yes.
    keys = await served.listed("pods", "/debug/allkeys")
    assert keys == [key for key in served.keys if key.startswith("namespace:")]


async def test_admin_sees_all_that_the_main_port_shows(served):
    paths = (
        "/namespaces/", "/nodes/", "/debug/allkeys", "/metrics/", "/metrics/cpu/usage_rate",
        f"/namespaces/{served.namespaces[1]}/pods/",
    )  # fmt: skip
    for path in paths:
        reply = await served.ask("admin", MODEL + path)
        assert (reply.status, reply.text) == (200, await served.plain(MODEL + path)), path
    exported = await served.ask("admin", "/api/v1/metric-export")
    assert (exported.status, exported.text) == (200, await served.plain("/api/v1/metric-export"))
    assert (await served.ask("admin", f"{MODEL}/no/such/thing")).text == "404: Page Not Found"


async def test_nobody_and_strangers_see_nothing(served):
    paths = [route.path for route in ROUTES if is_viewed(route.path) and "historical" not in route.path]
    assert len(paths) > 15
    before = served.reviews.asked["subjectaccessreviews"]
    for path in paths:
        filled = path.replace("{namespace}", served.namespaces[0]).replace("{node}", served.nodes[0])
        filled = filled.replace("{metric:*}", "cpu/usage").replace("{", "").replace("}", "")
        assert 'User "system:anonymous"' in message(await served.ask("", filled)), filled
        assert message(await served.ask("wrong-token", filled)) == "Unauthorized"
    # A list costs no question a namespace for somebody who has shown nothing.
    assert served.reviews.asked["subjectaccessreviews"] - before < 8
    assert (await served.ask("mallory", f"{MODEL}/namespaces/")).status == 403
    assert (await served.ask("mallory", "/api")).status == 403


async def test_no_detour_leads_around_the_rights(served):
    other = served.namespaces[1]
    for path in (
        f"/api/v1/model/../model/namespaces/{other}/pods/",
        f"//api/v1/model/namespaces/{other}/pods/",
        f"/api/v1/model/namespaces%2F{other}/pods/",
        f"/%61pi/v1/model/namespaces/{other}/pods/",
        f"/apis/../api/v1/model/namespaces/{other}/pods/",
        f"/livez/../api/v1/model/namespaces/{other}/pods/",
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port, ssl=trusting(), server_hostname="x")
        writer.write(
            f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer alice\r\nConnection: close\r\n\r\n".encode()
        )
        status = int((await reader.read()).split()[1])
        writer.close()
        assert status in {301, 403}, path


def trusting():
    context = ssl.create_default_context()
    SERVER_CA.configure_trust(context)
    context.check_hostname = False
    return context


async def test_a_right_withdrawn_is_gone_within_ten_seconds(served):
    own = served.namespaces[0]
    now = 100.0
    access = FakeReviews({("alice", own)})
    authorizer = Authorizer(access, Lifetimes(10.0, 10.0), clock=lambda: now)  # type: ignore[arg-type]
    alice = Viewer(User("alice"), authorizer)
    assert (await alice.sight([own, "b"])).namespaces == {own}
    access.allowed.clear()
    now = 109.9
    assert (await alice.sight([own, "b"])).namespaces == {own}
    now = 110.0
    with pytest.raises(RequestError):
        await alice.sight([own, "b"])


class FakeReviews:
    """Answers at once, counts how many questions are under way."""

    def __init__(self, allowed: set[tuple[str, str]]) -> None:
        self.allowed = allowed
        self.asked = self.at_once = self.most = 0

    async def access(self, spec):
        self.asked += 1
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        await asyncio.sleep(0)
        self.at_once -= 1
        namespace = spec.get("resourceAttributes", {}).get("namespace", "")
        return AccessStatus((spec["user"], namespace) in self.allowed)


async def test_the_questions_of_a_list_are_bounded():
    names = [f"ns-{i}" for i in range(viewer.MOST_NAMESPACES)]
    access = FakeReviews({("alice", "ns-7"), ("root", "")})
    authorizer = Authorizer(access, Lifetimes(10.0, 10.0))  # type: ignore[arg-type]
    assert (await Viewer(User("alice"), authorizer).sight(names)).namespaces == {"ns-7"}
    assert access.asked == viewer.MOST_NAMESPACES + 2
    assert access.most == viewer.AT_ONCE
    await Viewer(User("alice"), authorizer).sight(names)
    assert access.asked == viewer.MOST_NAMESPACES + 2
    three_thousand = [f"ns-{i}" for i in range(3_000)]
    with pytest.raises(RequestError, match="ask by namespace") as refusal:
        await Viewer(User("alice"), authorizer).sight(three_thousand)
    assert refusal.value.status == 403
    assert access.asked == viewer.MOST_NAMESPACES + 2
    assert await Viewer(User("root"), authorizer).sight(three_thousand) == Sight(everything=True, nodes=True)


async def test_without_a_verdict_nothing_is_shown(served):
    served.reviews.versions = frozenset()
    for path in ("/namespaces/", "/nodes/", "/debug/allkeys"):
        served.reviews.accounts["late"] = Account("late")
        assert (await served.ask("late", MODEL + path)).status == 500


async def test_a_route_that_names_no_right_needs_them_all_and_a_caller(served):
    route = Route("GET", "/api/v1/new", lambda _context, _request: {}, Style.PRETTY, "new")
    assert route.right is Needed.EVERYTHING
    guarded = Dispatcher(served.replay.context, [route], ["/api/v1/new"], ViewersManner(), guarded=True)
    assert (await guarded.answer("GET", "/api/v1/new", {})).answer.status == 403
    access = FakeReviews(set())
    nobody = Viewer(User("alice"), Authorizer(access, Lifetimes(10.0, 10.0)))  # type: ignore[arg-type]
    assert (await guarded.answer("GET", "/api/v1/new", {}, nobody)).answer.status == 403
    assert (await guarded.answer("GET", "/api/v1/other", {}, nobody)).answer.status == 403


class Past:
    """A history of three namespaces, of which two are gone from the cluster."""

    async def entities(self, *_asked: object, **_of: object) -> list[EntityKey]:
        return [EntityKey(Kind.NAMESPACE, namespace=name) for name in ("gone", "mine", "other")]


async def test_the_past_is_narrowed_too(served):
    context = replace(served.replay.context, history=Past())
    second = SecondApi(context)
    access = FakeReviews({("alice", "mine"), ("alice", "gone")})
    authorizer = Authorizer(access, Lifetimes(10.0, 10.0))  # type: ignore[arg-type]

    async def asked(who: str) -> tuple[int, str]:
        answer = (
            await second.answer("GET", "/api/v1/historical/namespaces/", {}, Viewer(User(who), authorizer))
        ).answer
        assert isinstance(answer.body, bytes)
        return answer.status, answer.body.decode()

    assert json.loads((await asked("alice"))[1]) == ["gone", "mine"]
    assert (await asked("mallory"))[0] == 403


async def test_every_narrowed_route_shows_nothing_to_who_may_see_nothing(served):
    context = replace(served.replay.context, history=Past())
    second, some = SecondApi(context), [route for route in ROUTES if route.right is Needed.SOME]
    assert len(some) >= 3
    nobody = Viewer(User("mallory"), Authorizer(FakeReviews(set()), Lifetimes(10.0, 10.0)))  # type: ignore[arg-type]
    for route in some:
        assert (await second.answer("GET", f"{route.path}/", {}, nobody)).answer.status in {301, 403}
        assert (await second.answer("GET", route.path, {}, nobody)).answer.status == 403


def test_every_route_below_a_namespace_or_node_says_so():
    for route in ROUTES:
        if not is_viewed(route.path):
            continue
        if "{namespace}" in route.path:
            assert route.right is Needed.NAMESPACE, route.path
        elif "{node}" in route.path:
            assert route.right is Needed.NODES, route.path
        else:
            assert route.right in {Needed.EVERYTHING, Needed.SOME, Needed.NODES}, route.path


async def test_the_probes_are_open_and_nothing_else(served):
    assert (await served.ask("", "/livez")).text == "ok"
    assert (await served.ask("", "/readyz")).status == 500  # no cluster is listed in this test
    assert (await served.ask("", "/readyz?verbose")).text.startswith("[+]ping ok\n[-]informer-sync failed")
    for path in ("/healthz", "/livez/ping", "/readyz/shutdown", "/metrics", "/"):
        assert (await served.ask("", path)).status == 403, path
    served.reviews.rights = {Right("mallory", "get", "/metrics")}
    assert "heapster_build_info" in (await served.ask("mallory", "/metrics")).text
