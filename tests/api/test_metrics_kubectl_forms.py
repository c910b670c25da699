"""Tables, pages, discovery and OpenAPI of the second server."""

import base64
import json
import re
from typing import Any

import numpy as np
import pytest

from collector.api import aggregated, metrics_pages, metrics_scenes, revisions
from collector.api.dispatch import Dispatcher
from collector.api.kubeschema import META
from collector.api.metrics_objects import AGGREGATED
from collector.api.route import Answer, Context
from collector.core.entities import EntityTable
from collector.core.light import CPU, MEMORY, SAMPLED, START, SWAP, TIME, LightSample, LightStore
from collector.core.store import MetricStore
from collector.kube.objects import ContainerSpec, Node, Pod
from collector.selfmetrics import SelfMetrics

S = 10**9
NOW = 1_790_000_100 * S
ROOT = "/apis/metrics.k8s.io/v1beta1"
MAIN, PROXY = ContainerSpec("main"), ContainerSpec("proxy")
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
OLD_TABLE = "application/json;as=Table;v=v1beta1;g=meta.k8s.io"


class Cluster:
    """One node, and pods whose containers use 1 s of CPU in each round of 15 s."""

    def __init__(self, *pods: Pod, nodes: tuple[Node, ...] = (Node("node-a", labels={"zone": "x"}),)) -> None:
        self.now = NOW
        light = self.light = LightStore(EntityTable(), resolution_ns=15 * S, keep_ns=60 * S)
        self.context = Context(MetricStore(), SelfMetrics("test"), clock=lambda: self.now / S, light=lambda: light)
        self.context.listers.nodes.replace(list(nodes))
        self.context.listers.pods.replace(list(pods))
        self.rounds = 0
        self.silent: set[str] = set()
        """Containers, as namespace/pod/name, of which the kubelet says nothing."""
        self.tick()
        self.tick()

    def tick(self) -> None:
        """One more round, 15 s later."""
        self.rounds += 1
        self.now += 15 * S
        pods = self.context.listers.pods.items.values()
        named = [(pod.namespace, pod.name, each.name) for pod in pods for each in pod.containers]
        names = [each for each in named if "/".join(each) not in self.silent]
        values = np.zeros((SAMPLED, 1 + len(names)), np.int64)
        values[CPU], values[MEMORY], values[TIME] = self.rounds * S, 1 << 20, self.now - S
        values[START], values[SWAP] = NOW - 3600 * S, [-1, *(4096 if each[2] == "proxy" else -1 for each in names)]
        self.light.take([LightSample("node-a", object(), names, values)], self.light.begin(self.now), self.now)
        metrics_scenes.advance(self.context)

    async def answer(self, target: str, method: str = "GET", **headers: str) -> Answer:
        served = Dispatcher(self.context, aggregated.ROUTES, aggregated.API_ROOTS, aggregated.MANNER)
        told = {name.replace("_", "-"): text for name, text in headers.items()}
        return (await served.answer(method, target, told)).answer

    async def ask(self, target: str, **headers: str) -> tuple[int, Any]:
        """Status and document."""
        answer = await self.answer(target, **headers)
        body = answer.body if isinstance(answer.body, bytes) else b"".join([piece async for piece in answer.body])
        return answer.status, json.loads(body)


def some(count: int = 7) -> Cluster:
    pods = [Pod("team" if n % 2 else "other", f"p-{n}", labels={"n": f"{n}"}, containers=(MAIN,)) for n in range(count)]
    return Cluster(*pods, Pod("team", "two", containers=(MAIN, PROXY)))


def where(items: list[dict[str, Any]]) -> list[str]:
    return [f"{item['metadata'].get('namespace', '')}/{item['metadata']['name']}" for item in items]


# Tables.


