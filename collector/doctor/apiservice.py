"""The APIServices of `metrics.k8s.io`: whether they lead to us, and whether the API server can use them."""

from typing import Final

import msgspec

from collector.doctor.finding import Finding, State, fine, wrong
from collector.doctor.patient import Patient
from collector.doctor.remedies import REMEDIES
from collector.errors import KubernetesError
from collector.kube.apiservices import GROUP, NAMES, ApiService
from collector.kube.objectrequest import ask_for_object
from collector.secure import own_namespace

ASKED_FOR: Final = NAMES[0]
"""What `kubectl top` and the autoscalers ask for; the other one nobody needs yet."""


class _Condition(msgspec.Struct, gc=False):
    type: str = ""
    status: str = ""
    reason: str = ""
    message: str = ""


class _Status(msgspec.Struct, gc=False):
    conditions: list[_Condition] | None = None


class Observed(ApiService, gc=False):
    """An APIService with what the aggregation layer says of it."""

    status: _Status = msgspec.field(default_factory=_Status)

    def available(self) -> _Condition | None:
        """The condition of that name."""
        return next((each for each in self.status.conditions or () if each.type == "Available"), None)


async def apiservices(patient: Patient) -> list[Finding]:
    """One finding an APIService, two where it is not verified either."""
    findings = []
    for name in NAMES:
        try:
            status, body = await ask_for_object(
                patient.api,
                "get",
                f"/apis/{GROUP}/v1/apiservices/{name}",
                plural="apiservices",
                group=GROUP,
                expected=(404,),
            )
            found = msgspec.json.decode(body, type=Observed) if status != 404 else None
        except (KubernetesError, msgspec.DecodeError) as error:
            findings.append(wrong("apiservice-other", name, trouble=error))
            continue
        findings += _judged(patient, name, found)
    return findings


def _judged(patient: Patient, name: str, found: Observed | None) -> list[Finding]:
    options = patient.options
    namespace = options.service_namespace or own_namespace()
    ours = f"{namespace}/{options.service_name}"
    if found is None:
        return [
            wrong("apiservice-absent", name, service=ours)
            if name == ASKED_FOR
            else fine("it is not there, and nobody asks for it yet", name)
        ]
    target = found.spec.service
    if target is None or f"{target.namespace}/{target.name}" != ours:
        other = f"Service {target.namespace}/{target.name}" if target is not None else "the API server itself"
        return [wrong("apiservice-elsewhere", name, other=other, service=ours)]
    findings = [_availability(patient, name, found, ours, namespace)]
    if found.spec.unverified:
        findings.append(wrong("apiservice-insecure", name, state=State.WARNING))
    elif not found.spec.bundle and not options.patch_apiservices:
        findings.append(wrong("apiservice-unverified", name))
    return findings


def _availability(patient: Patient, name: str, found: Observed, ours: str, namespace: str) -> Finding:
    condition = found.available()
    if condition is None:
        return wrong("apiservice-silent", name, state=State.WARNING)
    if condition.status == "True":
        return fine(f"it leads to {ours} and is available", name)
    cause = f"apiservice-{condition.reason}"
    return wrong(
        cause if cause in REMEDIES else "apiservice-other",
        name,
        trouble=f"It is not available ({condition.reason}): {condition.message}",
        service=ours,
        namespace=namespace,
        port=patient.options.secure_port,
    )
