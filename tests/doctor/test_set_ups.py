"""Set-ups in which exactly one thing is broken: that is told with its exact remedy, and nothing else."""

import os
import resource
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest
import trustme

from collector.doctor.checks import CHECKS
from collector.doctor.finding import State
from collector.sim import SimConfig, SimulatedCluster
from collector.sim.faults import Fault, FaultKind
from tests.doctor.setup import TOP, USER, Ward, of_state, states, untouched
from tests.servers import free_port

NODES = 4


@pytest.fixture
async def ward(tmp_path: Path) -> AsyncIterator[Ward]:
    (tmp_path / "state").mkdir()
    async with SimulatedCluster(SimConfig(nodes=NODES, pods=2, containers=1, churn=0.0)) as cluster:
        yield Ward(cluster, tmp_path / "state")


async def test_all_is_well(ward: Ward) -> None:
    with untouched(ward.directory):
        results = await ward.examined()
    assert not of_state(results, State.BROKEN)
    assert not of_state(results, State.WARNING)
    assert [result.check for result in results] == list(CHECKS)
    ok = {name for name, state in states(results).items() if state is State.OK}
    assert ok == {check.name for check in CHECKS} - {"certificates"}
    by_node = next(result for result in results if result.check.name == "kubelet-full")
    assert [finding.subject for finding in by_node.findings] == sorted(ward.nodes)


class SetUp(NamedTuple):
    """What is broken, and what is to be told of it: check, subjects, remedy with `{...}` filled from the ward."""

    name: str
    break_: Callable[[Ward], object]
    check: str
    subjects: Callable[[Ward], list[str]]
    remedy: str


def nobody(_ward: Ward) -> list[str]:
    return [""]


def everybody(ward: Ward) -> list[str]:
    return sorted(ward.nodes)


def first_node(ward: Ward) -> list[str]:
    return [ward.nodes[0]]


def only(subject: str) -> Callable[[Ward], list[str]]:
    return lambda _ward: [subject]


def flag(**changed: str) -> Callable[[Ward], None]:
    def change(ward: Ward) -> None:
        for name, value in changed.items():
            ward.flags[name.replace("_", "-")] = value.format(dir=ward.directory)

    return change


def uri(**changed: str) -> Callable[[Ward], None]:
    return lambda ward: ward.source.update(changed)


def revoked(verb: str, what: str) -> Callable[[Ward], None]:
    return lambda ward: ward.revoke(verb, what)


def kubeconfig(ward: Ward, change: Callable[[dict], None]) -> None:
    """A kubeconfig of another content."""
    content = msgspec.json.decode(ward.cluster.kubeconfig.read_bytes())
    change(content)
    path = ward.directory.parent / "other-kubeconfig"
    path.write_bytes(msgspec.json.encode(content))
    ward.source["auth"] = str(path)


def other_port(ward: Ward) -> None:
    kubeconfig(
        ward, lambda content: content["clusters"][0]["cluster"].update(server=f"https://127.0.0.1:{free_port()}")
    )


def other_ca(ward: Ward) -> Path:
    path = ward.directory.parent / "other-ca.pem"
    trustme.CA().cert_pem.write_to_path(path)
    return path


def api_server_of_another_ca(ward: Ward) -> None:
    path = str(other_ca(ward))
    kubeconfig(ward, lambda content: content["clusters"][0]["cluster"].update({"certificate-authority": path}))
    ward.flags["kubelet-certificate-authority"] = str(ward.cluster.ca_file)


def expired_token(ward: Ward) -> None:
    kubeconfig(ward, lambda content: content["users"][0].update(user={"token": "of yesterday"}))


async def down(ward: Ward) -> None:
    await ward.cluster.set_fault(0, FaultKind.DOWN)


async def hanging(ward: Ward) -> None:
    ward.flags["node-timeout"] = "2s"
    await ward.cluster.set_fault(0, FaultKind.HANG)


async def hanging_longer_than_all_may(ward: Ward) -> None:
    ward.flags |= {"node-timeout": "30s", "scrape-timeout": "3s"}
    await ward.cluster.set_fault(0, FaultKind.HANG)


async def garbage(ward: Ward) -> None:
    await ward.cluster.set_fault(1, Fault(FaultKind.GARBAGE))


