"""The embedded history: every tick as columns in Parquet files, no database.

    --sink=history:DIR?retention=7d&max_bytes=0

`retention` is how long an hour is kept after its end; `max_bytes` bounds the directory (0: no bound), its oldest hours
then go before their time. /api/v1/historical answers from it, unless --historical-source names another sink.

Opening it
----------
The files open with any Parquet reader, while the collector runs too. Two lines:

    import duckdb
    duckdb.sql("FROM read_parquet('DIR/metrics/*.parquet', union_by_name=true) WHERE type = 'pod'").show()

    import pandas
    pandas.read_parquet("DIR/metrics", columns=["time", "pod_name", "memory/usage"])

Directory
---------
    DIR/lock                    held by the one collector that writes here
    DIR/metrics/                one row for each entity and tick
    DIR/filesystem/             one row for each file system of an entity and tick
    DIR/disk/                   one row for each disk
    DIR/accelerator/            one row for each accelerator
    DIR/*/2026-11-23T00.000001-000060.parquet

A file belongs to one hour (UTC) of batch timestamps and stands for a range of ticks, which are numbered within their
hour. A tick is first a file of its own; eight files of a size become one of the next, and soon after an hour has
ended it is one file. A file is whole or absent: it is written under another name (hidden, ending in .tmp), forced to
the disk and renamed. While files are merged both the old and the new are there for a moment (or until the next start,
after a crash): a file whose range lies within another's of the same hour is superseded and is not to be read. No file
is ever changed. An hour is removed as a whole, by deleting its files.

Tables
------
Rows are in the order of `type`, `namespace_name`, `pod_name`, `container_name`, `nodename`, the labels, `time`; so one
entity's hour lies together. Null means absent, always: a zero is a measured zero.

Every table:

    time                        timestamp[ns, UTC]: end of the window, the same for all rows of a tick
    type                        cluster, node, ns, pod, pod_container or sys_container
    namespace_name, pod_name, container_name, nodename, pod_id
                                text (dictionary-encoded), null where it makes no sense for the type

`metrics` further:

    namespace_id, hostname, host_id, labels, container_base_image, schedulable
                                text: Heapster's other labels; `labels` is its joined `key:value,...`
    stored_labels               map(text, text): labels stored under names of their own (--store-label), null for none
    start_time, scrape_time     timestamp[ns, UTC]: start of the entity's life; when it was measured
    cpu/usage, memory/usage...  a column for each metric of docs/metrics.md under its full name, int64 or double
    dynamic_int, dynamic_float  map(text, int64 or double): metrics whose names only the cluster knows, such as
                                `nvidia.com/gpu/request` and `custom/queries`, null for none

`filesystem` and `disk` further: `resource_id` (`/`, `logs`, `Volume:<name>`, a device); `accelerator` further: `make`,
`model`, `accelerator_id`; then a column for each metric of the group (`filesystem/usage`, ...).

Columns are only ever added, a column's type never changes. Key-value metadata of every file: `heapster.history`, the
version of this layout, and `heapster.ticks`, the timestamps it holds (ns, a JSON list).

The modules: `schema` (tables), `names` (label sets as codes), `columns` (batch to Arrow), `files` (names, whole or
absent), `merge` (many files to one), `store` (the directory), `sink` (the Sink contract).
"""

from sinks.history.sink import HistorySink

__all__ = ["HistorySink"]
