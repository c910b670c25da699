import itertools
import json
import logging

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.errors import ExpiredError, KubernetesError
from collector.kube.faults import Endpoint
from collector.kube.objects import ContainerSpec, Resources
from collector.kube.resources import NAMESPACES, NODES, PODS, Decoder


def decoder(resource=PODS):
    return Decoder(resource, lambda: Endpoint("https://api:443", "kubeconfig k", "CA file ca"))


def listed(*items, resource=PODS, into=None):
    body = json.dumps({"metadata": {"resourceVersion": "7", "continue": None}, "items": items}).encode()
    return (into or decoder(resource)).page(body).objects


def pod(**fields):
    whole = {"metadata": {"name": "web-1", "namespace": "shop"}, "spec": {}, "status": {}}
    return {part: whole[part] | fields.get(part, {}) for part in whole}


def container(requests=None, limits=None, name="c", **more):
    return {"name": name, "image": "img", "resources": {"requests": requests, "limits": limits}} | more


def only(*items, **keywords):
    (kept,) = listed(*items, **keywords)
    return kept


def test_requests_and_limits_become_integers_and_missing_ones_zero():
    requests = {"cpu": "100m", "memory": "1Gi", "nvidia.com/gpu": "1", "example.com/a": "1500m"}
    limits = {"cpu": "1", "ephemeral-storage": "2k", "nvidia.com/gpu": "1"}
    (spec,) = only(pod(spec={"containers": [container(requests, limits)]})).containers
    assert spec == ContainerSpec(
        name="c",
        image="img",
        cpu_request=100,
        cpu_limit=1000,
        memory_request=1 << 30,
        ephemeral_limit=2000,
        extended=(("example.com/a", 2), ("nvidia.com/gpu", 1)),
    )


def test_a_bare_json_number_is_a_quantity_too():
    (spec,) = only(pod(spec={"containers": [container({"cpu": 0.5, "memory": 1000000, "x/y": 3})]})).containers
    assert (spec.cpu_request, spec.memory_request, spec.extended) == (500, 1_000_000, (("x/y", 3),))


def test_a_bad_quantity_is_left_out_counted_and_named_once(caplog):
    reader = decoder()
    wired = pod(spec={"containers": [container({"cpu": "1 core", "memory": "1Gi"})]})
    with caplog.at_level(logging.WARNING):
        (spec,) = only(wired, into=reader).containers
        only(wired, into=reader)
    assert (spec.cpu_request, spec.memory_request) == (0, 1 << 30)
    assert reader.oddities.count >= 1
    assert [r.getMessage() for r in caplog.records] == [
        "pods: shop/web-1: cpu is left out: '1 core' is no Kubernetes quantity such as 100m, 0.5, 1e3 or 1Gi"
    ]


def test_an_object_with_a_field_of_the_wrong_type_is_left_out_and_its_neighbours_stay(caplog):
    reader = decoder()
    bad = pod(metadata={"name": "bad"}, spec={"hostNetwork": "perhaps"})
    with caplog.at_level(logging.WARNING):
        kept = listed(pod(), bad, None, "not even an object", pod(metadata={"name": "web-2"}), into=reader)
    assert [p.name for p in kept] == ["web-1", "web-2"]
    assert reader.oddities.count == 2
    assert "pods: shop/bad: left out: Expected `bool | null`, got `str` - at `$.spec.hostNetwork`" in caplog.text


@pytest.mark.parametrize("meta", [{"name": None}, {"name": ""}, {"namespace": None}])
def test_an_object_without_a_name_is_left_out(meta):
    reader = decoder()
    assert [p.name for p in listed(pod(metadata=meta), pod(), into=reader)] == ["web-1"]
    assert reader.oddities.count == 1


@pytest.mark.parametrize("wired", [{"metadata": None}, {}, {"metadata": {"name": None}}])
@pytest.mark.parametrize("resource", [NODES, NAMESPACES])
def test_a_node_or_namespace_without_a_name_is_left_out(resource, wired):
    assert listed(wired, resource=resource) == []


