"""`/metrics` and the table behind it."""

import subprocess

import pytest
from api.golden import Replay, read
from prometheus_client import generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from collector.api.own import SAMPLES_AT_ONCE, registry_text
from collector.selfmetrics import (
    HEAPSTER_SUMMARIES,
    LAST_SCRAPE,
    OWN_METRICS,
    OWN_SUMMARIES,
    SOURCE_RETENTION_S,
    Counts,
    OwnType,
    SelfMetrics,
)


def busy(nodes: int = 3) -> SelfMetrics:
    """Metrics after everything has happened once."""
    metrics = SelfMetrics("1.2.3")
    for n in range(nodes):
        metrics.scraped(f"kubelet_summary:10.0.0.{n}:10250", f"node-{n}", 0.02 * n, None if n else "timeout")
    metrics.scraped("kubelet:10.0.0.1:10255", "node-1", 0.5, None)
    metrics.processed("rate calculator", 0.003)
    metrics.exported("InfluxDB Sink", 0.5, "ok")
    for offered, delivered, dropped in ((3, 1, {}), (9, 3, {"busy": 2})):
        counts = Counts(offered=offered, recovered=0, delivered=delivered, dropped=dropped, queued=4)
        metrics.ledger("InfluxDB Sink", "batches", **counts)
        metrics.ledger("InfluxDB Sink", "points", **counts)
    metrics.waiting("InfluxDB Sink", 1234, refused=True)
    metrics.covering("InfluxDB Sink", 1 << 30, 3600)
    metrics.covering("InfluxDB Sink", 1 << 30, None)
    metrics.ticked(
        seconds=2.0,
        cpu_seconds=1.5,
        batch_timestamp=1_790_000_000.0,
        nodes_ok=nodes - 1,
        nodes_failed=1,
        late_answers=1,
        entities={"node": nodes, "pod": 7},
    )
    metrics.tick_lost("skipped")
    metrics.http_request("nodeList", "GET", 200, 0.001, 120, 345)
    metrics.loop_blocked(0.2)
    return metrics


async def text_of(metrics: SelfMetrics, encoder=generate_latest, *, base: bool = False) -> str:
    registries = (metrics.registry,) if base else (metrics.registry, metrics.heapster)
    return b"".join([piece async for piece in registry_text(registries, encoder)]).decode()


def values(text: str) -> dict[str, float]:
    return {
        sample.name + "".join(f" {name}={value}" for name, value in sorted(sample.labels.items())): sample.value
        for family in parse_text(text)
        for sample in family.samples
    }


async def test_every_method_is_seen_in_the_text():
    found = values(await text_of(busy()))
    expected = {
        "heapster_scraper_duration_seconds_sum source=kubelet_summary:10.0.0.2:10250": 0.04,
        "heapster_scraper_duration_milliseconds_sum source=kubelet_summary:10.0.0.2:10250": 40,
        "heapster_scraper_duration_milliseconds quantile=0.99 source=kubelet_summary:10.0.0.2:10250": pytest.approx(40),
        "heapster_kubelet_summary_request_duration_milliseconds_count node=node-1": 1,
        "heapster_kubelet_request_duration_milliseconds_sum node=node-1": 500,
        "heapster_processor_duration_milliseconds processor=rate calculator quantile=0.5": pytest.approx(3),
        "heapster_exporter_duration_milliseconds_sum exporter=InfluxDB Sink": 500,
        "http_request_duration_microseconds_sum handler=nodeList": 1000,
        "http_request_size_bytes handler=nodeList quantile=0.9": 120,
        "heapster_scrape_duration_seconds_count": 4,
        "heapster_scrape_failures_total reason=timeout": 1,
        "heapster_processor_duration_seconds_sum processor=rate calculator": 0.003,
        "heapster_exporter_duration_seconds_sum exporter=InfluxDB Sink": 0.5,
        "heapster_exports_total exporter=InfluxDB Sink outcome=ok": 1,
        "heapster_exporter_offered_batches_total exporter=InfluxDB Sink": 9,
        "heapster_exporter_delivered_batches_total exporter=InfluxDB Sink": 3,
        "heapster_exporter_dropped_batches_total exporter=InfluxDB Sink reason=busy": 2,
        "heapster_exporter_queued_batches exporter=InfluxDB Sink": 4,
        "heapster_exporter_queued_bytes exporter=InfluxDB Sink": 1234,
        "heapster_exporter_refused exporter=InfluxDB Sink": 1,
        "heapster_exporter_spool_limit_bytes exporter=InfluxDB Sink": 1 << 30,
        "heapster_exporter_spool_covers_seconds exporter=InfluxDB Sink": 3600,
        "heapster_ticks_total outcome=ok": 1,
        "heapster_ticks_total outcome=failed": 0,
        "heapster_ticks_total outcome=skipped": 1,
        "heapster_tick_duration_seconds_sum": 2,
        "heapster_tick_cpu_seconds_total": 1.5,
        "heapster_late_answers_total": 1,
        "heapster_batch_timestamp_seconds": 1_790_000_000,
        "heapster_nodes state=ok": 2,
        "heapster_nodes state=failed": 1,
        "heapster_entities type=pod": 7,
        "http_requests_total code=200 handler=nodeList method=get": 1,
        "http_request_duration_seconds_count handler=nodeList": 1,
        "http_request_size_bytes_sum handler=nodeList": 120,
        "http_response_size_bytes_sum handler=nodeList": 345,
        "heapster_event_loop_blocked_seconds_sum": 0.2,
    }
    assert {name: found[name] for name in expected} == expected
    assert any(name.startswith("heapster_build_info") and "version=1.2.3" in name for name in found)


