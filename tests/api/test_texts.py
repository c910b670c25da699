"""JSON, times, targets and headers, read and written as Go did."""

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.api import jsontext
from collector.api.gotime import format_time, parse_time
from collector.api.negotiation import heapster_encoding, openmetrics_wanted, standard_encoding
from collector.api.route import BadRequestError, Style
from collector.api.target import clean_path, go_quote, location, parse_query, split_target

SECOND = 10**9
DOCUMENTS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
    max_leaves=12,
)


@given(DOCUMENTS, st.sampled_from([Style.PRETTY, Style.COMPACT]))
def test_a_document_comes_back_from_its_json(document, style):
    text = jsontext.lay_out(document, style)
    assert json.loads(text, parse_int=float) == json.loads(json.dumps(document), parse_int=float)
    assert text.endswith("\n") == (style is Style.COMPACT)
    assert not set("<>&\u2028\u2029") & set(text)


def test_the_pretty_layout_is_one_value_a_line_and_one_space_in():
    document = {"metrics": [{"timestamp": "t", "value": 337}], "empty": [], "none": {}, "<&>": None}
    assert jsontext.lay_out(document, Style.PRETTY) == (
        '{\n  "metrics": [\n   {\n    "timestamp": "t",\n    "value": 337\n   }\n  ],\n'
        '  "empty": [],\n  "none": {},\n  "\\u003c\\u0026\\u003e": null\n }'
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3800.0, "3800"),
        (0.131316, "0.131316"),
        (1e20, "100000000000000000000"),
        (123456789012345680000.0, "123456789012345680000"),
        (1e21, "1e+21"),
        (1.5e-7, "1.5e-7"),
        (1e-6, "0.000001"),
        (1.25e-5, "0.0000125"),
        (-2.5e-5, "-0.000025"),
        (1e-10, "1e-10"),
        (0.0, "0"),
        (-0.0, "-0"),
        (True, "true"),
        (-(2**63), "-9223372036854775808"),
    ],
)
def test_numbers_are_written_as_go_writes_them(value, text):
    assert jsontext.compact(value) == text


def test_control_characters_are_escaped_as_go_escapes_them():
    assert jsontext.string('\b\f\n\r\t\x00\x7f"\\é') == '"\\u0008\\u000c\\n\\r\\t\\u0000\x7f\\"\\\\é"'


@given(st.datetimes(timezones=st.timezones() | st.just(UTC)))
def test_every_time_that_python_writes_is_read(moment):
    offset = moment.utcoffset()
    assert offset is not None
    moment = moment.replace(tzinfo=timezone(timedelta(minutes=offset // timedelta(minutes=1))))
    expected = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000
    assert parse_time(moment.isoformat()) == expected


@given(st.integers(-62_135_596_800 * SECOND, 253_402_300_799 * SECOND))
def test_a_time_comes_back_from_its_text(timestamp):
    assert parse_time(format_time(timestamp)) == timestamp


@given(st.text() | st.from_regex(r"\A\d{1,4}-\d{1,2}-\d{1,2}[Tt ]\d{1,2}:\d\d:\d\d?([.,]\d*)?(Z|[+-]\d\d:\d\d|.*)\Z"))
def test_no_text_does_worse_than_be_refused(text):
    try:
        assert isinstance(parse_time(text), int)
    except BadRequestError as error:
        assert str(error).startswith("timestamp argument cannot be parsed: parsing time ")  # noqa: PT017


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("2018-02-29T00:00:00Z", '"2018-02-29T00:00:00Z": day out of range'),
        ("2018-00-01T00:00:00Z", '"2018-00-01T00:00:00Z": month out of range'),
        ("2018-01-01T00:60:00Z", '"2018-01-01T00:60:00Z": minute out of range'),
        ("2018-01-01T00:00:00+0200", ' as "2006-01-02T15:04:05Z07:00": cannot parse "+0200" as "Z07:00"'),
        ("é", ' as "2006-01-02T15:04:05Z07:00": cannot parse "\\xc3\\xa9" as "2006"'),
        ('2018"', ' as "2006-01-02T15:04:05Z07:00": cannot parse "\\"" as "-"'),
    ],
)
def test_a_refused_time_is_refused_in_gos_words(text, words):
    with pytest.raises(BadRequestError) as refusal:
        parse_time(text)
    assert str(refusal.value).endswith(words)


def test_a_leap_day_of_year_0_is_a_day():
    assert parse_time("0000-02-29T00:00:00Z") == parse_time("0400-02-29T00:00:00Z") - 146_097 * 86_400 * SECOND


@pytest.mark.parametrize(
    ("path", "clean"),
    [
        ("/", "/"),
        ("", "/"),
        ("//", "/"),
        ("/a//b/", "/a/b/"),
        ("/a/./b", "/a/b"),
        ("/a/../b/", "/b/"),
        ("/../..", "/"),
        ("/a/..", "/"),
        ("/a/b/..", "/a"),
    ],
)
def test_paths_are_cleaned_as_go_cleans_them(path, clean):
    assert clean_path(path) == clean


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_path_comes_back_from_the_reference_to_it(text):
    path = clean_path("/" + text)
    assert split_target(location(path, "")) == (path, "")


def test_queries_are_read_as_go_reads_them():
    assert parse_query("a=1&a=2&b&c=%zz&d=x;y&e=a+b&f=%2B&&=v") == {
        "a": ["1", "2"], "b": [""], "e": ["a b"], "f": ["+"], "": ["v"],
    }  # fmt: skip
    assert split_target("/a%zz?b") == (None, "b")


def test_quoting_is_gos():
    assert go_quote('a"\\\n\x01\x7fé\u2028\udcff\U000e0001') == '"a\\"\\\\\\n\\x01\\x7fé\\u2028\\xff\\U000e0001"'


@pytest.mark.parametrize(
    ("accepted", "heapster", "standard"),
    [
        ("", None, None),
        ("gzip", "gzip", "gzip"),
        ("deflate, gzip", "deflate", "gzip"),
        ("gzip, deflate", "gzip", "gzip"),
        ("gzip;q=0", "gzip", None),
        ("br", None, None),
        ("GZIP;q=0.5", None, "gzip"),
        ("gzip;q=bad", "gzip", None),
    ],
)
def test_compression_is_chosen_by_what_the_client_takes(accepted, heapster, standard):
    assert heapster_encoding(accepted) == heapster
    assert standard_encoding(accepted) == standard


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("", False),
        ("*/*", False),
        ("text/plain;version=0.0.4", False),
        ("application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1", True),
        ("application/openmetrics-text;q=0.1,text/plain", False),
        ("application/openmetrics-text;q=0", False),
    ],
)
def test_openmetrics_is_written_when_it_is_preferred(accept, wanted):
    assert openmetrics_wanted(accept) == wanted
