"""The cells decoded from real answers equal those of the Go original, recorded in captures/golden/real-payloads."""

import gzip
import json
from collections.abc import Iterator
from typing import Any

import pytest

from collector.core.metrics import COUNTERS_NOT_SUMMED
from collector.core.visibility import HEAPSTERS
from collector.sources.summary import decode_summary
from tests.sources.captures import CAPTURES, SUMMARIES, summary_body
from tests.sources.observed import Entity, Key, batch_of, observed
from tests.sources.reference import reference

GOLDEN = CAPTURES / "golden" / "real-payloads"
INDEX = json.loads((GOLDEN / "index.json").read_text())
BATCHES = {batch["file"]: batch for batch in json.loads(gzip.decompress((GOLDEN / "batches.json.gz").read_bytes()))}
NO_TIME = -6795364578871345152
"""Go's zero time in ns, which does not fit and wraps."""

WRAPPED = {
    # An unsigned number beyond 2^63 became a negative one in Heapster; here it is absent.
    ("k8s-1.05-linux-docker-gke-beats-2017-inodesfree-uint64max.json", "filesystem/inodes_free", -1),
}
LATER_LABELS = {"labels", "namespace_id"}
"""Labels that the enrichers add, not the source."""


def capture_name(file: str) -> str:
    """The name under captures/summary of a file of the index."""
    return file.removeprefix("kubelet/").removeprefix("summary/").replace("/", "-")


def heapster_key(key: Key) -> str:
    kind, *names = key
    levels = ("namespace", "pod", "container") if kind.startswith("pod") else ("node", "container")
    return "/".join(f"{level}:{name}" for level, name in zip(levels, names, strict=False))


def source_metrics(metric_set: dict[str, Any]) -> dict[str, int | float]:
    """What of a recorded set the summary source itself gave: no rates, no node capacities."""
    return {
        name: value
        for name, value in metric_set["metrics"].items()
        if not name.endswith("_rate") and "/node_" not in name and name != "uptime"
    }


def containers_of(pod: Key, entities: dict[Key, Entity]) -> Iterator[Entity]:
    return (entity for key, entity in entities.items() if key[:3] == ("pod_container", *pod[1:]))


def with_container_sums(key: Key, entities: dict[Key, Entity]) -> dict[str, int | float]:
    """The entity's plain metrics but `uptime`; a pod's gauges the kubelet did not give are sums over its containers."""
    metrics = dict(entities[key].metrics)
    if key[0] == "pod":
        for container in containers_of(key, entities):
            for name, value in container.metrics.items():
                if name not in entities[key].metrics and name not in COUNTERS_NOT_SUMMED:
                    metrics[name] = metrics.get(name, 0) + value
    metrics.pop("uptime", None)
    return metrics


@pytest.mark.parametrize("file", BATCHES)
def test_every_source_cell_is_what_heapster_made_of_the_same_answer(file: str) -> None:
    name, sets = capture_name(file), dict(BATCHES[file]["sets"])
    del sets["cluster"]
    sets = {key: found for key, found in sets.items() if found["labels"]["type"] != "ns"}
    # Heapster took the wall clock, a little later for each entity: the last one's is when it was done.
    done = max(found["create_ns"] + 1_000_000 * found["metrics"].get("uptime", -(10**18)) for found in sets.values())
    entities = observed(batch_of(decode_summary(summary_body(name), max(done, 0))), HEAPSTERS)

    assert {heapster_key(key) for key in entities} == set(sets)
    for key, entity in entities.items():
        theirs = sets[heapster_key(key)]
        assert with_container_sums(key, entities) == source_metrics(theirs)
        assert ("uptime" in entity.metrics) == ("uptime" in theirs["metrics"])
        assert 0 <= entity.metrics.get("uptime", 0) - theirs["metrics"].get("uptime", 0) < 1000
        assert entity.labeled == [
            (value["name"], tuple(value["labels"].items()), value["value"])
            for value in theirs["labeled"]
            if (name, value["name"], value["value"]) not in WRAPPED
        ]
        assert entity.times.get("scrape", NO_TIME) == theirs["scrape_ns"]
        assert entity.times.get("start", NO_TIME) == theirs["create_ns"]
        assert entity.labels == {label: text for label, text in theirs["labels"].items() if label not in LATER_LABELS}


@pytest.mark.parametrize("file", INDEX["crash"])
def test_a_container_without_used_bytes_that_stopped_heapster_only_lacks_its_ephemeral_storage(file: str) -> None:
    body = summary_body(capture_name(file))
    entities = observed(batch_of(decode_summary(body, 0)))
    assert entities == reference(body, 0)
    tree = json.loads(body)
    half = 0
    for pod in tree["pods"]:
        for container in pod["containers"] or ():
            parts = [container.get("rootfs"), container.get("logs")]
            if None not in parts and any("usedBytes" not in part for part in parts):
                half += 1
                key = ("pod_container", pod["podRef"]["namespace"], pod["podRef"]["name"], container["name"])
                assert "ephemeral_storage/usage" not in entities[key].metrics
                assert "memory/working_set" in entities[key].metrics
    for container in tree["node"]["systemContainers"]:
        parts = [container.get("rootfs"), container.get("logs")]
        half += None not in parts and any("usedBytes" not in part for part in parts)
    assert half


def test_every_capture_but_the_lone_pod_was_given_to_heapster() -> None:
    names = {capture_name(file) for file in [*BATCHES, *INDEX["crash"]]}
    assert names == set(SUMMARIES)
    assert len(names) == len(BATCHES) + len(INDEX["crash"])