def one_head(text: str) -> str:
    """`text` with each comment once: a family that comes in parts has its head over each."""
    lines = text.splitlines(keepends=True)
    return "".join(line for n, line in enumerate(lines) if not line.startswith("# ") or line not in lines[:n])


async def test_the_text_in_pieces_is_the_text_in_one():
    metrics = busy(SAMPLES_AT_ONCE)
    for encoder, parse in ((generate_latest, parse_text), (openmetrics.generate_latest, parse_openmetrics)):
        text = await text_of(metrics, encoder)
        whole = one_head(
            encoder(metrics.registry).decode().removesuffix("# EOF\n") + encoder(metrics.heapster).decode()
        )
        assert text.endswith("# EOF\n") == whole.endswith("# EOF\n")

        def lasting(text: str, parse=parse) -> list[tuple[str, ...]]:
            lines = []
            for family in parse(text):
                if family.name.startswith(("heapster", "http")) and not family.name.endswith("_created"):
                    kept = [s for s in family.samples if not s.name.endswith("_created") and "age" not in s.name]
                    lines.append((family.name, family.type, family.documentation, str(kept)))
            return lines

        assert lasting(text) == lasting(whole)


def promtool(text: str) -> tuple[int, str]:
    check = subprocess.run(["promtool", "check", "metrics"], input=text.encode(), capture_output=True, check=False)
    return check.returncode, (check.stdout + check.stderr).decode()


async def test_promtool_has_no_complaint_about_names_in_base_units():
    assert promtool(await text_of(busy(), base=True)) == (0, "")


async def test_promtool_complains_of_the_units_in_heapsters_names_and_of_nothing_else():
    _, said = promtool(await text_of(busy()))
    complaints = sorted(said.splitlines())
    expected = [
        f'{row.name} use base unit "seconds" instead of "{row.name.rpartition("_")[2]}"' for row in HEAPSTER_SUMMARIES
    ]
    expected.append(
        "heapster_kubelet_summary_request_duration_milliseconds metric name should not include type 'summary'"
    )
    assert complaints == sorted(expected)


async def test_the_page_has_all_names_unless_base_units_are_asked_for(served, session):
    served.replay.context.metrics.processed("rate calculator", 0.003)
    for query, status, old in (
        ("", 200, True),
        ("?names=all", 200, True),
        ("?names=base", 200, False),
        ("?names=x", 400, None),
    ):
        async with session.get(served.url(f"/metrics{query}")) as response:
            assert response.status == status
            text = await response.text()
        if old is not None:
            assert ("heapster_processor_duration_milliseconds{" in text) == old
            assert "heapster_processor_duration_seconds_bucket{" in text


async def test_the_series_of_a_node_that_is_gone_go_too(monkeypatch):
    metrics = SelfMetrics()
    now = 1_000.0
    monkeypatch.setattr("collector.selfmetrics.time.time", lambda: now)
    metrics.scraped("kubelet_summary:10.0.0.1:10250", "old", 0.1, None)
    now += SOURCE_RETENTION_S + 1
    metrics.scraped("kubelet_summary:10.0.0.2:10250", "new", 0.1, None)
    metrics.ticked(seconds=1, cpu_seconds=1, batch_timestamp=now, nodes_ok=1, nodes_failed=0, entities={})
    text = await text_of(metrics)
    assert "10.0.0.2" in text
    assert "10.0.0.1" not in text


async def test_a_type_of_entity_that_is_gone_counts_zero():
    metrics = SelfMetrics()
    for entities in ({"node": 1, "pod": 2}, {"node": 1}):
        metrics.ticked(seconds=1, cpu_seconds=1, batch_timestamp=1, nodes_ok=1, nodes_failed=0, entities=entities)
    assert values(await text_of(metrics))["heapster_entities type=pod"] == 0


def test_the_table_is_in_order():
    names = [row.name for row in (*OWN_METRICS, LAST_SCRAPE, *OWN_SUMMARIES, *HEAPSTER_SUMMARIES)]
    assert len(set(names)) == len(names)
    for row in OWN_METRICS:
        assert row.help
        assert row.name.endswith("_total") == (row.type is OwnType.COUNTER)
        assert bool(row.buckets) == (row.type is OwnType.HISTOGRAM)


NOT_OURS = ("go_", "apiserver_", "etcd_")
"""Of Go's runtime and of libraries linked into the original: docs/compatibility.md."""


@pytest.mark.parametrize("source", ["summary", "kubelet"])
async def test_every_metric_of_the_original_has_its_name_type_and_labels(source):
    text = read(f"{source}/capture-final.json.gz")["responses"]["/metrics"]["text"]
    own = {family.name: family for family in parse_text(await text_of(busy()))}
    seen = 0
    for family in parse_text(text):
        if family.name.startswith(NOT_OURS):
            continue
        seen += 1
        ours = own[family.name]
        assert ours.type == family.type, family.name
        assert shapes(ours) == shapes(family), family.name
    assert seen > 12


def shapes(family) -> set[tuple[str, frozenset[str], str]]:
    """Names of samples, names of their labels, and the quantile."""
    return {
        (s.name, frozenset(s.labels), s.labels.get("quantile", "")) for s in family.samples if s.name[-8:] != "_created"
    }


async def test_cluster_and_own_metrics_share_no_name():
    from api.test_exposition import text_of as cluster_text

    clusters = {family.name for family in parse_text(await cluster_text(Replay().cluster.batch(1)))}
    assert not clusters & {family.name for family in parse_text(await text_of(busy()))}