@pytest.mark.parametrize("items", [None, []])
def test_a_list_without_items_is_empty(items):
    body = json.dumps({"metadata": None, "items": items}).encode()
    page = decoder().page(body)
    assert (page.objects, page.resource_version, page.continue_token) == ([], "", "")


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"items": {}}', b"\xff\xfe", b'{"items": [{]}'])
def test_an_answer_that_is_no_list_is_an_error_that_quotes_it(body):
    with pytest.raises(KubernetesError, match="the list of pods cannot be read") as refused:
        decoder().page(body)
    assert "https://api:443" in str(refused.value)
    assert "kubeconfig k" in str(refused.value)


def test_nulls_anywhere_are_absences():
    """Every optional field of a full object, one after the other and all at once, replaced by null."""
    whole = {
        "metadata": {
            "name": "web-1",
            "namespace": "shop",
            "uid": "u",
            "labels": {"a": "b"},
            "annotations": {"kubernetes.io/config.hash": "h"},
        },
        "spec": {
            "nodeName": "n",
            "hostNetwork": True,
            "containers": [container({"cpu": "1"}), None],
            "initContainers": [container({"cpu": "1"}, name="s", restartPolicy="Always"), None],
        },
        "status": {
            "phase": "Running",
            "startTime": "2020-03-30T02:22:43Z",
            "containerStatuses": [{"name": "c", "restartCount": 3}, None],
            "initContainerStatuses": [{"name": "s", "restartCount": 1}, None],
        },
    }
    for path in paths(whole):
        if path[-1] not in {"name", "namespace"} and path != ("metadata",):
            assert only(replaced(whole, path)).name == "web-1", path
    kept = only(whole)
    assert kept.restart_counts == (("c", 3), ("s", 1))
    assert kept.config_hash == "h"
    assert kept.start_time_ns == 1585534963 * 10**9


def paths(tree, prefix=()):
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, below in items:
        yield (*prefix, key)
        yield from paths(below, (*prefix, key))


def replaced(tree, path):
    """A copy of `tree` with null at `path`."""
    copy = json.loads(json.dumps(tree))
    at = copy
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = None
    return copy


def test_containers_that_wait_or_have_ended_are_told_from_those_that_run():
    states = {
        "waiting": {"waiting": {"reason": "CrashLoopBackOff"}},
        "ended": {"terminated": {"exitCode": 0}, "waiting": None},
        "running": {"running": {"startedAt": "2020-03-30T02:22:43Z"}},
        "unknown": {},
        "none": None,
    }
    wired = pod(
        spec={"initContainers": [container(name="setup"), container(name="proxy", restartPolicy="Always")]},
        status={
            "containerStatuses": [{"name": name, "state": state} for name, state in states.items()],
            "initContainerStatuses": [{"name": n, "state": states["ended"]} for n in ("setup", "proxy")],
        },
    )
    assert only(wired).not_running == {"waiting", "ended", "proxy"}


def test_only_init_containers_that_keep_running_are_sidecars():
    wired = pod(
        spec={"initContainers": [container(name="setup"), container(name="proxy", restartPolicy="Always")]},
        status={"initContainerStatuses": [{"name": "setup", "restartCount": 9}, {"name": "proxy", "restartCount": 2}]},
    )
    kept = only(wired)
    assert [s.name for s in kept.sidecars] == ["proxy"]
    assert kept.restart_counts == (("proxy", 2),)
    assert kept.containers == ()


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("1970-01-01T00:00:01Z", 10**9),
        ("2020-03-30T02:22:43.250000Z", 1585534963_250000000),
        ("2020-03-30T04:22:43+02:00", 1585534963 * 10**9),
        ("0001-01-01T00:00:00Z", 0),
        ("9999-12-31T23:59:59Z", 0),
        ("2020-03-30T02:22:43", 0),
        ("yesterday", 0),
        (None, 0),
    ],
)
def test_start_times_are_nanoseconds_and_unreadable_ones_absent(text, nanoseconds):
    assert only(pod(status={"startTime": text})).start_time_ns == nanoseconds


def test_a_restart_count_stays_within_its_type():
    assert only(pod(status={"containerStatuses": [{"name": "c", "restartCount": 10**30}]})).restart_counts == (
        ("c", 2**31 - 1),
    )


def test_replicas_share_what_they_have_in_common():
    def replica(n):
        name = {"name": f"web-{n}", "labels": {"app": "web", "tier": "fe"}}
        return pod(metadata=name, spec={"nodeName": "node-one", "containers": [container({"cpu": "1"})]})

    reader = decoder()
    first = only(replica(1), into=reader)
    second = only(replica(2), into=reader)
    assert first.labels is second.labels
    assert first.containers is second.containers
    assert first.containers[0] is second.containers[0]
    assert first.node_name is second.node_name
    assert first.namespace is second.namespace


def test_sharing_forgets_before_it_grows_without_bound(monkeypatch):
    monkeypatch.setattr("collector.kube.build._POOL_LIMIT", 4)
    reader = decoder()
    for n in range(50):
        labels = {"pod": f"web-{n}"}
        wired = pod(metadata={"labels": labels}, spec={"nodeName": f"n{n}", "containers": [container(name=f"c{n}")]})
        assert only(wired, into=reader).labels == labels
    builder = reader._builder
    pools = [builder._texts._known, builder._labels, builder._specs, builder._spec_lists._known]
    assert all(len(pool) <= 4 for pool in pools)


