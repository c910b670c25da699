"""The light endpoint's text: real answers, made-up ones and broken ones, judged by prometheus-client's parser."""

import re
from decimal import ROUND_HALF_EVEN, Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from collector.core.light import CPU, MEMORY, START, SWAP, TIME, LightSample
from collector.errors import DecodeError
from collector.sources import resource, resourceforms
from collector.sources.lightsummary import from_summary
from collector.sources.resource import decode_resource
from collector.sources.summary import decode_summary
from tests.sources.captures import CAPTURES, EVERYTHING

READ_AT = 1_800_000_000_123_000_000
RECORDED = sorted(path.name for path in (CAPTURES / "metrics-resource").glob("*.txt"))
UNMEASURED = {"k8s-1.28-swap-underflow-kep2400.txt", "probes-k8s-datadog.txt"}
"""Without any CPU sample."""
OF_CONTAINERS = {
    "container_cpu_usage_seconds_total": CPU,
    "container_memory_working_set_bytes": MEMORY,
    "container_start_time_seconds": START,
    "container_swap_usage_bytes": SWAP,
}


def recorded(name: str) -> bytes:
    return (CAPTURES / "metrics-resource" / name).read_bytes()


def told(sample: LightSample, names=None) -> dict[tuple[str, ...], tuple[int, ...]]:
    """(): the node, (namespace, pod, container): a container -> CPU, memory, swap, time, start."""
    keys = [(), *(sample.names if names is None else names)]
    return dict(zip(keys, map(tuple, sample.values.T.tolist()), strict=True))


def nanoseconds(text: str) -> int:
    value = Decimal(text)
    known = value.is_finite() and 0 <= value < 9_223_372_035
    return int(value.scaleb(9).to_integral_value(ROUND_HALF_EVEN)) if known else -1


def reference(body: bytes) -> dict[tuple[str, ...], tuple[int, ...]]:
    """The same, by the obvious reader: prometheus-client for labels, decimal arithmetic for seconds."""
    texts = re.findall(rb"^([a-z_]+(?:\{.*\})?) (\S+)(?: \d+)?$", body, re.MULTILINE)
    exact = {key: text.decode() for key, text in texts}
    values: dict[tuple[str, ...], dict[int, int]] = {(): {}}
    order: list[tuple[str, ...]] = []
    samples = [s for f in text_string_to_metric_families(body.decode()) for s in f.samples]
    for sample in samples:
        labels = sample.labels
        field = OF_CONTAINERS.get(sample.name)
        key: tuple[str, ...] = tuple(labels.get(name, "") for name in ("namespace", "pod", "container"))
        if sample.name.startswith("node_"):
            key, field = (), OF_CONTAINERS.get("container_" + sample.name.removeprefix("node_"))
        if field is None:
            continue
        text = exact[_series(sample.name, labels)]
        number = float(text)
        whole = int(number) if 0 <= number < 2**63 else -1
        found = values.setdefault(key, {})
        found[field] = nanoseconds(text) if field == CPU else round(number, 7) if field == START else whole
        if field == CPU:
            found[TIME] = round(sample.timestamp * 1000) * 1_000_000 if sample.timestamp else READ_AT // 10**6 * 10**6
            if key and key not in order:
                order.append(key)
    shaped = {}
    for key in [(), *order]:
        found = values[key]
        cpu = found.get(CPU, -1)
        time = found.get(TIME, 0) if cpu >= 0 else 0
        shaped[key] = (cpu, found.get(MEMORY, -1), found.get(SWAP, -1), time, round(found.get(START, 0) * 1e9))
    return shaped


def _series(name: str, labels: dict[str, str]) -> bytes:
    inside = ",".join(f'{key}="{value}"' for key, value in sorted(labels.items()))
    return (f"{name}{{{inside}}}" if labels else name).encode()


def same(sample: dict, expected: dict) -> None:
    assert list(sample) == list(expected)
    for key, values in sample.items():
        assert values[:START] == expected[key][:START], key
        assert abs(values[START] - expected[key][START]) < 1_000, key  # what a float64 of seconds can hold


