"""Sinks: where batches go. `SINKS` is the list; a sink's module is imported when its name is asked for, not before.

To add one: write `sinks/<name>.py` with a class that satisfies `collector.core.contracts.Sink` and has the class
method `from_uri(uri: sinks.base.SinkUri)`, and add its row here. The conformance suite finds it by itself.
"""

from collections.abc import Mapping

SINKS: Mapping[str, str] = {
    "log": "sinks.log:LogSink",
    "metric": "sinks.metric:MetricSink",
    "influxdb": "sinks.influxdb:InfluxdbSink",
    "history": "sinks.history:HistorySink",
}
"""Key of a sink URI -> "module:Class"."""

NOT_THERE_YET = (
    "elasticsearch",
    "gcm",
    "graphite",
    "hawkular",
    "honeycomb",
    "kafka",
    "librato",
    "opentsdb",
    "riemann",
    "stackdriver",
    "statsd",
    "wavefront",
)
"""Heapster's other sinks: a URI that names one is told so, not taken for a typing error."""
