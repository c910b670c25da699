"""Every right that any render asks for is on a list; what is not on it fails."""

from typing import Any

import pytest

from tests.manifests.renders import RENDERS, collector, of_kind, rendered

Object = dict[str, Any]

READ = frozenset({"get", "list", "watch"})
APISERVICES = frozenset({"v1beta1.metrics.k8s.io", "v1.metrics.k8s.io"})
ANY: frozenset[str] = frozenset()
"""No resourceNames."""

CLUSTER = {
    ("", "nodes", ANY): READ,
    ("", "pods", ANY): READ,
    ("", "namespaces", ANY): READ,
    ("", "nodes/stats", ANY): frozenset({"get"}),
    ("", "nodes/metrics", ANY): frozenset({"get"}),
    ("apiregistration.k8s.io", "apiservices", APISERVICES): frozenset({"get", "patch"}),
}
"""The collector's, in the whole cluster: (group, resource, names) -> verbs."""

READERS = {("metrics.k8s.io", "nodes", ANY): READ, ("metrics.k8s.io", "pods", ANY): READ}
"""What whoever may view may look at."""

PROMETHEUS = {
    ("", "nodes", ANY): READ,
    ("", "pods", ANY): READ,
    ("", "services", ANY): READ,
    ("discovery.k8s.io", "endpointslices", ANY): READ,
    ("", "nodes/metrics", ANY): frozenset({"get"}),
}
"""The workshop's Prometheus."""

DELEGATED = "system:auth-delegator"
AUTH_READER = "extension-apiserver-authentication-reader"


def leases(name: str) -> dict[tuple[str, str, frozenset[str]], frozenset[str]]:
    """The leader election's, in the collector's own namespace."""
    return {
        ("coordination.k8s.io", "leases", ANY): frozenset({"create"}),
        ("coordination.k8s.io", "leases", frozenset({name})): frozenset({"get", "patch"}),
    }


def beyond(rules: list[Object], allowed: dict[tuple[str, str, frozenset[str]], frozenset[str]]) -> list[str]:
    """What the rules ask for that is not allowed."""
    found = []
    for rule in rules:
        names = frozenset(rule.get("resourceNames", ()))
        if not rule.keys() <= {"apiGroups", "resources", "verbs", "resourceNames"}:
            found += [f"{sorted(rule)}"]
        found += [
            f"{verb} {group}/{resource} {sorted(names)}"
            for group in rule.get("apiGroups", ())
            for resource in rule.get("resources", ())
            for verb in rule["verbs"]
            if verb not in allowed.get((group, resource, names), ANY)
        ]
    return found


def roles(objects: tuple[Object, ...]) -> list[Object]:
    """All roles of both kinds."""
    return [*of_kind(objects, "ClusterRole"), *of_kind(objects, "Role")]


@pytest.mark.parametrize("name", RENDERS)
def test_no_rule_is_beyond_the_list(name):
    objects = rendered(name)
    for role in of_kind(objects, "ClusterRole"):
        rules = role["rules"]
        if role["metadata"]["name"] == "workshop-prometheus":
            assert {"nonResourceURLs": ["/metrics"], "verbs": ["get"]} in rules
            allowed, rules = PROMETHEUS, [rule for rule in rules if "nonResourceURLs" not in rule]
        elif "rbac.authorization.k8s.io/aggregate-to-view" in role["metadata"].get("labels", {}):
            allowed = READERS
        else:
            allowed = CLUSTER
        assert beyond(rules, allowed) == []
    for role in of_kind(objects, "Role"):
        lease = role["rules"][-1]["resourceNames"][0]
        assert beyond(role["rules"], leases(lease)) == []
        assert role["metadata"]["namespace"] == collector(objects)["metadata"]["namespace"]


@pytest.mark.parametrize("name", RENDERS)
def test_nobody_may_use_a_nodes_proxy_or_read_secrets_or_config_maps(name):
    for role in roles(rendered(name)):
        for rule in role["rules"]:
            words = {*rule.get("resources", ()), *rule.get("apiGroups", ()), *rule["verbs"]}
            assert not words & {"nodes/proxy", "secrets", "configmaps", "*", "escalate", "bind", "impersonate"}


@pytest.mark.parametrize("name", RENDERS)
def test_bindings_give_roles_of_ours_and_two_known_ones_to_accounts_of_ours(name):
    objects = rendered(name)
    accounts = {
        (each["metadata"]["name"], each["metadata"]["namespace"]) for each in of_kind(objects, "ServiceAccount")
    }
    ours = {(each["kind"], each["metadata"]["name"]) for each in roles(objects)}
    for binding in [*of_kind(objects, "ClusterRoleBinding"), *of_kind(objects, "RoleBinding")]:
        target = binding["roleRef"]["kind"], binding["roleRef"]["name"]
        assert target in ours | {("ClusterRole", DELEGATED), ("Role", AUTH_READER)}
        if target[1] == AUTH_READER:
            assert (binding["kind"], binding["metadata"]["namespace"]) == ("RoleBinding", "kube-system")
        (subject,) = binding["subjects"]
        assert (subject["name"], subject["namespace"]) in accounts


@pytest.mark.parametrize("name", [name for name in RENDERS if name != "helm no rights, no APIService"])
def test_the_account_of_the_pod_has_the_rights_that_its_flags_need(name):
    objects = rendered(name)
    pod = collector(objects)["spec"]["template"]["spec"]
    bound = {
        binding["roleRef"]["name"]
        for binding in [*of_kind(objects, "ClusterRoleBinding"), *of_kind(objects, "RoleBinding")]
        if binding["subjects"][0]["name"] == pod["serviceAccountName"]
    }
    rules = [rule for role in roles(objects) if role["metadata"]["name"] in bound for rule in role["rules"]]
    given = {resource for rule in rules for resource in rule["resources"]}
    arguments = pod["containers"][0]["args"]
    assert {"nodes", "pods", "namespaces", "nodes/stats", "nodes/metrics"} <= given
    assert ("--api-server" in arguments) == ({DELEGATED, AUTH_READER} <= bound)
    assert ("--leader-elect" in arguments) == ("leases" in given)
    own_ca = any(each.startswith("--cert-dir=") for each in arguments)
    assert own_ca == ("apiservices" in given)


@pytest.mark.parametrize(
    ("rule", "fault"),
    [
        ({"apiGroups": [""], "resources": ["nodes/proxy"], "verbs": ["get"]}, "get /nodes/proxy []"),
        ({"apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "patch"]}, "patch /nodes []"),
        ({"apiGroups": ["*"], "resources": ["nodes"], "verbs": ["get"]}, "get */nodes []"),
        (
            {"apiGroups": ["apiregistration.k8s.io"], "resources": ["apiservices"], "verbs": ["patch"]},
            "patch apiregistration.k8s.io/apiservices []",
        ),
        ({"nonResourceURLs": ["/metrics"], "verbs": ["get"]}, "['nonResourceURLs', 'verbs']"),
    ],
)
def test_the_list_catches_what_is_not_on_it(rule, fault):
    assert beyond([rule], CLUSTER) == [fault]
