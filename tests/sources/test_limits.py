"""A kubelet as an enemy: answers that are too many, too deep or too long cost their own node, and nobody else."""

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from collector.core.batch import DataBatch
from collector.core.entities import EntityTable
from collector.core.intake import Intake
from collector.core.metrics import DYNAMIC_LIMIT, DYNAMIC_OF_A_NODE, METRICS, Kind, MetricTable
from collector.core.sample import NodeSample
from collector.errors import DecodeError
from collector.kube.listers import NodeLister
from collector.kube.objects import Node
from collector.sources import limits
from collector.sources.cadvisor import decode_cadvisor
from collector.sources.cadvisortext import decode_text
from collector.sources.endpoints import SUMMARY, Body, Endpoint, SourcePlan
from collector.sources.kubelet import KubeletTarget
from collector.sources.lightsummary import from_summary
from collector.sources.limits import MAX_DEPTH, check_pieces, check_sample
from collector.sources.projection import AVAILABLE, decode_together
from collector.sources.resource import decode_resource
from collector.sources.scrape import ScrapeManager
from collector.sources.stats import MAX_NAME
from collector.sources.summary import decode_summary

READ_AT = 1_795_399_382_000_000_000
MOST = 20
"""Entities of one kind that these tests allow."""

Document = dict[str, Any]


def container(name: str, **more: Any) -> Document:
    return {"name": name, "cpu": {"time": "2026-11-23T00:00:00Z", "usageCoreNanoSeconds": 7}, **more}


def pod(name: str, containers: int = 1, **more: Any) -> Document:
    reference = {"name": name, "namespace": "default", "uid": f"uid-{name[:9]}"}
    return {"podRef": reference, "containers": [container(f"c{i}") for i in range(containers)], **more}


def summary(node: str, *pods: Document, **more: Any) -> bytes:
    return json.dumps({"node": {"nodeName": node, **more}, "pods": list(pods)}).encode()


def volumes(count: int) -> list[Document]:
    return [{"name": f"v{i}", "usedBytes": 1} for i in range(count)]


def accelerators(count: int) -> list[Document]:
    return [{"make": "m", "model": "m", "id": f"gpu-{i}"} for i in range(count)]


def custom(count: int) -> list[Document]:
    return [{"name": f"app_{i}", "type": "gauge", "value": 1.0} for i in range(count)]


TOO_MANY: Mapping[str, Callable[[int], bytes]] = {
    "pods": lambda n: summary("enemy", *(pod(f"p{i}", 0) for i in range(n))),
    "containers": lambda n: summary("enemy", pod("p", n)),
    "system containers": lambda n: summary("enemy", systemContainers=[container(f"s{i}") for i in range(n)]),
    "filesystem values": lambda n: summary("enemy", pod("p", 1, volume=volumes(n))),
    "accelerator values": lambda n: summary(
        "enemy",
        {**pod("p"), "containers": [container("c", accelerators=accelerators(n))]},
    ),
    "application metrics": lambda n: summary(
        "enemy", {**pod("p"), "containers": [container("c", userDefinedMetrics=custom(n))]}
    ),
}
"""What may be too much of -> an answer with n of it."""


def nested(levels: int) -> bytes:
    """A summary with an unknown field that is nested so deeply, all in all."""
    deep = b"[" * (levels - 1) + b"]" * (levels - 1)
    return b'{"unknown": ' + deep + b', "node": {"nodeName": "enemy"}, "pods": []}'


def ready(*names: str) -> NodeLister:
    """These nodes, ready to be asked."""
    nodes = NodeLister()
    nodes.replace([Node(name, addresses=(("InternalIP", f"10.0.0.{i}"),), ready=True) for i, name in enumerate(names)])
    return nodes


async def scraped(answers: Mapping[str, bytes], plan: SourcePlan[NodeSample]) -> tuple[DataBatch, ScrapeManager]:
    """One scrape of nodes that answer so."""

    async def fetch(target: KubeletTarget, _path: str, _body: bytes | None = None) -> Body:
        await asyncio.sleep(0)
        return answers[target.node]

    source = ScrapeManager(
        fetch,
        ready(*answers),
        EntityTable(),
        MetricTable(),
        port=10250,
        timeout_s=5,
        concurrency=8,
        plan=plan,
        max_entities=MOST,
    )
    return await source.scrape(READ_AT - 60, READ_AT), source


