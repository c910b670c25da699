"""The InfluxDB sink: one sink, three generations of the server.

Read `encoder` (columns to line protocol, pure) first; it stands on `text` (escaping, numbers) and `tags` (the tag part
of a series, rendered once per entity). `options` is what the URI says, `v1` and `v2` are the two wires (/write with its
databases and policies in `policy`; /api/v2/write), and `sink` encodes, sends and sums up.
"""

from sinks.influxdb.sink import InfluxdbSink

__all__ = ["InfluxdbSink"]
