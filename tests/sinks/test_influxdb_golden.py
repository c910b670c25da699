"""The lines of the Go original's batches are the lines that it sent itself."""

import re
from dataclasses import replace

import pytest

from collector.core.entities import EntityTable
from collector.core.metrics import MetricTable
from sinks.influxdb.encoder import LineEncoder
from sinks.influxdb.text import float_text, float_texts
from tests.sinks.exact import exact
from tests.sinks.golden import SOURCES, build, recorded, written
from tests.sinks.lines import parse_line

VALUE = re.compile(r"(.* value=)(\S+)( \d+)")


@pytest.mark.parametrize("source", SOURCES)
def test_a_recorded_batch_becomes_the_same_metric_sets(source: str) -> None:
    entities, metrics = EntityTable(), MetricTable()
    for step in recorded(source):
        sets = build(step, entities, metrics).metric_sets()
        assert sets.keys() == step["sets"].keys()
        for key, expected in step["sets"].items():
            assert sets[key].labels == expected["labels"], key
            assert sets[key].metrics == expected["metrics"], key
            # The older source lists disks first: the order between groups is not kept.
            assert sorted((one.name, *one.labels.values(), one.value) for one in sets[key].labeled) == sorted(
                (one["name"], *one["labels"].values(), one["value"]) for one in expected["labeled"]
            ), key


@pytest.mark.parametrize("source", SOURCES)
def test_the_lines_of_every_step_are_those_heapster_sent(source: str) -> None:
    entities, metrics, encoder = EntityTable(), MetricTable(), LineEncoder()
    for step, expected in zip(recorded(source), written(source), strict=True):
        batch = build(step, entities, metrics)
        chunks = list(encoder.encode(batch))
        ours = sorted(line for chunk in chunks for line in chunk.body.decode().splitlines())
        assert sum(chunk.points for chunk in chunks) == len(ours) == len(expected)
        for line, heapsters in zip(ours, expected, strict=True):
            found, wanted = VALUE.fullmatch(line), VALUE.fullmatch(heapsters)
            assert found is not None
            assert wanted is not None
            assert (found[1], found[3]) == (wanted[1], wanted[3])
            if wanted[2].endswith("i"):
                assert found[2] == wanted[2]
            else:  # the recorded batches are a log's: floats with six decimals
                assert abs(float(found[2]) - float(wanted[2])) <= 5.1e-7


@pytest.mark.parametrize("source", SOURCES)
def test_every_float_heapster_sent_is_written_as_heapster_wrote_it(source: str) -> None:
    texts = [VALUE.fullmatch(line)[2] for lines in written(source) for line in lines]  # type: ignore[index]
    floats = [text for text in texts if not text.endswith("i")]
    assert len(floats) > 1_000
    assert float_texts([float(text) for text in floats]) == floats
    assert [float_text(float(text)) for text in floats] == floats


@pytest.mark.parametrize("source", SOURCES)
def test_with_fields_splits_the_name_and_changes_nothing_else(source: str) -> None:
    step = recorded(source)[1]
    batch = build(step, EntityTable(), MetricTable())
    plain = [parse_line(line) for chunk in LineEncoder().encode(batch) for line in chunk.body.decode().splitlines()]
    split = [
        parse_line(line)
        for chunk in LineEncoder(with_fields=True).encode(batch)
        for line in chunk.body.decode().splitlines()
    ]
    expected = {}
    for line in plain:
        measurement, _, field = line.measurement.partition("/")
        expected[measurement, line.tags, line.timestamp, field or "value"] = line.fields["value"]
    found = [(line.measurement, line.tags, line.timestamp, *field) for line in split for field in line.fields.items()]
    assert len(found) == len(plain)
    assert {(*key, value) for key, value in expected.items()} == set(found)
    assert len({(line.key, line.timestamp) for line in split}) == len(split), "fields of one point are in one line"
    assert {line.measurement for line in split} <= {
        "cpu", "disk", "ephemeral_storage", "filesystem", "memory", "network", "restart_count", "uptime",
    }  # fmt: skip


@pytest.mark.parametrize("source", SOURCES)
def test_counters_can_be_left_out(source: str) -> None:
    batch = build(recorded(source)[1], EntityTable(), MetricTable())
    kept, all_names = (
        {line.partition(",")[0] for chunk in encoder.encode(batch) for line in chunk.body.decode().splitlines()}
        for encoder in (LineEncoder(disable_counters=True), LineEncoder())
    )
    counters = {"cpu/usage", "memory/page_faults", "memory/major_page_faults", "network/rx", "network/rx_errors"}
    counters |= {"network/tx", "network/tx_errors", "disk/io_read_bytes", "disk/io_write_bytes"}
    assert all_names - kept == counters & all_names
    assert {"uptime", "restart_count", "cpu/usage_rate"} <= kept


@pytest.mark.parametrize("source", SOURCES)
def test_with_all_their_digits_the_lines_are_heapsters_to_the_byte(source: str) -> None:
    entities, metrics, encoder = EntityTable(), MetricTable(), LineEncoder()
    for step, expected in zip(exact(source), written(source), strict=True):
        batch = build(step, entities, metrics)
        assert sorted(b"".join(chunk.body for chunk in encoder.encode(batch)).decode().split("\n")[:-1]) == expected


def test_pod_ids_become_a_tag_when_asked_for_and_change_nothing_else() -> None:
    batch = build(recorded("summary")[1], EntityTable(), MetricTable())
    ids = {
        (entity.labels["namespace_name"], entity.labels["pod_name"]): entity.labels["pod_id"]
        for entity in batch.metric_sets().values()
        if "pod_name" in entity.labels
    }
    plain, tagged = (
        [parse_line(line) for chunk in encoder.encode(batch) for line in chunk.body.decode().splitlines()]
        for encoder in (LineEncoder(), LineEncoder(with_pod_id=True))
    )
    for one, other in zip(plain, tagged, strict=True):
        tags = dict(one.tags)
        if "pod_name" in tags:
            tags["pod_id"] = ids[tags["namespace_name"], tags["pod_name"]]
        assert other == replace(one, tags=tuple(sorted(tags.items())))
    assert sum("pod_id" in dict(line.tags) for line in tagged) > 500