def kubelets_of_another_ca(ward: Ward) -> None:
    ward.flags["kubelet-certificate-authority"] = str(other_ca(ward))


def spool_is_a_file(ward: Ward) -> None:
    (ward.directory / "warm").write_text("")


def wrong_time(ward: Ward) -> None:
    ward.cluster.set_clock(0, 90)


def api_server_late(ward: Ward) -> None:
    ward.cluster.api.date_offset = -60.0


def everybody_else_ahead(ward: Ward) -> None:
    ward.cluster.api.date_offset = 3600.0
    for node in range(NODES):
        ward.cluster.set_clock(node, 3600)


def metrics_server(ward: Ward) -> None:
    ward.cluster.api.apiservices.apply(TOP, "metrics-server", "kube-system")


def unavailable(reason: str, message: str) -> Callable[[Ward], None]:
    return lambda ward: ward.cluster.api.apiservices.judge(TOP, reason, message, available=False)


def bundle_of_nobody(ward: Ward) -> None:
    ward.flags["patch-apiservices"] = "false"


def rule_of(resource: str, verb: str) -> str:
    """To be formatted, and so with its braces twice."""
    rule = f'{{{{apiGroups: [""], resources: [{resource}], verbs: [{verb}]}}}}'
    return f"Add this rule to a ClusterRole of {USER}, as in manifests/base/rbac.yaml: {rule}"


