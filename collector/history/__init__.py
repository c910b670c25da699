"""The historical store, as the historical API asks it.

`contracts` first; then `parquet`, the embedded history (on `database` and `layout`), or `influxdb`, InfluxDB 1.x (on
`influxql`, what to ask, and `influxanswer`, what comes back). `naming` and `aggregate` serve both.
"""
