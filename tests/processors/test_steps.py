"""Processing in steps: what others do between two of them changes nothing in the batch."""

from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.core.batch import DataBatch
from collector.core.sample import NodeSample
from collector.processors import aggregate, enrich, pipeline_steps
from collector.processors.enrich import NAMES_AT_ONCE, PodEnricher
from collector.processors.labels import LabelCopier
from tests.processors.rig import SECOND, Rig
from tests.processors.small_cluster import SmallCluster, pod_object, samples_of

MINUTE = 60 * SECOND
PODS = [("default", "web"), ("default", "api"), ("shop", "web")]


def minutes(coming: Sequence[Sequence[int]]) -> Iterator[list[NodeSample]]:
    """What the kubelets say each minute; `coming` says which pods are there."""
    cluster = SmallCluster()
    cluster.start_node("node-a", cpu__usage=0)
    keys: dict[tuple[str, str], str] = {}
    for there in coming:
        wanted = {PODS[i] for i in there}
        for namespace, name in sorted(wanted - keys.keys()):
            cluster.start_pod("node-a", namespace, name, f"uid-{name}", cpu__usage=0, network__rx=0)
            for container in ("main", "side"):  # the pod itself says nothing of memory
                cluster.start_container("node-a", namespace, name, container, cpu__usage=0, memory__usage=7)
            keys[namespace, name] = f"namespace:{namespace}/pod:{name}"
        for gone in sorted(keys.keys() - wanted):
            cluster.stop_pod("node-a", keys.pop(gone))
        cluster.pass_time(60, [7 * SECOND, 3])
        yield samples_of(cluster.answers(), cluster.now)


def rig() -> Rig:
    found = Rig()
    container = {"image": "i", "requests": {"cpu": 100}, "limits": {}}
    for key in PODS:
        pod = {"uid": f"uid-{key[1]}", "labels": {"app": key[1]}, "containers": {"main": container}, "restarts": {}}
        found.pods.apply([(key, pod_object(key, pod))])
    return found


coming_and_going = st.lists(st.sets(st.integers(0, 2)).map(sorted), min_size=3, max_size=5)


@given(coming_and_going, st.data())
def test_a_later_tick_that_is_filled_meanwhile_and_sweeps_change_nothing(
    coming: list[list[int]], data: st.DataObject
) -> None:
    answers = list(minutes(coming))
    alone, shared = rig(), rig()
    expected = [alone.tick(found, i * MINUTE).metric_sets() for i, found in enumerate(answers, 1)]
    following: DataBatch | None = None
    for i, found in enumerate(answers, 1):
        batch = following or shared.fill(found, i * MINUTE)
        following = None
        moment = data.draw(st.integers(0, 40))
        for number, _ in enumerate(pipeline_steps(shared.pipeline, batch)):
            if number == moment and i < len(answers):
                following = shared.fill(answers[i], (i + 1) * MINUTE)
            shared.entities.sweep(1)
        shared.now = i * MINUTE
        shared.store.add(batch)
        assert batch.metric_sets() == expected[i - 1]


@given(coming_and_going)
def test_parts_of_the_rows_give_what_all_of_them_give(coming: list[list[int]]) -> None:
    answers = list(minutes(coming))
    whole, parted = rig(), rig()
    for i, found in enumerate(answers, 1):
        expected = whole.tick(found, i * MINUTE).metric_sets()
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(aggregate, "ROWS_AT_ONCE", 1)
            patched.setattr(enrich, "ROWS_AT_ONCE", 300)
            assert parted.tick(found, i * MINUTE).metric_sets() == expected


def test_a_batch_is_open_until_the_last_step_is_over() -> None:
    there = rig()
    (answers,) = minutes([[0, 1, 2]])
    batch = there.fill(answers, MINUTE)
    for _ in pipeline_steps(there.pipeline, batch):
        assert not batch.frozen
    assert batch.frozen


def test_changes_that_an_abandoned_tick_left_are_the_next_ones() -> None:
    there = rig()
    enricher = PodEnricher(there.pods, LabelCopier())
    (answers,) = minutes([[0, 1, 2]])
    first = there.fill(answers, MINUTE)
    enricher.process(first)
    many = [(("default", f"other-{i}"), None) for i in range(2 * NAMES_AT_ONCE)]
    enricher._changed.extend(key for key, _ in many)
    container = {"image": "i", "requests": {"cpu": 250}, "limits": {}}
    pod = {"uid": "uid-web", "labels": {}, "containers": {"main": container}, "restarts": {}}
    there.pods.apply([(PODS[0], pod_object(PODS[0], pod))])
    abandoned = enricher.steps(there.fill(answers, 2 * MINUTE))
    next(abandoned)
    abandoned.close()
    batch = there.fill(answers, 3 * MINUTE)
    enricher.process(batch)
    batch.freeze()
    assert batch.metric_sets()["namespace:default/pod:web/container:main"].metrics["cpu/request"] == 250
