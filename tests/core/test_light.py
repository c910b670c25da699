"""The light store against metrics-server's rules written out with dictionaries, and its rows' life."""

from dataclasses import dataclass, field

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.core.batch import DataBatch
from collector.core.entities import EntityTable
from collector.core.light import (
    CPU,
    FRESH_NS,
    MEMORY,
    PREV_CPU,
    PREV_TIME,
    SAMPLED,
    START,
    SWAP,
    TIME,
    LightSample,
    LightStore,
)
from collector.core.metrics import MetricTable

S = 10**9
NOW = 1_800_000_000 * S
ROUND, KEPT = 15 * S, 60 * S
Name = tuple[str, str, str]


def store() -> LightStore:
    return LightStore(EntityTable(), resolution_ns=ROUND, keep_ns=KEPT)


def sample(node: str, containers: dict[Name, dict[int, int]], layout: object | None = None, **own: int) -> LightSample:
    """A node's answer; the fields of its own by name."""
    values = np.full((SAMPLED, 1 + len(containers)), -1, np.int64)
    values[TIME : START + 1] = 0
    fields = {"cpu": CPU, "memory": MEMORY, "time": TIME}
    for name, value in own.items():
        values[fields[name], 0] = value
    for at, given_fields in enumerate(containers.values(), 1):
        for number, value in given_fields.items():
            values[number, at] = value
    return LightSample(node, layout or object(), list(containers), values)


def seen(light: LightStore, now: int, *name: str) -> dict[str, int] | None:
    """What the store has of a container (or node): the sample, and the moment before; None when there is none."""
    entities = light.entities
    row = entities.find_node(name[0]) if len(name) == 1 else entities.find_child(entities.find_pod(*name[:2]), name[2])
    found = light.read(np.array([row]), now)[:, 0].tolist()
    if not found[TIME]:
        return None
    return {"cpu": found[CPU], "time": found[TIME], "prev_cpu": found[PREV_CPU], "prev_time": found[PREV_TIME]}


WEB = ("default", "web-1", "nginx")


def take(light: LightStore, now: int, *samples: LightSample) -> None:
    light.take(samples, light.begin(now), now)


def test_two_samples_of_one_life_make_a_pair_and_a_restart_ends_it():
    light = store()
    old = NOW - 3600 * S
    take(light, NOW, sample("a", {WEB: {CPU: 5 * S, MEMORY: 1, TIME: NOW - 3 * S, START: old}}, cpu=9, time=NOW))
    assert seen(light, NOW, *WEB) == {"cpu": 5 * S, "time": NOW - 3 * S, "prev_cpu": 0, "prev_time": 0}
    later = NOW + ROUND
    take(light, later, sample("a", {WEB: {CPU: 7 * S, MEMORY: 0, TIME: NOW + 9 * S, START: old}}, cpu=9, time=later))
    pair = {"cpu": 7 * S, "time": NOW + 9 * S, "prev_cpu": 5 * S, "prev_time": NOW - 3 * S}
    assert seen(light, later, *WEB) == pair
    assert seen(light, later, "a") == {"cpu": 9, "time": later, "prev_cpu": 9, "prev_time": NOW}
    # The same sample again, as a kubelet gives it between two of its own: nothing changes.
    later += ROUND
    take(light, later, sample("a", {WEB: {CPU: 7 * S, MEMORY: 0, TIME: NOW + 9 * S, START: old}}))
    assert seen(light, later, *WEB) == pair
    # A restart a moment ago: there is no pair until there are two samples, or ten seconds.
    later += ROUND
    take(light, later, sample("a", {WEB: {CPU: 8 * S, MEMORY: 0, TIME: later, START: later - 2 * S}}))
    assert seen(light, later, *WEB) == {"cpu": 8 * S, "time": later, "prev_cpu": 0, "prev_time": 0}
    # Without a start time, as old kubelets answer, fewer CPU seconds than before tell it.
    take(light, later + ROUND, sample("a", {WEB: {CPU: 3 * S, MEMORY: 0, TIME: later + ROUND}}))
    assert seen(light, later + ROUND, *WEB) == {"cpu": 3 * S, "time": later + ROUND, "prev_cpu": 0, "prev_time": 0}


