"""What is known of each kubelet, from Node object to state: logged once a change, and nothing made where none is."""

import logging

import pytest

from collector.kube.listers import NodeLister
from collector.kube.objects import Node
from collector.sources.addresses import Addressing
from collector.sources.nodestate import NodeStates
from collector.sources.roster import Roster

SUMMARY, LIGHT = "/stats/summary", "/metrics/resource"


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def node(name: str = "n1", **changed: object) -> Node:
    values = {"uid": f"uid-{name}", "addresses": (("InternalIP", "10.0.0.1"),), "ready": True, "kubelet_port": 10250}
    return Node(name, **{**values, **changed})  # type: ignore[arg-type]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def states(clock: Clock) -> NodeStates:
    return NodeStates("verify", clock)


@pytest.fixture
def nodes() -> NodeLister:
    return NodeLister()


@pytest.fixture
def roster(nodes: NodeLister, states: NodeStates) -> Roster:
    return Roster(nodes, 10250, Addressing(), states)


@pytest.fixture
def lines(caplog):
    caplog.set_level(logging.INFO)
    return lambda: [record.getMessage() for record in caplog.records]


def test_a_target_stays_the_same_object_as_long_as_nothing_of_it_changes(nodes, roster):
    nodes.replace([node()])
    (first,) = roster.targets()
    assert roster.targets() == [first]
    nodes.apply([("n1", node(labels={"changed": "yes"}))])
    ((changed, target),) = roster.targets()
    assert changed.labels == {"changed": "yes"}
    assert target is first[1]
    nodes.apply([("n1", node(addresses=(("InternalIP", "10.0.0.2"),)))])
    assert roster.targets()[0][1].address == "10.0.0.2"


def test_nodes_that_are_not_asked_are_a_state_told_once_for_each_change(nodes, roster, states, clock, lines):
    nodes.replace(
        [
            node("cordoned", unschedulable=True),
            node("down", ready=False),
            node("unknown", ready=None),
            node("serverless", virtual=True, kubelet_port=0),
            node("virtual", virtual=True),
            node("nowhere", addresses=(("Hostname", "nowhere"),)),
        ]
    )
    other = Roster(nodes, 10250, Addressing(), states)  # of a second cadence
    for _ in range(3):
        assert [each.name for each, _ in roster.targets()] == ["cordoned", "unknown", "virtual"]
        other.targets()
    assert roster.left_out == {"not_ready": 1, "virtual": 1, "no_address": 1}
    assert lines() == [
        "node down is left out: it is not ready",
        "node serverless is left out: it is virtual, and its Node object states no kubelet (status.daemonEndpoints)",
        "node nowhere is left out: it has no address that is an IP, or none of --kubelet-preferred-address-types",
    ]
    assert states.get("down").state == "not_ready"
    assert states.get("down").since == 1000.0
    assert states.counts() == {"new": 3, "not_ready": 1, "virtual": 1, "no_address": 1}
    clock.now = 1060.0
    nodes.apply([("down", node("down")), ("nowhere", None)])
    assert len(roster.targets()) == 4
    other.targets()
    assert roster.left_out == {"virtual": 1}
    assert lines()[3:] == ["node down is asked from now on (before: it is not ready)"]
    state = states.get("down")
    assert (state.state, state.since, state.trouble, state.address) == ("new", 1060.0, None, "10.0.0.1")
    assert states.get("nowhere") is None


def test_the_port_of_the_node_status_counts_where_asked_for(nodes, states):
    nodes.replace([node("a", kubelet_port=10251), node("b", kubelet_port=0), node("c", kubelet_port=70_000)])
    by_status = Roster(nodes, 10250, Addressing(node_status_port=True), states)
    assert [target.port for _, target in by_status.targets()] == [10251, 10250, 10250]
    assert [target.port for _, target in Roster(nodes, 10250, Addressing(), states).targets()] == [10250] * 3


def test_answers_and_failures_are_a_state_by_endpoint(nodes, roster, states, clock, lines):
    nodes.replace([node()])
    roster.targets()
    states.answered("n1", SUMMARY)
    assert states.get("n1").state == "ok"
    clock.now = 1010.0
    states.failed("n1", LIGHT, "forbidden", "it says no")
    clock.now = 1020.0
    for _ in range(2):
        states.answered("n1", SUMMARY)
        states.failed("n1", LIGHT, "forbidden", "it says no")
    state = states.get("n1")
    assert (state.state, state.since) == ("failing", 1010.0)
    assert (state.trouble.reason, state.trouble.words, state.trouble.since) == ("forbidden", "it says no", 1010.0)
    # Other words of the same reason are told, and are as old.
    states.failed("n1", LIGHT, "forbidden", "it says no, really")
    assert states.get("n1").trouble.since == 1010.0
    states.failed("n1", LIGHT, "timeout", "nothing")
    assert states.get("n1").trouble.since == 1020.0
    states.answered("n1", LIGHT)
    assert states.get("n1").state == "ok"
    states.failed("n1", LIGHT, "timeout", "nothing", addition=True)
    states.answered("n1", LIGHT, addition=True)
    assert lines() == [
        "node n1 is left out: it says no",
        "node n1 is left out: it says no, really",
        "node n1 is left out: nothing",
        "node n1 answers again",
        "what /metrics/resource adds to node n1 is left out: nothing",
        "what /metrics/resource adds to node n1 comes again",
    ]


def test_a_node_made_anew_under_its_name_begins_anew(nodes, roster, states, clock):
    nodes.replace([node()])
    roster.targets()
    states.failed("n1", SUMMARY, "refused", "nobody there")
    clock.now = 1100.0
    nodes.apply([("n1", node(uid="another"))])
    roster.targets()
    state = states.get("n1")
    assert (state.uid, state.state, state.since, state.trouble) == ("another", "new", 1100.0, None)


def test_the_address_in_use_is_known_until_the_addresses_change(nodes, roster, states):
    dual = (("InternalIP", "10.0.0.1"), ("InternalIP", "fd00::1"))
    nodes.replace([node(addresses=dual)])
    second = Roster(nodes, 10250, Addressing(), states)
    roster.targets()
    assert states.get("n1").address == "fd00::1"
    states.routed("n1", "10.0.0.1")
    second.targets()
    assert states.get("n1").address == "10.0.0.1"
    nodes.apply([("n1", node(addresses=dual[::-1]))])
    roster.targets()
    assert states.get("n1").address == "10.0.0.1"
    states.routed("gone", "10.0.0.9")
    states.answered("gone", SUMMARY)
    states.failed("gone", SUMMARY, "refused", "nobody there")
    assert states.get("gone") is None


def test_the_document_names_what_is_the_matter(nodes, roster, states):
    nodes.replace([node("b", ready=False), node("a")])
    roster.targets()
    states.answered("a", SUMMARY)
    states.failed("a", LIGHT, "forbidden", "it says no")
    first, second = states.document()
    assert first == {
        "node": "a",
        "uid": "uid-a",
        "state": "failing",
        "since": 1000.0,
        "address": "10.0.0.1",
        "port": 10250,
        "identity": "verify",
        "reason": "forbidden",
        "trouble": "it says no",
        "endpoints": {SUMMARY: "ok", LIGHT: "forbidden"},
    }
    assert (second["state"], second["address"], second["port"]) == ("not_ready", None, None)
