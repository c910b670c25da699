"""The InfluxDB sink: one sink, three generations of the server.

Read `encoder` (columns to line protocol, pure) first; it stands on `lines` (the hot loop, in C and in Python), `text`
(escaping, numbers) and `tags` (the tag part of a series, rendered once per entity). `options` is what the URI says,
`v1` and `v2` are the two wires (/write with its databases and policies in `policy`; /api/v2/write), and `sink` encodes,
sends and sums up.

    --sink=influxdb:http://monitoring-influxdb:8086?db=k8s&retention=30d --historical-source=influxdb:...the same

With the 1.x API the points can be asked back at /api/v1/historical, over connections of its own; `store_pod_id=true`
stores the tag `pod_id`, so that the `pod-id` routes find pods.

What the server cannot take now waits on disk, where there is a spool: docs/reliability.md. `concurrency=4` lets four
writes be under way at the same time. With `withfields` the fields of one measurement of an entity are one line.

| option | default | effect |
|---|---|---|
| host of the URL | `localhost:8086` | |
| `user`, `pw` | `root`, `root` | sent with every request; user info of the URL does as well |
| `db` | `k8s` | database |
| `rp` | | retention policy; without it `default`, or the database's own where there is no such |
| `retention` | as it is | how long that policy keeps points: `24h`, `30d`, `8w`; `0` or `INF` for ever |
| `withfields` | `false` | measurement and field are the two halves of a metric's name |
| `cluster_name` | `default` | tag `cluster_name` of every point; empty for none |
| `store_pod_id` | `false` | `pod_id` is a tag |
| `disable_counter_metrics` | `false` | leave out the nine counters that have a rate |
| `concurrency` | 1 | writes at the same time, at most 64 |
| `timeout` | `20s` | limit of one request |
| `gzip` | `false` | compress writes |
| `secure` | `false` | HTTPS, as with `https://` |
| `insecuressl`, `cacert` | `false`, the system's | do not verify the server; file of its CA |
| `api` | `v1`; `v2` when one of the following is given | `/write`, or `/api/v2/write` of InfluxDB 1.8, 2.x and 3.x |
| `org`, `bucket`, `token`, `token_file` | bucket as `db` | of `api=v2`; without a token `user:pw` is one |
"""

from sinks.influxdb.sink import InfluxdbSink

__all__ = ["InfluxdbSink"]