async def test_a_table_has_metrics_servers_columns_and_the_rest_of_less_priority():
    cluster = some()
    status, table = await cluster.ask(f"{ROOT}/pods", Accept=f"{TABLE},application/json")
    assert status == 200
    assert list(table) == ["kind", "apiVersion", "metadata", "columnDefinitions", "rows"]
    assert (table["kind"], table["apiVersion"]) == ("Table", "meta.k8s.io/v1")
    columns = [(column["name"], column["format"], column["priority"]) for column in table["columnDefinitions"]]
    assert columns == [
        ("Name", "name", 0),
        ("cpu", "quantity", 0),
        ("memory", "quantity", 0),
        ("Window", "duration", 0),
        ("ephemeral-storage", "quantity", 1),
        ("swap", "quantity", 1),
    ]
    rows = {row["object"]["metadata"]["name"]: row for row in table["rows"]}
    assert rows["p-1"]["cells"] == ["p-1", "66666666n", "1Mi", "15s", "<none>", "<none>"]
    assert rows["two"]["cells"] == ["two", "133333332n", "2Mi", "15s", "<none>", "4Ki"], "the sum of its containers"
    assert rows["p-1"]["object"]["kind"] == "PartialObjectMetadata"
    assert rows["p-1"]["object"]["metadata"]["labels"] == {"n": "1"}
    _, listed = await cluster.ask(f"{ROOT}/pods")
    assert [row["object"]["metadata"] for row in table["rows"]] == [item["metadata"] for item in listed["items"]]
    assert table["metadata"] == listed["metadata"]


@pytest.mark.parametrize(
    "target", ["pods?pretty=1", "nodes?pretty=1", "pods", "nodes/node-a", "namespaces/team/pods/two"]
)
@pytest.mark.parametrize("accept", [TABLE, OLD_TABLE])
async def test_what_stands_in_a_row_is_asked_for(target, accept):
    cluster = some()
    version = "v1beta1" if accept == OLD_TABLE else "v1"
    join = "&" if "?" in target else "?"
    _, plain = await cluster.ask(f"{ROOT}/{target}")
    objects = plain.get("items", [plain])
    tables = {}
    for include in ("None", "Metadata", "Object", ""):
        status, tables[include] = await cluster.ask(f"{ROOT}/{target}{join}includeObject={include}", Accept=accept)
        assert status == 200
        assert tables[include]["apiVersion"] == f"meta.k8s.io/{version}"
    assert tables[""] == tables["Metadata"]
    assert [row["object"] for row in tables["None"]["rows"]] == [None] * len(objects)
    head = {"kind": "PartialObjectMetadata", "apiVersion": f"meta.k8s.io/{version}"}
    assert [row["object"] for row in tables["Metadata"]["rows"]] == [
        {**head, "metadata": each["metadata"]} for each in objects
    ]
    kind = {"kind": "NodeMetrics" if "nodes" in target else "PodMetrics", "apiVersion": "metrics.k8s.io/v1beta1"}
    assert [row["object"] for row in tables["Object"]["rows"]] == [{**kind, **each} for each in objects]


async def test_a_table_of_nothing_has_columns_and_what_cannot_be_included_is_refused():
    cluster = Cluster()
    _, table = await cluster.ask(f"{ROOT}/pods", Accept=TABLE)
    assert table["rows"] == []
    assert len(table["columnDefinitions"]) == 6
    status, refusal = await cluster.ask(f"{ROOT}/pods?includeObject=All", Accept=TABLE)
    assert (status, refusal["message"]) == (400, 'unrecognized includeObject value: "All"')
    status, refusal = await cluster.ask(f"{ROOT}/pods/nosuch", Accept=TABLE)
    assert (status, refusal["kind"]) == (404, "Status")


# Pages.


