"""Summaries decoded and placed together against one by one: the same cells, whatever comes in whatever order."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.core import batch as batches
from collector.core.entities import EntityTable
from collector.core.intake import Intake
from collector.core.metrics import MetricTable
from collector.core.sample import NodeSample
from collector.errors import DecodeError
from collector.sim.config import SimConfig
from collector.sim.world import InventedWorld
from collector.sources import endpoints, projection
from collector.sources.projection import decode_together
from collector.sources.summary import decode_summary
from tests.sources.captures import EVERYTHING, SUMMARIES, summary_body, wrapped_pod
from tests.sources.mutations import TREES, odd_answers, torn, written
from tests.sources.observed import observed

READ_AT = 1_790_000_000_000_000_000
REFUSED = {"k8s-1.05-linux-docker-gke-beats-2017-inodesfree-uint64max.json"}
"""Captures with something unusual in them: a count of 2^64-1."""

PLAIN = json.loads(EVERYTHING)
for _item in (*PLAIN["node"]["systemContainers"], *(item for pod in PLAIN["pods"] for item in pod["containers"])):
    _item.pop("accelerators", None)
    _item.pop("userDefinedMetrics", None)


class Ways:
    """Two tables of entities, filled the one way and the other."""

    def __init__(self) -> None:
        self._tables = EntityTable(), EntityTable()
        self._metrics = MetricTable(), MetricTable()
        self._tick = 0

    def tick(self, *bodies: bytes, sweep: bool = True) -> int:
        """One batch of these answers each way, which must be equal; how many of them were decoded together."""
        self._tick += 1
        at = READ_AT + 60 * self._tick
        batch, other = (
            batches.DataBatch(table, metrics, self._tick)
            for table, metrics in zip(self._tables, self._metrics, strict=True)
        )
        group, accepted = decode_together(bodies, at)
        intake, one_by_one = Intake(batch), Intake(other)
        intake.add_group(group)
        chosen = [body for body, taken in zip(bodies, accepted, strict=True) if taken]
        chosen += [body for body, taken in zip(bodies, accepted, strict=True) if not taken]
        for i, body in enumerate(chosen):
            sample = decoded(body, at)
            if sample is not None:
                one_by_one.add(sample)
                if i >= sum(accepted):
                    intake.add(sample)
        intake.flush()
        one_by_one.flush()
        batch.freeze()
        other.freeze()
        assert observed(batch) == observed(other)
        if sweep:
            del batch, other
            assert self._tables[0].sweep() == self._tables[1].sweep()
        return sum(accepted)


def decoded(body: bytes, read_at: int) -> NodeSample | None:
    try:
        return decode_summary(body, read_at)
    except DecodeError:
        return None


def shuffled(body: bytes, seed: int) -> bytes:
    """The same answer in another order, as kubelets give it: they walk maps."""
    tree = json.loads(body)
    generator = np.random.default_rng(seed)

    def mixed(items: list[Any] | None) -> list[Any]:
        return [] if items is None else [items[i] for i in generator.permutation(len(items))]

    tree["pods"] = mixed(tree.get("pods"))
    for pod in tree["pods"]:
        pod["containers"] = mixed(pod.get("containers"))
        pod["volume"] = mixed(pod.get("volume"))
    return json.dumps(tree).encode()


def answer(node: str, *pods: tuple[str, str, Sequence[str]], value: int = 1, start: str | None = None) -> bytes:
    """Pods: name, uid and containers, each with a volume of its own name."""
    return json.dumps(
        {
            "node": {"nodeName": node, "cpu": {"usageCoreNanoSeconds": value}},
            "pods": [
                {
                    "podRef": {"namespace": "ns", "name": name, "uid": uid},
                    "startTime": start,
                    "cpu": {"usageCoreNanoSeconds": value + i},
                    "volume": [{"name": name, "usedBytes": value + i}],
                    "containers": [
                        {"name": container, "rootfs": {"usedBytes": value + i}, "logs": {"usedBytes": j}}
                        for j, container in enumerate(containers)
                    ],
                }
                for i, (name, uid, containers) in enumerate(pods)
            ],
        }
    ).encode()


@pytest.mark.parametrize("name", SUMMARIES)
def test_a_capture_gives_the_same_cells(name):
    body = summary_body(name)
    ways = Ways()
    for tick in range(3):
        assert ways.tick(body if tick < 2 else shuffled(body, tick)) == (name not in REFUSED)


def test_all_captures_together_and_again_and_in_another_order():
    bodies = [summary_body(name) for name in SUMMARIES] + [wrapped_pod(), EVERYTHING, json.dumps(PLAIN).encode()]
    ways = Ways()
    assert ways.tick(*bodies) >= len(bodies) - 3
    ways.tick(*bodies)
    ways.tick(*bodies[::-1])
    ways.tick(*(shuffled(body, 7) for body in bodies))


def test_a_simulated_cluster_over_some_minutes():
    world = InventedWorld(SimConfig(nodes=6, pods=5, containers=2, clock=lambda: 1_800_000_000.0), 1_800_000_000)
    ways = Ways()
    for minute in range(4):
        bodies = [bytes(world.summary_at(node, 1_800_000_000 + 60.0 * minute)) for node in range(6)]
        assert ways.tick(*(shuffled(body, minute) for body in bodies)) == 6
        assert ways.tick(*bodies) == 6


def test_every_field_that_is_read_is_read_here_too():
    body = json.dumps(PLAIN).encode()
    assert Ways().tick(body) == 1
    assert Ways().tick(json.dumps(PLAIN, indent=2).encode()) == 1
    assert Ways().tick(EVERYTHING) == 0  # accelerators and user-defined metrics are for the other decoder


def test_a_pod_with_another_uid_and_back():
    ways = Ways()
    for uid in ("one", "one", "two", "two", "one"):
        ways.tick(answer("a", ("web", uid, ("c", "d"))))


def test_one_pod_under_two_uids_in_one_group():
    first, second = ("web", "one", ("c", "d")), ("web", "two", ("c",))
    for bodies in (
        [answer("a", first), answer("b", second, value=5)],
        [answer("a", first, second)],
        [answer("a", second, first, second)],
        [answer("a", first, ("other", "x", ())), answer("b", second, first), answer("c", second)],
    ):
        ways = Ways()
        for order in (1, -1, 1, 1, -1):
            ways.tick(*bodies[::order])
        ways.tick(answer("a", first))
        ways.tick(*bodies)


def test_rows_of_pods_that_are_gone_are_given_to_others():
    ways = Ways()
    for tick in range(12):
        pods = [(f"pod-{(tick // 2 * 7 + i) % 20}", f"uid-{tick // 3}-{i}", ("c", f"d-{tick % 2}")) for i in range(8)]
        ways.tick(answer("a", *pods[:4]), answer(f"b-{tick % 3}", *pods[4:]))


def test_a_pod_that_moves_and_one_that_both_nodes_claim():
    ways = Ways()
    pod, other = ("web", "u", ("c",)), ("db", "v", ("c",))
    ways.tick(answer("a", pod), answer("b", other))
    ways.tick(answer("a"), answer("b", other, pod))
    ways.tick(answer("a", pod, value=3), answer("b", other, pod, value=4))
    ways.tick(answer("b", other, pod, value=4), answer("a", pod, value=3))


def test_answers_of_both_kinds_share_their_rows():
    """An accelerator or a broken number sends an answer the other way, which must not leave the first one's names."""
    ways = Ways()
    plain = answer("a", ("web", "one", ("c",)))
    odd = json.loads(answer("a", ("web", "two", ("c",))))
    odd["pods"][0]["cpu"]["usageCoreNanoSeconds"] = -1
    for body in (
        plain,
        json.dumps(odd).encode(),
        plain,
        plain,
        json.dumps(odd).encode(),
        json.dumps(odd).encode(),
        plain,
    ):
        ways.tick(body)