@pytest.mark.parametrize("name", [name for name in RECORDED if name not in UNMEASURED])
def test_every_recorded_answer_is_read_as_the_obvious_reader_reads_it(name):
    body = recorded(name)
    assert resource._sections(body) is not None, "a real answer takes the fast way"
    same(told(decode_resource(body, "node-a", READ_AT)), reference(body))


@pytest.mark.parametrize("name", [name for name in RECORDED if name not in UNMEASURED])
def test_line_by_line_the_same_is_read(name):
    body = recorded(name)
    shuffled = b"".join(sorted(line for line in body.splitlines(keepends=True) if not line.startswith(b"#")))
    assert resource._sections(shuffled) is None
    ours = told(decode_resource(shuffled, "node-a", READ_AT))
    same({key: ours[key] for key in reference(body)}, reference(body))


@pytest.mark.parametrize("name", sorted(UNMEASURED))
def test_an_answer_without_any_cpu_sample_is_none(name):
    with pytest.raises(DecodeError, match="no CPU sample"):
        decode_resource(recorded(name), "node-a", READ_AT)


def test_a_swap_value_that_wrapped_below_zero_is_absent():
    body = recorded("k8s-1.28-swap-underflow-kep2400.txt") + b"# TYPE node_cpu_usage_seconds_total counter\n"
    sample = decode_resource(body + b"node_cpu_usage_seconds_total 1 1687950863599\n", "node-a", READ_AT)
    assert told(sample) == {(): (10**9, -1, -1, 1687950863599_000_000, 0)}


@pytest.mark.parametrize("name", ["scrape_error", "resource_scrape_error"])
def test_a_kubelet_that_could_not_read_its_statistics_says_so(name):
    body = f"# HELP {name} [ALPHA] 1 if there was an error\n# TYPE {name} gauge\n{name} 1\n".encode()
    with pytest.raises(DecodeError, match=rf"could not read its own statistics \({name} is not 0\)"):
        decode_resource(body, "node-a", READ_AT)


def test_what_was_known_before_saves_work_and_changes_nothing():
    first, second = recorded("v1.36.2-1.txt"), recorded("v1.36.2-2.txt")
    before = decode_resource(first, "node-a", READ_AT)
    again = decode_resource(second, "node-a", READ_AT, before.layout)
    assert again.layout is before.layout
    assert again.names is None
    assert told(again, before.names) == told(decode_resource(second, "node-a", READ_AT))
    other = decode_resource(recorded("v1.20.2-1.txt"), "node-a", READ_AT, before.layout)
    assert other.layout is not before.layout
    assert told(other) == told(decode_resource(recorded("v1.20.2-1.txt"), "node-a", READ_AT))


def test_a_restart_is_seen_though_no_name_changed():
    first = recorded("v1.36.2-1.txt")
    restarted = first.replace(b"1.7953986796721559e+09", b"1.7953990000000000e+09")
    before = decode_resource(first, "node-a", READ_AT)
    after = decode_resource(restarted, "node-a", READ_AT, before.layout)
    assert told(after)["default", "two-containers", "busy"][START] == 1_795_399_000 * 10**9
    assert told(after) == told(decode_resource(restarted, "node-a", READ_AT))


def text(*lines: str) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


LABELS = '{container="c",namespace="n",pod="p"}'


