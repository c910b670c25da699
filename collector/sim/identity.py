"""Names and uids, the same for the kubelets and for the API server."""

import hashlib
from dataclasses import dataclass

from collector.sim.plan import Plan, pod_suffix
from collector.sim.workloads import Kind


@dataclass(frozen=True)
class PodIdentity:
    """What tells one pod from all others. A static pod's `kubelet_uid` is the hash of its file, others have one uid."""

    name: str
    namespace: str
    uid: str
    kubelet_uid: str


def make_uid(*parts: object) -> str:
    """A version 4 UUID drawn from `parts`."""
    digits = hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=16).hexdigest()
    variant = "89ab"[int(digits[16], 16) % 4]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


def node_uid(plan: Plan, node: int) -> str:
    """The uid of node `node`."""
    return make_uid(plan.config.seed, "node", node)


def pod_identity(plan: Plan, node: int, slot: int, generation: int) -> PodIdentity:
    """Who fills `slot` of `node` in its `generation`."""
    workload = plan.workloads[plan.slots.workload[node, slot]]
    number = node * len(plan.classes) + slot
    uid = make_uid(plan.config.seed, "pod", number, generation)
    if workload.kind is Kind.STATIC:
        name = f"{workload.name}-{plan.node_names[node]}"
        return PodIdentity(name, workload.namespace, uid, make_uid(uid, "file").replace("-", ""))
    if workload.kind is Kind.STATEFUL:
        name = f"{workload.name}-{plan.slots.ordinal[node, slot]}"
    elif workload.kind is Kind.DAEMON:
        name = f"{workload.name}-{pod_suffix(plan, number, generation)}"
    else:
        name = f"{workload.name}-{workload.template_hash}-{pod_suffix(plan, number, generation)}"
    return PodIdentity(name, workload.namespace, uid, uid)
