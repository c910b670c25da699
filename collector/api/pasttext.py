"""What the historical API reads and writes: bucket sizes, aggregations, keys, points and buckets. Pure.

See behaviour reference, 8.6.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence

from collector.api import jsontext
from collector.api.gotime import ZERO_TIME, format_time
from collector.api.model import unsigned
from collector.api.route import BadRequestError, Document
from collector.api.target import go_quote
from collector.core.metrics import Kind
from collector.history.contracts import Aggregation, Bucket, EntityKey, Series

_UNITS = {"s": 1_000_000_000, "m": 60_000_000_000, "h": 3_600_000_000_000, "d": 86_400_000_000_000}
_MILLISECOND = 1_000_000

INT64 = range(-(2**63), 2**63)

_FIELDS = {
    Aggregation.AVERAGE: "average",
    Aggregation.MAXIMUM: "maximum",
    Aggregation.MINIMUM: "minimum",
    Aggregation.MEDIAN: "median",
}
_PERCENTILES = {
    Aggregation.PERCENTILE_50: "50",
    Aggregation.PERCENTILE_95: "95",
    Aggregation.PERCENTILE_99: "99",
}


def bucket_size(text: str) -> int:
    """The ns that `bucket=` names: a whole number and `ms`, `s`, `m`, `h` or `d`; 0 when it is not given."""
    if not text:
        return 0
    if len(text.encode("utf-8", "surrogateescape")) < 2:
        raise BadRequestError(f"unable to parse bucket size: {go_quote(text)} is too short to be a duration")
    number, unit = text[:-1], _UNITS.get(text[-1])
    if unit is None:
        raise BadRequestError(f"unable to parse bucket size: {go_quote(text)} has no known duration suffix")
    if len(text) > 2 and text.endswith("ms"):
        number, unit = text[:-2], _MILLISECOND
    if not re.fullmatch("[0-9]+", number):
        raise BadRequestError(f"strconv.ParseUint: parsing {go_quote(number)}: invalid syntax")
    # Heapster's overflowed into some other size.
    if len(number.lstrip("0")) > 20 or int(number) * unit not in INT64:
        raise BadRequestError(f"strconv.ParseUint: parsing {go_quote(number)}: value out of range")
    return int(number) * unit


def aggregations_of(text: str) -> list[Aggregation]:
    """The aggregations a path names."""
    found = []
    for name in text.split(","):
        try:
            found.append(Aggregation(name))
        except ValueError:
            raise BadRequestError(f"Unknown aggregation {go_quote(name)}") from None
    return found


def described(key: EntityKey) -> str:
    """`key` as refusals name it."""
    pod = f"poduid:{key.pod_id}" if key.pod_id else f"ns:{key.namespace}/pod:{key.pod}"
    path = {
        Kind.CLUSTER: "[cluster]",
        Kind.NODE: f"node:{key.node}",
        Kind.NAMESPACE: f"ns:{key.namespace}",
        Kind.POD: pod,
        Kind.POD_CONTAINER: f"{pod}/container:{key.container}",
        Kind.SYS_CONTAINER: f"node:{key.node}/container:{key.container}",
    }
    return f"({key.kind.label}){path[key.kind]}"


# Points.


def point_documents(series: Series) -> Iterator[Document]:
    """A document for each point; values are cut to unsigned integers, as in the model API."""
    for timestamp, value in zip(series.times.tolist(), series.values.tolist(), strict=True):
        yield {"timestamp": format_time(timestamp), "value": unsigned(value)}


def latest(series: Series) -> str:
    """The time of the last point."""
    return format_time(int(series.times[-1])) if len(series) else ZERO_TIME


# Buckets.


def bucket_documents(buckets: Sequence[Bucket], aggregations: Collection[Aggregation]) -> Iterator[Document]:
    """A document for each bucket.

    A value is `intValue` when, in all buckets, that aggregation is a whole number as JSON has it; else `floatValue`.
    """
    kinds = {
        one: "intValue" if all(_whole(bucket.values[one]) is not None for bucket in buckets) else "floatValue"
        for one in (*_FIELDS, *_PERCENTILES)
        if one in aggregations
    }
    for bucket in buckets:
        yield _bucket_document(bucket, kinds, counted=Aggregation.COUNT in aggregations)


def _bucket_document(bucket: Bucket, kinds: Mapping[Aggregation, str], *, counted: bool) -> Document:
    values: dict[Aggregation, Document] = {
        one: {kind: _whole(bucket.values[one]) if kind == "intValue" else float(bucket.values[one])}
        for one, kind in kinds.items()
    }
    document: dict[str, Document] = {"timestamp": format_time(bucket.timestamp)}
    if counted:
        document["count"] = int(bucket.values[Aggregation.COUNT])
    document |= {name: values[one] for one, name in _FIELDS.items() if one in values}
    percentiles = {name: values[one] for one, name in _PERCENTILES.items() if one in values}
    if percentiles:
        document["percentiles"] = percentiles
    return document


def _whole(value: float) -> int | None:
    """The 64-bit integer that `value` reads as when it is written as JSON, None when it does not."""
    text = jsontext.number(value)
    if not re.fullmatch("-?[0-9]+", text) or int(text) not in INT64:
        return None
    return int(text)