@pytest.mark.parametrize(
    ("line", "cpu", "time"),
    [
        (f"container_cpu_usage_seconds_total{LABELS} 1.5 7", 1_500_000_000, 7_000_000),
        (f"container_cpu_usage_seconds_total{LABELS} 1.5", 1_500_000_000, READ_AT // 10**6 * 10**6),
        (f"  container_cpu_usage_seconds_total {LABELS}   1.5e-09   7 ", 2, 7_000_000),
        ('container_cpu_usage_seconds_total{pod="p",x="} 9 9 #",namespace="n",container="c",} 0 7', 0, 7_000_000),
        (f"container_cpu_usage_seconds_total{LABELS} 1.234567890123456e+07 7", 12_345_678_901_234_560, 7_000_000),
        (f"container_cpu_usage_seconds_total{LABELS} 9007199.254740993 7", 9_007_199_254_740_993, 7_000_000),
        (f"container_cpu_usage_seconds_total{LABELS} -1 7", -1, 0),
        (f"container_cpu_usage_seconds_total{LABELS} NaN 7", -1, 0),
        (f"container_cpu_usage_seconds_total{LABELS} 1 -7", -1, 0),
        (f"container_cpu_usage_seconds_total{LABELS} 1e300 7", -1, 0),
    ],
)
@pytest.mark.parametrize("form", ["bare", "behind its type"])
def test_any_form_of_a_line_that_prometheus_allows_is_read(line, cpu, time, form):
    node = ("# TYPE node_cpu_usage_seconds_total counter", "node_cpu_usage_seconds_total 3 5")
    head = ("# HELP container_cpu_usage_seconds_total x", "# TYPE container_cpu_usage_seconds_total counter")
    body = text(*(head if form != "bare" else ()), line, *node)
    assert told(decode_resource(body, "node-a", READ_AT)) == {
        (): (3 * 10**9, -1, -1, 5_000_000, 0),
        ("n", "p", "c"): (cpu, -1, -1, time, 0),
    }


@pytest.mark.parametrize(
    "line",
    [
        f"container_cpu_usage_seconds_total{LABELS} 1_0 7",
        f"container_cpu_usage_seconds_total{LABELS} 1 7 8",
        f"container_cpu_usage_seconds_total{LABELS} one 7",
        f"container_cpu_usage_seconds_total{LABELS}",
        f"container_cpu_usage_seconds_total{LABELS} 1 7.5",
        'container_cpu_usage_seconds_total{container="c",namespace="n"} 1 7',
        'container_cpu_usage_seconds_total{container="",namespace="n",pod="p"} 1 7',
        'container_cpu_usage_seconds_total{container="c,namespace="n",pod="p"} 1 7',
        'container_cpu_usage_seconds_total{container="\xff",namespace="n",pod="p" 1 7',
    ],
)
def test_a_line_that_cannot_be_read_costs_that_line(line):
    good = 'container_cpu_usage_seconds_total{container="d",namespace="n",pod="p"} 1 7'
    for lines in ((line, good), (good, line)):
        body = text("# TYPE container_cpu_usage_seconds_total counter", *lines)
        assert told(decode_resource(body, "node-a", READ_AT)) == {
            (): (-1, -1, -1, 0, 0),
            ("n", "p", "d"): (10**9, -1, -1, 7_000_000, 0),
        }


def test_families_may_have_other_containers_and_orders():
    def row(family: str, container: str, value: str) -> str:
        return f'container_{family}{{container="{container}",namespace="n",pod="p"}} {value}'

    body = text(
        "# TYPE container_cpu_usage_seconds_total counter",
        *(row("cpu_usage_seconds_total", c, f"{i} {100 + i}") for i, c in enumerate("abc")),
        "# TYPE container_memory_working_set_bytes gauge",
        *(row("memory_working_set_bytes", c, f"{i} 1") for i, c in enumerate("cxa")),
        "# TYPE container_start_time_seconds gauge",
        *(row("start_time_seconds", c, f"{i}") for i, c in enumerate("yba", 5)),
        "# TYPE container_swap_usage_bytes gauge",
        *(row("swap_usage_bytes", c, "0 1") for c in "b"),
    )
    assert resource._sections(body) is not None
    sample = decode_resource(body, "node-a", READ_AT)
    assert list(told(sample).values())[1:] == [
        (0, 2, -1, 100_000_000, 7 * 10**9),
        (10**9, -1, 0, 101_000_000, 6 * 10**9),
        (2 * 10**9, 0, -1, 102_000_000, 0),
    ]


@given(
    st.lists(
        st.tuples(
            st.integers(0, 2**62), st.integers(0, 2**53), st.integers(0, 2**40), st.sampled_from([0, 0, 1, 2**30])
        ),
        min_size=1,
        max_size=9,
    ),
    st.randoms(use_true_random=False),
)
def test_what_a_kubelet_prints_is_read_back_exactly(rows, random):
    """Numbers as Go prints them: the shortest text of the float64."""

    def go(value: float) -> str:
        return repr(value) if random.random() < 0.5 else f"{Decimal(repr(value)):e}"

    lines: dict[str, list[str]] = {name: [] for name in OF_CONTAINERS}
    expected = {}
    for i, (cpu, memory, start, swap) in enumerate(rows):
        labels = f'{{container="c{i}",namespace="n",pod="p"}}'
        seconds = go(cpu / 1e9)
        lines["container_cpu_usage_seconds_total"].append(f"{labels} {seconds} {1000 + i}")
        lines["container_memory_working_set_bytes"].append(f"{labels} {go(float(memory))} {1000 + i}")
        lines["container_start_time_seconds"].append(f"{labels} {go(start / 1e3)}")
        lines["container_swap_usage_bytes"].append(f"{labels} {swap} {1000 + i}")
        expected["n", "p", f"c{i}"] = (nanoseconds(seconds), memory, swap, (1000 + i) * 10**6)
        if cpu < 2**52:
            assert expected["n", "p", f"c{i}"][0] == cpu  # nothing is lost on the way through a float64
    body = "".join(
        f"# HELP {name} text\n# TYPE {name} gauge\n" + "".join(f"{name}{line}\n" for line in found)
        for name, found in lines.items()
    ).encode()
    sample = told(decode_resource(body, "node-a", READ_AT))
    del sample[()]
    assert {key: values[:START] for key, values in sample.items()} == expected


@pytest.mark.parametrize("broken", [b"# TYPE  container_cpu", b"# TYPE container cpu", b"# TYPE container_ cpu"])
def test_a_family_whose_name_is_not_that_of_its_samples_is_read_line_by_line(broken):
    whole = recorded(RECORDED[0])
    mutated = whole.replace(b"# TYPE container_cpu", broken, 1)
    assert mutated != whole
    assert resource._sections(mutated) is None
    assert told(decode_resource(mutated, "node-a", READ_AT)) == told(decode_resource(whole, "node-a", READ_AT))


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(RECORDED), st.data())
def test_whatever_is_done_to_an_answer_both_ways_read_the_same_or_nothing(name, data):
    body = bytearray(recorded(name))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(body) - 1))
        length = data.draw(st.integers(0, 40))
        body[at : at + length] = data.draw(
            st.binary(max_size=6) | st.sampled_from([b"\n", b"}", b"{", b"#", b" 1e400"])
        )
    mutated = bytes(body)
    families = resource._sections(mutated)
    try:
        fast = None if families is None else resource._sampled(families, resource._cut, "node-a", None)
        slow = resource._sampled(resource._plain(mutated, READ_AT), resource._as_read, "node-a", None)
    except DecodeError:
        return
    assert slow is not None
    if fast is not None:
        assert fast.names == slow.names
        assert np.array_equal(fast.values, slow.values)


