"""The chart, by Helm's own engine: its values, what it refuses, what it says."""

import base64
import json
import re
from typing import Any

import jsonschema
import pytest
import yaml

from tests.manifests.renders import (
    CHART,
    HELM_REFUSED,
    PEM,
    ROOT,
    charted,
    collector,
    container,
    helm,
    named,
    of_kind,
)

VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA = json.loads((CHART / "values.schema.json").read_text())

METRICS_SERVER = (
    "image.repository",
    "image.tag",
    "image.pullPolicy",
    "imagePullSecrets",
    "nameOverride",
    "fullnameOverride",
    "serviceAccount.create",
    "serviceAccount.annotations",
    "serviceAccount.name",
    "rbac.create",
    "apiService.create",
    "apiService.annotations",
    "apiService.caBundle",
    "commonLabels",
    "podLabels",
    "podAnnotations",
    "deploymentAnnotations",
    "podSecurityContext",
    "securityContext",
    "priorityClassName",
    "containerPort",
    "hostNetwork.enabled",
    "replicas",
    "revisionHistoryLimit",
    "updateStrategy",
    "podDisruptionBudget.enabled",
    "podDisruptionBudget.minAvailable",
    "podDisruptionBudget.maxUnavailable",
    "defaultArgs",
    "args",
    "livenessProbe",
    "readinessProbe",
    "service.type",
    "service.port",
    "service.annotations",
    "service.labels",
    "metrics.enabled",
    "serviceMonitor.enabled",
    "serviceMonitor.additionalLabels",
    "serviceMonitor.interval",
    "serviceMonitor.scrapeTimeout",
    "serviceMonitor.metricRelabelings",
    "serviceMonitor.relabelings",
    "resources",
    "extraVolumeMounts",
    "extraVolumes",
    "nodeSelector",
    "tolerations",
    "affinity",
    "topologySpreadConstraints",
    "dnsConfig",
    "schedulerName",
    "tmpVolume",
    "tls.type",
    "tls.clusterDomain",
    "tls.certManager.duration",
    "tls.certManager.renewBefore",
    "tls.existingSecret.name",
)
"""Names of values that users of metrics-server's chart have in their files."""


def at(values: dict[str, Any], path: str) -> Any:
    for name in path.split("."):
        values = values[name]
    return values


def leaves(values: dict[str, Any], prefix: str = "") -> list[str]:
    """Paths of all values that are no tables of names of ours."""
    found = []
    for name, value in values.items():
        inner = isinstance(value, dict) and value and (prefix + name).partition(".")[0] not in FREE
        found += leaves(value, f"{prefix}{name}.") if inner else [prefix + name]
    return found


FREE = {"podSecurityContext", "securityContext", "livenessProbe", "readinessProbe", "tmpVolume", "nodeSelector"}
"""Parts of Kubernetes objects, passed on as they are."""


def test_the_engine_is_helm_4_and_finds_nothing_to_complain_of():
    assert helm()["engine"].lstrip("v").startswith("4.")
    lint = helm()["lint"]
    assert lint["total_charts_linted"] == 1
    assert lint["errors"] == []
    assert [found["error"] for found in lint["messages"]] == ["icon is recommended"]


def test_the_names_are_those_that_users_of_metrics_server_have():
    for path in METRICS_SERVER:
        at(VALUES, path)


def test_the_schema_knows_every_value_and_takes_the_defaults():
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    jsonschema.validate(VALUES, SCHEMA)
    assert set(VALUES) <= set(SCHEMA["properties"])
    assert SCHEMA["additionalProperties"] is False


def test_every_value_is_explained_to_the_reader():
    _, _, text = (CHART / "README.md").read_text().partition("## Values")
    told = set(re.findall(r"^\| `([^`]+)`", text, re.MULTILINE))
    assert told == set(leaves(VALUES))


@pytest.mark.parametrize("name", HELM_REFUSED)
def test_what_must_not_be_is_refused_with_the_reason(name):
    _, words = HELM_REFUSED[name]
    assert words in helm()["outcomes"][name].get("refused", "rendered")


