"""The InfluxDB sink: one sink, three generations of the server.

Read `encoder` (columns to line protocol, pure) first; it stands on `text` (escaping, numbers) and `tags` (the tag part
of a series, rendered once per entity). `options` is what the URI says, `v1` and `v2` are the two wires (/write with its
databases and policies in `policy`; /api/v2/write), and `sink` encodes, sends and sums up.

    --sink=influxdb:http://monitoring-influxdb:8086?db=k8s&retention=30d --historical-source=influxdb:...the same

With the 1.x API the points can be asked back at /api/v1/historical, over connections of its own; `store_pod_id=true`
stores the tag `pod_id`, so that the `pod-id` routes find pods.

What the server cannot take now waits on disk, where there is a spool: docs/reliability.md. `concurrency=4` lets four
writes be under way at the same time.
"""

from sinks.influxdb.sink import InfluxdbSink

__all__ = ["InfluxdbSink"]
