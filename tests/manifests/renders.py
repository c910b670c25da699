"""Everything in `manifests/`, rendered once by the real tools: kustomize in kubectl, and Helm's engine."""

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import yaml

ROOT = Path(__file__).parents[2]
MANIFESTS = ROOT / "manifests"
CHART = MANIFESTS / "chart"
VERSIONS = ("1.27", "1.30", "1.34", "1.37")
"""Of Kubernetes: the oldest that is cared for, two between, the newest that kubernetes-validate knows."""

Object: TypeAlias = dict[str, Any]

COMPOSITIONS = Path(__file__).with_name("compositions")
"""Components put together as people may."""
OVERLAYS = tuple(sorted(path.parent.name for path in MANIFESTS.glob("overlays/*/kustomization.yaml")))
PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"

HELM_CASES: dict[str, Object] = {
    "defaults": {},
    "heapster": {
        "heapster": {"enabled": True},
        "state": {"existingClaim": "kept"},
        "args": ["--sink=influxdb:http://monitoring-influxdb:8086"],
    },
    "high-availability": {
        "replicas": 2,
        "podDisruptionBudget": {"enabled": True},
        "topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "ScheduleAnyway"}
        ],
    },
    "watched": {
        "metrics": {"enabled": True},
        "serviceMonitor": {"enabled": True, "cluster": True, "additionalLabels": {"release": "prometheus"}},
        "networkPolicy": {"enabled": True},
    },
    "cert-manager": {"tls": {"type": "cert-manager"}},
    "existing-secret": {
        "tls": {"type": "existingSecret", "existingSecret": {"name": "pair"}},
        "apiService": {"caBundle": PEM, "annotations": {"a": "b"}},
    },
    "as metrics-server's users write it": {
        "image": {"repository": "registry.example/pyheapster", "tag": "1.2.3", "pullPolicy": "Always"},
        "imagePullSecrets": [{"name": "pull"}],
        "fullnameOverride": "metrics-server",
        "commonLabels": {"team": "platform"},
        "podLabels": {"pod": "label"},
        "podAnnotations": {"pod": "annotation"},
        "deploymentAnnotations": {"deployment": "annotation"},
        "serviceAccount": {"create": True, "name": "account", "annotations": {"account": "annotation"}},
        "priorityClassName": "system-node-critical",
        "schedulerName": "other",
        "containerPort": 10250,
        "hostNetwork": {"enabled": True},
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0}},
        "podDisruptionBudget": {"enabled": True, "maxUnavailable": 1},
        "defaultArgs": ["--source=kubernetes.summary_api:", "--metric-resolution=15s"],
        "args": ["--kubelet-insecure-tls"],
        "service": {"type": "NodePort", "port": 8443, "annotations": {"s": "a"}, "labels": {"s": "l"}},
        "resources": {"requests": {"cpu": "1", "memory": "1Gi"}},
        "extraVolumes": [{"name": "ca", "configMap": {"name": "kubelet-ca"}}],
        "extraVolumeMounts": [{"name": "ca", "mountPath": "/ca", "readOnly": True}],
        "nodeSelector": {"role": "infra"},
        "tolerations": [{"operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "dnsConfig": {"options": [{"name": "ndots", "value": "1"}]},
        "tls": {"type": "metrics-server"},
    },
    "no rights, no APIService": {"rbac": {"create": False}, "apiService": {"create": False}},
    "5000 nodes, no state": {"sizing": {"nodes": 5000}, "state": {"enabled": False}},
}
"""Values that must render."""

HELM_REFUSED: dict[str, tuple[Object, str]] = {
    "skipped verification": ({"apiService": {"insecureSkipTLSVerify": True}}, "insecureSkipTLSVerify"),
    "a name that is none": ({"replica": 2}, "replica"),
    "a pair without its CA": (
        {"tls": {"type": "existingSecret", "existingSecret": {"name": "pair"}}},
        "apiService.caBundle is needed",
    ),
    "a pair without its name": (
        {"tls": {"type": "existingSecret"}, "apiService": {"caBundle": PEM}},
        "tls.existingSecret.name is needed",
    ),
    "helm's certificates": ({"tls": {"type": "helm"}}, "tls/type"),
    "an argument that is no flag": ({"args": ["influxdb:http://x"]}, "args/0"),
}
"""Values that must not, and words of the reason."""


@cache
def kustomized(folder: str) -> tuple[Object, ...]:
    """The objects of a folder below `manifests/`, or of one of COMPOSITIONS, as kubectl renders them."""
    place = COMPOSITIONS.parent if folder.startswith(COMPOSITIONS.name) else MANIFESTS
    command = ["kubectl", "kustomize", str(place / folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return tuple(found for found in yaml.safe_load_all(done.stdout) if found)


@cache
def helm() -> Object:
    """What Helm's engine says of every case: see `helm_child`."""
    values = HELM_CASES | {name: refused for name, (refused, _) in HELM_REFUSED.items()}
    cases = {name: {"values": v, "name": "metrics", "namespace": "kube-system"} for name, v in values.items()}
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("helm_child.py"))],
        input=json.dumps({"chart": str(CHART), "cases": cases}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: Object = json.loads(done.stdout)
    return found


@cache
def charted(case: str) -> tuple[Object, ...]:
    """The objects of one case of the chart."""
    outcome = helm()["outcomes"][case]
    assert "files" in outcome, outcome
    texts = [text for path, text in outcome["files"].items() if path.endswith(".yaml")]
    return tuple(found for text in texts for found in yaml.safe_load_all(text) if found)


KUSTOMIZED = (
    "base",
    "workshop",
    *(f"overlays/{name}" for name in OVERLAYS),
    *(f"compositions/{path.name}" for path in sorted(COMPOSITIONS.iterdir())),
)
RENDERS = (*(f"kustomize {folder}" for folder in KUSTOMIZED), *(f"helm {case}" for case in HELM_CASES))
"""Names of all renders there are."""


def rendered(name: str) -> tuple[Object, ...]:
    """The objects of one of RENDERS."""
    tool, _, what = name.partition(" ")
    return kustomized(what) if tool == "kustomize" else charted(what)


def of_kind(objects: tuple[Object, ...], kind: str) -> list[Object]:
    """All objects of a kind."""
    return [found for found in objects if found["kind"] == kind]


def named(objects: tuple[Object, ...], kind: str, name: str) -> Object:
    """The one object of this kind and name."""
    (found,) = [each for each in of_kind(objects, kind) if each["metadata"]["name"] == name]
    return found


def collector(objects: tuple[Object, ...]) -> Object:
    """The Deployment that runs the collector: the one with a container of that name."""
    (found,) = [
        each
        for each in of_kind(objects, "Deployment")
        if [c["name"] for c in each["spec"]["template"]["spec"]["containers"]] == ["heapster"]
    ]
    return found


def container(objects: tuple[Object, ...]) -> Object:
    """The collector's container."""
    found: Object = collector(objects)["spec"]["template"]["spec"]["containers"][0]
    return found