SET_UPS = (
    SetUp(
        "no kubeconfig",
        uri(auth="/nonexistent/kubeconfig"),
        "api-server",
        nobody,
        "Correct --source: in a pod inClusterConfig=true and a mounted service account (automountServiceAccountToken), "
        "elsewhere inClusterConfig=false&auth=KUBECONFIG.",
    ),
    SetUp(
        "API server down",
        other_port,
        "api-server",
        nobody,
        "Start the API server, or correct its address in kubeconfig {auth}.",
    ),
    SetUp(
        "API server of another CA",
        api_server_of_another_ca,
        "api-server",
        nobody,
        "Put the CA that signed it in the place of the CA of kubeconfig {auth} (file {tmp}/other-ca.pem).",
    ),
    SetUp(
        "token of yesterday",
        expired_token,
        "identity",
        nobody,
        "Renew them: put a token or client certificate of this cluster there that is not expired.",
    ),
    SetUp(
        "no right to watch pods",
        revoked("watch", "pods"),
        "rights",
        only("pods"),
        rule_of("pods", "watch"),
    ),
    SetUp(
        "no right to read statistics",
        revoked("get", "nodes/stats"),
        "rights",
        only("nodes/stats"),
        rule_of("nodes/stats", "get"),
    ),
    SetUp(
        "no right to make the lease",
        revoked("create", "leases.coordination.k8s.io"),
        "rights",
        only("leases"),
        f"Add this rule to a Role in namespace kube-system of {USER}, as in "
        "manifests/components/high-availability/rbac.yaml: "
        '{{apiGroups: ["coordination.k8s.io"], resources: [leases], verbs: [create]}}',
    ),
    SetUp(
        "no delegation of authentication",
        revoked("create", "tokenreviews.authentication.k8s.io"),
        "rights",
        only("tokenreviews"),
        "kubectl create clusterrolebinding heapster-auth-delegator --clusterrole=system:auth-delegator "
        "--serviceaccount=kube-system:heapster, as in manifests/components/metrics-api/rbac.yaml",
    ),
    SetUp(
        "no reader of the front proxy's CA",
        revoked("get", "configmaps"),
        "rights",
        only("configmaps"),
        "kubectl -n kube-system create rolebinding heapster-auth-reader "
        "--role=extension-apiserver-authentication-reader --serviceaccount=kube-system:heapster, as in "
        "manifests/components/metrics-api/rbac.yaml",
    ),
    SetUp(
        "no right to list nodes",
        revoked("list", "nodes"),
        "rights",
        only("nodes"),
        rule_of("nodes", "list"),
    ),
    SetUp(
        "no address of that type",
        flag(kubelet_preferred_address_types="ExternalIP"),
        "nodes",
        everybody,
        "See status.addresses of the node, and --kubelet-preferred-address-types.",
    ),
    SetUp(
        "kubelet down",
        down,
        "kubelet-address",
        first_node,
        "Is the kubelet running, and does it listen on that port (kubeletPort)?",
    ),
    SetUp(
        "kubelets of another CA",
        kubelets_of_another_ca,
        "kubelet-tls",
        everybody,
        "Give the CA of the kubelets with --kubelet-ca-file, let kubelets have certificates of the cluster "
        "(serverTLSBootstrap), or choose --kubelet-identity=pin.",
    ),
    SetUp(
        "no CA file of the kubelets",
        flag(kubelet_ca_file="/nonexistent/ca.pem"),
        "kubelets",
        nobody,
        "Name readable PEM files with the flags that are named here.",
    ),
    SetUp(
        "kubelets take no tokens",
        lambda ward: ward.cluster.set_kubelet_token("another"),
        "kubelet-access",
        everybody,
        "The kubelet must accept the cluster's tokens: authentication.webhook.enabled in its configuration.",
    ),
    SetUp(
        "kubelets forbid their statistics",
        lambda ward: ward.cluster.forbid("stats"),
        "kubelet-access",
        everybody,
        "Grant get on nodes/metrics and nodes/stats to the collector's service account.",
    ),
    SetUp(
        "kubelet hangs",
        hanging,
        "kubelet-full",
        first_node,
        "Look at the load of the node; --node-timeout gives kubelets more time.",
    ),
    SetUp(
        "all kubelets together have no time",
        hanging_longer_than_all_may,
        "kubelet-full",
        first_node,
        "--scrape-timeout gives all nodes together more time.",
    ),
    SetUp(
        "kubelet says what nobody can read",
        garbage,
        "kubelet-full",
        lambda ward: [ward.nodes[1]],
        "What the kubelet says cannot be read: report it with its version.",
    ),
    SetUp(
        "clock of a node",
        wrong_time,
        "clocks",
        lambda ward: [f"node {ward.nodes[0]}"],
        "Set the clock of node {first} right: chronyc makestep there.",
    ),
    SetUp(
        "clock of the API server",
        api_server_late,
        "clocks",
        only("the API server"),
        "Set the clock of the API server right: chronyc makestep there.",
    ),
    SetUp(
        "our clock",
        everybody_else_ahead,
        "clocks",
        only("this machine"),
        "Set the clock of this machine right: chronyc makestep there.",
    ),
    SetUp(
        "a sink that is none",
        flag(sink="influxdb:http://127.0.0.1?timeout=soon&pw=secret", spool_dir="off"),
        "sinks",
        only("influxdb:http://127.0.0.1?timeout=soon&pw=***"),
        "Correct --sink=influxdb:http://127.0.0.1?timeout=soon&pw=***.",
    ),
    SetUp(
        "a past that no sink keeps",
        flag(historical_source="log"),
        "history",
        only("log"),
        "Correct --historical-source, or leave it out.",
    ),
    SetUp(
        "no APIService",
        lambda ward: ward.cluster.api.apiservices.objects.clear(),
        "apiservices",
        only(TOP),
        f"kubectl apply -k manifests/overlays/metrics-api, or an APIService {TOP} of your own whose spec.service is "
        "kube-system/heapster (--service-namespace, --service-name).",
    ),
    SetUp(
        "metrics-server has the APIService",
        metrics_server,
        "apiservices",
        only(TOP),
        f"Take Service kube-system/metrics-server out of service and apply our APIService {TOP}, or leave "
        "--api-server out.",
    ),
    SetUp(
        "the Service leads to no pod",
        unavailable("MissingEndpoints", "endpoints for service/heapster in kube-system have no addresses"),
        "apiservices",
        only(TOP),
        "Let the selector of Service kube-system/heapster match a ready pod: kubectl -n kube-system get "
        "endpointslices.",
    ),
    SetUp(
        "the API server does not reach us",
        unavailable("FailedDiscoveryCheck", "failing or missing response: context deadline exceeded"),
        "apiservices",
        only(TOP),
        "Let the API server reach port 443 of our pods (network policies, firewalls of the control plane), and verify "
        "them: the caBundle must hold our CA.",
    ),
    SetUp(
        "nobody writes the caBundle",
        bundle_of_nobody,
        "apiservices",
        only(TOP),
        f"Put the CA of our certificate into spec.caBundle of APIService {TOP}.",
    ),
    SetUp(
        "a file in the place of a directory",
        spool_is_a_file,
        "places",
        only("warm restart"),
        "Move {dir}/warm away, or choose another place with --warm-dir.",
    ),
    SetUp(
        "a place that cannot be written to",
        flag(warm_dir="/proc/heapster"),
        "places",
        only("warm restart"),
        "Let the user of the collector (uid {uid}) write to /proc (fsGroup, readOnly, owner), or set --warm-dir.",
    ),
    SetUp(
        "no key of the main port",
        flag(tls_cert="/nonexistent/tls.crt", tls_key="/nonexistent/tls.key"),
        "certificates",
        only("main port"),
        "Correct the flag that is named here.",
    ),
)


