from fractions import Fraction

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from collector.kube import quantity
from collector.kube.quantity import INT64_MAX, INT64_MIN, QuantityError

CASES = [
    # text, milli, value
    ("0", 0, 0),
    ("00", 0, 0),
    ("0Ki", 0, 0),
    ("-0", 0, 0),
    ("1", 1000, 1),
    ("+1", 1000, 1),
    ("-1", -1000, -1),
    ("1.", 1000, 1),
    ("1.G", 10**12, 10**9),
    (".5", 500, 1),
    ("0.5", 500, 1),
    ("-0.5", -500, -1),
    ("100m", 100, 1),
    ("-100m", -100, -1),
    ("1500m", 1500, 2),
    ("5n", 1, 1),
    ("250u", 1, 1),
    ("1001u", 2, 1),
    ("1e3", 10**6, 1000),
    ("1E3", 10**6, 1000),
    ("1E+3", 10**6, 1000),
    ("1E-3", 1, 1),
    ("1.3E+6", 1300 * 10**6, 1_300_000),
    ("0.5e-9", 1, 1),
    ("129e6", 129 * 10**9, 129_000_000),
    ("8k", 8 * 10**6, 8000),
    ("1E", INT64_MAX, 10**18),
    ("1Ki", 1024_000, 1024),
    ("1Gi", 1000 << 30, 1 << 30),
    ("1Ei", INT64_MAX, 1 << 60),
    ("100.035Ki", 102_435_840, 102_436),
    ("0.5Mi", 1000 << 19, 1 << 19),
    ("0.000000000001Ki", 1, 1),
    ("16419384Ki", 16419384 * 1024_000, 16419384 * 1024),
    # beyond int64: cut at the bounds
    ("9Ei", INT64_MAX, INT64_MAX),
    ("12E", INT64_MAX, INT64_MAX),
    ("-12E", INT64_MIN, INT64_MIN),
    ("9223372036854775807", INT64_MAX, INT64_MAX),
    ("9223372036854775808", INT64_MAX, INT64_MAX),
    ("-9223372036854775808", INT64_MIN, INT64_MIN),
    ("1e999999999999", INT64_MAX, INT64_MAX),
    ("-1e999999999999", INT64_MIN, INT64_MIN),
    ("1e-999999999999", 1, 1),
    ("0e999999999999", 0, 0),
    ("0." + "0" * 200 + "1", 1, 1),
]


@pytest.mark.parametrize(("text", "milli", "value"), CASES)
def test_a_quantity_is_read_exactly_and_rounded_away_from_zero(text, milli, value):
    assert (quantity.milli(text), quantity.value(text)) == (milli, value)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            " 1",
            "1 ",
            "1\n",
            ".",
            "-",
            "+.",
            "m",
            "Ki",
            "e3",
            "1e",
            "1e+",
            "1mm",
            "1ki",
            "1Mm",
            "1K",
            "1ni",
            "1.2.3",
        ),
        *("--1", "1-", "0x10", "1_000", "1,5", "NaN", "Infinity", "\u0661", "1Kii", "1e1.5", "1e3Ki", "1 Gi"),
    ],
)
def test_a_text_that_is_no_quantity_is_named_in_the_error(text):
    with pytest.raises(QuantityError) as refused:
        quantity.value(text)
    assert repr(text) in str(refused.value)


def test_a_number_without_end_is_refused_by_its_length():
    with pytest.raises(QuantityError, match="has 100000 characters; at most 256"):
        quantity.milli("9" * 100_000)


SUFFIXES = dict.fromkeys(("", "e0", "E0"), Fraction(1))
SUFFIXES |= {s: Fraction(10) ** e for s, e in zip("numkMGTPE", (-9, -6, -3, 3, 6, 9, 12, 15, 18), strict=True)}
SUFFIXES |= {s + "i": Fraction(1024) ** (n + 1) for n, s in enumerate("KMGTPE")}
SUFFIXES |= {f"e{e}": Fraction(10) ** e for e in range(-30, 31)}

digits = st.text("0123456789", min_size=1, max_size=25)
numbers = st.one_of(digits, digits.map("{}.".format), digits.map(".{}".format), st.tuples(digits, digits).map(".".join))


def reference(sign, number, suffix, factor):
    exact = Fraction("0" + number if number.startswith(".") else number + "0" * number.endswith(".")) * SUFFIXES[suffix]
    up = -(-(exact * factor).numerator // (exact * factor).denominator)
    return max(INT64_MIN, -up) if sign == "-" else min(INT64_MAX, up)


@settings(deadline=None)
@given(st.sampled_from(["", "+", "-"]), numbers, st.sampled_from(sorted(SUFFIXES)))
@example("-", "9223372036854775808", "")
@example("", "9223372036854775.8070000001", "k")
def test_every_legal_form_agrees_with_exact_fractions(sign, number, suffix):
    text = sign + number + suffix
    assert quantity.value(text) == reference(sign, number, suffix, 1)
    assert quantity.milli(text) == reference(sign, number, suffix, 1000)


@settings(deadline=None)
@given(st.text(max_size=12))
def test_any_text_is_a_number_within_int64_or_a_quantity_error(text):
    try:
        amount = quantity.value(text)
    except QuantityError:
        return
    assert INT64_MIN <= amount <= INT64_MAX


POWERS = {
    "decimal": {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18},
    "binary": {"": 0, "Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60},
}


def canonical(amount: Fraction, kind: str, base: int) -> str:
    """The slow way: the largest suffix that leaves whole digits."""
    if not amount:
        return "0"
    fitting = {
        suffix: amount / Fraction(base) ** power
        for suffix, power in POWERS[kind].items()
        if (amount / Fraction(base) ** power).denominator == 1
    }
    suffix = min(fitting, key=lambda suffix: abs(fitting[suffix]))
    return f"{fitting[suffix]}{suffix}"


@given(
    st.integers(INT64_MIN, INT64_MAX) | st.builds(lambda a, b: a * 10**b, st.integers(-999, 999), st.integers(0, 15)),
    st.sampled_from([-9, -6, -3, 0]),
)
@example(0, -3)
@example(499, -3)
@example(1000, -3)
@example(-1682135, -3)
@example(10**6, -3)
@example(10**18, 0)
def test_a_decimal_quantity_is_written_in_canonical_form_and_read_back(number, power):
    text = quantity.decimal_text(number, power)
    assert text == canonical(Fraction(number) * Fraction(10) ** power, "decimal", 10)
    if power == -3:
        assert quantity.milli(text) == number


@given(st.integers(INT64_MIN, INT64_MAX) | st.builds(lambda a, b: a << b, st.integers(-1023, 1023), st.integers(0, 52)))
@example(1000)
@example(1023)
@example(1024)
@example(3 << 30)
@example(1 << 62)
@example(179681263)
def test_a_binary_quantity_is_written_in_canonical_form_and_read_back(number):
    text = quantity.binary_text(number)
    if abs(number) < 1024:
        assert text == canonical(Fraction(number), "decimal", 10)
    else:
        assert text == canonical(Fraction(number), "binary", 2)
    assert quantity.value(text) == number
