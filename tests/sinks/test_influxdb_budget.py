"""The series budget: never exceeded by new entities, the same ones chosen again, all that is cut accounted for."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.core.batch import DataBatch
from collector.core.contracts import Sink
from collector.core.entities import EntityTable
from collector.core.metrics import FILESYSTEM, INDEX, MetricTable
from sinks.base import SinkUri, build
from sinks.influxdb import InfluxdbSink
from sinks.influxdb.budget import DAY
from sinks.influxdb.encoder import LineEncoder
from sinks.influxdb.options import InfluxdbOptions
from sinks.influxdb.preview import preview
from sinks.influxdb.tags import Tagging
from sinks.manager import SinkManager
from sinks.runner import SpooledSink
from sinks.runner.ledger import SinkLedger
from sinks.spool.spool import SpoolLimits
from tests.servers import Influxd, VictoriaMetrics
from tests.sinks.batches import MINUTE, TIMESTAMP, Cluster
from tests.sinks.lines import Line, parse

Make = Callable[[str], Sink]
OPTIONS = "influxdb:http://localhost:8086?"

POD = 4
"""Series of a pod: three metrics and the rate of one."""
CONTAINER = 6
"""Those, and two of its file system."""
WHOLE = 1 + POD + CONTAINER
"""A namespace with one pod of one container."""


class Spaces:
    """Namespaces whose pods come and go; each pod has one container."""

    def __init__(self) -> None:
        self.entities, self.metrics = EntityTable(), MetricTable()
        self.node = self.entities.node_row("node-a")
        self.ticks = 0

    def batch(self, pods: Iterable[tuple[str, str]], *, rates: bool = True, timestamp: int | None = None) -> DataBatch:
        """A frozen batch of (namespace, pod)."""
        entities = self.entities
        names = list(pods)
        rows = entities.pod_rows([ns for ns, _ in names], [pod for _, pod in names], ["u"] * len(names), self.node)
        containers = entities.container_rows(rows, [1] * len(rows), ["main"] * len(rows), self.node)
        spaces = [entities.namespace_row(name) for name in dict.fromkeys(ns for ns, _ in names)]
        batch = DataBatch(entities, self.metrics, TIMESTAMP + self.ticks * MINUTE if timestamp is None else timestamp)
        self.ticks += 1
        every = np.array([*rows, *containers, self.node], np.int32)
        batch.exists[every] = batch.exists[entities.cluster] = True
        batch.exists[spaces] = True
        ones = np.ones(every.size, np.int64)
        for name in ("cpu/usage", "memory/usage", "memory/rss", *(("cpu/usage_rate",) if rates else ())):
            batch.put(INDEX[name], every, ones)
        batch.put(INDEX["memory/usage"], np.array(spaces, np.int32), np.ones(len(spaces), np.int64))
        values = np.full((len(FILESYSTEM.metrics), len(containers)), -1)
        values[:2] = 5
        root = np.full(len(containers), entities.labels.resource("/"), np.int32)
        batch.labeled[FILESYSTEM.name].append(np.array(containers, np.int32), root, values)
        batch.freeze()
        return batch


def written(encoder: LineEncoder, batch: DataBatch) -> list[Line]:
    return [line for chunk in encoder.encode(batch) for line in parse(chunk.body)]


def by_space(lines: Sequence[Line]) -> dict[str, set[object]]:
    found: dict[str, set[object]] = {}
    for line in lines:
        found.setdefault(dict(line.tags).get("namespace_name", ""), set()).add(line.key)
    return found


def pods_of(lines: Sequence[Line], kind: str = "pod") -> set[str]:
    return {dict(line.tags)["pod_name"] for line in lines if dict(line.tags)["type"] == kind}


def named(*names: str, space: str = "a") -> list[tuple[str, str]]:
    return [(space, name) for name in names]


def test_within_the_budget_nothing_changes() -> None:
    cluster = Spaces()
    batch = cluster.batch([*named("1", "2"), *named("3", space="b")])
    plain, frugal = LineEncoder(), LineEncoder(series_budget=2 * WHOLE - 1)
    assert [chunk.body for chunk in plain.encode(batch)] == [chunk.body for chunk in frugal.encode(batch)]
    assert frugal.cut == (0, 0)


def test_beyond_it_whole_entities_are_left_out_by_name(caplog: pytest.LogCaptureFixture) -> None:
    cluster, encoder = Spaces(), LineEncoder(series_budget=WHOLE + POD)
    batch = cluster.batch([*named("c", "b", "a"), *named("z", space="other")])
    lines = written(encoder, batch)
    assert pods_of(lines) == {"a", "b", "z"}
    assert pods_of(lines, "pod_container") == {"a", "z"}, "of b the pod still fitted, its container not"
    assert {name: len(keys) for name, keys in by_space(lines).items() if name} == {"a": WHOLE + POD, "other": WHOLE}
    assert len(lines) + encoder.cut.points == len(written(LineEncoder(), batch))
    assert encoder.cut == (2 * CONTAINER + POD, 2 * CONTAINER + POD)
    (said,) = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert "namespace a has written 15 series since midnight UTC and may have 15" in said
    assert "3 entities with 16 further series" in said
    assert "series_budget" in said


def test_who_is_admitted_stays_and_the_rest_waits_for_the_next_day(caplog: pytest.LogCaptureFixture) -> None:
    cluster, encoder = Spaces(), LineEncoder(series_budget=2 * WHOLE - 1)
    midnight = (TIMESTAMP // DAY + 1) * DAY
    assert pods_of(written(encoder, cluster.batch(named("m", "n")))) == {"m", "n"}
    assert pods_of(written(encoder, cluster.batch(named("a", "m", "n")))) == {"m", "n"}, "the newcomer has no room"
    assert pods_of(written(encoder, cluster.batch(named("a", "m")))) == {"m"}, "the dead one's series are still there"
    assert len(caplog.records) == 1, "told once"
    lines = written(encoder, cluster.batch(named("a", "m"), timestamp=midnight))
    assert pods_of(lines) == {"a", "m"}
    assert pods_of(written(encoder, cluster.batch(named("0", "a", "m"), timestamp=midnight + MINUTE))) == {"a", "m"}
    assert len(caplog.records) == 2


def test_rates_that_come_a_tick_later_are_reckoned_with() -> None:
    cluster, encoder = Spaces(), LineEncoder(series_budget=2 * WHOLE - 1)
    first = written(encoder, cluster.batch(named("1", "2", "3"), rates=False))
    second = written(encoder, cluster.batch(named("1", "2", "3")))
    assert pods_of(first) == pods_of(second) == {"1", "2"}
    assert len(by_space([*first, *second])["a"]) == 2 * WHOLE - 1


def test_changed_labels_are_new_series_but_in_the_lean_schema() -> None:
    for lean in (False, True):
        cluster = Spaces()
        encoder = LineEncoder(series_budget=2 * WHOLE - 1, tagging=Tagging(lean=lean))
        assert pods_of(written(encoder, cluster.batch(named("1", "2")))) == {"1", "2"}
        row = cluster.entities.find_pod("a", "1")
        cluster.entities.set_own_labels(row, {"labels": "app:new"})
        assert pods_of(written(encoder, cluster.batch(named("1", "2")))) == ({"1", "2"} if lean else {"2"})


@settings(max_examples=60, deadline=None)
@given(
    budget=st.integers(1, 60),
    lean=st.booleans(),
    ticks=st.lists(st.sets(st.tuples(st.sampled_from("ab"), st.sampled_from("123456")), max_size=8), max_size=6),
)
def test_no_namespace_exceeds_its_budget_whoever_comes_and_goes(
    *, budget: int, lean: bool, ticks: list[set[tuple[str, str]]]
) -> None:
    cluster = Spaces()
    encoder = LineEncoder(series_budget=budget, tagging=Tagging(lean=lean), with_fields=lean)
    everything = LineEncoder(tagging=Tagging(lean=lean), with_fields=lean)
    lines: list[Line] = []
    for pods in ticks:
        batch = cluster.batch(sorted(pods))
        cut, now = encoder.cut.points, written(encoder, batch)
        assert len(now) + encoder.cut.points - cut == len(written(everything, batch))
        lines += now
        cluster.entities.sweep()
    for name, keys in by_space(lines).items():
        assert len(keys) <= budget or not name


def test_a_restart_chooses_the_same_pods() -> None:
    names = [str(i) for i in range(700)]
    found = []
    for order in (names, names[::-1]):
        encoder = LineEncoder(series_budget=200, with_fields=True)
        found.append(pods_of(written(encoder, Spaces().batch(named(*order)))))
    assert found[0] == found[1]
    assert 0 < len(found[0]) < 700


def test_a_dead_one_leaves_its_row_to_another_namespace() -> None:
    cluster, encoder = Spaces(), LineEncoder(series_budget=WHOLE)
    for tick in range(6):
        lines = written(encoder, cluster.batch(named("pod", space=f"space-{tick}")))
        assert pods_of(lines) == {"pod"}
        cluster.entities.sweep()


# The preview.


def options_of(more: str) -> InfluxdbOptions:
    return InfluxdbOptions.from_uri(SinkUri.parse(f"{OPTIONS}{more}"))


@pytest.mark.parametrize("schema", ["heapster", "fields", "lean"])
async def test_the_preview_is_what_the_database_then_holds(shared_influxd: Influxd, made: Make, schema: str) -> None:
    batch = Cluster(pods=5).batch()
    planned = preview(batch, options_of(f"schema={schema}"))
    await made(f"influxdb:{shared_influxd.url}?db=preview-{schema}&schema={schema}").export(batch)
    held = Counter({one.measurement.replace("\\ ", " "): 0 for one in planned})
    for one in planned:
        held[one.measurement.replace("\\ ", " ")] += one.series
        assert one.cut == 0
    counts = shared_influxd.query(
        ";".join(f'SHOW SERIES EXACT CARDINALITY FROM "{name}"' for name in held), f"preview-{schema}"
    )
    assert [one["values"][0][0] for one in counts] == list(held.values())
    assert sum(one.points for one in planned) == sum(
        chunk.points for chunk in LineEncoder(with_fields=schema != "heapster").encode(batch)
    )


def test_the_preview_tells_what_would_be_cut() -> None:
    batch = Spaces().batch([*named("1", "2"), *named("3", space="b")], rates=False)
    planned = preview(batch, options_of(f"series_budget={WHOLE}"))
    series, cut = Counter[str](), Counter[str]()
    for one in planned:
        series[one.namespace] += one.series
        cut[one.namespace] += one.cut
        assert one.points <= one.series
    assert series == {"": 4, "a": 2 * WHOLE - 1, "b": WHOLE}
    assert cut == {"": 0, "a": POD + CONTAINER, "b": 0}
    assert ("a", "cpu/usage_rate", 4, 0, 2) in planned, "there will be rates"


# The ledger.


def budgeted(uri: str) -> InfluxdbSink:
    wire = build(uri)
    assert isinstance(wire, InfluxdbSink)
    return wire


async def test_the_ledger_of_a_spooled_sink_tells_what_was_cut(shared_influxd: Influxd, tmp_path: Path) -> None:
    sink = SpooledSink(budgeted(f"influxdb:{shared_influxd.url}?db=cut&series_budget={WHOLE}"), tmp_path, SpoolLimits())
    sink.start()
    manager, cluster = SinkManager([sink]), Spaces()
    manager.start()
    for _ in range(3):
        manager.export(cluster.batch(named("1", "2")))
        await _delivered(manager)
    ledger = manager.ledger()[0]
    await manager.stop(5)
    assert ledger.balanced
    cut = POD + CONTAINER
    assert dict(ledger.points.dropped) == {"series_budget": 3 * cut}
    assert ledger.points.scraped == 3 * len(written(LineEncoder(), cluster.batch(named("1", "2"))))
    assert ledger.ticks.delivered == 3, "a tick that lost nothing else is whole"
    counts = shared_influxd.query("SELECT COUNT(value) FROM /.*/", "cut")
    assert sum(one["values"][0][1] for one in counts) == ledger.points.delivered


async def _delivered(manager: SinkManager) -> SinkLedger:
    async with asyncio.timeout(20):
        while True:
            ledger = manager.ledger()[0]
            assert ledger.balanced, ledger
            if ledger.ticks.scraped and not ledger.ticks.queued and not ledger.points.queued:
                return ledger
            await asyncio.sleep(0.005)


async def test_so_does_that_of_a_sink_without_a_spool(shared_influxd: Influxd) -> None:
    manager = SinkManager([budgeted(f"influxdb:{shared_influxd.url}?db=cut2&schema=lean&series_budget=4")])
    manager.start()
    batch = Spaces().batch(named("1", "2"))
    manager.export(batch)
    ledger = await _delivered(manager)
    await manager.stop(5)
    # Of lean series a namespace has one, a pod two, a container three: all of pod 1 but its container is written.
    assert dict(ledger.points.dropped) == {"series_budget": POD + 2 * CONTAINER}
    assert ledger.points.scraped == batch.values
    assert ledger.ticks.delivered == 1


async def test_a_bucket_with_a_token_that_is_renewed_through_the_spool(
    victoria: VictoriaMetrics, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("one")
    uri = f"influxdb:{victoria.url}?org=o&bucket=b&token_file={token}&schema=lean&series_budget=7&gzip=true"
    sink = SpooledSink(budgeted(uri), tmp_path / "spool", SpoolLimits())
    sink.start()
    manager, cluster = SinkManager([sink]), Spaces()
    manager.start()
    for tick in range(4):
        token.write_text(f"{tick}")
        manager.export(cluster.batch(named("1", "2")))
        await _delivered(manager)
    ledger = await _delivered(manager)
    await manager.stop(5)
    found = victoria.export()
    space = {key: values for key, values in found.items() if dict(key).get("namespace_name") == "a"}
    assert {dict(key).get("pod_name") for key in space} == {None, "1"}
    assert all(len(values) == 4 for values in space.values())
    assert ledger.points.delivered == 4 * (2 + 1 + 2 + 3), (
        "cpu and memory of the node; the namespace; the pod; the container"
    )
