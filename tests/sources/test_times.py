"""RFC 3339 texts to nanoseconds."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.sources import times
from collector.sources.times import EPOCH_NS, epoch_ns


@given(
    st.datetimes(datetime(1970, 1, 2), datetime(2262, 4, 10)),  # noqa: DTZ001 - the zone is added below
    st.integers(0, 999_999_999),
    st.integers(-23 * 60 - 59, 23 * 60 + 59),
)
def test_a_time_of_any_zone_and_precision_is_exact_to_the_nanosecond(moment: datetime, ns: int, offset: int) -> None:
    zone = timezone(timedelta(minutes=offset))
    whole = moment.replace(microsecond=0, tzinfo=zone)
    since = (whole - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1)
    text = whole.isoformat()
    expected = max(0, since * 1_000_000_000 + ns)
    assert epoch_ns(f"{text[:19]}.{ns:09}{text[19:]}") == expected
    if offset == 0:
        assert epoch_ns(f"{text[:19]}.{ns:09}Z") == expected


@given(
    st.text(max_size=40) | st.from_regex(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?", fullmatch=True)
)
def test_no_text_raises(text: str) -> None:
    assert 0 <= epoch_ns(text) < 2**63
    assert EPOCH_NS[text] == epoch_ns(text)


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("1970-01-01T00:00:00.000000001Z", 1),
        ("2262-04-11T23:47:16.854775807Z", 2**63 - 1),
        ("2024-02-29t12:00:00z", 1_709_208_000_000_000_000),
        ("2024-01-01T00:00:00.5Z", 1_704_067_200_500_000_000),
        ("2024-01-01T00:00:00.123456789987654321Z", 1_704_067_200_123_456_789),
    ],
)
def test_these_are_times(text: str, ns: int) -> None:
    assert epoch_ns(text) == ns


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "1970-01-01T00:00:00Z",  # Heapster's own word for no time
        "1969-12-31T23:59:59.9Z",
        "0001-01-01T00:00:00Z",
        "0001-01-01T00:00:00+23:59",
        "0000-01-01T00:00:00Z",
        "2262-04-11T23:47:16.854775808Z",
        "9999-12-31T23:59:59-23:59",
        "2023-02-29T00:00:00Z",
        "2024-01-01T24:00:00Z",
        "2024-01-01T23:59:60Z",
        "2024-01-01T00:00:00",
        "2024-01-01 00:00:00Z",
        "2024-01-01T00:00:00+24:00",
        "2024-01-01T00:00:00+05:60",
        "2024-01-01T00:00:00.Z",
        "2024-01-01T00:00:00Z\n",
        "\N{ARABIC-INDIC DIGIT TWO}024-01-01T00:00:00Z",
    ],
)
def test_these_are_no_times(text: str) -> None:
    assert epoch_ns(text) == 0


def test_what_is_remembered_is_bounded_in_number_and_length(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(times, "LIMIT", 10)
    remembered = times._Remembered()
    for second in range(60):
        assert remembered[f"1970-01-01T00:00:{second:02}Z"] == second * 1_000_000_000
        assert len(remembered) <= 10
    before = len(remembered)
    assert remembered["1970-01-01T00:00:01." + "0" * 1000 + "Z"] == 0
    assert len(remembered) == before
    assert remembered[None] == remembered[""] == 0