async def pages(cluster: Cluster, target: str, limit: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    join, after = "&" if "?" in target else "?", ""
    while not found or after:
        status, page = await cluster.ask(f"{ROOT}/{target}{join}limit={limit}{after and f'&continue={after}'}")
        assert status == 200, page
        found.append(page)
        after = page["metadata"].get("continue", "")
    return found


@pytest.mark.parametrize("limit", [1, 3, 4, 7, 8, 100])
async def test_pages_together_are_the_list(limit):
    cluster = some()
    _, whole = await cluster.ask(f"{ROOT}/pods")
    found = await pages(cluster, "pods", limit)
    assert [item for page in found for item in page["items"]] == whole["items"]
    assert len(found) == -(-8 // limit)
    assert [page["metadata"].get("remainingItemCount", 0) for page in found] == [
        max(0, 8 - limit * (n + 1)) for n in range(len(found))
    ]
    assert {page["metadata"]["resourceVersion"] for page in found} == {whole["metadata"]["resourceVersion"]}


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("pods?labelSelector=n", [f"other/p-{n}" for n in (0, 2, 4, 6)] + [f"team/p-{n}" for n in (1, 3, 5)]),
        ("pods?labelSelector=!n", ["team/two"]),
        ("namespaces/team/pods", ["team/p-1", "team/p-3", "team/p-5", "team/two"]),
        ("pods?fieldSelector=metadata.namespace=other", [f"other/p-{n}" for n in (0, 2, 4, 6)]),
        ("nodes", ["/node-a"]),
        ("pods?labelSelector=nosuch", []),
    ],
)
async def test_pages_are_of_what_is_selected(target, expected):
    found = await pages(some(), target, 2)
    assert where([item for page in found for item in page["items"]]) == expected
    assert len(found) == max(1, -(-len(expected) // 2))
    if "Selector" in target:
        assert not any("remainingItemCount" in page["metadata"] for page in found)


async def test_pages_are_of_one_moment_whatever_comes_and_goes():
    cluster = some()
    _, whole = await cluster.ask(f"{ROOT}/pods?limit=100")
    _, first = await cluster.ask(f"{ROOT}/pods?limit=2")
    cluster.context.listers.pods.apply(
        [(("team", "p-5"), None), (("team", "p-9"), Pod("team", "p-9", containers=(MAIN,)))]
    )
    cluster.tick()
    cluster.tick()
    _, rest = await cluster.ask(f"{ROOT}/pods?continue={first['metadata']['continue']}")

    def told(items: list[dict[str, Any]]) -> list[Any]:
        return [(item["metadata"]["name"], item["timestamp"], item["containers"]) for item in items]

    assert told(first["items"] + rest["items"]) == told(whole["items"])
    _, later = await cluster.ask(f"{ROOT}/pods?limit=100")
    assert where(later["items"])[-3:] == ["team/p-3", "team/p-9", "team/two"]


async def test_a_moment_that_is_forgotten_is_expired_and_the_token_given_then_goes_on():
    cluster = some()
    _, first = await cluster.ask(f"{ROOT}/pods?limit=3")
    for _ in range(revisions.KEPT_NS // (15 * S) + 1):
        cluster.tick()
    status, refusal = await cluster.ask(f"{ROOT}/pods?limit=3&continue={first['metadata']['continue']}")
    assert (status, refusal["code"], refusal["reason"], refusal["kind"]) == (410, 410, "Expired", "Status")
    assert refusal["message"] == metrics_pages.CONTINUE_TOO_OLD
    status, rest = await cluster.ask(f"{ROOT}/pods?continue={refusal['metadata']['continue']}")
    assert status == 200
    assert where(first["items"] + rest["items"]) == where((await cluster.ask(f"{ROOT}/pods"))[1]["items"])
    version = first["metadata"]["resourceVersion"]
    status, refusal = await cluster.ask(f"{ROOT}/pods?resourceVersionMatch=Exact&resourceVersion={version}")
    assert (status, refusal["reason"]) == (410, "Expired")


async def test_the_list_of_a_version_that_is_remembered_is_given_again():
    cluster = some()
    _, whole = await cluster.ask(f"{ROOT}/pods?limit=100")
    cluster.tick()
    version = whole["metadata"]["resourceVersion"]
    _, again = await cluster.ask(f"{ROOT}/pods?resourceVersionMatch=Exact&resourceVersion={version}")
    assert again["metadata"] == whole["metadata"]
    assert [item["timestamp"] for item in again["items"]] == [item["timestamp"] for item in whole["items"]]


def token(**changed: Any) -> str:
    document = {"v": "meta.k8s.io/v1", "rv": 1, "start": "team/p-1", **changed}
    return base64.urlsafe_b64encode(json.dumps(document).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("garbage", "pods"),
        ("%00%ff", "pods"),
        ("e30", "pods"),
        (base64.urlsafe_b64encode(b"[" * 100_000).decode(), "pods"),
        (token(v="v2"), "pods"),
        (token(rv="1"), "pods"),
        (token(rv=-2), "pods"),
        (token(rv=True), "pods"),
        (token(start=3), "pods"),
        (token(start="team"), "pods"),
        (token(start="team/"), "pods"),
        (token(), "nodes"),
        (token(), "namespaces/other/pods"),
    ],
)
async def test_a_token_that_is_none_is_refused(text, target):
    status, refusal = await some().ask(f"{ROOT}/{target}?limit=1&continue={text}")
    assert (status, refusal["reason"]) == (400, "BadRequest")
    assert refusal["message"].startswith("continue key is not valid: ")


@pytest.mark.parametrize(
    ("query", "code", "message"),
    [
        ("limit=x", 400, 'strconv.ParseInt: parsing "x": invalid syntax'),
        ("resourceVersion=x", 400, 'invalid resource version: strconv.ParseUint: parsing "x": invalid syntax'),
        ("resourceVersion=-1", 400, 'invalid resource version: strconv.ParseUint: parsing "-1": invalid syntax'),
        (
            f"resourceVersion={1 << 64}",
            400,
            f'invalid resource version: strconv.ParseUint: parsing "{1 << 64}": value out of range',
        ),
        (
            f"continue={token()}&resourceVersion=1",
            400,
            "specifying resource version is not allowed when using continue",
        ),
        ("resourceVersionMatch=Exact", 422, "resourceVersionMatch is forbidden unless resourceVersion is provided"),
        ("resourceVersionMatch=Exact&resourceVersion=0", 422, 'resourceVersionMatch "Exact" is forbidden'),
        ("resourceVersionMatch=Most&resourceVersion=1", 422, '"Most" is neither Exact nor NotOlderThan'),
        ("sendInitialEvents=true", 422, "sendInitialEvents is forbidden for list"),
        ("watch=1&sendInitialEvents=true", 422, "sendInitialEvents requires setting resourceVersionMatch"),
        ("watch=1&resourceVersionMatch=NotOlderThan", 422, "resourceVersionMatch is forbidden for watch"),
        (f"resourceVersion={NOW // 10**6 + 10**9}", 504, "Timeout: Too large resource version: "),
        ("fieldSelector=metadata.uid=1", 400, '"metadata.uid" is not a known field selector'),
    ],
)
async def test_options_that_cannot_be_are_refused(query, code, message):
    status, refusal = await some().ask(f"{ROOT}/pods?{query}")
    assert (status, refusal["code"], refusal["kind"]) == (code, code, "Status")
    assert message in refusal["message"]


# Discovery.


@pytest.mark.parametrize("version", ["v2", "v2beta1"])
async def test_all_is_discovered_at_once_by_who_asks_so(version):
    cluster = some()
    media = f"application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"
    answer = await cluster.answer("/apis", Accept=f"{media},application/json")
    assert answer.content_type == media
    document = json.loads(answer.body)
    assert (document["kind"], document["apiVersion"]) == ("APIGroupDiscoveryList", f"apidiscovery.k8s.io/{version}")
    (group,) = document["items"]
    assert group["metadata"]["name"] == "metrics.k8s.io"
    assert [each["version"] for each in group["versions"]] == ["v1", "v1beta1", "v1alpha1"]
    for each in group["versions"]:
        _, listed = await cluster.ask(f"/apis/metrics.k8s.io/{each['version']}")
        assert [
            (one["resource"], one["responseKind"]["kind"], one["scope"] == "Namespaced", one["verbs"])
            for one in each["resources"]
        ] == [(one["name"], one["kind"], one["namespaced"], one["verbs"]) for one in listed["resources"]]
    again = await cluster.answer("/apis", Accept=media, If_None_Match=answer.headers["ETag"])
    assert (again.status, again.body) == (304, b"")
    plain = await cluster.answer("/apis", Accept=f"application/json,{media}")
    assert json.loads(plain.body)["kind"] == "APIGroupList"


# OpenAPI.


def references(document: Any) -> set[str]:
    if isinstance(document, dict):
        own = {document["$ref"]} if "$ref" in document else set()
        return own.union(*map(references, document.values()))
    return set().union(*map(references, document)) if isinstance(document, list) else set()


async def test_openapi_2_describes_every_version_and_names_no_schema_that_is_not_there():
    cluster = some()
    answer = await cluster.answer("/openapi/v2", Accept="application/json")
    document = json.loads(answer.body)
    assert document["swagger"] == "2.0"
    assert references(document) <= {f"#/definitions/{name}" for name in document["definitions"]}
    kinds = [
        (kind["version"], kind["kind"])
        for schema in document["definitions"].values()
        for kind in schema.get("x-kubernetes-group-version-kind", ())
    ]
    names = ("NodeMetrics", "NodeMetricsList", "PodMetrics", "PodMetricsList")
    assert sorted(kinds) == sorted((version.name, name) for version in AGGREGATED for name in names)
    served = {
        re.sub(r"\{(node|pod)\}", "{name}", route.path) for route in aggregated.ROUTES if route.path.count("/") > 3
    }
    assert {path for path in served if path.startswith("/apis")} == set(document["paths"])
    ids = [path["get"]["operationId"] for path in document["paths"].values()]
    assert len(ids) == len(set(ids))
    again = await cluster.answer("/openapi/v2", If_None_Match=answer.headers["ETag"])
    assert again.status == 304


async def test_openapi_3_is_found_by_its_hash_and_then_kept_for_ever():
    cluster = some()
    _, index = await cluster.ask("/openapi/v3", Accept="application/json")
    assert set(index["paths"]) == {f"apis/metrics.k8s.io/{version.name}" for version in AGGREGATED}
    for entry in index["paths"].values():
        target = entry["serverRelativeURL"]
        answer = await cluster.answer(target, Accept="application/json")
        assert "immutable" in answer.headers["Cache-Control"]
        document = json.loads(answer.body)
        assert references(document) <= {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
        assert (await cluster.answer(target, If_None_Match=answer.headers["ETag"])).status == 304
        path, _, _ = target.partition("?")
        plain = await cluster.answer(path)
        assert (plain.status, plain.body, plain.headers["Cache-Control"]) == (200, answer.body, "no-cache, private")
        moved = await cluster.answer(f"{path}?hash=OLD")
        assert (moved.status, moved.headers["Location"]) == (301, target)


async def test_the_schemas_describe_what_is_answered():
    cluster = some()
    document = json.loads((await cluster.answer("/openapi/v3/apis/metrics.k8s.io/v1beta1")).body)
    schemas = document["components"]["schemas"]
    for target, kind in (
        ("pods?limit=1", "PodMetricsList"),
        ("nodes", "NodeMetricsList"),
        ("nodes/node-a", "NodeMetrics"),
        ("namespaces/team/pods/two", "PodMetrics"),
    ):
        _, found = await cluster.ask(f"{ROOT}/{target}")
        conforms(found, {"$ref": f"#/components/schemas/io.k8s.metrics.pkg.apis.metrics.v1beta1.{kind}"}, schemas)
    assert schemas[f"{META}.ListMeta"]["properties"].keys() == {"resourceVersion", "continue", "remainingItemCount"}


def conforms(found: Any, schema: dict[str, Any], schemas: dict[str, Any]) -> None:
    if "$ref" in schema:
        schema = schemas[schema["$ref"].rpartition("/")[2]]
    match schema["type"]:
        case "object" if "properties" in schema:
            assert set(schema.get("required", ())) <= found.keys() <= schema["properties"].keys()
            for name, value in found.items():
                conforms(value, schema["properties"][name], schemas)
        case "object":
            for value in found.values():
                conforms(value, schema["additionalProperties"], schemas)
        case "array":
            for value in found:
                conforms(value, schema["items"], schemas)
        case "string":
            assert isinstance(found, str)
        case other:
            assert other == "integer"
            assert isinstance(found, int)


@pytest.mark.parametrize("path", ["/openapi/v2", "/openapi/v3", "/openapi/v3/apis/metrics.k8s.io/v1", f"{ROOT}/nodes"])
async def test_protobuf_alone_is_refused_and_json_beside_it_is_given(path):
    cluster = some()
    for protobuf in (
        "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
        "application/com.github.proto-openapi.spec.v3@v1.0+protobuf",
        "application/vnd.kubernetes.protobuf",
    ):
        status, refusal = await cluster.ask(path, Accept=protobuf)
        assert (status, refusal["kind"], refusal["reason"]) == (406, "Status", "NotAcceptable")
        for beside in ("application/json", "*/*"):
            assert (await cluster.ask(path, Accept=f"{protobuf}, {beside}"))[0] == 200


async def test_errors_are_statuses_where_they_are_objects():
    cluster = some()
    for target in (f"{ROOT}/nosuch", f"{ROOT}/pods/a/b", "/apis/metrics.k8s.io/v9"):
        status, refusal = await cluster.ask(target)
        assert (status, refusal["kind"]) == (404, "Status")
    for method in ("POST", "DELETE", "PATCH", "PUT"):
        answer = await cluster.answer(f"{ROOT}/pods", method)
        assert (answer.status, answer.headers["Allow"], json.loads(answer.body)["kind"]) == (405, "GET", "Status")