@pytest.mark.parametrize("set_up", SET_UPS, ids=lambda set_up: set_up.name)
async def test_what_is_broken_is_told_with_its_remedy_and_nothing_else(ward: Ward, set_up: SetUp) -> None:
    breaking = set_up.break_(ward)
    if hasattr(breaking, "__await__"):
        await breaking
    known = {
        "auth": ward.source["auth"],
        "dir": ward.directory,
        "tmp": ward.directory.parent,
        "first": ward.nodes[0],
        "uid": os.geteuid(),
    }
    with untouched(ward.directory):
        results = await ward.examined()
    broken = of_state(results, State.BROKEN)
    assert [(check, finding.subject) for check, finding in broken] == [
        (set_up.check, subject) for subject in set_up.subjects(ward)
    ], broken
    assert {finding.remedy for _, finding in broken} == {set_up.remedy.format(**known)}
    assert all(finding.cause and finding.words for _, finding in broken)
    assert "secret" not in str(results)


async def test_what_depends_on_something_broken_is_left_out_with_the_reason(ward: Ward) -> None:
    other_port(ward)
    skipped = {check: finding.words for check, finding in of_state(await ward.examined(), State.SKIPPED)}
    assert skipped == {
        **dict.fromkeys(("identity", "rights", "nodes", "clocks", "apiservices"), "the API server is not reached"),
        **dict.fromkeys(("open-files", "kubelets"), "no node is known"),
        **dict.fromkeys(
            ("kubelet-address", "kubelet-tls", "kubelet-access", "kubelet-full", "kubelet-light"),
            "the client that asks kubelets cannot start",
        ),
        "certificates": "the flags name none",
    }


async def test_a_right_that_is_missing_is_told_once_though_kubelets_refuse_for_it(ward: Ward) -> None:
    ward.revoke("get", "nodes/stats")
    ward.cluster.forbid("stats")
    results = await ward.examined()
    assert [(check, finding.subject) for check, finding in of_state(results, State.BROKEN)] == [
        ("rights", "nodes/stats")
    ]
    refused = [finding.words for check, finding in of_state(results, State.SKIPPED) if check == "kubelet-access"]
    assert refused == ["refused, since the right to get nodes/stats is missing, see above"] * NODES
    assert states(results)["kubelet-light"] is State.OK


async def test_a_light_endpoint_that_is_forbidden_is_a_warning_for_the_summary_stands_in(ward: Ward) -> None:
    ward.cluster.forbid("metrics")
    results = await ward.examined()
    assert not of_state(results, State.BROKEN)
    warnings = of_state(results, State.WARNING)
    assert [(check, finding.subject) for check, finding in warnings] == [
        ("kubelet-light", node) for node in sorted(ward.nodes)
    ]
    assert {finding.remedy for _, finding in warnings} == {
        "Grant get on nodes/metrics and nodes/stats to the collector's service account."
    }


async def test_an_old_api_server_does_not_tell_who_we_are_and_is_fine(ward: Ward) -> None:
    ward.cluster.api.reviews.self_reviews = frozenset()
    ward.cluster.api.reviews.versions = frozenset({"v1beta1"})
    results = await ward.examined()
    assert not of_state(results, State.BROKEN)
    (said,) = next(result.findings for result in results if result.check.name == "identity")
    assert said.words == "accepted (this API server does not tell users who they are)"


