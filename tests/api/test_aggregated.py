"""The second server: discovery, objects of every version, refusals; and what it shares with the main port."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from collector.api import API_ROOTS, ROUTES, aggregated
from collector.api.dispatch import Dispatcher
from collector.api.metrics_objects import AGGREGATED
from collector.api.route import Context
from collector.core.batch import DataBatch
from collector.core.entities import EntityTable
from collector.core.metrics import INDEX, Clock, Kind, MetricTable
from collector.core.store import MetricStore
from collector.kube.objects import ContainerSpec, Node, Pod
from collector.selfmetrics import SelfMetrics

SECOND = 10**9
NOW = 1_790_000_065
"""2026-09-21T14:14:25Z"""
LABELS = {"tier": "db", "app": "store"}


@dataclass
class Cluster:
    """Two nodes and some pods, put into columns by hand: what each container used is (ns of CPU, bytes)."""

    entities: EntityTable = field(default_factory=EntityTable)
    metrics: MetricTable = field(default_factory=MetricTable)

    def __post_init__(self) -> None:
        self.store = MetricStore(clock=lambda: float(NOW))
        self.context = Context(self.store, SelfMetrics("test"), clock=lambda: NOW + 0.5)
        listers = self.context.listers
        listers.nodes.replace([Node("node-a", labels={"kubernetes.io/os": "linux"}), Node("node-b")])
        two = (ContainerSpec("main"), ContainerSpec("proxy"))
        listers.pods.replace(
            [
                Pod("team", "web-1", labels=LABELS, containers=two),
                Pod("team", "db-1", containers=two[:1], sidecars=(ContainerSpec("agent"),)),
                Pod("other", "web-1", labels={"tier": "web"}, containers=two[:1]),
                Pod("team", "starting", containers=two),
                Pod("team", "unseen", containers=two),
            ]
        )

    def tick(self, timestamp: int, used: dict[str, tuple[int, int, int]]) -> DataBatch:
        """A batch in which these entities have (time of the CPU sample, ns of CPU so far, bytes)."""
        batch = DataBatch(self.entities, self.metrics, timestamp)
        before = self.store.latest()
        rows = {key: self._row(key) for key in used}
        batch.ensure_rows()
        for key, (sampled, cpu, memory) in used.items():
            row = np.array([rows[key]])
            batch.exists[row] = True
            batch.times[Clock.CPU, row] = sampled
            batch.put(INDEX["cpu/usage"], row, np.array([cpu]))
            batch.put(INDEX["memory/working_set"], row, np.array([memory]))
            old = before and before.value(rows[key], INDEX["cpu/usage"])
            if before and old is not None:
                elapsed = sampled - before.times[Clock.CPU, row]
                batch.put(INDEX["cpu/usage_rate"], row, 1000 * (cpu - old) // elapsed)
        batch.freeze()
        self.store.add(batch)
        return batch

    def _row(self, key: str) -> int:
        parts = key.split("/")
        node = self.entities.node_row("node-a")
        if len(parts) == 1:
            return self.entities.node_row(key)
        pod = self.entities.pod_row(parts[0], parts[1], node)
        return self.entities.child_row(Kind.POD_CONTAINER, pod, parts[2], node) if len(parts) == 3 else pod


FIRST, SECOND_TICK = (NOW - 65) * SECOND, (NOW - 5) * SECOND
USED_FIRST = {
    "node-a": (FIRST + 1 * SECOND, 100 * SECOND, 4 << 30),
    "team/web-1/main": (FIRST + 2 * SECOND, 7 * SECOND, 1 << 20),
    "team/web-1/proxy": (FIRST + 3 * SECOND, 1 * SECOND, 1 << 20),
    "team/db-1/main": (FIRST + 2 * SECOND, 0, 0),
    "other/web-1/main": (FIRST + 2 * SECOND, 0, 0),
    "team/starting/main": (FIRST + 2 * SECOND, 0, 0),
}
USED_SECOND = {
    "node-a": (FIRST + 61 * SECOND, 190 * SECOND, 3 << 30),
    "node-b": (FIRST + 61 * SECOND, 5 * SECOND, 1 << 30),
    "team/web-1/main": (FIRST + 57_019_000_000, 7 * SECOND + 123_456_789, 179681263),
    "team/web-1/proxy": (FIRST + 63 * SECOND, 61 * SECOND, 1000),
    "team/db-1/main": (FIRST + 62 * SECOND, 3 * SECOND, 2 << 20),
    "team/db-1/agent": (FIRST + 62 * SECOND, 3 * SECOND, 2 << 20),
    "other/web-1/main": (FIRST + 62 * SECOND, 0, 5 << 10),
    "team/starting/main": (FIRST + 62 * SECOND, 1 * SECOND, 1 << 20),
    "team/starting/proxy": (FIRST + 62 * SECOND, 1 * SECOND, 1 << 20),
    "gone/gone/main": (FIRST + 62 * SECOND, 1 * SECOND, 1 << 20),
}


@pytest.fixture
def empty() -> Cluster:
    return Cluster()


@pytest.fixture
def cluster() -> Cluster:
    made = Cluster()
    made.tick(FIRST, USED_FIRST)
    made.tick(SECOND_TICK, USED_SECOND)
    return made


async def ask(cluster: Cluster, target: str, method: str = "GET", **headers: str):
    """Status and body of an answer of the second server."""
    return await _ask(
        Dispatcher(cluster.context, aggregated.ROUTES, aggregated.API_ROOTS, aggregated.MANNER), target, method, headers
    )


async def ask_main(cluster: Cluster, target: str):
    """The same of the main port."""
    return await _ask(Dispatcher(cluster.context, ROUTES, API_ROOTS), target, "GET", {})


async def _ask(dispatcher: Dispatcher, target: str, method: str, headers: dict[str, str]):
    answer = (
        await dispatcher.answer(method, target, {name.replace("_", "-"): text for name, text in headers.items()})
    ).answer
    body = answer.body if isinstance(answer.body, bytes) else b"".join([piece async for piece in answer.body])
    return answer.status, body.decode()


async def document(cluster: Cluster, target: str, **headers: str):
    status, body = await ask(cluster, target, **headers)
    return status, json.loads(body)


# Objects.


async def test_v1beta1_nodes_are_what_metrics_server_would_say(cluster):
    assert await document(cluster, "/apis/metrics.k8s.io/v1beta1/nodes") == (
        200,
        {
            "kind": "NodeMetricsList",
            "apiVersion": "metrics.k8s.io/v1beta1",
            "metadata": {"resourceVersion": "1790000065500"},
            "items": [  # node-b has one sample only
                {
                    "metadata": {
                        "name": "node-a",
                        "resourceVersion": "1790000065499",
                        "creationTimestamp": "2026-09-21T14:14:25Z",
                        "labels": {"kubernetes.io/os": "linux"},
                    },
                    "timestamp": "2026-09-21T14:14:21Z",
                    "window": "1m0s",
                    "usage": {"cpu": "1500m", "memory": "3Gi"},
                }
            ],
        },
    )


async def test_v1beta1_pods_have_nanocores_over_the_window_of_their_oldest_sample(cluster):
    status, pod = await document(cluster, "/apis/metrics.k8s.io/v1beta1/namespaces/team/pods/web-1")
    assert status == 200
    assert list(pod) == ["kind", "apiVersion", "metadata", "timestamp", "window", "containers"]
    assert (pod["kind"], pod["apiVersion"]) == ("PodMetrics", "metrics.k8s.io/v1beta1")
    assert pod["metadata"]["labels"] == LABELS
    assert (pod["timestamp"], pod["window"]) == ("2026-09-21T14:14:17Z", "55.019s")
    nanocores = int(123_456_789 * 1e9 / 55_019_000_000)
    assert pod["containers"] == [
        {"name": "main", "usage": {"cpu": f"{nanocores}n", "memory": "179681263"}},
        {"name": "proxy", "usage": {"cpu": "1", "memory": "1k"}},
    ]


async def test_v1alpha1_objects_are_heapsters_with_kind_and_link(cluster):
    status, body = await ask(cluster, "/apis/metrics.k8s.io/v1alpha1/namespaces/team/pods/web-1?pretty=true")
    assert status == 200
    assert body == (
        "{\n"
        '  "kind": "PodMetrics",\n'
        '  "apiVersion": "metrics.k8s.io/v1alpha1",\n'
        '  "metadata": {\n'
        '    "name": "web-1",\n'
        '    "namespace": "team",\n'
        '    "selfLink": "/apis/metrics.k8s.io/v1alpha1/namespaces/team/pods/web-1",\n'
        '    "creationTimestamp": "2026-09-21T14:14:25Z"\n'
        "  },\n"
        '  "timestamp": "2026-09-21T14:14:20Z",\n'
        '  "window": "1m0s",\n'
        '  "containers": [\n'
        "    {\n"
        '      "name": "main",\n'
        '      "usage": {\n'
        '        "cpu": "2m",\n'
        '        "memory": "179681263"\n'
        "      }\n"
        "    },\n"
        "    {\n"
        '      "name": "proxy",\n'
        '      "usage": {\n'
        '        "cpu": "1",\n'
        '        "memory": "1k"\n'
        "      }\n"
        "    }\n"
        "  ]\n"
        "}"
    )
    _, listed = await document(cluster, "/apis/metrics.k8s.io/v1alpha1/nodes")
    assert listed["metadata"] == {"selfLink": "/apis/metrics.k8s.io/v1alpha1/nodes"}
    assert [item["metadata"]["selfLink"] for item in listed["items"]] == ["/apis/metrics.k8s.io/v1alpha1/nodes/node-a"]


CAPTURES = Path(__file__).parents[1] / "captures" / "metrics-k8s-io"


def shape(found: object) -> object:
    """The fields of a document in their order, without their values; of a list, those of its first item.

    Only ours have versions: only ours can be watched.
    """
    if isinstance(found, dict):
        fields = [(name, value) for name, value in found.items() if name != "resourceVersion"]
        return [(name, None if name == "labels" else shape(value)) for name, value in fields]
    return [shape(found[0])] if isinstance(found, list) else None


@pytest.mark.parametrize(
    ("capture", "target"),
    [
        ("nodes-microshift-2025", "v1beta1/nodes"),
        ("nodes-v1alpha1-soajs-2018", "v1alpha1/nodes"),
        ("pods-v1alpha1-soajs-2018", "v1alpha1/pods"),
    ],
)
async def test_objects_have_the_fields_that_were_seen_elsewhere_in_their_order(cluster, capture, target):
    seen = json.loads((CAPTURES / f"{capture}.json").read_bytes())
    _, ours = await document(cluster, f"/apis/metrics.k8s.io/{target}")
    assert shape(ours) == shape(seen)


async def names(cluster: Cluster, target: str) -> list[str]:
    status, listed = await document(cluster, target)
    assert status == 200
    return [
        "/".join(filter(None, (item["metadata"].get("namespace"), item["metadata"]["name"])))
        for item in listed["items"]
    ]


async def test_a_pod_is_left_out_whole_when_a_container_lacks_a_value(cluster):
    # The sidecar of db-1 has no rate yet: Heapster did not know sidecars, metrics-server does.
    assert await names(cluster, "/apis/metrics.k8s.io/v1beta1/pods") == ["other/web-1", "team/web-1"]
    assert await names(cluster, "/apis/metrics.k8s.io/v1alpha1/pods") == ["other/web-1", "team/db-1", "team/web-1"]
    status, refusal = await document(cluster, "/apis/metrics.k8s.io/v1beta1/namespaces/team/pods/db-1")
    assert (status, refusal["message"]) == (404, 'podmetrics.metrics.k8s.io "team/db-1" not found')
    _, listed = json.loads((await ask_main(cluster, "/apis/metrics.k8s.io/v1alpha1/pods"))[1]).values()
    assert [item["metadata"]["name"] for item in listed] == ["web-1", "db-1", "web-1"]


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("pods?labelSelector=tier=db", ["team/web-1"]),
        ("pods?labelSelector=tier%20in%20(web,db)", ["other/web-1", "team/web-1"]),
        ("pods?labelSelector=!app", ["other/web-1"]),
        ("namespaces/other/pods", ["other/web-1"]),
        ("namespaces/other/pods?labelSelector=tier=db", []),
        ("namespaces/nosuch/pods", []),
        ("pods?fieldSelector=metadata.namespace%3Dteam", ["team/web-1"]),
        ("pods?fieldSelector=metadata.namespace!%3Dteam", ["other/web-1"]),
        ("pods?fieldSelector=metadata.name%3Dweb-1,metadata.namespace%3Dother", ["other/web-1"]),
        ("pods?limit=1&resourceVersion=0&watch=false", ["other/web-1"]),
        ("pods?limit=2&watch=0", ["other/web-1", "team/web-1"]),
        ("nodes?labelSelector=kubernetes.io/os=linux", ["node-a"]),
        ("nodes?labelSelector=kubernetes.io/os!=linux", []),
        ("nodes?fieldSelector=metadata.name%3Dnode-a", ["node-a"]),
        ("nodes?fieldSelector=metadata.name%3Dnode-b", []),
    ],
)
async def test_selectors_select(cluster, target, expected):
    assert await names(cluster, f"/apis/metrics.k8s.io/v1beta1/{target}") == expected


async def test_an_empty_list_is_an_array_here_and_null_on_the_main_port(empty):
    for version in AGGREGATED:
        for resource in ("nodes", "pods", "namespaces/team/pods"):
            status, listed = await document(empty, f"{version.root}/{resource}")
            assert (status, listed["items"]) == (200, [])
    assert await ask_main(empty, "/apis/metrics/v1alpha1/pods") == (200, '{\n  "metadata": {},\n  "items": null\n }')


async def test_where_the_batch_before_is_not_the_one_the_rate_is_of_the_rate_itself_is_given(cluster):
    used = {"team/web-1/main": (NOW * SECOND, 9 * SECOND, 0), "team/web-1/proxy": (NOW * SECOND, 61 * SECOND, 0)}
    batch = DataBatch(cluster.entities, cluster.metrics, NOW * SECOND)
    batch.ensure_rows()
    for key, (sampled, cpu, memory) in used.items():
        row = np.array([cluster._row(key)])
        batch.exists[row] = True
        batch.times[Clock.CPU, row] = sampled
        for name, value in (("cpu/usage", cpu), ("memory/working_set", memory), ("cpu/usage_rate", 250)):
            batch.put(INDEX[name], row, np.array([value]))
    batch.freeze()
    cluster.store.add(batch)
    _, pod = await document(cluster, "/apis/metrics.k8s.io/v1beta1/namespaces/team/pods/web-1")
    assert [container["usage"] for container in pod["containers"]] == [{"cpu": "250m", "memory": "0"}] * 2
    assert (pod["timestamp"], pod["window"]) == ("2026-09-21T14:14:25Z", "1m0s")


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("sorted_at_once", [8, 10_000])
async def test_a_list_of_many_pods_is_sorted_whole_and_in_pieces(monkeypatch, compiled, sorted_at_once):
    from api import synthetic

    from collector.api import metrics_items, metrics_rows, metrics_select

    monkeypatch.setattr(metrics_items, "AVAILABLE", compiled)
    monkeypatch.setattr(metrics_rows, "AVAILABLE", compiled)
    monkeypatch.setattr(metrics_select, "SORTED_AT_ONCE", sorted_at_once)
    monkeypatch.setattr(metrics_select, "BITE", 16)
    monkeypatch.setattr(metrics_select, "DEALT_AT_ONCE", 100)
    monkeypatch.setattr(metrics_items, "PODS_AT_ONCE", 8)
    made = Cluster()
    entities = synthetic.cluster(20, 15, 2)
    made.store.add(synthetic.batch(entities, (NOW - 60) * SECOND))
    batch = synthetic.batch(entities, NOW * SECOND, seed=8)
    made.store.add(batch)
    specs = (ContainerSpec("nginx-0"), ContainerSpec("nginx-1"))
    pods = {(entities.name[entities.parent[row]], entities.name[row]): row for row in batch.rows_of(Kind.POD).tolist()}
    made.context.listers.pods.replace([Pod(*key, containers=specs) for key in pods])
    answer = (
        await Dispatcher(made.context, ROUTES, API_ROOTS).answer("GET", "/apis/metrics.k8s.io/v1alpha1/pods", {})
    ).answer
    pieces = [piece async for piece in answer.body]
    assert len(pieces) > 300 / 16
    items = json.loads(b"".join(pieces))["items"]
    assert [(item["metadata"]["namespace"], item["metadata"]["name"]) for item in items] == sorted(pods)
    from collector.kube import quantity

    for item in items:
        row = pods[item["metadata"]["namespace"], item["metadata"]["name"]]
        for container in item["containers"]:
            inner = entities.find_child(row, container["name"])
            assert quantity.milli(container["usage"]["cpu"]) == batch.value(inner, INDEX["cpu/usage_rate"])
            assert quantity.value(container["usage"]["memory"]) == batch.value(inner, INDEX["memory/working_set"])


# Discovery: the same before there is any batch.


async def test_discovery_answers_from_the_first_moment(empty):
    versions = [{"groupVersion": f"metrics.k8s.io/{name}", "version": name} for name in ("v1", "v1beta1", "v1alpha1")]
    group = {"name": "metrics.k8s.io", "versions": versions, "preferredVersion": versions[0]}
    address = {"clientCIDR": "0.0.0.0/0", "serverAddress": "10.0.0.1:443"}
    for target in ("/apis", "/apis/"):
        assert await document(empty, target, Host="10.0.0.1:443") == (
            200,
            {"kind": "APIGroupList", "groups": [{**group, "serverAddressByClientCIDRs": [address]}]},
        )
    assert await document(empty, "/apis/metrics.k8s.io") == (
        200,
        {"kind": "APIGroup", "apiVersion": "v1", **group, "serverAddressByClientCIDRs": None},
    )
    for name in ("v1", "v1beta1", "v1alpha1"):
        verbs = {"verbs": ["get", "list"] if name == "v1alpha1" else ["get", "list", "watch"]}
        assert await document(empty, f"/apis/metrics.k8s.io/{name}?timeout=32s", Accept="application/json, */*") == (
            200,
            {
                "kind": "APIResourceList",
                "apiVersion": "v1",
                "groupVersion": f"metrics.k8s.io/{name}",
                "resources": [
                    {"name": "nodes", "singularName": "", "namespaced": False, "kind": "NodeMetrics", **verbs},
                    {"name": "pods", "singularName": "", "namespaced": True, "kind": "PodMetrics", **verbs},
                ],
            },
        )


async def test_the_paths_are_listed_at_the_root_and_instead_of_a_page_that_is_not_there(empty):
    listed = [
        *("/apis", "/apis/metrics.k8s.io", "/apis/metrics.k8s.io/v1", "/apis/metrics.k8s.io/v1alpha1"),
        *(
            "/apis/metrics.k8s.io/v1beta1",
            "/healthz",
            "/healthz/healthz",
            "/healthz/ping",
            "/openapi/v2",
            "/openapi/v3",
        ),
        *(f"/openapi/v3/apis/metrics.k8s.io/{version}" for version in ("v1", "v1alpha1", "v1beta1")),
        "/swaggerapi",
    ]
    for target, status in (("/", 200), ("/index.html", 200), ("/version", 404), ("/metrics", 404)):
        answered, body = await ask(empty, target)
        assert (answered, json.loads(body)) == (status, {"paths": listed})
        assert body.startswith('{\n  "paths": [\n    "/apis",\n')


async def test_swagger_lists_the_roots(empty):
    _, listing = await document(empty, "/swaggerapi")
    assert listing["swaggerVersion"] == "1.2"
    assert listing["apis"][2:] == [
        {"path": f"/apis/metrics.k8s.io/{name}", "description": f"API at /apis/metrics.k8s.io/{name}"}
        for name in ("v1", "v1alpha1", "v1beta1")
    ]


async def test_health_has_a_check_that_needs_no_batch(empty, cluster):
    assert await ask(empty, "/healthz/ping") == (200, "ok")
    status, text = await ask(empty, "/healthz")
    assert status == 500
    assert text.startswith("[+]ping ok\n[-]healthz failed: reason withheld\n")
    assert await ask(cluster, "/healthz/healthz") == (200, "ok")
    assert await ask(cluster, "/healthz?verbose") == (200, "[+]ping ok\n[+]healthz ok\nhealthz check passed\n")


# Refusals.


def refusal(message: str, code: int, reason: str, details: dict[str, str] | None = None):
    said = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
    }
    return code, {**said, **({} if details is None else {"details": details}), "code": code}


BETA = "/apis/metrics.k8s.io/v1beta1"
NOT_THERE = refusal("the server could not find the requested resource", 404, "NotFound", {})
WRONG_METHOD = refusal("the server does not allow this method on the requested resource", 405, "MethodNotAllowed", {})


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (
            f"{BETA}/nodes/nosuch",
            refusal(
                'nodemetrics.metrics.k8s.io "nosuch" not found',
                404,
                "NotFound",
                {"name": "nosuch", "group": "metrics.k8s.io", "kind": "nodemetrics"},
            ),
        ),
        (
            "/apis/metrics.k8s.io/v1alpha1/namespaces/team/pods/nosuch",
            refusal(
                'podmetrics.metrics.k8s.io "team/nosuch" not found',
                404,
                "NotFound",
                {"name": "team/nosuch", "group": "metrics.k8s.io", "kind": "podmetrics"},
            ),
        ),
        (f"{BETA}/nosuch", NOT_THERE),
        (f"{BETA}/watch/nodes", NOT_THERE),
        ("/apis/metrics.k8s.io/v2/nodes", NOT_THERE),
        (
            f"{BETA}/pods?labelSelector=a%20b",
            refusal(
                "unable to parse requirement: found 'b', expected: '=', '!=', '==', 'in', notin'", 400, "BadRequest"
            ),
        ),
        (
            f"{BETA}/pods?fieldSelector=spec.nodeName%3Da",
            refusal(
                '"spec.nodeName" is not a known field selector: only "metadata.name", "metadata.namespace"',
                400,
                "BadRequest",
            ),
        ),
        (f"{BETA}/pods?limit=x", refusal('strconv.ParseInt: parsing "x": invalid syntax', 400, "BadRequest")),
        (
            "/apis/metrics.k8s.io/v1alpha1/pods?watch=true",
            refusal(
                'watch is not supported on resources of kind "pods.metrics.k8s.io"',
                405,
                "MethodNotAllowed",
                {"group": "metrics.k8s.io", "kind": "pods"},
            ),
        ),
    ],
)
async def test_a_refusal_is_a_status(cluster, target, expected):
    assert await document(cluster, target) == expected


@pytest.mark.parametrize("method", ["POST", "DELETE", "PUT", "HEAD", "OPTIONS"])
async def test_another_method_is_refused(cluster, method):
    for target in ("/apis", "/apis/metrics.k8s.io", BETA, f"{BETA}/nodes", f"{BETA}/nodes/node-a"):
        status, body = await ask(cluster, target, method)
        assert (status, json.loads(body)) == WRONG_METHOD


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        ("", 200),
        ("*/*", 200),
        ("application/*", 200),
        ("application/json", 200),
        ("application/json;q=0.1", 200),
        ("application/json;charset=utf-8", 200),
        ("application/vnd.kubernetes.protobuf, */*", 200),
        ("application/vnd.kubernetes.protobuf,application/json", 200),
        (
            "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json",
            200,
        ),
        ("application/json;as=Table;v=v2;g=meta.k8s.io", 406),
        ("application/json;as=Table;v=v1;g=elsewhere", 406),
        ("application/json;stream=watch", 406),
        ("application/vnd.kubernetes.protobuf", 406),
        ("application/yaml", 406),
        ("text/html", 406),
    ],
)
async def test_a_client_must_take_json(cluster, accept, status):
    for target in ("/apis", "/apis/metrics.k8s.io", BETA, f"{BETA}/nodes"):
        answered, found = await document(cluster, target, Accept=accept)
        assert answered == status
        if status == 406:
            message = "only the following media types are accepted: application/json"
            assert (answered, found) == refusal(message, 406, "NotAcceptable")


@pytest.mark.parametrize(
    ("target", "headers", "pretty"),
    [
        ("", {}, False),
        ("", {"User_Agent": "kubectl/v1.32.4 (linux/amd64)"}, False),
        ("", {"User_Agent": "curl/8.5.0"}, True),
        ("", {"User_Agent": "Wget/1.24"}, True),
        ("", {"User_Agent": "Mozilla/5.0 (X11)"}, True),
        ("?pretty=false", {"User_Agent": "curl/8.5.0"}, False),
        ("?pretty=1", {}, True),
        ("?pretty=yes", {"User_Agent": "curl/8.5.0"}, False),
        ("", {"Accept": "application/json;pretty=1"}, True),
    ],
)
async def test_people_get_lines_and_programs_get_one(cluster, target, headers, pretty):
    for resource in ("", "/nodes", "/nodes/node-a", "/nodes/nosuch"):
        _, body = await ask(cluster, f"{BETA}{resource}{target}", **headers)
        found = json.loads(body)
        assert body == (json.dumps(found, indent=2) if pretty else json.dumps(found, separators=(",", ":")) + "\n")


async def test_a_failing_handler_says_so_without_the_cause(cluster, monkeypatch, caplog):
    monkeypatch.setattr(type(cluster.store), "latest", lambda _store: 1 / 0)
    assert await document(cluster, f"{BETA}/nodes") == refusal(
        "Internal error occurred: see the collector's log", 500, "InternalError"
    )
    assert "division by zero" in caplog.text


async def test_a_client_that_leaves_in_the_middle_of_a_list_disturbs_nobody(cluster, monkeypatch):
    from collector.api import metrics_items, metrics_select

    monkeypatch.setattr(metrics_select, "BITE", 1)
    monkeypatch.setattr(metrics_items, "PODS_AT_ONCE", 1)
    dispatcher = Dispatcher(cluster.context, ROUTES, API_ROOTS)
    pieces = (await dispatcher.answer("GET", "/apis/metrics.k8s.io/v1alpha1/pods", {})).answer.body
    assert (await anext(pieces)).startswith(b"{")
    await pieces.aclose()
    assert len(await names(cluster, "/apis/metrics.k8s.io/v1alpha1/pods")) == 3
