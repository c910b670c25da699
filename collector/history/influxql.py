"""What to ask InfluxDB 1.x: InfluxQL statements, in effect Heapster's (behaviour reference, 9.1). Pure text.

Everything that comes from outside is quoted by `identifier` or `literal`. Times are ns, both ends included.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from collector.history.contracts import MAX_NAMES, Aggregation, EntityKey
from collector.history.naming import LABELS, NAMED_BY

EARLIEST, LATEST = -(2**63) + 2, 2**63 - 2
"""The times InfluxDB can hold."""

_FUNCTIONS: Mapping[Aggregation, str] = {
    Aggregation.AVERAGE: "MEAN({0})",
    Aggregation.MAXIMUM: "MAX({0})",
    Aggregation.MINIMUM: "MIN({0})",
    Aggregation.MEDIAN: "MEDIAN({0})",
    Aggregation.COUNT: "COUNT({0})",
    Aggregation.PERCENTILE_50: "PERCENTILE({0}, 50)",
    Aggregation.PERCENTILE_95: "PERCENTILE({0}, 95)",
    Aggregation.PERCENTILE_99: "PERCENTILE({0}, 99)",
}

_EVERYBODYS = ("uptime", "memory/usage")
"""Metrics one of which every entity has: their series tell which entities there are."""


def identifier(name: str) -> str:
    """`name` as the name of a database, policy, measurement, field or tag."""
    return f'"{_escaped(name, chr(34))}"'


def literal(text: str) -> str:
    """`text` as a value."""
    return f"'{_escaped(text, chr(39))}'"


def _escaped(text: str, quote: str) -> str:
    # InfluxQL ends at a NUL, which no stored name holds; half a surrogate pair is no Unicode.
    text = text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")
    return text.replace("\\", "\\\\").replace(quote, f"\\{quote}").replace("\n", "\\n")


@dataclass(frozen=True, slots=True)
class Schema:
    """How the sink has written the points that are asked for."""

    with_fields: bool = False
    """Measurement and field are the two halves of a metric's name; otherwise the name and `value`."""
    cluster_name: str = ""
    """The cluster to ask about where a database holds several; empty for whatever it holds."""

    def place(self, metric: str) -> tuple[str, str]:
        """Measurement and field of a metric."""
        measurement, _, field = metric.partition("/") if self.with_fields else (metric, "", "")
        return measurement, field or "value"

    def metric(self, measurement: str, field: str) -> str:
        """The metric of a measurement and field."""
        return f"{measurement}/{field}" if self.with_fields and field != "value" else measurement

    # Statements.

    def points(self, key: EntityKey, metric: str, start: int, end: int, labels: Mapping[str, str], limit: int) -> str:
        """The points of one metric of one entity, the first `limit` of them."""
        measurement, field = self.place(metric)
        where = self._where(key, start, end, labels)
        return f"{_select(identifier(field), measurement)} WHERE {where} LIMIT {limit}"

    def aggregation(
        self,
        key: EntityKey,
        metric: str,
        aggregations: Sequence[Aggregation],
        start: int,
        end: int,
        labels: Mapping[str, str],
        bucket_ns: int,
        limit: int,
    ) -> str:
        """A column for each of `aggregations`, a row for each bucket that holds points, the first `limit` of them."""
        measurement, field = self.place(metric)
        columns = ", ".join(_FUNCTIONS[one].format(identifier(field)) for one in aggregations)
        statement = f"{_select(columns, measurement)} WHERE {self._where(key, start, end, labels)}"
        return f"{statement} GROUP BY time({bucket_ns}ns) fill(none) LIMIT {limit}" if bucket_ns else statement

    def measurements(self, key: EntityKey) -> str:
        """The measurements an entity has ever had points in; InfluxDB takes no times here."""
        return f"SHOW MEASUREMENTS WHERE {self._selector(key, NAMED_BY[key.kind])} LIMIT {MAX_NAMES + 1}"

    def last_fields(self, measurement: str, key: EntityKey, start: int, end: int) -> str:
        """One row: `last_<field>` for each field of a measurement, null where the entity has no points of it."""
        return f"{_select('LAST(*)', measurement)} WHERE {self._where(key, start, end, {})}"

    def tag_values(self, field: str, key: EntityKey, start: int, end: int) -> str:
        """The values of a field of EntityKey among the entities like `key`; the times count by whole shards."""
        sources = ", ".join(sorted({identifier(self.place(metric)[0]) for metric in _EVERYBODYS}))
        given = [name for name in LABELS if getattr(key, name)]
        return (
            f"SHOW TAG VALUES FROM {sources} WITH KEY = {identifier(LABELS[field])} "
            f"WHERE {self._selector(key, given)} AND {_range(start, end)} LIMIT {MAX_NAMES + 1}"
        )

    def _where(self, key: EntityKey, start: int, end: int, labels: Mapping[str, str]) -> str:
        fields = NAMED_BY[key.kind]
        if key.pod_id:
            fields = tuple("pod_id" if field == "pod" else field for field in fields if field != "namespace")
        own = [f"{identifier(name)} = {literal(value)}" for name, value in labels.items()]
        return " AND ".join([self._selector(key, fields), *own, _range(start, end)])

    def _selector(self, key: EntityKey, fields: Collection[str]) -> str:
        tags = {"type": key.kind.label, **{LABELS[name]: getattr(key, name) for name in fields}}
        if self.cluster_name:
            tags["cluster_name"] = self.cluster_name
        return " AND ".join(f"{identifier(name)} = {literal(value)}" for name, value in tags.items())


def _select(what: str, measurement: str) -> str:
    return f"SELECT {what} FROM {identifier(measurement)}"  # noqa: S608  # quoted where it comes from outside


def _range(start: int, end: int) -> str:
    return f"time >= {_moment(start)} AND time <= {_moment(end)}"


def _moment(time: int) -> int:
    return min(max(time, EARLIEST), LATEST)