async def test_a_small_clock_error_is_a_warning(ward: Ward) -> None:
    ward.cluster.set_clock(0, 15)
    results = await ward.examined()
    assert not of_state(results, State.BROKEN)
    ((check, finding),) = of_state(results, State.WARNING)
    assert (check, finding.cause) == ("clocks", "clock")
    assert finding.words in {f"The clock of node {ward.nodes[0]} is {n} s ahead." for n in (14, 15)}


async def test_what_is_unwise_is_a_warning(ward: Ward) -> None:
    ward.flags |= {
        "kubelet-insecure-tls": "true",
        "spool-max-bytes": str(1 << 60),
        "spool-dir": f"{ward.directory}/spool",
    }
    ward.flags["sink"] = f"history:{ward.directory}/history?max_bytes={1 << 59}"
    ward.cluster.api.apiservices.apply(TOP, "heapster", "kube-system", insecureSkipTLSVerify=True)
    results = await ward.examined()
    assert not of_state(results, State.BROKEN)
    assert [(check, finding.cause) for check, finding in of_state(results, State.WARNING)] == [
        ("kubelet-tls", "kubelet-unverified"),
        ("apiservices", "apiservice-silent"),
        ("apiservices", "apiservice-insecure"),
        ("places", "place-small"),
    ]


async def test_plain_kubelets_behind_https_flags(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    async with SimulatedCluster(SimConfig(nodes=1, pods=1, containers=1, tls=False)) as cluster:
        ward = Ward(cluster, tmp_path / "state")
        ward.flags["kubelet-certificate-authority"] = str(other_ca(ward))
        ((check, finding),) = of_state(await ward.examined(), State.BROKEN)
    assert (check, finding.cause) == ("kubelet-tls", "kubelet-plain")
    assert finding.remedy.startswith("Let kubeletHttps of --source and kubeletPort agree")


async def test_kubelets_without_the_light_endpoint_are_served_from_the_summary(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    async with SimulatedCluster(SimConfig(nodes=1, pods=1, containers=1, old_kubelets=True)) as cluster:
        results = await Ward(cluster, tmp_path / "state").examined()
    assert not of_state(results, State.BROKEN)
    (light,) = next(result.findings for result in results if result.check.name == "kubelet-light")
    assert light.words in {"/stats/summary can be read", "/metrics/resource can be read"}


async def test_too_few_open_files(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collector.doctor.machine.resource.getrlimit", lambda _which: (32, 32))
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (32, 32)
    results = await ward.examined()
    ((check, finding),) = of_state(results, State.BROKEN)
    assert (check, finding.words) == ("open-files", "This process may open 32 files, and 4 nodes take 68.")
    assert finding.remedy.startswith("Raise the limit of open files to 68")


async def test_a_full_disk(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(NamedTuple):
        f_bavail: int = 1024
        f_frsize: int = 1024

    monkeypatch.setattr("collector.doctor.machine.os.statvfs", lambda _path: Full())
    broken = of_state(await ward.examined(), State.BROKEN)
    assert [(check, finding.subject, finding.cause) for check, finding in broken] == [
        ("places", "history", "place-full"),
        ("places", "warm restart", "place-full"),
    ]
    assert broken[0][1].remedy == (
        f"Make room on the volume of {ward.directory}, or choose another place with "
        f"--sink=history:{ward.directory}/history."
    )


async def test_plain_http_is_a_warning_and_a_refusal_there_has_its_own_remedy(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    async with SimulatedCluster(SimConfig(nodes=1, pods=1, containers=1, tls=False)) as cluster:
        ward = Ward(cluster, tmp_path / "state")
        ward.source["kubeletHttps"] = "false"
        results = await ward.examined()
        assert [(check, each.cause) for check, each in of_state(results, State.WARNING)] == [
            ("kubelet-tls", "kubelet-http")
        ]
        ((check, finding),) = of_state(results, State.BROKEN)
        assert (check, finding.cause) == ("kubelet-access", "kubelet-http-refuses")
        assert finding.remedy == "Set kubeletHttps=true in --source, and kubeletPort to the secure port (10250)."
        ward.cluster.set_kubelet_token("")
        results = await ward.examined()
    assert not of_state(results, State.BROKEN)
    assert states(results)["kubelet-access"] is State.SKIPPED