def test_a_summary_says_what_the_light_endpoint_would_have_said():
    sample = from_summary(decode_summary(EVERYTHING, READ_AT))
    second = 1_767_323_051 * 10**9
    assert sample.node == "node-a"
    assert sample.names[-2:] == [("default", "web-1", "sidecar"), ("default", "web-2", "sidecar")]
    start = 1_767_225_600 * 10**9
    # Of two containers of one name the one that started later comes later: it counts.
    nginx = [values for name, values in zip(sample.names, sample.values.T[1:].tolist(), strict=True) if "nginx" in name]
    assert nginx[:2] == [[41, 43, -1, second, start]] * 2
    assert nginx[2:] == [[42, 43, -1, second, start + 10**9]] * 2
    assert told(sample)[()] == (10**15, 6, -1, 1_767_323_045 * 10**9, 0)
    again = from_summary(decode_summary(EVERYTHING, READ_AT), sample.layout)
    assert again.layout is sample.layout
    assert again.names is None


def test_the_extension_is_there():
    assert resourceforms.AVAILABLE, (
        "collector/sources/_resource was not built: make system, remove .venv/.ready, make setup"
    )


def test_without_the_extension_every_answer_is_read_one_by_one(monkeypatch):
    monkeypatch.setattr(resourceforms, "AVAILABLE", False)
    assert resourceforms.decode_new(recorded(RECORDED[0]), "node-a") is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b" 1795398729126\n", b" 179539872912\n"),
        (b" 1795398729126\n", b"  1795398729126\n"),
        (b" 1795398729126\n", b"\n"),
        (b" 2.478991411 ", b" 2.4789914115 "),
        (b" 2.478991411 ", b" -2.478991411 "),
        (b" 2.478991411 ", b" NaN "),
        (b" 2.478991411 ", b" 1e300 "),
        (b'container="busy"', b'container=""'),
        (b"# TYPE container_cpu", b"# EOF\n# TYPE container_cpu"),
        (b"_scrape_error 0", b"_scrape_error 1"),
    ],
)
def test_what_is_unlike_a_kubelets_text_is_left_to_the_slower_decoder(old, new):
    whole = recorded("v1.36.2-1.txt")
    before, body = formed(whole), whole.replace(old, new, 1)
    assert before is not None
    assert body != whole
    assert formed(body) is None
    assert resourceforms.decode_forms(["a"], [before.layout], [body]) == (None, [False])


