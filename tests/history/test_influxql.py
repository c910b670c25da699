"""Statements and answers, without a server."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.core.metrics import Kind
from collector.errors import HistoryError
from collector.history.contracts import Aggregation, EntityKey
from collector.history.influxanswer import AnswerReader, first_column
from collector.history.influxql import EARLIEST, LATEST, Schema, identifier, literal

POD = EntityKey(Kind.POD, namespace="default", pod="web-1")
UID = EntityKey(Kind.POD_CONTAINER, pod_id="u-1", container="nginx")


def test_statements_are_heapsters_in_effect() -> None:
    assert Schema().points(POD, "cpu/usage_rate", 5, 9, {"resource_id": "/"}, 100) == (
        """SELECT "value" FROM "cpu/usage_rate" WHERE "type" = 'pod' AND "namespace_name" = 'default' """
        """AND "pod_name" = 'web-1' AND "resource_id" = '/' AND time >= 5 AND time <= 9 LIMIT 100"""
    )
    wanted = [Aggregation.AVERAGE, Aggregation.PERCENTILE_95]
    assert Schema(with_fields=True).aggregation(UID, "cpu/usage_rate", wanted, 5, 9, {}, 60_000_000_000, 7) == (
        """SELECT MEAN("usage_rate"), PERCENTILE("usage_rate", 95) FROM "cpu" WHERE "type" = 'pod_container' """
        """AND "pod_id" = 'u-1' AND "container_name" = 'nginx' AND time >= 5 AND time <= 9 """
        """GROUP BY time(60000000000ns) fill(none) LIMIT 7"""
    )
    assert "GROUP BY" not in Schema().aggregation(POD, "uptime", wanted, 5, 9, {}, 0, 7)


@pytest.mark.parametrize(
    ("metric", "place"),
    [
        ("cpu/usage", ("cpu", "usage")),
        ("uptime", ("uptime", "value")),
        ("nvidia.com/gpu/request", ("nvidia.com", "gpu/request")),
    ],
)
def test_where_a_metric_lies(metric: str, place: tuple[str, str]) -> None:
    assert Schema().place(metric) == (metric, "value")
    schema = Schema(with_fields=True)
    assert schema.place(metric) == place
    assert schema.metric(*place) == metric


def test_times_are_kept_within_what_influxdb_can_hold() -> None:
    statement = Schema().points(POD, "uptime", -(2**70), 2**70, {}, 1)
    assert f"time >= {EARLIEST} AND time <= {LATEST}" in statement


@given(st.text())
def test_what_is_quoted_ends_where_it_was_meant_to(text: str) -> None:
    for quoted, quote in ((identifier(text), '"'), (literal(text), "'")):
        inside, k = quoted[1:-1], 0
        while k < len(inside):
            assert inside[k] not in {quote, "\n"}
            k += 2 if inside[k] == "\\" else 1
        assert k == len(inside), "no backslash before the closing quote"


def document(statement: int, rows: list[list[object]], name: str = "m") -> bytes:
    series = [{"name": name, "columns": ["time", "value"], "values": rows, "partial": True}]
    return json.dumps({"results": [{"statement_id": statement, "series": series}]}).encode() + b"\n"


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_an_answer_may_come_in_any_pieces(size: int) -> None:
    reader = AnswerReader(2, 100)
    whole = document(0, [[1, 5], [2, 6]]) + document(0, [[3, 7.5]]) + document(1, [[1, 4003]])[:-1]
    for start in range(0, len(whole), size):
        reader.feed(whole[start : start + size])
    reader.close()
    first, second = (table.series() for table in reader.tables)
    assert (first.times.tolist(), first.values.tolist()) == ([1, 2, 3], [5.0, 6.0, 7.5])
    assert second.values.tolist() == [4003]
    assert second.values.dtype == "int64"


def test_integers_beyond_64_bits_are_floats() -> None:
    reader = AnswerReader(1, 9)
    reader.feed(document(0, [[1, 2**63], [2, -(2**63)]]))
    assert reader.tables[0].series().values.tolist() == [2.0**63, -(2.0**63)]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b'{"error":"unable to parse"}', "unable to parse"),
        (b'{"results":[{"statement_id":0,"error":"shard is closed"}]}', "shard is closed"),
        (b"<html>", "no InfluxQL result"),
        (b'{"results":[{"statement_id":7}]}', "statement 7 of 1"),
        (b'{"results":[{"statement_id":0,"series":[{"columns":5}]}]}', "no InfluxQL result"),
        (document(0, [[1, 1]] * 3), "more than 2 rows"),
    ],
)
def test_what_is_wrong_with_an_answer_is_said(answer: bytes, words: str) -> None:
    reader = AnswerReader(1, 2)
    with pytest.raises(HistoryError, match=words):
        reader.feed(answer + b"\n")


@pytest.mark.parametrize("value", [None, "text", True])
def test_what_is_no_number_is_an_error(value: object) -> None:
    reader = AnswerReader(1, 2)
    reader.feed(document(0, [[1, value]]))
    with pytest.raises(HistoryError, match="Unable to parse values in series 'm'"):
        reader.tables[0].series()


def test_a_column_that_is_not_there_is_empty() -> None:
    reader = AnswerReader(1, 2)
    reader.feed(document(0, [["a", "b"]]))
    assert list(first_column(reader.tables[0], "value")) == ["b"]
    assert list(first_column(reader.tables[0], "none")) == []
