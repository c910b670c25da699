"""Requests in the words of access rules: the examples of Kubernetes' own RequestInfo."""

import pytest

from collector.kube.auth_attributes import Attributes, read_attributes

METRICS = "/apis/metrics.k8s.io/v1beta1"


def about(verb: str, resource: str, **more: str) -> Attributes:
    return Attributes(verb, group="metrics.k8s.io", version="v1beta1", resource=resource, **more)


@pytest.mark.parametrize(
    ("method", "path", "query", "expected"),
    [
        ("GET", f"{METRICS}/nodes", {}, about("list", "nodes")),
        ("GET", f"{METRICS}/nodes/", {}, about("list", "nodes")),
        ("HEAD", f"{METRICS}/nodes/n1", {}, about("get", "nodes", name="n1")),
        ("GET", f"{METRICS}/namespaces/a/pods", {}, about("list", "pods", namespace="a")),
        ("GET", f"{METRICS}/namespaces/a/pods/p", {}, about("get", "pods", namespace="a", name="p")),
        (
            "GET",
            f"{METRICS}/namespaces/a/pods/p/log",
            {},
            about("get", "pods", namespace="a", name="p", subresource="log"),
        ),
        ("GET", f"{METRICS}/namespaces/a", {}, about("get", "namespaces", namespace="a", name="a")),
        ("GET", f"{METRICS}/pods", {"watch": ["true"]}, about("watch", "pods")),
        ("GET", f"{METRICS}/pods", {"watch": ["0"]}, about("list", "pods")),
        ("GET", f"{METRICS}/watch/pods", {}, about("watch", "pods")),
        ("GET", f"{METRICS}/nodes", {"fieldSelector": ["metadata.name=n1"]}, about("list", "nodes", name="n1")),
        ("GET", f"{METRICS}/nodes", {"fieldSelector": ["metadata.name!=n1"]}, about("list", "nodes")),
        ("DELETE", f"{METRICS}/nodes", {}, about("deletecollection", "nodes")),
        ("DELETE", f"{METRICS}/nodes/n1", {}, about("delete", "nodes", name="n1")),
        ("POST", f"{METRICS}/nodes", {}, about("create", "nodes")),
        ("GET", "/api/v1/nodes", {}, Attributes("list", version="v1", resource="nodes")),
        ("GET", "/api/v1/model/nodes", {}, Attributes("get", version="v1", resource="model", name="nodes")),
        ("GET", METRICS, {}, Attributes("get", path=METRICS)),
        ("GET", "/apis", {}, Attributes("get", path="/apis")),
        ("HEAD", "/healthz", {}, Attributes("head", path="/healthz")),
        (
            "GET",
            "/openapi/v3/apis/metrics.k8s.io/v1beta1",
            {},
            Attributes("get", path="/openapi/v3/apis/metrics.k8s.io/v1beta1"),
        ),
        ("GET", "/", {}, Attributes("get", path="/")),
    ],
)
def test_attributes_of_a_request(method, path, query, expected):
    assert read_attributes(method, path, query) == expected


def test_a_denial_reads_as_the_api_server_s():
    assert about("list", "pods", namespace="a").denial("jane", "") == (
        'pods.metrics.k8s.io is forbidden: User "jane" cannot list resource "pods" in API group "metrics.k8s.io" '
        'in the namespace "a"'
    )
    assert about("get", "nodes", name="n1").denial("jane", "no rule") == (
        'nodes.metrics.k8s.io "n1" is forbidden: User "jane" cannot get resource "nodes" in API group "metrics.k8s.io" '
        "at the cluster scope: no rule"
    )
    assert Attributes("get", path="/x").denial("jane", "") == 'forbidden: User "jane" cannot get path "/x"'


def test_a_review_names_what_is_there():
    assert about("list", "nodes").review() == {
        "resourceAttributes": {"verb": "list", "group": "metrics.k8s.io", "version": "v1beta1", "resource": "nodes"}
    }
    assert Attributes("get", path="/x").review() == {"nonResourceAttributes": {"path": "/x", "verb": "get"}}
