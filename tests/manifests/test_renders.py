"""Every render is valid Kubernetes, meets the restricted standard, and starts the collector with flags that exist."""

import json
import re
from functools import cache
from typing import Any

import kubernetes_validate
import pytest

from collector.options import parse
from tests.manifests.renders import OVERLAYS, RENDERS, ROOT, VERSIONS, collector, container, of_kind, rendered

NOT_OF_KUBERNETES = ("monitoring.coreos.com/", "cert-manager.io/")
"""Kinds whose schemas kubernetes-validate does not have."""

PRIVILEGED = {"node-exporter"}
"""It looks at the machine itself; its namespace says so."""


@cache
def validate(text: str, version: str) -> None:
    """Look at an object once: most are in several renders."""
    kubernetes_validate.validate(json.loads(text), version, strict=True)


def pods(objects: tuple[dict[str, Any], ...]) -> dict[str, dict[str, Any]]:
    """Pod specifications by the name of what makes the pods."""
    return {
        found["metadata"]["name"]: found["spec"]["template"]["spec"]
        for kind in ("Deployment", "DaemonSet")
        for found in of_kind(objects, kind)
    }


def test_all_that_was_asked_for_is_there():
    assert OVERLAYS == ("drop-in", "high-availability", "influxdb", "metrics-api")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", RENDERS)
def test_every_object_is_valid_in_several_kubernetes_versions(name, version):
    checked = 0
    for found in rendered(name):
        if not found["apiVersion"].startswith(NOT_OF_KUBERNETES):
            validate(json.dumps(found), version)
            checked += 1
    assert checked >= 3


@pytest.mark.parametrize("name", RENDERS)
def test_no_object_is_there_twice(name):
    keys = [
        (found["kind"], found["metadata"].get("namespace", ""), found["metadata"]["name"]) for found in rendered(name)
    ]
    assert sorted(set(keys)) == sorted(keys)


@pytest.mark.parametrize("name", RENDERS)
def test_pods_meet_the_restricted_standard(name):
    for owner, pod in pods(rendered(name)).items():
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        kinds = {next(iter(volume.keys() - {"name"})) for volume in pod["volumes"]}
        if owner not in PRIVILEGED:
            assert kinds <= {"emptyDir", "configMap", "secret", "persistentVolumeClaim"}
            assert not pod.get("hostPID", False)
            assert not pod.get("hostNetwork", False) or "metrics-server's users" in name
        for each in pod["containers"]:
            security = each["securityContext"]
            assert security["allowPrivilegeEscalation"] is False
            assert security["readOnlyRootFilesystem"] is True
            assert security["capabilities"] == {"drop": ["ALL"]}


@pytest.mark.parametrize("name", RENDERS)
def test_each_pod_asks_for_what_it_needs_and_runs_on_linux(name):
    for pod in pods(rendered(name)).values():
        assert pod["nodeSelector"].get("kubernetes.io/os") == "linux"
        for each in pod["containers"]:
            assert {"cpu", "memory"} <= each["resources"]["requests"].keys()
            assert "cpu" not in each["resources"].get("limits", {})
            mounted = {mount["name"] for mount in each["volumeMounts"]}
            assert mounted == {volume["name"] for volume in pod["volumes"]}


@pytest.mark.parametrize("name", [name for name in RENDERS if name != "kustomize base"])
def test_the_collector_is_probed_at_its_own_paths_over_a_port_it_has(name):
    found = container(rendered(name))
    ports = {port["name"]: port["containerPort"] for port in found["ports"]}
    for probe, path in (("readinessProbe", "/readyz"), ("livenessProbe", "/livez")):
        asked = found[probe]["httpGet"]
        assert asked["path"] == path
        assert asked["port"] in ports
        assert asked.get("scheme", "HTTP") == asked["port"].upper()


@pytest.mark.parametrize("name", RENDERS)
def test_the_arguments_are_flags_of_the_collector(name):
    arguments = container(rendered(name))["args"]
    options = parse(arguments).validated()
    assert options.source[0].startswith("kubernetes.summary_api:")
    ports = {port["name"]: port["containerPort"] for port in container(rendered(name)).get("ports", [])}
    assert ports.get("http", options.heapster_port) == options.heapster_port
    assert ports.get("https") == (options.secure_port if options.api_server else None)


