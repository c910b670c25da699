"""Clusters with lists of the greatest length: one namespace, one Deployment."""

import pytest

from collector.errors import UsageError
from collector.sim.config import SimConfig
from collector.sim.plan import build_plan
from collector.sim.workloads import LEAK_NAMESPACE, Kind


def test_services_live_in_as_many_namespaces_as_asked_for():
    plan = build_plan(SimConfig(nodes=40, pods=30, namespaces=2), 1_800_000_000)
    services = [each for each in plan.workloads if each.kind in {Kind.DEPLOYMENT, Kind.STATEFUL}]
    assert len({each.namespace for each in services} - {LEAK_NAMESPACE}) == 2


def test_one_deployment_has_nearly_all_pods():
    plan = build_plan(SimConfig(nodes=40, pods=30, namespaces=1, deployments=1), 1_800_000_000)
    deployments = [row for row, each in enumerate(plan.workloads) if each.kind is Kind.DEPLOYMENT and not each.leaks]
    assert len(deployments) == 1
    assert (plan.slots.workload == deployments[0]).sum() > 0.6 * 40 * 30


def test_what_cannot_be_is_refused():
    with pytest.raises(UsageError) as refused:
        SimConfig(namespaces=-1, deployments=-1)
    assert [fault.split()[0] for fault in refused.value.faults] == ["--namespaces", "--deployments"]