def test_a_node_states_what_it_states():
    wired = {
        "metadata": {"name": "n1", "uid": "u", "labels": {"zone": "a"}, "annotations": {"id": "i-1", "x": None}},
        "spec": {"unschedulable": True, "externalID": "ext"},
        "status": {
            "capacity": {"cpu": "4", "memory": "16419384Ki", "pods": "110"},
            "allocatable": {"cpu": "3500m", "memory": "lots", "ephemeral-storage": "114381692328"},
            "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}, {"type": None}, None],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
            "nodeInfo": {"kubeletVersion": "v1.33.1"},
        },
    }
    kept = only(wired, resource=NODES)
    assert kept.capacity == Resources(cpu=4000, memory=16419384 * 1024, other=(("pods", 110),))
    assert kept.allocatable == Resources(cpu=3500, ephemeral_storage=114381692328)
    assert (kept.unschedulable, kept.external_id, kept.kubelet_port) == (True, "ext", 10250)
    assert kept.annotations == {"id": "i-1", "x": ""}
    assert kept.addresses == (("InternalIP", "10.0.0.1"),)


@pytest.mark.parametrize(
    ("conditions", "ready"),
    [
        (None, None),
        ([{"type": "DiskPressure", "status": "True"}], None),
        ([{"type": "Ready", "status": "True"}], True),
        ([{"type": "Ready", "status": "False"}], False),
        ([{"type": "Ready", "status": "Unknown"}], False),
        ([{"type": "Ready", "status": None}, None], False),
        ([{"type": "Ready", "status": "True"}, {"type": "Ready", "status": "False"}], False),
    ],
)
def test_a_node_is_ready_unless_a_ready_condition_denies_it(conditions, ready):
    wired = {"metadata": {"name": "n1"}, "status": {"conditions": conditions}}
    assert only(wired, resource=NODES).ready is ready


def event(kind, wired):
    return json.dumps({"type": kind, "object": wired}).encode()


def test_watch_lines_become_changes_in_their_order():
    lines = [
        event("ADDED", pod(metadata={"resourceVersion": "8"})),
        event("BOOKMARK", {"metadata": {"resourceVersion": "12"}}),
        event("DELETED", pod(metadata={"resourceVersion": "13"})),
        event("SOMETHING", pod(metadata={"resourceVersion": "14", "name": "other"})),
    ]
    batch = decoder().lines(lines)
    assert [(key, kept and kept.name) for key, kept in batch.changes] == [
        (("shop", "web-1"), "web-1"),
        (("shop", "web-1"), None),
    ]
    assert batch.resource_version == "14"


def test_an_unreadable_object_in_a_watch_is_left_out_and_counted():
    reader = decoder()
    batch = reader.lines([event("ADDED", {"metadata": 5}), event("ADDED", None), event("MODIFIED", pod())])
    assert [key for key, _ in batch.changes] == [("shop", "web-1")]
    assert reader.oddities.count == 2


@pytest.mark.parametrize(
    ("told", "error"),
    [
        ({"code": 410, "reason": "Expired"}, ExpiredError),
        ({"code": 410}, ExpiredError),
        ({"reason": "Gone"}, ExpiredError),
        ({"code": 500, "reason": "InternalError", "message": "etcd"}, KubernetesError),
        ("not a status", KubernetesError),
    ],
)
def test_an_error_event_is_an_error_of_its_kind(told, error):
    with pytest.raises(KubernetesError, match="ended the watch of pods") as raised:
        decoder().lines([event("ERROR", told)])
    assert type(raised.value) is error


def test_a_line_that_is_no_event_is_an_error_that_quotes_it():
    with pytest.raises(KubernetesError, match=r"a line of the watch of pods cannot be read.*<html>"):
        decoder().lines([b"<html>"])


scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5)
)
trees = st.recursive(scalars, lambda t: st.lists(t, max_size=3) | st.dictionaries(st.text(max_size=4), t, max_size=3))
FULL = pod(
    metadata={"labels": {"a": "b"}},
    spec={"nodeName": "n", "containers": [container({"cpu": "1"}, {"memory": "1"})]},
    status={"phase": "Running", "startTime": "2020-03-30T02:22:43Z", "containerStatuses": [{"name": "c"}]},
)
PATHS = list(paths(FULL))


@settings(deadline=None)
@given(st.sampled_from(PATHS), trees)
def test_no_value_anywhere_in_one_pod_harms_its_neighbour_or_the_decoder(path, value):
    broken = replaced(FULL, path)
    at = broken
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    kept = listed(broken, pod(metadata={"name": "neighbour"}))
    assert kept[-1].name == "neighbour"
    assert len(kept) in {1, 2}


@settings(deadline=None)
@given(st.binary(max_size=60) | trees.map(msgspec.json.encode))
def test_no_body_makes_the_decoder_raise_anything_but_its_own_error(body):
    reader = decoder()
    for read in (reader.page, lambda line: reader.lines([line])):
        try:
            read(body)
        except KubernetesError:
            continue


def test_combinations_of_missing_parts_build_an_empty_pod():
    parts = {"spec": {}, "status": {}}
    for present in itertools.product([True, False], repeat=2):
        wired = {"metadata": {"name": "a", "namespace": "b"}}
        wired |= {part: parts[part] for part, there in zip(parts, present, strict=True) if there}
        assert only(wired).containers == ()