def test_what_people_write_arrives_where_it_belongs():
    objects = charted("as metrics-server's users write it")
    deployment, pod = collector(objects), collector(objects)["spec"]["template"]
    found = container(objects)
    assert deployment["metadata"]["name"] == "metrics-server"
    assert deployment["metadata"]["annotations"] == {"deployment": "annotation"}
    assert pod["metadata"]["labels"]["pod"] == "label"
    assert pod["metadata"]["annotations"] == {"pod": "annotation"}
    assert deployment["spec"]["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0}}
    assert pod["spec"]["hostNetwork"] is True
    assert pod["spec"]["dnsPolicy"] == "ClusterFirstWithHostNet"
    assert pod["spec"]["serviceAccountName"] == "account"
    assert pod["spec"]["schedulerName"] == "other"
    assert pod["spec"]["imagePullSecrets"] == [{"name": "pull"}]
    assert pod["spec"]["priorityClassName"] == "system-node-critical"
    assert pod["spec"]["tolerations"] == [{"operator": "Exists"}]
    assert pod["spec"]["affinity"] == {"nodeAffinity": {}}
    assert pod["spec"]["dnsConfig"] == {"options": [{"name": "ndots", "value": "1"}]}
    assert found["image"] == "registry.example/pyheapster:1.2.3"
    assert found["imagePullPolicy"] == "Always"
    assert found["args"][:2] == ["--source=kubernetes.summary_api:", "--metric-resolution=15s"]
    assert found["args"][-1] == "--kubelet-insecure-tls"
    assert "--secure-port=10250" in found["args"]
    assert {"name": "ca", "mountPath": "/ca", "readOnly": True} in found["volumeMounts"]
    service = named(objects, "Service", "metrics-server")
    assert (service["spec"]["type"], service["spec"]["ports"][0]["port"]) == ("NodePort", 8443)
    assert service["metadata"]["labels"].items() >= {"s": "l", "team": "platform"}.items()
    (budget,) = of_kind(objects, "PodDisruptionBudget")
    assert budget["spec"]["maxUnavailable"] == 1
    assert "minAvailable" not in budget["spec"]
    assert all(found["spec"]["service"]["port"] == 8443 for found in of_kind(objects, "APIService"))


def test_a_pair_of_ones_own_is_mounted_and_its_ca_given_to_the_aggregation_layer():
    objects = charted("existing-secret")
    for found in of_kind(objects, "APIService"):
        assert base64.b64decode(found["spec"]["caBundle"]).decode() == PEM
        assert found["metadata"]["annotations"] == {"a": "b"}
    volumes = {volume["name"]: volume for volume in collector(objects)["spec"]["template"]["spec"]["volumes"]}
    assert volumes["tls"]["secret"] == {"secretName": "pair"}
    assert "--tls-cert-file=/var/run/heapster/tls/tls.crt" in container(objects)["args"]
    assert "--patch-apiservices=false" in container(objects)["args"]


def test_cert_manager_writes_the_pair_and_the_bundle():
    objects = charted("cert-manager")
    (certificate,) = of_kind(objects, "Certificate")
    (issuer,) = of_kind(objects, "Issuer")
    service = of_kind(objects, "APIService")[0]["spec"]["service"]
    assert f"{service['name']}.{service['namespace']}.svc" in certificate["spec"]["dnsNames"]
    assert certificate["spec"]["issuerRef"] == {"kind": "Issuer", "name": issuer["metadata"]["name"]}
    for found in of_kind(objects, "APIService"):
        wanted = f"{certificate['metadata']['namespace']}/{certificate['metadata']['name']}"
        assert found["metadata"]["annotations"]["cert-manager.io/inject-ca-from"] == wanted
        assert "caBundle" not in found["spec"]
    volumes = {volume["name"]: volume for volume in collector(objects)["spec"]["template"]["spec"]["volumes"]}
    assert volumes["tls"]["secret"] == {"secretName": certificate["spec"]["secretName"]}


def test_the_monitor_selects_a_service_that_leads_to_every_replica():
    objects = charted("watched")
    (monitor,) = of_kind(objects, "ServiceMonitor")
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    (service,) = [each for each in of_kind(objects, "Service") if wanted <= each["metadata"]["labels"].items()]
    assert service["spec"]["clusterIP"] == "None"
    assert {endpoint["port"] for endpoint in monitor["spec"]["endpoints"]} == {"http"}
    assert [endpoint["path"] for endpoint in monitor["spec"]["endpoints"]] == ["/metrics", "/metrics/cluster"]
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    (policy,) = of_kind(objects, "NetworkPolicy")
    open_ports = [rule["ports"][0]["port"] for rule in policy["spec"]["ingress"]]
    assert open_ports == [6443, 8082]
    assert "from" in policy["spec"]["ingress"][1]


def test_the_notes_name_objects_that_are_there():
    for case in ("defaults", "heapster"):
        notes = next(text for path, text in helm()["outcomes"][case]["files"].items() if path.endswith("NOTES.txt"))
        objects = charted(case)
        assert f"deployment/{collector(objects)['metadata']['name']}" in notes
        for name in re.findall(r"service/(\S+)", notes):
            named(objects, "Service", name)
        assert ("service/heapster" in notes) == (case == "heapster")


def test_the_chart_is_of_the_version_of_the_package():
    about = yaml.safe_load((CHART / "Chart.yaml").read_text())
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)[1]
    assert about["version"] == about["appVersion"] == version
