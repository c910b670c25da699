import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.durations import format_duration, parse_duration_ns


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("300ms", 300_000_000),
        ("10s", 10_000_000_000),
        ("1h30m", 5_400_000_000_000),
        ("1.5s", 1_500_000_000),
        (".5s", 500_000_000),
        ("2h0.5m1ns", 7_230_000_000_001),
        ("5us", 5_000),
        ("7d", 604_800_000_000_000),
        ("0", 0),
        ("-2s", -2_000_000_000),
    ],
)
def test_go_durations_are_exact(text, ns):
    assert parse_duration_ns(text) == ns


@pytest.mark.parametrize(
    "text", ["", "10", "s", "10 s", "1h30", "ten", "1e3s", "10x", "300y", "9999999999h", "1s ", "+"]
)
def test_anything_else_is_refused_and_named(text):
    with pytest.raises(ValueError, match="no duration"):
        parse_duration_ns(text)


@given(st.integers(0, 2**53))
def test_what_is_printed_reads_back(ns):
    whole = ns - ns % 1_000_000  # printed to the millisecond below a second
    assert parse_duration_ns(format_duration(whole)) == whole