@pytest.mark.parametrize("name", RENDERS)
def test_plain_http_leaves_the_pod_only_where_that_was_chosen(name):
    found = container(rendered(name))
    open_to_all = "http" in {port["name"] for port in found.get("ports", [])}
    closed = "--listen-ip=127.0.0.1" in found["args"]
    assert open_to_all != closed or name == "kustomize base"


@pytest.mark.parametrize("name", RENDERS)
def test_services_lead_to_ports_of_the_pods_that_they_select(name):
    objects = rendered(name)
    makers = [*of_kind(objects, "Deployment"), *of_kind(objects, "DaemonSet")]
    for service in of_kind(objects, "Service"):
        if "selector" not in service["spec"]:
            continue
        namespace, selector = service["metadata"]["namespace"], service["spec"]["selector"].items()
        (maker,) = [
            each
            for each in makers
            if selector <= each["spec"]["template"]["metadata"]["labels"].items()
            and each["metadata"]["namespace"] == namespace
        ]
        assert (
            maker["spec"]["selector"]["matchLabels"].items() <= maker["spec"]["template"]["metadata"]["labels"].items()
        )
        ports = {port["name"] for each in maker["spec"]["template"]["spec"]["containers"] for port in each["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports


@pytest.mark.parametrize("name", RENDERS)
def test_apiservices_lead_to_the_second_server_and_never_skip_its_verification(name):
    objects = rendered(name)
    for found in of_kind(objects, "APIService"):
        assert "insecureSkipTLSVerify" not in found["spec"]
        target = found["spec"]["service"]
        (service,) = [each for each in of_kind(objects, "Service") if each["metadata"]["name"] == target["name"]]
        assert service["metadata"]["namespace"] == target["namespace"]
        assert service["spec"]["ports"][0]["port"] == target["port"]
        assert service["spec"]["ports"][0]["targetPort"] == "https"
        assert f"--service-name={target['name']}" in container(objects)["args"]
    names = [found["metadata"]["name"] for found in of_kind(objects, "APIService")]
    assert sorted(names) in ([], ["v1.metrics.k8s.io", "v1beta1.metrics.k8s.io"])
    for found in of_kind(objects, "APIService"):
        assert found["metadata"]["name"] == f"{found['spec']['version']}.{found['spec']['group']}"


def test_v1beta1_stays_what_clients_are_offered_first():
    for name in ("kustomize overlays/metrics-api", "helm defaults"):
        priorities = {
            found["spec"]["version"]: found["spec"]["versionPriority"]
            for found in of_kind(rendered(name), "APIService")
        }
        assert priorities["v1beta1"] > priorities["v1"] > 0


def test_the_drop_in_has_the_names_labels_and_ports_that_heapsters_users_know():
    objects = rendered("kustomize overlays/drop-in")
    (service,) = of_kind(objects, "Service")
    assert (service["metadata"]["name"], service["metadata"]["namespace"]) == ("heapster", "kube-system")
    assert service["spec"]["ports"][0]["port"] == 80
    known = {"k8s-app": "heapster", "task": "monitoring"}
    for labels in (
        service["metadata"]["labels"],
        service["spec"]["selector"],
        collector(objects)["metadata"]["labels"],
        collector(objects)["spec"]["template"]["metadata"]["labels"],
    ):
        assert known.items() <= labels.items()
    assert {port["name"]: port["containerPort"] for port in container(objects)["ports"]} == {"http": 8082}


@pytest.mark.parametrize("name", ["kustomize overlays/metrics-api", "helm defaults"])
def test_the_metrics_api_alone_keeps_no_past_but_what_a_restart_goes_on_with(name):
    found = container(rendered(name))
    options = parse(found["args"])
    assert options.sink == ("metric",)
    assert {options.cert_dir, "/var/lib/heapster"} <= {mount["mountPath"] for mount in found["volumeMounts"]}


def test_the_sink_and_the_service_of_the_database_are_the_same():
    objects = rendered("kustomize overlays/influxdb")
    options = parse(container(objects)["args"]).validated()
    assert options.sink == ("influxdb:http://monitoring-influxdb.kube-system.svc:8086",) == (options.historical_source,)
    names = {found["metadata"]["name"] for found in of_kind(objects, "Service")}
    assert names == {"heapster", "monitoring-influxdb", "monitoring-grafana"}
    claims = {found["metadata"]["name"] for found in of_kind(objects, "PersistentVolumeClaim")}
    used = [
        v["persistentVolumeClaim"]["claimName"]
        for p in pods(objects).values()
        for v in p["volumes"]
        if len(v) == 2 and "persistentVolumeClaim" in v
    ]
    assert claims == set(used) == {"heapster-state", "monitoring-influxdb"}


@pytest.mark.parametrize("name", ["kustomize compositions/all", "helm watched"])
def test_the_policy_is_for_the_collector_and_knows_its_ports(name):
    objects = rendered(name)
    (policy,) = of_kind(objects, "NetworkPolicy")
    labels = collector(objects)["spec"]["template"]["metadata"]["labels"].items()
    assert policy["spec"]["podSelector"]["matchLabels"].items() <= labels
    ports = {port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]}
    assert ports == {port["containerPort"] for port in container(objects)["ports"]}
    (plain,) = [rule for rule in policy["spec"]["ingress"] if rule["ports"][0]["port"] == 8082]
    assert plain["from"], "plain HTTP is not for everybody"


@pytest.mark.parametrize(
    "name", ["kustomize overlays/high-availability", "kustomize compositions/replicated", "helm high-availability"]
)
def test_two_replicas_keep_out_of_each_others_way(name):
    objects = rendered(name)
    found = collector(objects)
    assert found["spec"]["replicas"] == 2
    assert found["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}
    (term,) = found["spec"]["template"]["spec"]["affinity"]["podAntiAffinity"][
        "requiredDuringSchedulingIgnoredDuringExecution"
    ]
    assert term["topologyKey"] == "kubernetes.io/hostname"
    labels = found["spec"]["template"]["metadata"]["labels"].items()
    assert term["labelSelector"]["matchLabels"].items() <= labels
    (budget,) = of_kind(objects, "PodDisruptionBudget")
    assert budget["spec"]["minAvailable"] == 1
    assert budget["spec"]["selector"]["matchLabels"].items() <= labels
    arguments = container(objects)["args"]
    (role,) = [each for each in of_kind(objects, "Role") if "leases" in each["rules"][0]["resources"]]
    (lease,) = role["rules"][1]["resourceNames"]
    assert "--leader-elect" in arguments
    assert f"--leader-elect-resource-name={lease}" in arguments
    assert f"--leader-elect-resource-namespace={role['metadata']['namespace']}" in arguments


QUANTITY = {"m": 0.001, "Mi": 1.0, "": 1.0}


def amount(text: str) -> float:
    number, unit = re.fullmatch(r"(\d+)(m|Mi|)", text).groups()
    return int(number) * QUANTITY[unit]


@pytest.mark.parametrize(
    ("name", "nodes"),
    [
        ("kustomize base", 100),
        ("kustomize overlays/metrics-api", 100),
        ("helm defaults", 100),
        ("helm 5000 nodes, no state", 5000),
    ],
)
def test_resources_follow_the_formula_of_the_documentation(name, nodes):
    found = container(rendered(name))["resources"]
    assert amount(found["requests"]["cpu"]) == pytest.approx((100 + 0.1 * nodes) / 1000)
    assert amount(found["requests"]["memory"]) == pytest.approx(200 + 0.3 * nodes)
    assert amount(found["limits"]["memory"]) == 2 * amount(found["requests"]["memory"])


def test_the_formula_has_room_for_what_was_measured():
    text = (ROOT / "docs" / "performance.md").read_text()
    rows = re.findall(
        r"^\| ([\d,]+) nodes \| [\d,]+ \| [\d., ]+ \| [\d.]+ \| \d+ \| [\d.]+ \| ([\d,]+) \|", text, re.MULTILINE
    )
    assert len(rows) == 3
    for nodes, peak in rows:
        assert 200 + 0.3 * int(nodes.replace(",", "")) >= int(peak.replace(",", ""))