def test_what_comes_later_counts_within_a_batch_too():
    entities, metrics = EntityTable(), MetricTable()
    found = []
    for together in (True, False):
        batch = batches.DataBatch(entities, metrics, 1)
        intake = Intake(batch)
        intake.add(decode_summary(answer("a", ("web", "u", ("c",)), value=1), READ_AT))
        for body in (answer("a", ("web", "u", ("c", "d")), value=7), answer("a", ("web", "u", ("d", "d")), value=9)):
            if together:
                intake.add_group(decode_together([body], READ_AT)[0])
            else:
                intake.add(decode_summary(body, READ_AT))
        intake.add(decode_summary(answer("b", ("db", "v", ()), value=1), READ_AT))
        intake.flush()
        batch.freeze()
        found.append(observed(batch))
    assert found[0] == found[1]


@settings(max_examples=150)
@given(st.lists(st.lists(odd_answers(), max_size=4), max_size=3))
def test_odd_answers_give_the_same_cells(ticks):
    ways = Ways()
    for bodies in ticks:
        ways.tick(*bodies)


@settings(max_examples=150)
@given(st.data())
def test_torn_answers_give_the_same_cells(data):
    body = data.draw(torn(written(data.draw(st.sampled_from([*TREES, PLAIN])))))
    accepted = Ways().tick(body)
    if decoded(body, READ_AT) is None:
        assert not accepted


_names = st.sampled_from(["a", "b", "web"])
_pods = st.lists(st.tuples(_names, st.sampled_from(["u", "v"]), st.lists(_names, max_size=3, unique=False)), max_size=3)
_answers = st.builds(
    lambda node, pods, value, start: answer(node, *pods, value=value, start=start),
    _names,
    _pods,
    st.integers(0, 3),
    st.sampled_from([None, "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z", "2200-01-01T00:00:00Z"]),
)


@settings(max_examples=150)
@given(st.lists(st.tuples(st.lists(_answers, max_size=4), st.booleans()), max_size=6))
def test_names_that_come_and_go_and_clash_give_the_same_cells(ticks):
    ways = Ways()
    for bodies, sweep in ticks:
        assert ways.tick(*bodies, sweep=sweep) == len(bodies)


def test_where_the_extension_is_missing_the_summary_is_read_one_by_one(monkeypatch):
    assert endpoints.SUMMARY.decode_together is decode_together
    monkeypatch.setattr(projection, "AVAILABLE", False)
    with pytest.raises(RuntimeError, match="docs/decisions"):
        decode_together([], 0)
