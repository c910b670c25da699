"""Lists of pods as protobuf, read back and held against the same lists as JSON."""

import re
from collections import defaultdict
from datetime import UTC, datetime
from typing import Any

import pytest
from api.test_metrics_kubectl_forms import MAIN, PROXY, ROOT, Cluster, some

from collector.api import metrics_items, metrics_protobuf
from collector.api.metrics_protobuf import PROTOBUF
from collector.kube.objects import Pod

KUBECTL = f"{PROTOBUF}, */*"
"""What kubectl sends."""


def fields(data: bytes) -> dict[int, list[Any]]:
    """Number -> values: integers, or bytes."""
    found: dict[int, list[Any]] = defaultdict(list)
    at = 0

    def varint() -> int:
        nonlocal at
        number = shift = 0
        while True:
            byte = data[at]
            at += 1
            number |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return number

    while at < len(data):
        tag = varint()
        assert tag & 7 in {0, 2}
        value: int | bytes = varint()
        if tag & 7 == 2:
            assert isinstance(value, int)
            at, value = at + value, data[at : at + value]
            assert at <= len(data)
        found[tag >> 3].append(value)
    return found


def text(found: dict[int, list[Any]], number: int) -> str:
    (value,) = found[number]
    return value.decode()


def pairs(found: list[bytes]) -> dict[str, Any]:
    """Key -> value, of a map's entries."""
    return {text(entry, 1): entry[2][0] for entry in map(fields, found)}


def time(data: bytes) -> str:
    found = fields(data)
    assert found[2] == [0]
    return datetime.fromtimestamp(found[1][0], UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def item(data: bytes) -> dict[str, Any]:
    """As it is in JSON; the window in nanoseconds."""
    found = fields(data)
    metadata = fields(found[1][0])
    labels = {key: value.decode() for key, value in pairs(metadata[11]).items()}
    containers = [fields(each) for each in found[4]]
    return {
        "metadata": {
            "name": text(metadata, 1),
            "namespace": text(metadata, 3),
            "resourceVersion": text(metadata, 6),
            "creationTimestamp": time(metadata[8][0]),
            **({"labels": labels} if labels else {}),
        },
        "timestamp": time(found[2][0]),
        "window": fields(found[3][0])[1][0],
        "containers": [
            {"name": text(each, 1), "usage": {key: text(fields(told), 1) for key, told in pairs(each[2]).items()}}
            for each in containers
        ],
    }


def document(body: bytes) -> dict[str, Any]:
    """A list as it is in JSON, from the bytes of its protobuf."""
    assert body[:4] == b"k8s\0"
    unknown = fields(body[4:])
    of_type = fields(unknown[1][0])
    assert (unknown[3], unknown[4]) == ([b""], [b""])
    found = fields(unknown[2][0])
    metadata = fields(found[1][0])
    rest = {"continue": text(metadata, 3)} if metadata[3] else {}
    rest |= {"remainingItemCount": metadata[4][0]} if metadata[4] else {}
    return {
        "kind": text(of_type, 2),
        "apiVersion": text(of_type, 1),
        "metadata": {"resourceVersion": text(metadata, 2), **rest},
        "items": [item(each) for each in found[2]],
    }


async def packed(cluster: Cluster, target: str, accept: str = KUBECTL) -> tuple[str, bytes]:
    answer = await cluster.answer(target, Accept=accept)
    assert answer.status == 200
    body = answer.body if isinstance(answer.body, bytes) else b"".join([piece async for piece in answer.body])
    return answer.content_type, body


def with_numbers(document: dict[str, Any]) -> dict[str, Any]:
    """Windows as nanoseconds; all of these tests are whole seconds."""
    for each in document["items"]:
        seconds = re.fullmatch(r"([0-9]+)s", each["window"])
        assert seconds
        each["window"] = int(seconds[1]) * 10**9
    return document


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("at_once", [3, 512])
@pytest.mark.parametrize(
    "target",
    [
        "pods",
        "namespaces/team/pods",
        "namespaces/none/pods",
        "pods?limit=3",
        "pods?labelSelector=n%3D2",
        "pods?fieldSelector=metadata.name%3Dtwo",
    ],
)
async def test_protobuf_says_what_json_says(monkeypatch, compiled, at_once, target):
    monkeypatch.setattr(metrics_protobuf, "AVAILABLE", compiled)
    monkeypatch.setattr(metrics_items, "PODS_AT_ONCE", at_once)
    odd = Pod("team", "odd", labels={"b": "é<\ud800>", "a": ""}, containers=(MAIN, PROXY))
    cluster = some()
    cluster.context.listers.pods.replace([*cluster.context.listers.pods.items.values(), odd])
    cluster.tick()
    cluster.tick()
    for version in ("v1", "v1beta1"):
        path = f"{ROOT.rpartition('/')[0]}/{version}/{target}"
        kind, body = await packed(cluster, path)
        assert kind == PROTOBUF
        _, listed = await cluster.ask(path)
        assert document(body) == with_numbers(listed)
        assert listed["items"] or "none" in target


async def test_the_next_page_is_asked_for_with_the_token_of_the_page_before():
    cluster = some()
    first = document((await packed(cluster, f"{ROOT}/pods?limit=5"))[1])
    second = document((await packed(cluster, f"{ROOT}/pods?limit=5&continue={first['metadata']['continue']}"))[1])
    assert first["metadata"]["remainingItemCount"] == len(second["items"]) == 3


@pytest.mark.parametrize(
    ("accept", "protobuf"),
    [
        (KUBECTL, True),
        (PROTOBUF, True),
        (f"{PROTOBUF},application/json", True),
        (f"application/json, {PROTOBUF}", False),
        (f"{PROTOBUF};as=Table;g=meta.k8s.io;v=v1,application/json", False),
        (f"{PROTOBUF};stream=watch,application/json", False),
    ],
)
async def test_the_first_form_that_there_is_is_given(accept, protobuf):
    kind, _ = await packed(some(), f"{ROOT}/pods", accept)
    assert kind == (PROTOBUF if protobuf else "application/json")


@pytest.mark.parametrize("target", ["nodes", "nodes/node-a", "namespaces/team/pods/two"])
async def test_all_else_is_json(target):
    cluster = some()
    assert (await packed(cluster, f"{ROOT}/{target}"))[0] == "application/json"
    status, refusal = await cluster.ask(f"{ROOT}/{target}", Accept=PROTOBUF)
    assert (status, refusal["reason"]) == (406, "NotAcceptable")


async def test_heapsters_version_has_no_protobuf():
    kind, _ = await packed(some(), "/apis/metrics.k8s.io/v1alpha1/pods")
    assert kind == "application/json"
