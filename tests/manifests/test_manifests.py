"""The manifests render, are valid Kubernetes objects, ask for no more than they need, and use flags that exist."""

import json
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from collector.errors import CommandLineError
from collector.options import SECOND, parse
from collector.sources.settings import SourceSettings
from collector.version import COMMIT_VARIABLE
from sinks.base import build

ROOT = Path(__file__).parents[2]
VERSIONS = ("1.27", "1.30", "1.34")

ALLOWED = {
    ("", "nodes"): {"get", "list", "watch"},
    ("", "pods"): {"get", "list", "watch"},
    ("", "namespaces"): {"get", "list", "watch"},
    ("", "nodes/stats"): {"get"},
    ("", "nodes/metrics"): {"get"},
}


@pytest.fixture(scope="module")
def objects() -> list[dict[str, Any]]:
    rendered = subprocess.run(
        ["kubectl", "kustomize", str(ROOT / "manifests/base")], capture_output=True, text=True, check=True
    )
    return [found for found in yaml.safe_load_all(rendered.stdout) if found]


def of_kind(objects: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    (found,) = [each for each in objects if each["kind"] == kind]
    return found


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_valid_in_several_kubernetes_versions(objects, version):
    for found in objects:
        kubernetes_validate.validate(found, version, strict=True)


def test_the_names_and_ports_are_those_that_heapsters_users_know(objects):
    service, deployment = of_kind(objects, "Service"), of_kind(objects, "Deployment")
    assert (service["metadata"]["name"], service["metadata"]["namespace"]) == ("heapster", "kube-system")
    assert service["spec"]["ports"][0]["port"] == 80
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    assert {port["name"]: port["containerPort"] for port in container["ports"]} == {"http": 8082}


def test_the_service_selects_the_pods_of_the_deployment(objects):
    selector = of_kind(objects, "Service")["spec"]["selector"]
    deployment = of_kind(objects, "Deployment")
    pod_labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert selector.items() <= pod_labels.items()
    assert deployment["spec"]["selector"]["matchLabels"].items() <= pod_labels.items()


def test_the_role_asks_for_nothing_beyond_the_allow_list(objects):
    for rule in of_kind(objects, "ClusterRole")["rules"]:
        assert rule.keys() == {"apiGroups", "resources", "verbs"}
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                assert set(rule["verbs"]) <= ALLOWED[group, resource]


def test_the_binding_gives_the_role_to_the_account_that_the_pod_runs_as(objects):
    binding, account = of_kind(objects, "ClusterRoleBinding"), of_kind(objects, "ServiceAccount")
    assert binding["roleRef"]["name"] == of_kind(objects, "ClusterRole")["metadata"]["name"]
    (subject,) = binding["subjects"]
    assert (subject["name"], subject["namespace"]) == (account["metadata"]["name"], account["metadata"]["namespace"])
    pod = of_kind(objects, "Deployment")["spec"]["template"]["spec"]
    assert pod["serviceAccountName"] == account["metadata"]["name"]


def test_the_arguments_are_flags_of_the_collector(objects):
    container = of_kind(objects, "Deployment")["spec"]["template"]["spec"]["containers"][0]
    options = parse(container["args"]).validated()
    assert options.source[0].startswith("kubernetes.summary_api:")


# Heapster's own manifests, word for word (behaviour reference, section 12.1), and two that people wrote.
OLD_ARGUMENTS = {
    "influxdb/heapster.yaml": """
        - --source=kubernetes:https://kubernetes.default
        - --sink=influxdb:http://monitoring-influxdb.kube-system.svc:8086
    """,
    "standalone/heapster-controller.yaml": """
        - --source=kubernetes:https://kubernetes.default
    """,
    "standalone-test/heapster.yaml": """
        - --source=kubernetes.summary_api:''
        - --sink=log
    """,
    "what worked on clusters without a read-only port": """
        - --source=kubernetes.summary_api:?kubeletHttps=true&kubeletPort=10250&insecure=true
    """,
    "the second server, as people ran it": """
        - --source=kubernetes.summary_api:''?useServiceAccount=true&kubeletPort=10250&kubeletHttps=true&insecure=true&auth=/srv/config
        - --api-server
        - --secure-port=6443
    """,  # noqa: E501
}
OLD_AND_BROKEN = {
    "google/heapster.yaml": (
        """
        - --source=kubernetes:https://kubernetes.default
        - --sink=gcm
        - --sink=gcl
        - --poll_duration=2m
        - --stats_resolution=1m
        """,
        ["--poll_duration is no flag", "--stats_resolution is no flag"],
    ),
    "standalone-with-apiserver/heapster-deployment.yaml": (
        """
        - --source=kubernetes.summary_api:''
        - --api-server
        - --service-cluster-ip-range=10.10.0.0/24
        - --secure-port=6443
        - --basic-auth-file=/srv/kubernetes/basic-auth.csv
        - --token-auth-file=/srv/kubernetes/known-tokens.csv
        - --client-ca-file=/srv/kubernetes/ca.crt
        - --tls-cert-file=/srv/kubernetes/server.cert
        - --tls-private-key-file=/srv/kubernetes/server.key
        """,
        ["--service-cluster-ip-range is no flag", "--basic-auth-file is no flag", "--token-auth-file is no flag"],
    ),
}


@pytest.mark.parametrize("name", OLD_ARGUMENTS)
def test_the_arguments_of_heapsters_own_manifests_run_unchanged(name):
    options = parse(yaml.safe_load(OLD_ARGUMENTS[name])).validated()
    assert SourceSettings.parse(options.source[0], {}).in_cluster
    assert [build(uri).name for uri in options.sink] == [
        {"log": "Log Sink", "influxdb": "InfluxDB Sink"}[uri.partition(":")[0]] for uri in options.sink
    ]


@pytest.mark.parametrize("name", OLD_AND_BROKEN)
def test_the_two_that_never_worked_end_as_they_did(name):
    arguments, faults = OLD_AND_BROKEN[name]
    with pytest.raises(CommandLineError) as error:
        parse(yaml.safe_load(arguments))
    assert list(error.value.faults) == faults


def test_the_recorded_command_lines_run_unchanged():
    recorded = sorted((ROOT / "tests" / "captures" / "golden").glob("*/command.json"))
    assert recorded
    for path in recorded:
        program, *arguments = json.loads(path.read_text())["collector"]
        options = parse(arguments).validated()
        assert program == "heapster"
        assert options.metric_resolution == 30 * SECOND
        assert options.listen_ip == "127.0.0.1"
        assert options.historical_source == options.sink[0]
        settings = SourceSettings.parse(options.source[0], {})
        assert (settings.server, settings.in_cluster) == ("http://127.0.0.1:18100", False)


def test_the_pod_meets_the_restricted_standard(objects):
    pod = of_kind(objects, "Deployment")["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert {next(iter(volume.keys() - {"name"})) for volume in pod["volumes"]} <= {"emptyDir"}
    for container in pod["containers"]:
        security = container["securityContext"]
        assert security["allowPrivilegeEscalation"] is False
        assert security["readOnlyRootFilesystem"] is True
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert container["readinessProbe"]["httpGet"]["path"] == "/healthz"
        assert "limits" in container["resources"]


def test_the_image_runs_as_the_user_that_the_pod_runs_as(objects):
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    (user,) = [line.split()[1] for line in lines if line.startswith("USER ")]
    pod = of_kind(objects, "Deployment")["spec"]["template"]["spec"]["securityContext"]
    assert user == f"{pod['runAsUser']}:{pod['runAsGroup']}"


def test_the_image_says_which_commit_it_is_of():
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    assert "ARG COMMIT=unknown" in lines
    assert lines.index("ARG COMMIT=unknown") < lines.index(f"ENV {COMMIT_VARIABLE}=$COMMIT")


def test_what_the_image_copies_is_in_its_build_context():
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    copies = [line.split() for line in lines if line.startswith("COPY ") and "--from" not in line]
    copied = [name for _, *names, _ in copies for name in names]
    assert copied
    for name in copied:
        assert (ROOT / name).exists()
        assert f"!{name}" in ignored
    assert not [line for line in lines if line.startswith("HEALTHCHECK")]
