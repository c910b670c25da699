"""Escaping and numbers: what is written reads back, in every dialect of the line protocol."""

import math
import re
import warnings
from decimal import Decimal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from influxdb_client import Point

from sinks.influxdb.text import escape_key, escape_measurement, float_text, float_texts
from tests.sinks.lines import COUNTING, INFLUXDB, parse

DIALECTS = (INFLUXDB, COUNTING)
NASTY = st.text(st.sampled_from(",= \\\n\r\t\"'#/aé世\0"), min_size=1, max_size=12)
NAMES = st.one_of(NASTY, st.text(min_size=1, max_size=12)).filter(lambda text: text.isprintable() or "\n" in text)
FINITE = st.floats(allow_nan=False, allow_infinity=False)


def written(text: str) -> str:
    """What a server is to read for `text`: no line breaks, no backslash where the dialects disagree."""
    text = re.sub(r"\\+(?=[,= ]|\Z)", lambda found: "/" * len(found[0]), text)
    return text.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")


@settings(deadline=None)
@given(NAMES, NAMES, NAMES, NAMES)
@example("m\\", "k\\", "v\\", "f\\")
@example("m\n#x value=1 1", "k\n", "a\\\nb", "f\r\n")
@example("a=b", "=", ",", " ")
def test_any_name_reads_back_in_every_dialect(measurement: str, key: str, value: str, field: str) -> None:
    line = f"{escape_measurement(measurement)},{escape_key(key)}={escape_key(value)} {escape_key(field)}=1i 7\n"
    assert line.count("\n") == 1
    for dialect in DIALECTS:
        read = parse(line.encode(), dialect)[0]
        assert read.measurement == written(measurement)
        assert read.tags == ((written(key), written(value)),)
        assert read.fields == {written(field): 1}
        assert read.timestamp == 7


@settings(deadline=None)
@given(NAMES, st.dictionaries(NAMES, NAMES, min_size=1, max_size=4), st.integers(-(2**63), 2**63 - 1))
def test_names_are_written_as_influxdb_client_writes_them(name: str, tags: dict[str, str], value: int) -> None:
    names = [name, *tags, *tags.values()]
    if name.startswith("#") or any(
        written(text) != text.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t") for text in names
    ):
        return  # a comment, which no metric's name makes; a backslash that VictoriaMetrics would read differently
    point = Point(name).field("value", value).time(7)
    for k, v in tags.items():
        point.tag(k, v)
    ours = "".join(f",{escape_key(k)}={escape_key(v)}" for k, v in sorted(tags.items()))
    assert f"{escape_measurement(name)}{ours} value={value}i 7" == point.to_line_protocol()


@settings(deadline=None)
@given(st.lists(FINITE, max_size=20))
@example([1e22, 1e-7, 5e-324, -0.0, 0.0, 3800.0, 1.7976931348623157e308, 123456789012345680.0])
def test_floats_are_plain_decimals_that_read_back_equal(values: list[float]) -> None:
    texts = float_texts(values)
    assert len(texts) == len(values)
    assert texts == [float_text(value) for value in values]
    for text, value in zip(texts, values, strict=True):
        assert re.fullmatch(r"-?\d+(\.\d*[1-9])?", text), text
        assert float(text) == value
        assert math.copysign(1, float(text)) == math.copysign(1, value)
        assert len(Decimal(text).normalize().as_tuple().digits) <= 17


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3800.0, "3800"),
        (0.0, "0"),
        (0.5714285714285714, "0.5714285714285714"),
        (1e21, "1000000000000000000000"),
        (1.5e-7, "0.00000015"),
        (-3967.4, "-3967.4"),
        (100.0, "100"),
        (10.01, "10.01"),
    ],
)
def test_floats_look_like_gos(value: float, text: str) -> None:
    assert float_text(value) == text
    assert float_texts([value, value]) == [text, text]


@settings(deadline=None)
@given(st.lists(FINITE.filter(lambda value: "e" not in repr(value)), min_size=1, max_size=5))
def test_floats_are_written_as_influxdb_client_writes_them(values: list[float]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lines = [Point("m").field("value", value).time(7).to_line_protocol() for value in values]
    assert [f"m value={text} 7" for text in float_texts(values)] == lines