def test_a_fresh_container_has_used_nothing_at_its_start():
    for age, pair in ((FRESH_NS - 1, False), (FRESH_NS, True), (ROUND - 1, True), (ROUND, False)):
        light = store()
        take(light, NOW, sample("a", {WEB: {CPU: 0, MEMORY: 0, TIME: NOW, START: NOW - age}}))
        before = (0, NOW - age) if pair else (0, 0)
        assert seen(light, NOW, *WEB) == {"cpu": 0, "time": NOW, "prev_cpu": before[0], "prev_time": before[1]}


def test_what_the_latest_answer_of_a_node_no_longer_has_is_gone_unless_another_node_has_it():
    light = store()
    db = ("default", "db-0", "main")
    for at in (NOW, NOW + ROUND):
        take(light, at, sample("a", {WEB: {CPU: at, TIME: at}, db: {CPU: at, TIME: at}}))
    take(light, NOW + 2 * ROUND, sample("b", {db: {CPU: 5, TIME: NOW + 2 * ROUND}}))
    take(light, NOW + 2 * ROUND, sample("a", {("default", "other", "main"): {CPU: 1, TIME: NOW}}))
    assert seen(light, NOW + 2 * ROUND, *WEB) is None
    assert seen(light, NOW + 2 * ROUND, *db) == {"cpu": 5, "time": NOW + 2 * ROUND, "prev_cpu": 0, "prev_time": 0}


def test_an_answer_that_comes_after_the_answer_to_a_later_round_is_dropped():
    light = store()
    first, second = light.begin(NOW), light.begin(NOW + ROUND)
    light.take([sample("a", {WEB: {CPU: 20, TIME: NOW + ROUND}})], second, NOW + ROUND)
    light.take([sample("a", {WEB: {CPU: 10, TIME: NOW}})], first, NOW + ROUND + S)
    assert seen(light, NOW + ROUND, *WEB)["cpu"] == 20


def test_of_two_containers_of_one_name_the_later_counts():
    light = store()
    twice = sample("a", {WEB: {CPU: 1, TIME: NOW}, ("default", "web-1", "x"): {CPU: 2, TIME: NOW}})
    twice.names = [WEB, WEB]
    take(light, NOW, twice)
    assert seen(light, NOW, *WEB)["cpu"] == 2


def test_old_answers_age_out_and_let_go_of_their_rows():
    light = store()
    entities = light.entities
    take(light, NOW, sample("a", {WEB: {CPU: 1, TIME: NOW}}, cpu=1, time=NOW))
    assert seen(light, NOW + KEPT, *WEB) is not None
    assert seen(light, NOW + KEPT + 1, *WEB) is None
    batch = DataBatch(entities, MetricTable(), NOW)
    batch.freeze()
    entities.sweep()
    assert entities.find_pod(*WEB[:2]) >= 0, "its answer may still be shown"
    assert light.layout("a") is not None
    for later in (NOW + KEPT + 1, NOW + 2 * KEPT + 2, NOW + 2 * KEPT + 3):
        light.begin(later)
    assert light.layout("a") is None
    assert light.nodes == 0
    del batch
    entities.sweep()
    assert entities.find_pod(*WEB[:2]) < 0
    # A row that another entity has got since says nothing of its former owner.
    heir = ("default", "heir", "main")
    entities.child_row(4, entities.pod_row("default", "heir"), "main", -1)
    assert seen(light, NOW, *heir) is None


def node_at(light: LightStore, now: int, *, seconds: int, ahead: int = 0) -> dict[str, int] | None:
    """A round after so many seconds of a node that uses one core, its clock `ahead`; what is kept of it then."""
    take(light, now, sample("a", {}, cpu=seconds * S, time=NOW + (seconds + ahead) * S))
    return seen(light, now, "a")


def test_a_kubelet_whose_clock_is_set_has_no_rate_for_a_round_and_then_the_true_one():
    light = store()
    for round_number, (ahead, known) in enumerate(
        [(0, False), (0, True), (7200, False), (7200, True), (0, False), (0, True), (-3600, False), (-3600, True)]
    ):
        seconds = 15 * round_number
        found = node_at(light, NOW + seconds * S, seconds=seconds, ahead=ahead)
        assert bool(found["prev_time"]) is known
        if known:
            assert found["cpu"] - found["prev_cpu"] == found["time"] - found["prev_time"] == ROUND


