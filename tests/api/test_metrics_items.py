"""The C extension that finds the rows of a list's pods and writes them, held against Python."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.api import jsontext, metrics_items, metrics_protobuf, metrics_rows
from collector.api.metrics_items import columns_of, items, items_plainly
from collector.api.metrics_objects import AGGREGATED, HEAPSTER, PODS
from collector.api.metrics_protobuf import encode_plainly, encoder
from collector.api.metrics_rows import rows_of, rows_plainly
from collector.api.metrics_shown import Shown, nothing
from collector.api.metrics_usage import Usage
from collector.api.metrics_writer import Sheet, Writer
from collector.core.entities import EntityTable
from collector.core.metrics import Kind
from collector.kube.objects import ContainerSpec, Pod

if not metrics_items.AVAILABLE or not metrics_rows.AVAILABLE:
    pytest.fail(
        "collector/api/_objects was not built: install gcc, libc6-dev and Python's headers (make system), "
        "remove .venv/.ready, run make setup",
        pytrace=False,
    )

from collector.api._objects import encode_pods

S = 10**9
VERSIONS = (HEAPSTER, *AGGREGATED)
LAYOUTS = (None, jsontext.HEAPSTER, jsontext.Layout("", "  "))

text = st.one_of(
    st.text("abcz09-.", max_size=12),
    st.text('a"\\<>&/%\n\t\x00\x1f\x7f\x80é\u2028\u2029\ue000\uffff😀\ud800\udfff', max_size=6),
)
label_sets = st.dictionaries(text, text, max_size=3)
int64 = st.integers(-(2**63), 2**63 - 1)
amount = st.one_of(
    st.integers(-3, 1100),
    int64,
    st.builds(
        lambda n, base, power: n * base**power, st.integers(-999, 999), st.sampled_from([1000, 1024]), st.integers(0, 5)
    ),
).filter(lambda n: -(2**63) <= n < 2**63)
time = st.one_of(st.integers(0, 2**63 - 1), st.integers(-(10**18), 2 * S), st.just(2**63 - 1))
window = st.one_of(
    st.integers(0, 3),
    int64,
    st.builds(lambda n, unit: n * unit, st.integers(0, 5000), st.sampled_from([1, 1000, S // 1000, S, 60 * S])),
)


@st.composite
def columns(draw: st.DrawFn, rows: int) -> Usage:
    def column(numbers: st.SearchStrategy[int]) -> np.ndarray:
        return np.array(draw(st.lists(numbers, min_size=rows, max_size=rows)), np.int64)

    optional = [column(amount) if draw(st.booleans()) else None for _ in range(2)]
    known = np.ones(rows, np.bool_)
    power = draw(st.sampled_from([-9, -3]))
    return Usage(known, column(amount), column(amount), column(time), column(window), power, *optional)


@st.composite
def pods_shown(draw: st.DrawFn) -> Shown:
    shared = draw(st.lists(label_sets, min_size=1, max_size=3))
    pods = draw(st.lists(st.builds(Pod, text, text, labels=st.sampled_from(shared)), min_size=1, max_size=6))
    lengths = draw(st.lists(st.integers(1, 4), min_size=len(pods), max_size=len(pods)))
    rows = sum(lengths)
    names = draw(st.lists(text, min_size=rows, max_size=rows))
    return Shown(pods, np.cumsum(lengths), names, draw(columns(rows)))


@given(pods_shown(), st.sampled_from(VERSIONS), st.sampled_from(LAYOUTS), st.sampled_from(["", "12"]))
def test_both_ways_write_the_same_pods(shown, version, layout, object_version):
    writer = Writer(version, PODS, Sheet(layout), 1_790_000_100 * S, object_version)
    assert items(writer)(shown) == items_plainly(writer, shown)


@given(pods_shown())
def test_the_time_told_is_that_of_the_oldest_sample(shown):
    times, start, found = shown.usage.times.tolist(), 0, []
    for end in shown.ends.tolist():
        found.append(min(range(start, end), key=times.__getitem__))
        start = end
    assert shown.oldest().tolist() == found


@given(pods_shown(), st.sampled_from(AGGREGATED), st.sampled_from(["", "12"]))
def test_both_ways_encode_the_same_pods(shown, version, object_version):
    writer = Writer(version, PODS, Sheet(None), 1_790_000_100 * S, object_version)
    stamps = metrics_protobuf._stamps(writer)
    assert encoder(writer)(shown) == encode_plainly(shown, stamps)


def test_labels_are_written_once_for_neighbours_that_share_them(monkeypatch):
    asked = []
    monkeypatch.setattr(Writer, "label_text", lambda _self, labels, _depth: asked.append(labels) or "{}")
    web, other = {"app": "web"}, {"app": "other"}
    pods = [Pod("team", f"p{n}", labels=labels) for n, labels in enumerate((web, web, {}, web, other, other))]
    one = np.ones(len(pods), np.int64)
    shown = Shown(pods, np.arange(1, 7), ["c"] * 6, Usage(one > 0, one, one, one, one, -9))
    items(Writer(AGGREGATED[1], PODS, Sheet(None), 0))(shown)
    assert asked == [web, web, other]


def test_encoded_labels_are_those_of_each_pod():
    web, other = {"b": "1", "a": "é<\ud800>"}, {"app": "other"}
    pods = [Pod("team", f"p{n}", labels=labels) for n, labels in enumerate((web, web, {}, web, other, {}))]
    one = np.ones(len(pods), np.int64)
    shown = Shown(pods, np.arange(1, 7), ["c"] * 6, Usage(one > 0, one, one, one, one, -9))
    writer = Writer(AGGREGATED[1], PODS, Sheet(None), 0)
    assert encoder(writer)(shown) == encode_plainly(shown, metrics_protobuf._stamps(writer))


@pytest.mark.parametrize(
    ("labels", "error"), [({"a": 1}, TypeError), ({1: "a"}, TypeError), (None, AttributeError), ([], AttributeError)]
)
def test_labels_that_are_none_are_an_error(labels, error):
    shown = replace(one_pod(), objects=[Pod("team", "p", labels=labels)])
    with pytest.raises(error):
        encode_pods(shown.objects, shown.names, columns_of(shown, shown.starts), -9, b"", str)


def test_nothing_is_written_of_nothing():
    assert items(Writer(AGGREGATED[1], PODS, Sheet(None), 0))(nothing()) == b""
    assert not nothing().oldest().size


def one_pod() -> Shown:
    one = np.ones(2, np.int64)
    return Shown([Pod("team", "p")], np.array([2]), ["a", "b"], Usage(one > 0, one, one, one, one, -9))


def changed(**columns: object) -> Shown:
    shown = one_pod()
    return replace(shown, usage=replace(shown.usage, **columns))


@pytest.mark.parametrize(
    ("shown", "error"),
    [
        (replace(one_pod(), ends=np.array([3])), IndexError),
        (replace(one_pod(), ends=np.array([-1])), IndexError),
        (replace(one_pod(), ends=np.array([1, 2])), ValueError),
        (replace(one_pod(), names=["a"]), ValueError),
        (replace(one_pod(), names=["a", 1]), TypeError),
        (replace(one_pod(), objects=[object()]), AttributeError),
        (changed(cpu=np.ones(3, np.int64)), ValueError),
        (changed(memory=np.ones((2, 1), np.int64)), ValueError),
        (changed(swap=np.ones(1, np.int64)), ValueError),
        (changed(cpu_power=3), ValueError),
        (changed(cpu_power=-2), ValueError),
    ],
)
def test_what_does_not_fit_is_an_error(shown, error):
    # As a HEAPSTER object the first row tells the time, whatever `ends` holds.
    with pytest.raises(error):
        items(Writer(HEAPSTER, PODS, Sheet(None), 0))(shown)
    columns = columns_of(shown, shown.starts)
    with pytest.raises(error):
        encode_pods(shown.objects, shown.names, columns, shown.usage.cpu_power, b"", str)


def test_an_error_of_what_is_asked_is_told(monkeypatch):
    writer = Writer(AGGREGATED[1], PODS, Sheet(None), 0)
    monkeypatch.setattr(writer, "label_text", lambda _labels, _depth: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        items(writer)(replace(one_pod(), objects=[Pod("team", "p", labels={"a": "b"})]))
    monkeypatch.setattr(metrics_items, "escaped", lambda _text: b"")
    with pytest.raises(TypeError):
        items(writer)(replace(one_pod(), names=["<", ">"]))


names = st.sampled_from(["a", "b", "c", "é", "\ud800"])
specs = st.lists(names.map(ContainerSpec), max_size=3).map(tuple)


@given(
    st.sets(st.tuples(names, names, names)),
    st.lists(st.builds(Pod, names, names, containers=specs, sidecars=specs)),
    st.sampled_from(VERSIONS),
)
def test_both_ways_find_the_same_rows(known, pods, version):
    entities = EntityTable()
    node = entities.node_row("node")
    for namespace, pod, container in known:
        entities.child_row(Kind.POD_CONTAINER, entities.pod_row(namespace, pod, node), container, node)
    found, plain = rows_of(entities, pods, version), rows_plainly(entities, pods, version)
    assert found[0] == plain[0]
    assert [each.tolist() for each in found[1:]] == [each.tolist() for each in plain[1:]]
