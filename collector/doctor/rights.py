"""Every right that the flags ask for, one by one, by SelfSubjectAccessReview."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec

from collector.doctor.finding import Finding, fine, wrong
from collector.doctor.patient import Patient
from collector.errors import KubernetesError
from collector.kube.apiservices import GROUP as REGISTRATION
from collector.kube.apiservices import NAMES
from collector.kube.auth_watch import NAME as CONFIG_MAP
from collector.kube.lease import GROUP as COORDINATION
from collector.kube.objectrequest import ask_for_object
from collector.options import Options
from collector.secure import own_namespace
from collector.sources.settings import SourceSettings

AUTHORIZATION: Final = "authorization.k8s.io"
_AUTHENTICATION: Final = "authentication.k8s.io"
_AT_ONCE: Final = 8
METRICS_API: Final = "manifests/components/metrics-api/rbac.yaml"
AVAILABILITY: Final = "manifests/components/high-availability/rbac.yaml"
_SERVICE_ACCOUNT: Final = "system:serviceaccount:"


@dataclass(frozen=True, slots=True)
class Rule:
    """What the collector does to one resource."""

    verbs: tuple[str, ...]
    resource: str
    """with its subresource, as in RBAC rules: `nodes/stats`"""
    group: str = ""
    namespace: str = ""
    """empty for the whole cluster"""
    name: str = ""
    """of the one object; empty for all of them"""
    manifest: str = "manifests/base/rbac.yaml"
    """where it stands"""
    granted_by: Literal["rule", "delegator", "reader"] = "rule"
    """which remedy: a rule in a role of ours, or one of Kubernetes' own roles"""

    def what(self, verbs: tuple[str, ...]) -> str:
        """In words."""
        api = f".{self.group}" if self.group else ""
        of = f" {self.name}" if self.name else ""
        where = f" in namespace {self.namespace}" if self.namespace else ""
        return f"{', '.join(verbs)} {self.resource}{api}{of}{where}"

    def text(self, verbs: tuple[str, ...]) -> str:
        """As it is written into a Role."""
        named = f", resourceNames: [{self.name}]" if self.name else ""
        return f'{{apiGroups: ["{self.group}"], resources: [{self.resource}]{named}, verbs: [{", ".join(verbs)}]}}'


class _Status(msgspec.Struct):
    allowed: bool = False


class _Review(msgspec.Struct):
    status: _Status = msgspec.field(default_factory=_Status)


def wanted(options: Options, settings: SourceSettings) -> Iterator[Rule]:
    """The rules that these flags take."""
    for plural in ("nodes", "pods", "namespaces"):
        yield Rule(("list", "watch"), plural)
    second = options.api_server and bool(options.secure_port)
    if settings.kubelet_https:
        yield from _of_kubelets(settings, light=second and bool(options.light_resolution))
    if options.leader_elect:
        namespace = options.leader_elect_resource_namespace or own_namespace()
        name = options.leader_elect_resource_name
        yield Rule(("get", "patch"), "leases", COORDINATION, namespace, name, AVAILABILITY)
        yield Rule(("create",), "leases", COORDINATION, namespace, manifest=AVAILABILITY)
    if second:
        yield from _of_second_server(options)


def _of_kubelets(settings: SourceSettings, *, light: bool) -> Iterator[Rule]:
    """What kubelets ask the API server about us (Kubernetes: kubelet authentication and authorisation)."""
    if settings.key == "kubernetes":
        yield Rule(("create", "get"), "nodes/stats")
    elif settings.key != "kubernetes.cadvisor":
        yield Rule(("get",), "nodes/stats")
    if light or settings.cadvisor or settings.key == "kubernetes.cadvisor":
        yield Rule(("get",), "nodes/metrics")