def test_our_own_clock_that_is_set_costs_no_rate():
    """Kubelets go on as they were. Where it is set forwards all looks too old, until the next round."""
    light = store()
    node_at(light, NOW, seconds=0)
    for round_number, step in enumerate([0, -3600, -3600, 3600, 7200, 0, 0], 1):
        seconds = 15 * round_number
        found = node_at(light, NOW + (seconds + step) * S, seconds=seconds)
        assert found["cpu"] - found["prev_cpu"] == found["time"] - found["prev_time"] == ROUND


def test_our_own_clock_that_is_set_back_keeps_no_answer_longer():
    light = store()
    entities = light.entities
    take(light, NOW, sample("a", {WEB: {CPU: 1, TIME: NOW}}, cpu=1, time=NOW))
    back = NOW - 3600 * S
    assert seen(light, back, *WEB) is not None
    light.begin(back)
    assert seen(light, back + KEPT, *WEB) is not None
    assert seen(light, back + KEPT + 1, *WEB) is None
    batch = DataBatch(entities, MetricTable(), NOW)
    batch.freeze()
    del batch
    for later in (back + KEPT + 1, back + 2 * KEPT + 2, back + 2 * KEPT + 3):
        light.begin(later)
    entities.sweep()
    assert light.nodes == 0
    assert entities.find_pod(*WEB[:2]) < 0


def test_rows_out_of_the_table_and_an_empty_store_have_nothing():
    light = store()
    assert light.read(np.array([-1, 0, 10**6]), NOW)[TIME].tolist() == [0, 0, 0]
    take(light, NOW, sample("a", {}, cpu=1, time=NOW))
    assert light.read(np.array([-1, 10**6]), NOW)[TIME].tolist() == [0, 0]


@dataclass
class Reference:
    """Container -> (cpu, time, start), the last and the one before, as metrics-server keeps them."""

    last: dict[Name, tuple[int, int, int]] = field(default_factory=dict)
    before: dict[Name, tuple[int, int]] = field(default_factory=dict)

    def take(self, containers: dict[Name, dict[int, int]]) -> None:
        last, before = {}, {}
        for name, values in containers.items():
            cpu, time, start = values[CPU], values[TIME], values[START]
            old = self.last.get(name)
            if start and FRESH_NS <= time - start < ROUND:
                before[name] = (0, start)
            elif old is not None and start < old[1] and cpu >= old[0]:
                kept = self.before.get(name)
                if time > old[1]:
                    before[name] = old[:2]
                elif kept is not None and kept[1] < time and kept[0] <= cpu:
                    before[name] = kept
            last[name] = (cpu, time, start)
        self.last, self.before = last, before


answers = st.dictionaries(
    st.sampled_from([("n", "p", c) for c in "abc"] + [("n", "q", "a")]),
    st.fixed_dictionaries(
        {
            CPU: st.integers(0, 4),
            TIME: st.integers(1, 8).map(lambda step: NOW + step * 5 * S),
            START: st.sampled_from([0, *(NOW + step * 5 * S for step in range(-2, 8))]),
        }
    ),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(answers, min_size=1, max_size=6))
def test_the_columns_do_what_the_dictionaries_do(rounds):
    light, reference = store(), Reference()
    layouts: dict[tuple[Name, ...], object] = {}
    latest: object | None = None
    for containers in rounds:
        layout = layouts.setdefault(tuple(containers), object())
        given_sample = sample("node", containers, layout)
        if layout is latest:
            given_sample.names = None
        latest = layout
        take(light, NOW, given_sample)
        reference.take(containers)
        for name in {name for earlier in rounds for name in earlier}:
            expected = None
            if name in reference.last:
                cpu, time, _ = reference.last[name]
                prev_cpu, prev_time = reference.before.get(name, (0, 0))
                expected = {"cpu": cpu, "time": time, "prev_cpu": prev_cpu, "prev_time": prev_time}
            assert seen(light, NOW, *name) == expected


def test_swap_comes_along():
    light = store()
    take(light, NOW, sample("a", {WEB: {CPU: 1, TIME: NOW, SWAP: 4096}}))
    row = light.entities.find_child(light.entities.find_pod(*WEB[:2]), WEB[2])
    assert light.read(np.array([row]), NOW)[SWAP].tolist() == [4096]
