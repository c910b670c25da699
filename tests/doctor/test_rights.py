"""What the doctor asks for is what the manifests grant: no more, and under the same names."""

from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml

from collector.doctor.rights import Rule, wanted
from collector.kube.auth_watch import NAME as CONFIG_MAP
from collector.options import Options
from collector.sources.settings import SourceSettings

ROOT = Path(__file__).parents[2]
DELEGATOR = [
    {"apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"]},
    {"apiGroups": ["authorization.k8s.io"], "resources": ["subjectaccessreviews"], "verbs": ["create"]},
]
"""Kubernetes' own ClusterRole system:auth-delegator."""
READER = [
    {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": [CONFIG_MAP], "verbs": ["get", "list", "watch"]}
]
"""Its Role extension-apiserver-authentication-reader."""


def granted(manifest: str) -> list[dict[str, Any]]:
    rules: list[dict[str, Any]] = []
    for document in yaml.safe_load_all((ROOT / manifest).read_text()):
        rules += document.get("rules") or []
        role = document.get("roleRef", {}).get("name")
        rules += DELEGATOR if role == "system:auth-delegator" else READER if role and role.endswith("-reader") else []
    return rules


def allows(rule: dict[str, Any], wanted_rule: Rule, verb: str) -> bool:
    names = rule.get("resourceNames")
    return (
        wanted_rule.group in rule["apiGroups"]
        and wanted_rule.resource in rule["resources"]
        and verb in rule["verbs"]
        and (names is None or wanted_rule.name in names)
    )


def options(source: str, **flags: bool) -> tuple[Options, SourceSettings]:
    text = f"{source}:?inClusterConfig=false&auth=x&kubeletHttps=true"
    return Options(source=(text,), leader_elect_resource_namespace="kube-system", **flags), SourceSettings.parse(text)


@pytest.mark.parametrize("source", ["kubernetes.summary_api", "kubernetes.cadvisor"])
def test_every_right_is_in_the_manifest_that_is_named(source):
    rules = list(wanted(*options(source, leader_elect=True, api_server=True)))
    assert {rule.resource for rule in rules} >= {"nodes", "leases", "apiservices", "tokenreviews", "configmaps"}
    for rule in rules:
        for verb in rule.verbs:
            assert any(allows(each, rule, verb) for each in granted(rule.manifest)), (rule, verb)


def test_a_right_that_is_not_asked_for_is_not_wanted():
    plain = list(wanted(*options("kubernetes.summary_api")))
    assert [(rule.resource, rule.verbs) for rule in plain] == [
        ("nodes", ("list", "watch")),
        ("pods", ("list", "watch")),
        ("namespaces", ("list", "watch")),
        ("nodes/stats", ("get",)),
    ]
    old = [rule for rule in wanted(*options("kubernetes")) if rule.resource.startswith("nodes/")]
    assert [(rule.resource, rule.verbs) for rule in old] == [("nodes/stats", ("create", "get"))]
    for leader_elect, api_server in product((False, True), repeat=2):
        resources = {
            rule.resource
            for rule in wanted(*options("kubernetes.summary_api", leader_elect=leader_elect, api_server=api_server))
        }
        assert ("leases" in resources) is leader_elect
        assert ("nodes/metrics" in resources) is ("apiservices" in resources) is api_server
        assert not resources & {"secrets", "nodes/proxy"}