def _of_second_server(options: Options) -> Iterator[Rule]:
    # Another kubeconfig's user is not the one that asks here.
    if not options.authentication_kubeconfig:
        yield Rule(("create",), "tokenreviews", _AUTHENTICATION, manifest=METRICS_API, granted_by="delegator")
        looked_up = not (options.client_ca_file and options.requestheader_client_ca_file)
        if looked_up and not options.authentication_skip_lookup:
            yield Rule(("get",), "configmaps", "", "kube-system", CONFIG_MAP, METRICS_API, "reader")
    if not options.authorization_kubeconfig:
        yield Rule(("create",), "subjectaccessreviews", AUTHORIZATION, manifest=METRICS_API, granted_by="delegator")
    patched = options.patch_apiservices and not options.tls_cert_file
    for name in NAMES:
        yield Rule(
            ("get", "patch") if patched else ("get",), "apiservices", REGISTRATION, name=name, manifest=METRICS_API
        )


async def rights(patient: Patient) -> list[Finding]:
    """One finding a rule, with the verbs that are missing."""
    rules = list(wanted(patient.options, patient.settings))
    turns = asyncio.Semaphore(_AT_ONCE)

    async def missing(rule: Rule) -> tuple[str, ...]:
        async with turns:
            return tuple([verb for verb in rule.verbs if not await _allowed(patient, rule, verb)])

    try:
        lacking = await asyncio.gather(*(missing(rule) for rule in rules))
    except KubernetesError as error:
        for rule in rules:  # nobody says that they are missing
            patient.facts |= {f"{verb} {rule.resource}" for verb in rule.verbs}
        return [wrong("reviews-refused", trouble=error)]
    findings = []
    for rule, verbs in zip(rules, lacking, strict=True):
        patient.facts |= {f"{verb} {rule.resource}" for verb in rule.verbs if verb not in verbs}
        findings.append(_missing(patient.user, rule, verbs) if verbs else fine(rule.what(rule.verbs), rule.resource))
    return findings


def _missing(user: str, rule: Rule, verbs: tuple[str, ...]) -> Finding:
    kind, what = f"Role in namespace {rule.namespace}" if rule.namespace else "ClusterRole", rule.what(verbs)
    if rule.granted_by == "rule":
        return wrong(
            "right-missing",
            rule.resource,
            user=user,
            what=what,
            role=f"a {kind}",
            rule=rule.text(verbs),
            manifest=rule.manifest,
        )
    return wrong(
        f"right-{rule.granted_by}", rule.resource, user=user, what=what, binding=_binding(user), manifest=rule.manifest
    )


def _binding(user: str) -> str:
    """How kubectl is told whom a binding is for."""
    if user.startswith(_SERVICE_ACCOUNT):
        return f"--serviceaccount={user.removeprefix(_SERVICE_ACCOUNT)}"
    return f"--user={user}"


async def _allowed(patient: Patient, rule: Rule, verb: str) -> bool:
    """Raises KubernetesError."""
    resource, _, subresource = rule.resource.partition("/")
    attributes: dict[str, Any] = {"verb": verb, "resource": resource, "group": rule.group}
    optional = {"subresource": subresource, "namespace": rule.namespace, "name": rule.name}
    attributes |= {name: value for name, value in optional.items() if value}
    for version in ("v1", "v1beta1"):
        document = {
            "kind": "SelfSubjectAccessReview",
            "apiVersion": f"{AUTHORIZATION}/{version}",
            "spec": {"resourceAttributes": attributes},
        }
        status, body = await ask_for_object(
            patient.api,
            "create",
            f"/apis/{AUTHORIZATION}/{version}/selfsubjectaccessreviews",
            document,
            plural="selfsubjectaccessreviews",
            group=AUTHORIZATION,
            expected=(404,) if version == "v1" else (),
        )
        if status != 404:
            break
    try:
        return msgspec.json.decode(body, type=_Review).status.allowed
    except msgspec.DecodeError as error:
        raise KubernetesError(f"a SelfSubjectAccessReview cannot be read: {error}") from error
