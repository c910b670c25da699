"""`heapster doctor --series`: how many series and points an InfluxDB sink would write, by namespace and measurement.

Two real scrapes go through the collector's own pipeline, for rates are between two; what the sink would send of the
second is counted and sent nowhere. An entity's metric is a point every --metric-resolution, so points are of one tick.
"""

import asyncio
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final

from collector.app import Collector
from collector.core.visibility import Visibility
from collector.doctor.table import aligned
from collector.durations import format_duration
from collector.errors import UsageError
from collector.options import SECOND, Options
from collector.uris import masked
from sinks.base import SinkUri, build
from sinks.influxdb import InfluxdbSink

PAUSE_S: Final = 16.0
"""Between the scrapes: a kubelet looks at a container every 10 to 15 s, and a rate takes two looks."""

SHOWN: Final = 10
"""Rows of each table for people; JSON has all."""

CLUSTER: Final = "(cluster and nodes)"
"""The namespace of what is in none."""

_KEY: Final = re.compile(rb"(?:\\.|[^\\ ])+")
"""Measurement and tags: a line up to its first blank that is not escaped."""
_MEASUREMENT: Final = re.compile(rb"(?:\\.|[^\\,])+")
_NAMESPACE: Final = re.compile(rb",namespace_name=((?:\\.|[^\\,])+)")


@dataclass(slots=True)
class Tally:
    """Series and points of one sink in one tick."""

    sink: str
    """its URI, masked"""
    resolution_ns: int
    series: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(measurement, namespace) -> how many"""
    points: Counter[tuple[str, str]] = field(default_factory=Counter)
    """The same; with several lines of a series more than series."""
    bytes: int = 0
    """of line protocol"""

    def by(self, part: int) -> list[tuple[str, int, int]]:
        """Name, series and points by measurement (0) or namespace (1), the most series first."""
        series, points = Counter[str](), Counter[str]()
        for key, count in self.series.items():
            series[key[part]] += count
        for key, count in self.points.items():
            points[key[part]] += count
        return [
            (name, count, points[name]) for name, count in sorted(series.items(), key=lambda each: (-each[1], each[0]))
        ]


def tally(sink: str, bodies: Iterable[bytes], resolution_ns: int) -> Tally:
    """Count what these pieces of line protocol hold."""
    found, seen = Tally(sink, resolution_ns), set[int]()
    for body in bodies:
        found.bytes += len(body)
        for line in body.splitlines():
            match = _KEY.match(line)
            assert match is not None, "every line begins with a measurement"
            key = match[0]
            name = _name(key)
            found.points[name] += 1
            if (known := hash(key)) not in seen:
                seen.add(known)
                found.series[name] += 1
    return found


def _name(key: bytes) -> tuple[str, str]:
    measurement, namespace = _MEASUREMENT.match(key), _NAMESPACE.search(key)
    assert measurement is not None, "every line begins with a measurement"
    return _plain(measurement[0]), CLUSTER if namespace is None else _plain(namespace[1])


def _plain(text: bytes) -> str:
    return re.sub(r"\\([, =])", r"\1", text.decode("utf-8", "replace"))


async def preview(
    options: Options, pause_s: float = PAUSE_S, told: Callable[[str], None] = lambda _words: None
) -> list[Tally]:
    """One tally for each InfluxDB sink, or for the default one where there is none. Raises HeapsterError."""
    sinks = _influxdb_sinks(options)
    collector = Collector(_scraping_only(options))
    told("the cluster's nodes, pods and namespaces are read ...")
    await collector.start()
    try:
        told("first scrape ...")
        end = time.time_ns() // SECOND * SECOND
        await collector.tick(end)
        told(f"rates are between two scrapes: {pause_s:g} s ...")
        await asyncio.sleep(pause_s)
        batch = (await collector.tick(end + int(pause_s * SECOND))).batch
        return [
            await asyncio.to_thread(
                tally, text, (chunk.body for chunk in sink.encode(batch)), options.metric_resolution
            )
            for text, sink in sinks
        ]
    finally:
        await collector.stop()
        for _, sink in sinks:
            await sink.stop()


def _influxdb_sinks(options: Options) -> list[tuple[str, InfluxdbSink]]:
    asked = [text for text in options.sink if SinkUri.parse(text).key == "influxdb"] or ["influxdb:"]
    built = [(masked(text), build(text, visibility=Visibility(options.extended_metrics))) for text in asked]
    found = [(text, sink) for text, sink in built if isinstance(sink, InfluxdbSink)]
    if not found:
        raise UsageError("no sink of --sink is an InfluxDB")
    return found


def _scraping_only(options: Options) -> Options:
    """A collector that asks the kubelets as it would, and does nothing else: it keeps, serves and writes nothing."""
    return replace(
        options,
        sink=("metric",),
        historical_source="",
        listen_ip="127.0.0.1",
        heapster_port=0,
        tls_cert="",
        tls_key="",
        tls_client_ca="",
        api_server=False,
        leader_elect=False,
        spool_dir="off",
        warm_dir="off",
        kubelet_pin_dir="off",
        disable_metric_sink=False,
    )


def text(found: Tally) -> Iterator[str]:
    """For people."""
    total_series, total_points = found.series.total(), found.points.total()
    a_day = total_points * (24 * 3600 * SECOND) // found.resolution_ns
    yield (
        f"{found.sink}: {total_series:,} series; {total_points:,} points and {found.bytes:,} bytes of lines every "
        f"{format_duration(found.resolution_ns)}, {a_day:,} points a day.\n"
    )
    for part, title in ((1, "namespace"), (0, "measurement")):
        rows = found.by(part)
        shown = [
            (name, f"{series:,}", f"{points:,}", f"{100 * series / total_series:.0f} %")
            for name, series, points in rows[:SHOWN]
        ]
        yield "\n" + aligned((title, "series", "points", "share"), shown)
        if len(rows) > SHOWN:
            yield f"... and {len(rows) - SHOWN:,} more (--output json)\n"


def document(found: Tally) -> dict[str, Any]:
    """For machines."""
    return {
        "sink": found.sink,
        "series": found.series.total(),
        "points": found.points.total(),
        "bytes": found.bytes,
        "resolution_seconds": found.resolution_ns / SECOND,
        "namespaces": [{"namespace": name, "series": series, "points": points} for name, series, points in found.by(1)],
        "measurements": [
            {"measurement": name, "series": series, "points": points} for name, series, points in found.by(0)
        ],
        "cells": [
            {"measurement": key[0], "namespace": key[1], "series": series, "points": found.points[key]}
            for key, series in sorted(found.series.items())
        ],
    }
