"""cAdvisor's text: the fast reader against Prometheus' own parser, the decoder against a slow one, on every file."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.core.metrics import DISK, INDEX, Clock
from collector.errors import DecodeError
from collector.sources.cadvisortext import LACKING_IN_SUMMARY, decode_text
from collector.sources.promtext import MAX_FAULTS, read_labels, read_text
from tests.sources.observed import batch_of, observed
from tests.sources.text_reference import ALL, Sample, reference, samples

CAPTURES = Path(__file__).parents[1] / "captures"
TEXTS = sorted(path.name for path in (CAPTURES / "cadvisor-text").glob("*.txt.gz"))
READ_AT = 1_900_000_000_000_000_000


def text_of(name: str) -> bytes:
    return gzip.decompress((CAPTURES / "cadvisor-text" / name).read_bytes())


def fast(body: bytes, families: tuple[str, ...] = ALL) -> list[Sample]:
    found = read_text(body, families)
    assert found.faults == []
    return [
        Sample(family, tuple(sorted(found.label_sets[label].items())), value, time)
        for family, series in found.families.items()
        for label, value, time in zip(series.labels, series.values, series.times, strict=True)
    ]


def comparable(found: list[Sample]) -> list[tuple[object, ...]]:
    """NaN equals NaN; the order of families is not compared."""
    return sorted((each.family, each.labels, repr(each.value), each.time_ms) for each in found)


@pytest.mark.parametrize("name", TEXTS)
def test_every_recording_is_read_as_prometheus_reads_it(name: str) -> None:
    body = text_of(name)
    assert len(TEXTS) == 14
    assert comparable(fast(body)) == comparable(samples(body, ALL))


@pytest.mark.parametrize("name", TEXTS)
def test_every_recording_decodes_to_what_the_slow_decoder_finds(name: str) -> None:
    sample = decode_text(text_of(name), "node-a", READ_AT)
    assert sample.faults == []
    found = observed(batch_of(sample))
    wanted = reference(text_of(name), "node-a")
    assert found.keys() == wanted.keys()
    for key, entity in wanted.items():
        ours = {metric: value for metric, value in found[key].metrics.items() if metric != "uptime"}
        assert ours.keys() == entity.metrics.keys(), key
        for metric, value in entity.metrics.items():
            # Whole nanoseconds of a float of seconds: the last one is a matter of rounding.
            assert abs(ours[metric] - value) <= (1 if metric.startswith("cpu/") else 0), (key, metric)
        assert sorted(found[key].labeled) == entity.labeled, key


names = st.sampled_from(["container_memory_cache", "container_cpu_load_average_10s", "machine_cpu_cores", "up"])
# Names that begin with two underscores are reserved, and the reference refuses them.
label_names = st.from_regex(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]{0,8}", fullmatch=True)
values = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]) | st.sampled_from('\\"\n{}, ='), max_size=12
)
numbers = st.floats() | st.integers(0, 2**60).map(float)


def written(name: str, labels: dict[str, str], value: float, time: int | None, *, spaced: bool) -> str:
    escaped = {key: text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") for key, text in labels.items()}
    pairs = (", " if spaced else ",").join(f'{key}="{text}"' for key, text in escaped.items())
    number = {"nan": "NaN", "inf": "+Inf", "-inf": "-Inf"}.get(repr(value), repr(value))
    return f"{name}{{{pairs}}} {number}" + ("" if time is None else f" {time}")


lines = st.builds(
    written,
    names,
    st.dictionaries(label_names, values, min_size=1, max_size=4),
    numbers,
    st.none() | st.integers(1, 2**43),
    spaced=st.booleans(),
)


@given(
    st.lists(lines | st.sampled_from(["", "# HELP up {odd} one", "# TYPE up gauge", "go_goroutines 7"]), max_size=12)
)
def test_whatever_gos_encoder_writes_is_read_as_prometheus_reads_it(text: list[str]) -> None:
    body = ("\n".join(text) + "\n").encode()
    wanted = ("container_memory_cache", "container_cpu_load_average_10s")
    assert comparable(fast(body, wanted)) == comparable(samples(body, wanted))


@given(st.binary(max_size=200) | st.lists(lines).map(lambda text: "\n".join(text).encode()[:-3]))
def test_no_bytes_do_more_than_cost_their_line(body: bytes) -> None:
    good = b'container_memory_cache{id="/"} 7 1700000000000\n'
    found = read_text(good + body + b"\n" + good, ["container_memory_cache"])
    series = found.families["container_memory_cache"]
    assert (series.values[0], series.values[-1]) == (7, 7)
    assert len(series.labels) == len(series.values) == len(series.times)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('container_memory_cache{id="/a"} 1_000', "an underscore is no part of a number"),
        ('container_memory_cache{id="/a"} x', "no number"),
        ('container_memory_cache{id="/a"}', "no value"),
        ('container_memory_cache{id="/a"} 1 2 3', "too much"),
        ("container_memory_cache{id=/a} 1", "no quotes"),
        ('container_memory_cache{id="/a" pod="b"} 1', "no comma"),
    ],
)
def test_a_line_that_cannot_be_read_costs_that_line_and_is_named(line: str, why: str) -> None:
    body = f'container_memory_cache{{id="/"}} 5\n{line}\n'.encode()
    sample = decode_text(body, "node-a", READ_AT)
    assert len(sample.faults) == 1, why
    assert "container_memory_cache" in sample.faults[0]
    assert observed(batch_of(sample))["node", "node-a"].metrics["memory/cache"] == 5


def test_only_so_many_faults_are_described() -> None:
    found = read_text(b'container_memory_cache{id="/"} x\n' * 100, ["container_memory_cache"])
    assert len(found.faults) == MAX_FAULTS + 1
    assert found.faults[-1] == "84 more lines"


def test_escapes_of_label_values_are_those_of_the_format() -> None:
    assert read_labels(rb'a="\\n",b="\"\n",c="x\\\"y"') == {"a": "\\n", "b": '"\n', "c": 'x\\"y'}
    assert read_labels(b'a="\xff"') is None


def test_the_time_of_a_line_is_the_clock_of_its_counter() -> None:
    body = b"""\
