"""The forms of a command line, flag by flag: Go's, to the letter."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.errors import UsageError
from collector.flags import Scan, csv_record, scan, value_of, whole_number

KINDS = {"name": "text", "long-name": "text", "yes": "bool", "v": "level"}


def texts(*arguments: str) -> dict[str, list[str]]:
    found = scan(arguments, KINDS)
    assert not found.faults
    return found.texts


@pytest.mark.parametrize(
    "arguments",
    [["--long-name=a"], ["--long_name=a"], ["--long-name", "a"], ["--long_name", "a"], ["x", "--long-name=a"]],
)
def test_both_spellings_and_both_forms(arguments):
    assert texts(*arguments) == {"long-name": ["a"]}


def test_a_value_may_look_like_a_flag_or_hold_an_equals_sign_or_be_empty():
    assert texts("--name", "--yes", "--name=a=b", "--name=") == {"name": ["--yes", "a=b", ""]}


def test_a_bare_boolean_leaves_the_next_argument_alone():
    assert texts("--yes", "false", "--yes=false") == {"yes": ["true", "false"]}


@pytest.mark.parametrize("arguments", [["-v=2"], ["-v", "2"], ["-v2"], ["--v=2"], ["--v", "2"]])
def test_a_single_letter_takes_its_value_in_every_form(arguments):
    assert texts(*arguments) == {"v": ["2"]}


def test_nothing_behind_two_dashes_is_a_flag():
    assert texts("--name=a", "--", "--name=b", "--nonsense") == {"name": ["a"]}
    assert texts("a", "-", "b", "") == {}


@pytest.mark.parametrize(
    ("argument", "fault"),
    [
        ("--nonsense=geheim", "--nonsense is no flag"),
        ("-x", "-x is no flag"),
        ("-name=geheim", "-n is no flag; two dashes stand before a name of several letters"),
        ("--=geheim", "-- is no flag"),
        ("---name", "---name is no flag"),
        ("--name", "--name needs a value"),
        ("-v", "-v needs a value"),
        ("--Name=a", "--Name is no flag"),
    ],
)
def test_what_is_no_flag_is_named_without_its_value(argument, fault):
    assert scan([argument], KINDS) == Scan(faults=[fault])


@pytest.mark.parametrize("argument", ["--help", "-h", "--help=no"])
def test_help_ends_the_reading(argument):
    found = scan(["--name=a", argument, "--nonsense"], KINDS)
    assert found == Scan({"name": ["a"]}, [], help=True)
    assert texts("--name", argument) == {"name": [argument]}


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("", []),
        ("a", ["a"]),
        ("a,b", ["a", "b"]),
        (",", ["", ""]),
        ('c,"d,e"', ["c", "d,e"]),
        ('"a ""b"" c"', ['a "b" c']),
        ('"a\nb",c', ["a\nb", "c"]),
        ("a,b\nc,d", ["a", "b"]),
        (" a , b", [" a ", " b"]),
    ],
)
def test_a_list_is_one_line_of_csv(text, items):
    assert csv_record(text) == items


@pytest.mark.parametrize("text", ['a"b', '"a"b', '"a', 'a,"', '"a" ,b', 'a"'])
def test_a_quote_out_of_place_is_refused(text):
    with pytest.raises(ValueError, match="no list"):
        csv_record(text)


@given(st.lists(st.text(st.characters(exclude_characters="\r", codec="utf-8")), min_size=1))
def test_every_list_can_be_written(items):
    written = ",".join('"' + item.replace('"', '""') + '"' for item in items)
    assert csv_record(written) == items


@pytest.mark.parametrize(
    ("text", "number"),
    [("8082", 8082), ("0x1F92", 8082), ("017622", 8082), ("0b11", 3), ("-1", -1), ("+7", 7), ("0", 0)],
)
def test_whole_numbers_as_go_writes_them(text, number):
    assert whole_number(text) == number


@pytest.mark.parametrize("text", ["", "1.0", "1e3", "08", "0x", "--1", " 1", "1 ", "٣", str(2**63), "1_000"])
def test_anything_else_is_no_whole_number(text):
    with pytest.raises(ValueError, match=r"whole number|64 bits"):
        whole_number(text)


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("bool", ["1", "t", "FALSE"], ["yes", "", "TrUe"]),
        ("duration", ["0", "-2s", "+1.5h", "1h30m", "7us", "7\u00b5s", "7\u03bcs", "1ns"], ["60", "1d", "", "s"]),
        ("ip", ["0.0.0.0", "::", " 10.0.0.1 "], ["localhost", "fe80::1%eth0", "1.2.3", ""]),
        ("level", ["0", "10", "-1"], ["0x1", "high", ""]),
        ("severity", ["2", "ERROR", "warning"], ["loud", ""]),
        ("modules", ["", "manager=2", "a=1,b*=3,"], ["manager", "=2", "a=b", "a=-1"]),
        ("place", ["", "main.go:80"], ["main.go", "main:80", "main.go:0"]),
        ("source", ["kubernetes", "kubernetes:", "kubernetes.summary_api:''"], ["", ":x", "kubernetes:http://["]),
        ("sink", ["log", "wavefront:127.0.0.1:2878"], [":", "influxdb:127.0.0.1:8086", "influxdb:http://h:port"]),
    ],
)
def test_each_kind_takes_what_go_takes(kind, good, bad):
    for text in good:
        value_of(kind, [text])
    for text in bad:
        with pytest.raises((ValueError, UsageError)):
            value_of(kind, [text])
        with pytest.raises((ValueError, UsageError)):
            value_of(kind, [text, good[0]])


def test_of_a_flag_given_twice_the_last_counts_and_of_a_list_all():
    assert value_of("text", ["a", "b"]) == "b"
    assert value_of("list", ["a,b", "", "c"]) == ("a", "b", "c")
    assert value_of("sink", ["log", "metric"]) == ("log", "metric")
