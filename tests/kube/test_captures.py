"""Recorded lists and watch lines, read by the product and by a slow and obvious reader, must agree in every field."""

import json
import re
from datetime import datetime
from fractions import Fraction
from pathlib import Path

import pytest

from collector.kube.faults import Endpoint
from collector.kube.resources import NAMESPACES, NODES, PODS, Decoder

CAPTURES = Path(__file__).parent.parent / "captures"
POD_LISTS = sorted((CAPTURES / "pods").glob("[!w]*.json"))
NODE_LISTS = sorted((CAPTURES / "nodes").glob("[lo]*.json"))
NAMESPACE_LISTS = sorted((CAPTURES / "nodes").glob("namespaces*.json"))

FACTORS = {"": Fraction(1), "m": Fraction(1, 1000), "k": Fraction(1000), "Ki": Fraction(1 << 10)}
FACTORS |= {"Mi": Fraction(1 << 20), "Gi": Fraction(1 << 30), "G": Fraction(10**9), "M": Fraction(10**6)}


def decoder(resource):
    return Decoder(resource, lambda: Endpoint("https://api:443", "a test", "no CA"))


def amount(quantities, name, factor=1):
    text = (quantities or {}).get(name)
    if text is None:
        return None
    number, suffix = re.fullmatch(r"([0-9.]+)([a-zA-Z]*)", text).groups()
    exact = Fraction(number) * FACTORS[suffix] * factor
    return -(-exact.numerator // exact.denominator)


def expected_container(wired):
    resources = wired.get("resources") or {}
    requests, limits = resources.get("requests") or {}, resources.get("limits") or {}
    own = {"cpu", "memory", "ephemeral-storage"}
    return {
        "name": wired["name"],
        "image": wired.get("image") or "",
        "cpu_request": amount(requests, "cpu", 1000) or 0,
        "cpu_limit": amount(limits, "cpu", 1000) or 0,
        "memory_request": amount(requests, "memory") or 0,
        "memory_limit": amount(limits, "memory") or 0,
        "ephemeral_request": amount(requests, "ephemeral-storage") or 0,
        "ephemeral_limit": amount(limits, "ephemeral-storage") or 0,
        "extended": tuple((name, amount(requests, name)) for name in sorted(requests) if name not in own),
    }


def expected_pod(wired):
    meta, spec, status = wired["metadata"], wired.get("spec") or {}, wired.get("status") or {}
    start = status.get("startTime")
    return {
        "namespace": meta["namespace"],
        "name": meta["name"],
        "uid": meta.get("uid") or "",
        "node_name": spec.get("nodeName") or "",
        "phase": status.get("phase") or "",
        "start_time_ns": round(datetime.fromisoformat(start).timestamp()) * 10**9 if start else 0,
        "labels": meta.get("labels") or {},
        "containers": [expected_container(c) for c in spec.get("containers") or []],
        "sidecars": [],
        "restart_counts": tuple((s["name"], s["restartCount"]) for s in status.get("containerStatuses") or []),
        "not_running": {
            s["name"]
            for s in status.get("containerStatuses") or []
            if (s.get("state") or {}).keys() & {"waiting", "terminated"}
        },
        "config_hash": (meta.get("annotations") or {}).get("kubernetes.io/config.hash") or "",
        "host_network": spec.get("hostNetwork") or False,
    }


def plain(struct):
    """A kept object as a dictionary, its containers too."""
    fields = {name: getattr(struct, name) for name in struct.__struct_fields__}
    for name in ("containers", "sidecars"):
        if name in fields:
            fields[name] = [plain(spec) for spec in fields[name]]
    return fields


@pytest.mark.parametrize("path", POD_LISTS, ids=lambda p: p.stem)
def test_every_recorded_pod_list_is_read_as_the_obvious_reader_reads_it(path):
    body = path.read_bytes()
    wired = [item for item in json.loads(body)["items"] if item and (item.get("metadata") or {}).get("name")]
    assert [plain(pod) for pod in decoder(PODS).page(body).objects] == [expected_pod(item) for item in wired]


def test_the_first_recorded_page_names_the_next():
    page = decoder(PODS).page((CAPTURES / "pods" / "api-list-page1-kubeclient.json").read_bytes())
    last = decoder(PODS).page((CAPTURES / "pods" / "api-list-page2-kubeclient.json").read_bytes())
    assert page.continue_token
    assert not last.continue_token


@pytest.mark.parametrize("path", NODE_LISTS, ids=lambda p: p.stem)
def test_every_recorded_node_list_is_read_as_the_obvious_reader_reads_it(path):
    answer = json.loads(path.read_bytes())
    items = answer.get("items", [answer])
    body = json.dumps({"items": items}).encode()
    for kept, wired in zip(decoder(NODES).page(body).objects, items, strict=True):
        meta, spec, status = wired.get("metadata") or {}, wired.get("spec") or {}, wired.get("status") or {}
        assert kept.name == meta["name"]
        assert kept.uid == (meta.get("uid") or "")
        assert kept.labels == (meta.get("labels") or {})
        assert kept.annotations == (meta.get("annotations") or {})
        assert kept.addresses == tuple((a["type"], a["address"]) for a in status.get("addresses") or [])
        ready = [c["status"] for c in status.get("conditions") or [] if c.get("type") == "Ready"]
        assert kept.ready is (ready == ["True"] if ready else None)
        assert kept.unschedulable is (spec.get("unschedulable") or False)
        assert kept.external_id == spec.get("externalID", "")
        for resources, stated in (
            (kept.capacity, status.get("capacity")),
            (kept.allocatable, status.get("allocatable")),
        ):
            assert resources.cpu == amount(stated, "cpu", 1000)
            assert resources.memory == amount(stated, "memory")
            assert resources.ephemeral_storage == amount(stated, "ephemeral-storage")
        assert kept.kubelet_version == status.get("nodeInfo", {}).get("kubeletVersion", "")
        endpoint = (status.get("daemonEndpoints") or {}).get("kubeletEndpoint") or {}
        assert kept.kubelet_port == endpoint.get("Port", 0)


@pytest.mark.parametrize("path", NAMESPACE_LISTS, ids=lambda p: p.stem)
def test_every_recorded_namespace_list_is_read_as_the_obvious_reader_reads_it(path):
    body = path.read_bytes()
    expected = [item["metadata"] for item in json.loads(body)["items"]]
    kept = [(n.name, n.uid, n.labels) for n in decoder(NAMESPACES).page(body).objects]
    assert kept == [(m["name"], m["uid"], m.get("labels") or {}) for m in expected]


@pytest.mark.parametrize(
    ("resource", "name", "key"),
    [
        (PODS, "pods/watch-pod-modified-manageiq.json", ("vcr-tests", "stress6-1-42svr")),
        (NODES, "nodes/watch-node-notice-kubeclient.json", "openshift.local"),
    ],
)
def test_recorded_watch_events_are_changes(resource, name, key):
    recorded = json.loads((CAPTURES / name).read_bytes())
    batch = decoder(resource).lines([json.dumps(recorded).encode()])
    assert [k for k, _ in batch.changes] == [key]
    assert batch.resource_version == recorded["object"]["metadata"]["resourceVersion"]