def formed(body: bytes) -> LightSample | None:
    """What the extension reads of an answer of a form it has not met."""
    return resourceforms.decode_new(body, "node-a")


@pytest.mark.parametrize("name", [name for name in RECORDED if name not in UNMEASURED])
def test_real_answers_are_read_many_at_once(name):
    body = recorded(name)
    new = formed(body)
    assert new is not None
    reference_sample = decode_resource(body, "node-a", READ_AT)
    assert new.names == reference_sample.names
    assert np.array_equal(new.values, reference_sample.values)
    group, placed = resourceforms.decode_forms(["a", "b"], [new.layout, new.layout], [body, memoryview(body)])
    assert placed == [True, True]
    assert group is not None
    assert np.array_equal(group.values, np.concatenate([reference_sample.values] * 2, axis=1))


@settings(max_examples=600, deadline=None)
@given(st.sampled_from([name for name in RECORDED if name not in UNMEASURED]), st.data())
def test_whatever_is_done_to_an_answer_the_extension_reads_the_same_or_refuses(name, data):
    whole = recorded(name)
    before = formed(whole)
    assert before is not None
    body = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(body) - 1))
        length = data.draw(st.integers(0, 40))
        some = st.sampled_from([b"\n", b"}", b"{", b"#", b" 1e400", b"7", b"0.", b"e+02", b"-", b" "])
        body[at : at + length] = data.draw(st.binary(max_size=6) | some)
    mutated = bytes(body)
    new = formed(mutated)
    group, placed = resourceforms.decode_forms(["node-a"], [before.layout], [mutated])
    if new is None:
        assert placed == [False]
        return
    expected = decode_resource(mutated, "node-a", READ_AT)
    assert new.names == expected.names
    assert np.array_equal(new.values, expected.values)
    if placed == [True]:
        assert group is not None
        assert new.names == before.names
        assert np.array_equal(group.values, expected.values)


def test_a_group_has_those_whose_containers_are_as_they_were():
    first, second = recorded("v1.36.2-1.txt"), recorded("v1.36.2-2.txt")
    before = formed(first)
    assert before is not None
    restarted = second.replace(b"1.7953986796721559e+09", b"1.7953990000000000e+09")
    group, placed = resourceforms.decode_forms(
        ["a", "b", "c", "d"], [before.layout, before.layout, None, object()], [second, restarted, second, second]
    )
    assert placed == [True, False, False, False]
    assert group is not None
    assert (group.nodes, group.layouts, list(group.sizes)) == (["a"], [before.layout], [1 + len(before.names)])
    assert np.array_equal(group.values, decode_resource(second, "a", READ_AT).values)
    assert resourceforms.decode_forms(["a"], [before.layout], [restarted]) == (None, [False])
