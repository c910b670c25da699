"""The InfluxDB sink: one sink, three generations of the server.

Read `encoder` (columns to line protocol, pure) first; it stands on `lines` (the hot loop, in C and in Python), `text`
(escaping, numbers), `layout` (which metric is which measurement and field) and `tags` (the tag part of a series,
rendered once per entity). `budget` decides who is written where series are limited, `preview` says so beforehand.
`options` is what the URI says, `v1` and `v2` are the two wires (/write with its databases and policies in `policy` and
field types in `types`; /api/v2/write), and `sink` encodes, sends and sums up.

    --sink=influxdb:http://monitoring-influxdb:8086?db=k8s&retention=30d --historical-source=influxdb:...the same

With the 1.x API the points can be asked back at /api/v1/historical, over connections of its own; `store_pod_id=true`
stores the tag `pod_id`, so that the `pod-id` routes find pods.

What the server cannot take now waits on disk, where there is a spool: docs/reliability.md. `concurrency=4` lets four
writes be under way at the same time.

Schemas
-------
A series is a measurement with one set of tags. InfluxDB's memory goes by their number, and a label that changes is a
new series of every entity that bears it. Series of 100 pods of two containers on 5 nodes, and after their release label
has changed once (and one pod was replaced):

| `schema` | measurement, field | tags | series | after the change |
|---|---|---|---|---|
| `heapster` | `cpu/usage_rate`, `value` | as Heapster's: names, image, `labels` | 9,216 | 18,142 |
| `fields` | `cpu`, `usage_rate` | the same | 1,987 | 3,896 |
| `lean` | `cpu`, `usage_rate` | names alone, own labels of a value | 1,987 | 2,006 |

**`lean` is what we recommend** for a database that begins; `heapster` is the default, as dashboards know it. Its tags
are `type`, `nodename`, `namespace_name`, `pod_name`, `container_name`, of a labelled value its own (`resource_id`,
`accelerator_id`...), `cluster_name` where one was chosen, and `labels=app,team` adds those Kubernetes labels as tags of
their own. The historical API reads all three. Two schemas may share a database: `fields` and `lean` have the same
measurements, so that a query that groups by tags sees each.

`labels=app,team`, with any schema, writes these labels of pods and nodes as tags `app` and `team`, in place of the one
tag `labels` with all of them; `labels=` writes none. Labels stored with `--store-label` are kept when they are listed;
a label of `--ignore-label` that is not stored cannot be.

`series_budget=N` limits the series of each namespace in a day (UTC). An entity is written with all its series or not
at all. Who is written goes on; of new entities that do not all fit, the first by name are taken, so that a restart
takes the same, and then the namespace gets no new series until midnight, series of changed labels included. The log
says so once a day and namespace, and the ledger counts what is cut under `series_budget`. What an admitted entity
gets later, such as a volume, is written and counted; a restart begins to count anew. The cluster, nodes and their
system containers have no budget. `heapster doctor --series` tells beforehand what would be written and what would be
cut.

Before its first write the sink compares the types of the fields that the database has with its own (1.x), and says
which will be refused. Only these are lost: from the second tick on each has a line of its own.

| option | default | effect |
|---|---|---|
| host of the URL | `localhost:8086` | |
| `user`, `pw` | `root`, `root` | sent with every request; user info of the URL does as well |
| `pw_file` | | file that holds the password, read again for every request: a secret that is renewed counts at once |
| `db` | `k8s` | database |
| `rp` | | retention policy; without it `default`, or the database's own where there is no such |
| `retention` | as it is | how long that policy keeps points: `24h`, `30d`, `8w`; `0` or `INF` for ever |
| `schema` | `heapster` | `heapster`, `fields` or `lean`, see above |
| `withfields` | `false` | Heapster's way to ask for `schema=fields` |
| `labels` | as the schema has it | Kubernetes labels that are tags of their own, the only ones then: `app,team` |
| `series_budget` | 0, no limit | series of a namespace in a day |
| `cluster_name` | `default`; `lean`: none | tag `cluster_name` of every point; empty for none |
| `store_pod_id` | `false` | `pod_id` is a tag |
| `disable_counter_metrics` | `false` | leave out the nine counters that have a rate |
| `max_points` | 10000, as in Heapster | points (lines) of one write at most; its bytes, at most 2 MB, bound it too |
| `concurrency` | 1 | writes at the same time, at most 64 |
| `timeout` | `20s` | limit of one request |
| `gzip` | `false` | compress writes |
| `secure` | `false` | HTTPS, as with `https://` |
| `insecuressl`, `cacert` | `false`, the system's | do not verify the server; file of its CA |
| `api` | `v1`; `v2` when one of the following is given | `/write`, or `/api/v2/write` of InfluxDB 1.8, 2.x and 3.x |
| `org`, `bucket`, `token` | bucket as `db` | of `api=v2`; without a token `user:pw` is one |
| `token_file` | | file that holds the token, read again for every write: a secret that is renewed counts at once |
"""

from sinks.influxdb.sink import InfluxdbSink

__all__ = ["InfluxdbSink"]