container_cpu_usage_seconds_total{cpu="total",id="/"} 1.5 1700000000123
container_memory_usage_bytes{id="/"} 7 1700000000456
container_fs_reads_bytes_total{device="sda",id="/"} 7 1700000000789
container_start_time_seconds{id="/"} 1.6e+09
"""
    times = decode_text(body, "node-a", READ_AT).node_block.times[0]
    assert times[Clock.CPU] == times[Clock.SCRAPE] == 1_700_000_000_123_000_000
    assert times[Clock.MEMORY] == 1_700_000_000_456_000_000
    assert times[Clock.DISK] == 1_700_000_000_789_000_000
    assert times[Clock.START] == 1_600_000_000_000_000_000
    assert times[Clock.NETWORK] == 0


def test_without_a_time_the_moment_of_reading_is_the_clock() -> None:
    body = b'container_memory_usage_bytes{id="/"} 7\n'
    assert decode_text(body, "node-a", READ_AT).node_block.times[0, Clock.MEMORY] == READ_AT


def test_processors_and_interfaces_are_added_up_and_total_counts_alone() -> None:
    body = b"""\
container_cpu_usage_seconds_total{cpu="cpu00",id="/"} 1
container_cpu_usage_seconds_total{cpu="cpu01",id="/"} 2
container_cpu_usage_seconds_total{cpu="cpu00",id="/a"} 1
container_cpu_usage_seconds_total{cpu="total",id="/a"} 5
container_network_receive_bytes_total{id="/",interface="eth0"} 10
container_network_receive_bytes_total{id="/",interface="eth1"} 20
container_network_transmit_bytes_total{id="/",interface="eth0"} 10
container_network_transmit_bytes_total{id="/",interface="eth1"} NaN
"""
    found = observed(batch_of(decode_text(body, "node-a", READ_AT)))
    assert found["node", "node-a"].metrics == {"cpu/usage": 3_000_000_000, "network/rx": 30}
    assert found["sys_container", "node-a", "a"].metrics == {"cpu/usage": 5_000_000_000}


def test_what_is_no_count_is_absent() -> None:
    body = b"""\