@pytest.mark.parametrize("what", TOO_MANY)
@pytest.mark.parametrize("endpoint", [SUMMARY, replace(SUMMARY, decode_together=None)], ids=["together", "alone"])
async def test_too_much_of_anything_costs_that_node_alone(
    what: str, endpoint: Endpoint[NodeSample], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    plan = SourcePlan(endpoint)
    answers = {
        "before": summary("before", pod("a")),
        "enemy": TOO_MANY[what](MOST + 1),
        "behind": summary("behind", pod("b")),
    }
    batch, source = await scraped(answers, plan)
    assert (source.report.answered, dict(source.report.failed)) == (2, {"decode": 1})
    assert {batch.entities.name[row] for row in batch.rows_of(Kind.NODE)} == {"before", "behind"}
    assert {batch.entities.name[row] for row in batch.rows_of(Kind.POD)} == {"a", "b"}
    assert not batch.metrics.find("custom/app_0")
    said = " ".join(caplog.messages)
    assert "enemy" in said
    assert f"{MOST + 1} {what}" in said
    assert f"the {MOST} of one node" in said
    assert "--max-answer-entities" in said


@pytest.mark.parametrize("what", TOO_MANY)
async def test_as_much_as_is_allowed_is_taken(what: str) -> None:
    _, source = await scraped({"enemy": TOO_MANY[what](MOST)}, SourcePlan(SUMMARY))
    assert source.report.answered == 1


def test_the_extension_counts_for_each_document_anew() -> None:
    bodies = [summary(f"n{i}", pod(f"p{i}", MOST)) for i in range(3)]
    group, accepted = decode_together([*bodies, TOO_MANY["containers"](MOST + 1)], READ_AT, MOST)
    assert accepted == [True, True, True, False]
    assert len(group.containers) == 3 * MOST


# Depth.


@pytest.mark.parametrize("levels", [MAX_DEPTH + 1, 500, 100_000])
def test_what_is_nested_too_deeply_is_refused_by_every_decoder(levels: int) -> None:
    for decode in (
        lambda body: decode_summary(body, READ_AT),
        lambda body: decode_cadvisor(body, "enemy", READ_AT, schedulable=True),
    ):
        with pytest.raises(DecodeError, match=rf"nested deeper than the {MAX_DEPTH} levels"):
            decode(nested(levels))
    if AVAILABLE:
        assert decode_together([nested(levels)], READ_AT)[1] == [False]


@pytest.mark.parametrize("opening", [b'{"a":', b"[", b'{"a":[', b'{"node":', b'{"pods":[{"containers":['])
def test_depth_that_is_never_closed_is_refused(opening: bytes) -> None:
    for decode in (
        lambda body: decode_summary(body, READ_AT),
        lambda body: decode_cadvisor(body, "enemy", READ_AT, schedulable=True),
    ):
        with pytest.raises(DecodeError):
            decode(opening * 50_000)


def test_depth_hidden_behind_closing_brackets_is_refused_all_the_same() -> None:
    hidden = b'{"unknown": ["' + b"]" * 100_000 + b'",' + b"[" * 99_000 + b"]" * 99_000 + b"]}"
    for decode in (
        lambda body: decode_summary(body, READ_AT),
        lambda body: decode_cadvisor(body, "enemy", READ_AT, schedulable=True),
    ):
        with pytest.raises(DecodeError):
            decode(hidden)


async def test_a_deep_answer_costs_that_node_alone(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    _, source = await scraped({"good": summary("good"), "enemy": nested(500)}, SourcePlan(SUMMARY))
    assert (source.report.answered, dict(source.report.failed)) == (1, {"decode": 1})
    assert "enemy" in caplog.text
    assert f"{MAX_DEPTH} levels" in caplog.text


def test_ordinary_depth_is_read() -> None:
    assert decode_summary(nested(MAX_DEPTH), READ_AT).node == "enemy"


# Sheer number of values, before they become objects.


@pytest.mark.parametrize("piece", [b"0,", b'{"a":0},', b"[],"])
def test_a_flood_of_values_is_refused_before_it_is_decoded(piece: bytes) -> None:
    flood = b"[" + piece * (limits.PIECES * MOST + 1) + b"0]"
    with pytest.raises(DecodeError, match="--max-answer-entities"):
        check_pieces(flood, limits.JSON_PIECES, MOST)


@pytest.mark.parametrize("piece", [b"\n", b"}", b"a{} 1\n"])
def test_a_flood_of_lines_is_refused_before_it_is_decoded(piece: bytes) -> None:
    with pytest.raises(DecodeError, match="--max-answer-entities"):
        check_pieces(piece * (limits.PIECES * MOST + 1), limits.TEXT_PIECES, MOST)


def test_long_texts_are_no_flood() -> None:
    check_pieces(b'["' + b"x" * (10 * limits.PIECES * MOST) + b'"]', limits.JSON_PIECES, MOST)


# Names.


@pytest.mark.parametrize("where", ["pod", "namespace", "uid", "container", "volume"])
def test_a_name_longer_than_any_of_kubernetes_is_left_out_with_what_bears_it(where: str) -> None:
    long = "n" * (MAX_NAME + 1)
    bad = pod("bad", volume=[{"name": "v", "usedBytes": 1}])
    match where:
        case "pod":
            bad["podRef"]["name"] = long
        case "namespace" | "uid":
            bad["podRef"][where] = long
        case "container":
            bad["containers"][0]["name"] = long
        case _:
            bad["volume"][0]["name"] = long
    body = summary("n", pod("good"), bad)
    if AVAILABLE:
        assert decode_together([body], READ_AT)[1] == [False]
    sample = decode_summary(body, READ_AT)
    assert sample.faults
    assert "good" in sample.pod_names
    kept = [*sample.pod_names, *sample.pod_namespaces, *sample.pod_uids, *sample.container_names]
    kept += [label for block in sample.labeled for label in block.labels if not isinstance(block.labels, str)]
    assert all(len(name) <= MAX_NAME for name in kept)


def test_the_longest_name_of_kubernetes_is_read() -> None:
    name = "n" * MAX_NAME
    body = summary("n", pod(name))
    assert decode_summary(body, READ_AT).pod_names == [name]
    if AVAILABLE:
        assert decode_together([body], READ_AT)[1] == [True]


def test_overlong_labels_of_texts_are_left_out() -> None:
    long = "n" * 5_000
    line = 'container_cpu_usage_seconds_total{{cpu="total",container="c",id="/{0}",namespace="d",pod="{0}"}} 1\n'
    sample = decode_text((line.format("web") + line.format(long) + line.format("n" * 300)).encode(), "n", READ_AT)
    assert sample.pod_names == ["web"]
    assert len(sample.faults) == 1
    light = 'container_cpu_usage_seconds_total{{container="c",namespace="d",pod="{0}"}} 1 1795399377660\n'
    body = "# TYPE container_cpu_usage_seconds_total counter\n" + light.format("web") + light.format("n" * 300)
    assert decode_resource(body.encode(), "n", READ_AT).names == [("d", "web", "c")]


def test_an_overlong_name_of_cadvisors_json_is_left_out() -> None:
    def cgroup(pod_name: str) -> Document:
        labels = {"io.kubernetes.pod.name": pod_name, "io.kubernetes.pod.namespace": "d"}
        labels["io.kubernetes.container.name"] = "c"
        return {"name": f"/{pod_name[:20]}", "spec": {"labels": labels, "has_cpu": True}, "stats": [{}]}

    body = json.dumps({"/a": cgroup("good"), "/b": cgroup("n" * (MAX_NAME + 1))}).encode()
    sample = decode_cadvisor(body, "n", READ_AT, schedulable=True)
    assert sample.pod_names == ["good"]
    assert len(sample.faults) == 1


# What one node may take from what all share.


def test_light_samples_have_the_same_limit() -> None:
    sample = from_summary(decode_summary(summary("n", pod("p", MOST + 1)), READ_AT))
    with pytest.raises(DecodeError, match=f"{MOST + 1} containers"):
        check_sample(sample, MOST)


def test_one_kubelet_cannot_take_all_columns_of_application_metrics() -> None:
    entities, metrics = EntityTable(), MetricTable()
    for tick in range(20):  # new names with every answer, and another name of its own
        enemy = decode_summary(_with_custom(f"enemy-{tick}", [f"bad_{tick}_{i}" for i in range(10)]), READ_AT)
        enemy.asked = "enemy"
        intake = Intake(DataBatch(entities, metrics, READ_AT + tick))
        intake.add(enemy)
        intake.flush()
    assert len(metrics) == len(METRICS) + DYNAMIC_OF_A_NODE
    intake = Intake(DataBatch(entities, metrics, READ_AT))
    intake.add(decode_summary(_with_custom("good", ["requests"]), READ_AT))
    intake.flush()
    assert metrics.find("custom/requests") is not None
    assert DYNAMIC_OF_A_NODE < DYNAMIC_LIMIT


def _with_custom(node: str, names: list[str]) -> bytes:
    values = [{"name": name, "type": "gauge", "value": 1.0} for name in names]
    return summary(node, {**pod("p"), "containers": [container("c", userDefinedMetrics=values)]})


async def test_names_that_change_with_every_answer_leave_the_tables_as_large_as_two_batches_need() -> None:
    tick = 0

    async def fetch(_target: KubeletTarget, _path: str, _body: bytes | None = None) -> Body:
        await asyncio.sleep(0)
        return summary("enemy", *(pod(f"t{tick}-{i}", 1, volume=[{"name": f"v{tick}-{i}"}]) for i in range(MOST)))

    entities, kept = EntityTable(), None
    source = ScrapeManager(
        fetch, ready("enemy"), entities, MetricTable(), port=1, timeout_s=5, concurrency=1, max_entities=MOST
    )
    sizes = []
    for tick in range(60):
        batch = await source.scrape(READ_AT + tick - 1, READ_AT + tick)
        batch.freeze()
        kept = batch
        entities.sweep()
        sizes.append((entities.size, len(entities.labels.pairs)))
    assert kept is not None
    assert sizes[-1] == sizes[5]


def test_brackets_in_texts_are_no_depth() -> None:
    body = summary("n", *(pod("{[" * 60 + f'\\"{i}') for i in range(3)))
    assert len(decode_summary(body, READ_AT).pod_names) == 3
