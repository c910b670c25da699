"""Parts of the doctor by themselves: clocks, lines for people, nodes of every kind, pins that are read only, flags."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL

from collector.api.causes import CAUSES
from collector.doctor import clocks, cluster, view
from collector.doctor.checks import CHECKS, Check, Result
from collector.doctor.command import parsed, running_flags
from collector.doctor.finding import Finding, State, fine, worst, wrong
from collector.doctor.patient import FACTS, Dated, Patient
from collector.doctor.remedies import OF_KUBELETS, REMEDIES
from collector.kube.objects import Node
from collector.kube.resources import Page
from collector.options import Options
from collector.sim import SimConfig, SimulatedCluster
from collector.sim.faults import FaultKind
from collector.sources.pins import FILE_NAME
from tests.doctor.setup import Ward, of_state, untouched

OPTIONS = Options(source=("kubernetes.summary_api:?inClusterConfig=false&auth=/nonexistent",))


@pytest.mark.parametrize(
    ("date", "sent", "received", "skew"),
    [
        (100, 100.2, 100.4, 0),
        (100, 100.9, 101.5, 0),
        (100, 101.5, 101.6, -0.5),
        (100, 95.0, 105.0, 0),
        (105, 99.0, 100.0, 5),
        (90, 99.0, 100.0, -8),
    ],
)
def test_a_clock_is_wrong_only_by_what_nothing_else_explains(date, sent, received, skew):
    assert clocks.skew(Dated(date, sent, received)) == pytest.approx(skew)


@pytest.mark.parametrize(
    ("ahead", "wrong_ones"),
    [
        ({cluster.API_SERVER: 60, "node a": 0}, {cluster.API_SERVER: "broken"}),
        ({cluster.API_SERVER: 0, "node a": -60, "node b": 10}, {"node a": "broken", "node b": "warning"}),
        ({cluster.API_SERVER: 60, "node a": 60}, {"this machine": "broken"}),
        ({cluster.API_SERVER: -60, "node a": -60, "node b": 0}, {"node b": "broken", "this machine": "broken"}),
        ({cluster.API_SERVER: -60}, {cluster.API_SERVER: "broken"}),
        ({cluster.API_SERVER: 4, "node a": -4}, {}),
    ],
)
async def test_the_clock_that_is_wrong_is_that_of_the_few(ahead, wrong_ones):
    async with AsyncExitStack() as closing:
        patient = Patient(OPTIONS, closing)
        for subject, seconds in ahead.items():
            patient.dates[subject] = Dated(1000 + seconds + (0 if seconds > 0 else -1), 1000, 1000)
        found = await clocks.clocks(patient)
    wrongs = {each.subject: each.state.value for each in found if each.state is not State.OK}
    assert wrongs == wrong_ones


@pytest.fixture
async def ward(tmp_path: Path) -> AsyncIterator[Ward]:
    (tmp_path / "state").mkdir()
    async with SimulatedCluster(SimConfig(nodes=3, pods=1, containers=1)) as started:
        yield Ward(started, tmp_path / "state")


INTERNAL = (("InternalIP", "127.0.0.1"),)
NODES = {
    "asked": Node("asked", addresses=INTERNAL, ready=True),
    "resting": Node("resting", addresses=INTERNAL, ready=False),
    "virtual": Node("virtual", addresses=INTERNAL, ready=True, virtual=True),
    "nowhere": Node("nowhere", addresses=(("Hostname", "nowhere"),), ready=True),
}


@pytest.mark.parametrize(
    ("names", "states", "facts"),
    [
        (list(NODES), {"asked": "ok", "nowhere": "broken", "resting": "warning", "virtual": "ok"}, {"nodes"}),
        (["resting"], {"resting": "warning"}, set()),
        ([], {"": "broken"}, set()),
    ],
)
async def test_nodes_of_every_kind(ward, monkeypatch, names, states, facts):
    class Listed:
        def __init__(self, *_arguments: object) -> None:
            pass

        async def pages(self, _limit: int) -> AsyncIterator[Page[Node]]:
            yield Page([NODES[name] for name in names], "1", "")

    monkeypatch.setattr(cluster, "Collection", Listed)
    async with AsyncExitStack() as closing:
        patient = Patient(parsed(ward.arguments).options, closing)
        await cluster.api_server(patient)
        found = await cluster.nodes(patient)
        assert patient.facts == {"api-server"} | facts
    assert {each.subject: each.state.value for each in found} == states
    by_name = {each.subject: each for each in found}
    if "nowhere" in by_name:
        assert by_name["nowhere"].remedy == CAUSES["node-without-address"].remedy
        assert by_name["resting"].remedy == "See kubectl describe node resting."


async def test_pins_are_checked_and_none_is_kept(ward, tmp_path):
    ward.flags |= {"kubelet-identity": "pin", "kubelet-pin-dir": str(ward.directory)}
    with untouched(ward.directory):
        assert not of_state(await ward.examined(), State.BROKEN)
    ward.flags["kubelet-pin-dir"] = str(tmp_path)
    uid = next(iter(ward.cluster.world.collections(ward.cluster.addresses, 1)["nodes"].objects([0], 0)))["metadata"][
        "uid"
    ]
    line = f"{uid} {ward.nodes[0]} sha256:{'0' * 64} 2026-11-28T00:00:00Z\n"
    (tmp_path / FILE_NAME).write_text(line)
    ((check, finding),) = of_state(await ward.examined(), State.BROKEN)
    assert (check, finding.subject, finding.cause) == ("kubelet-tls", ward.nodes[0], "kubelet-pin")
    assert finding.remedy == "Where the kubelet's key was renewed, forget the old one: --kubelet-repin."
    ward.flags["kubelet-repin"] = ward.nodes[0]
    assert not of_state(await ward.examined(), State.BROKEN)
    assert (tmp_path / FILE_NAME).read_text() == line


@pytest.mark.parametrize(
    ("name", "ends", "cause"),
    [
        ("elsewhere.example", None, "kubelet-certificate-name"),
        ("127.77.0.1", datetime(2026, 1, 1, tzinfo=UTC), "kubelet-certificate-date"),
    ],
)
@pytest.mark.parametrize("verified", ["any", "address"])
async def test_a_certificate_for_another_name_or_time_has_a_remedy_of_its_own(
    ward, tmp_path, name, ends, cause, verified
):
    authority, context = trustme.CA(), SSL.Context(SSL.TLS_SERVER_METHOD)
    pair = authority.issue_cert(name, not_after=ends)
    context.use_certificate(x509.load_pem_x509_certificate(pair.cert_chain_pems[0].bytes()))
    context.use_privatekey(load_pem_private_key(pair.private_key_pem.bytes(), None))
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    # The first node alone shows it, from its next start on.
    contexts = ward.cluster._kubelets._contexts
    ward.cluster._kubelets._contexts = lambda node: contexts(node) if node else context
    await ward.cluster.set_fault(0, FaultKind.DOWN)
    await ward.cluster.set_fault(0, None)
    ward.flags |= {"kubelet-ca-file": str(tmp_path / "ca.pem"), "kubelet-verify-name": verified}
    ((check, finding),) = of_state(await ward.examined(), State.BROKEN)
    assert (check, finding.subject, finding.cause) == ("kubelet-tls", ward.nodes[0], cause)
    assert finding.remedy == REMEDIES[cause].remedy


async def test_a_check_that_fails_itself_costs_no_other(ward, monkeypatch):
    async def fails(_patient: Patient) -> list[Finding]:
        await asyncio.sleep(0)
        raise ZeroDivisionError("by nothing")

    broken = tuple(Check(each.name, each.about, fails) if each.name == "clocks" else each for each in CHECKS)
    monkeypatch.setattr("collector.doctor.checks.CHECKS", broken)
    ((check, finding),) = of_state(await ward.examined(), State.BROKEN)
    assert (check, finding.words) == ("clocks", "The check itself failed: ZeroDivisionError: by nothing")


def test_many_alike_are_one_line_worst_first():
    check = Check("kubelet-address", "", cluster.nodes, many=True)
    downs = [wrong("kubelet-refused", f"n{i}", trouble=f"{i} refuses") for i in range(1200)]
    silent = [wrong("node-not-ready", "m", state=State.WARNING, node="m")]
    lines = list(view.lines([Result(check, [fine("well", "a"), *silent, *downs, fine("well", "b")])]))
    assert [line.state.value for line in lines] == ["broken", "warning", "ok"]
    assert lines[0].words == "1,200 (n0, n1, n2 and 1,197 more), such as n0: 0 refuses"
    assert lines[0].remedies == ["Is the kubelet running, and does it listen on that port (kubeletPort)?"]
    assert lines[2].words == "2 (a, b): well"


def test_remedies_that_name_their_subject_are_told_for_some():
    check = Check("clocks", "", cluster.nodes, many=True)
    late = [wrong("clock", f"node {i}", skew="60 s", direction="ahead") for i in range(5)]
    (line,) = view.lines([Result(check, late)])
    assert len(line.remedies) == view.SUBJECTS_SHOWN + 1
    assert line.remedies[-1] == "and so for 2 more (--output json)"


def test_the_tables_fit_together():
    known = FACTS.keys()
    assert {fact for check in CHECKS for fact in check.needs} <= known
    assert not REMEDIES.keys() & CAUSES.keys()
    assert all(row.words and row.remedy for row in (*REMEDIES.values(), *(CAUSES[name] for name in OF_KUBELETS)))
    assert worst([]) is State.SKIPPED


@pytest.mark.parametrize(
    ("words", "flags"),
    [
        (["/usr/bin/heapster", "--v=1", "--sink=log"], ["--v=1", "--sink=log"]),
        (["/opt/heapster/bin/python", "-m", "collector", "--v=1"], ["--v=1"]),
        (["/usr/bin/python3", "/usr/local/bin/heapster", "--v=1"], ["--v=1"]),
        (["/sbin/init"], []),
        (["/pause"], []),
    ],
)
def test_the_flags_of_the_collector_in_this_container(tmp_path, words, flags):
    (tmp_path / "cmdline").write_bytes("".join(f"{word}\0" for word in words).encode())
    assert running_flags(tmp_path / "cmdline") == flags
    assert running_flags(tmp_path / "absent") == []


@pytest.mark.parametrize(
    ("answer", "scheme", "cause"),
    [
        (None, "http", "api-timeout"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "http", "api-other"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "http", "api-other"),
        (b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", "https", "api-broken"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "http", "api-broken"),
    ],
)
async def test_what_is_no_api_server_is_told_as_what_it_is(monkeypatch, answer, scheme, cause):
    monkeypatch.setattr(cluster, "_DEADLINE", aiohttp.ClientTimeout(total=0.3))

    serving = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.current_task())
        await reader.read(1)
        writer.write(answer or b"")
        if answer is None:
            await reader.read()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with AsyncExitStack() as closing:
        source = f"kubernetes.summary_api:{scheme}://127.0.0.1:{port}?inClusterConfig=false"
        patient = Patient(Options(source=(source,)), closing)
        (finding,) = await cluster.api_server(patient)
        assert finding.cause == cause
        assert f"{scheme}://127.0.0.1:{port}" in finding.words
        assert not patient.facts
    server.close()
    await asyncio.gather(*serving)
    await server.wait_closed()


async def test_of_a_kubelet_that_takes_connections_and_says_nothing_no_more_is_known(ward):
    def silent() -> socket.socket:
        listening = socket.socket()
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((ward.cluster.addresses[0], ward.cluster.kubelet_port))
        listening.listen()
        return listening

    ward.flags["node-timeout"] = "2s"
    await ward.cluster.set_fault(0, FaultKind.DOWN)
    with silent():
        results = await ward.examined()
    ((check, finding),) = of_state(results, State.BROKEN)
    assert (check, finding.subject, finding.cause) == ("kubelet-full", ward.nodes[0], "kubelet-timeout")
    skipped = [(check, each.words) for check, each in of_state(results, State.SKIPPED) if each.subject == ward.nodes[0]]
    assert skipped == [
        ("kubelet-tls", "it says nothing, see below"),
        ("kubelet-access", "it says nothing, see below"),
        ("kubelet-light", "it did not get so far, see above"),
    ]