container_memory_usage_bytes{id="/"} -1
container_memory_rss{id="/"} 1e19
container_memory_cache{id="/"} +Inf
container_memory_working_set_bytes{id="/"} 0
"""
    assert observed(batch_of(decode_text(body, "node-a", READ_AT)))["node", "node-a"].metrics == {
        "memory/working_set": 0
    }


def docker(family: str, container: str, cgroup: str, value: int) -> bytes:
    pod = 'name="k8s_x",namespace="default",pod_name="web"'
    return f'{family}{{container_name="{container}",id="/kubepods/pod1/{cgroup}",{pod}}} {value}\n'.encode()


DOCKER = b"".join(
    [
        docker("container_memory_usage_bytes", "POD", "a", 1),
        docker("container_memory_usage_bytes", "nginx", "b", 7),
        docker("container_memory_usage_bytes", "nginx", "c", 9),
        docker("container_start_time_seconds", "nginx", "b", 200),
        docker("container_start_time_seconds", "nginx", "c", 100),
        docker("container_network_receive_bytes_total", "POD", "a", 5),
    ]
)


def test_with_docker_the_pause_container_is_a_share_of_the_pod_and_of_two_containers_the_later_counts() -> None:
    sample = decode_text(DOCKER, "node-a", READ_AT)
    assert sample.pod_shares is not None
    assert sample.pod_shares.tolist() == [True]
    found = observed(batch_of(sample))
    assert found["pod", "default", "web"].metrics == {"memory/usage": 1, "network/rx": 5}
    assert found["pod_container", "default", "web", "nginx"].metrics["memory/usage"] == 7


def test_with_containerd_the_pod_has_its_own_cgroup_and_the_network_of_its_sandbox() -> None:
    uid = "0fed8c2a-b8d1-406d-84a1-cfb2f927d61f"
    pod = 'namespace="default",pod="web"'
    slice_ = f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{uid.replace('-', '_')}.slice"
    body = f"""\
container_memory_usage_bytes{{container="",id="{slice_}",name="",{pod}}} 100
container_memory_usage_bytes{{container="",id="{slice_}/s",name="s",{pod}}} 1
container_network_receive_bytes_total{{container="",id="{slice_}/s",interface="eth0",name="s",{pod}}} 5
""".encode()
    sample = decode_text(body, "node-a", READ_AT)
    assert sample.pod_shares is not None
    assert sample.pod_shares.tolist() == [False]
    assert sample.pod_uids == [uid]
    assert observed(batch_of(sample))["pod", "default", "web"].metrics == {"memory/usage": 100, "network/rx": 5}


def test_cgroups_can_be_filtered_and_that_costs_nothing_else() -> None:
    body = text_of("live-v1.36.2-1.txt.gz")
    everything = observed(batch_of(decode_text(body, "node-a", READ_AT)))
    some = observed(batch_of(decode_text(body, "node-a", READ_AT, keep=lambda name: name == "kubepods")))
    assert [key for key in some if key[0] == "sys_container"] == [("sys_container", "node-a", "kubepods")]
    assert some == {key: entity for key, entity in everything.items() if key[0] != "sys_container" or key in some}


@pytest.mark.parametrize("body", [b"", b"{}", b"go_goroutines 7\n", b'up{job="x"} 1\n'])
def test_a_text_without_any_cgroup_is_refused(body: bytes) -> None:
    with pytest.raises(DecodeError, match="no cgroup"):
        decode_text(body, "node-a", READ_AT)


@pytest.mark.parametrize("version", ["v1.20.2", "v1.36.2"])
def test_the_text_says_the_same_as_the_summary_of_the_same_kubelet(version: str) -> None:
    """The two were read within seconds of each other; where the sample is the same one, so is the value."""
    node = json.loads((CAPTURES / "summary" / f"live-{version}-summary-1.json").read_bytes())
    found = observed(batch_of(decode_text(text_of(f"live-{version}-1.txt.gz"), "node-a", READ_AT)))
    equal = 0
    for pod in node["pods"]:
        for container in pod["containers"]:
            key = ("pod_container", pod["podRef"]["namespace"], pod["podRef"]["name"], container["name"])
            ours, theirs = found[key].metrics, container["cpu"]["usageCoreNanoSeconds"]
            assert abs(ours["cpu/usage"] - theirs) < 0.1 * theirs + 2_000_000_000, key
            equal += ours["cpu/usage"] == theirs
        key = ("pod", pod["podRef"]["namespace"], pod["podRef"]["name"])
        assert abs(found[key].metrics["memory/usage"] - pod["memory"]["usageBytes"]) < 4 << 20, key
    assert equal > 0


def test_less_can_be_asked_for() -> None:
    sample = decode_text(text_of(TEXTS[-1]), "node-a", READ_AT, plain=LACKING_IN_SUMMARY, groups=(DISK,))
    wanted = {"cpu/load", "memory/cache", "cpu/throttled_time", "cpu/cfs_periods", "cpu/throttled_periods"}
    assert {INDEX[name] for name in wanted} == set(sample.pod_block.metrics)
    assert all(block.group is DISK for block in sample.labeled)
    assert np.count_nonzero(sample.container_block.values >= 0) > 0
