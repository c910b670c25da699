"""The tolerant decoder on a small document of its own."""

import json
import math
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta, Struct

from collector.core.sample import ABSENT
from collector.errors import DecodeError
from collector.sources.tolerant import MAX_FAULTS, Tolerant


class Part(Struct, frozen=True, rename="camel"):
    name: Annotated[str, Meta(min_length=1, max_length=4)]
    some_count: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 7
    ratio: float = 0.5
    note: str | None = None


class Document(Struct, frozen=True):
    part: Part
    parts: list[Part] | None = None


DECODER = Tolerant(Document)
STRICT = msgspec.json.Decoder(Document)

part_values = st.fixed_dictionaries(
    {"name": st.text(st.characters(codec="utf-8"), min_size=1, max_size=4)},
    optional={
        "someCount": st.integers(0, 2**63 - 1),
        "ratio": st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**30), 10**30),
        "note": st.text(st.characters(codec="utf-8")) | st.none(),
        "unknown": st.integers(),
    },
)


def decode(tree: Any) -> tuple[Document, list[str]]:
    return DECODER.decode(json.dumps(tree).encode())


@given(st.fixed_dictionaries({"part": part_values}, optional={"parts": st.lists(part_values) | st.none()}))
def test_what_the_strict_decoder_takes_comes_out_the_same_and_without_a_fault(tree: Any) -> None:
    body = json.dumps(tree).encode()
    assert DECODER.decode(body) == (STRICT.decode(body), [])


@pytest.mark.parametrize("value", [-1, 2**63, 10**300, 1.0, True, "1", [], {}])
def test_a_count_that_does_not_fit_is_absent_and_not_its_default(value: Any) -> None:
    document, faults = decode({"part": {"name": "a", "someCount": value}})
    assert document.part == Part("a", ABSENT)
    assert len(faults) == 1


@pytest.mark.parametrize("value", [True, "1", [], {}, 10**400])
def test_a_float_that_does_not_fit_is_nan(value: Any) -> None:
    document, faults = decode({"part": {"name": "a", "ratio": value}})
    assert math.isnan(document.part.ratio)
    assert len(faults) == 1


def test_a_number_of_any_length_spoils_only_itself() -> None:
    for digits in ("9" * 100_000, "-" + "9" * 5000, "1e999", "-1e999"):
        body = b'{"part": {"name": "a", "someCount": %s, "ratio": %s}}' % (digits.encode(), digits.encode())
        document, faults = DECODER.decode(body)
        assert document.part.name == "a"
        assert document.part.some_count == ABSENT
        assert math.isnan(document.part.ratio)
        assert max(map(len, faults)) < 100


def test_null_and_missing_take_the_default_without_a_fault() -> None:
    assert decode({"part": {"name": "a", "someCount": None, "ratio": None, "note": None}, "parts": None}) == (
        Document(Part("a")),
        [],
    )


def test_a_list_loses_only_the_elements_that_do_not_fit() -> None:
    elements = [
        {"name": "a"},
        {"name": ""},
        {"name": "toolong"},
        {},
        {"name": None},
        None,
        3,
        [],
        {"name": "b", "note": 5},
    ]
    document, faults = decode({"part": {"name": "p"}, "parts": elements})
    assert document.parts == [Part("a"), Part("b")]
    assert faults == [
        "$.parts[1].name is ''",
        "$.parts[2].name is 'toolong'",
        "$.parts[3].name is missing",
        "$.parts[4].name is missing",
        "$.parts[5] is null",
        "$.parts[6] is 3",
        "$.parts[7] is a list",
        "$.parts[8].note is 5",
    ]


def test_a_document_without_its_required_field_is_refused_with_the_reason() -> None:
    for tree, reason in (
        ([], r"\$ is a list"),
        ({}, r"\$\.part is missing"),
        ({"part": {"name": 5}}, r"\$\.part\.name is 5"),
        ({"part": {"name": {"x": 1}}}, r"\$\.part\.name is an object"),
    ):
        with pytest.raises(DecodeError, match=reason):
            decode(tree)


@pytest.mark.parametrize("body", [b"", b"{", b"nul", b'{"part": NaN}', b'{"part": -Infinity}', b"\xff"])
def test_what_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(DecodeError, match="the answer is no JSON document"):
        DECODER.decode(body)


def test_a_broken_sequence_of_bytes_spoils_only_the_text_it_stands_in() -> None:
    document, faults = DECODER.decode(
        b'{"part": {"name": "a", "note": "\xff"}, "parts": [{"name": "\xc3"}, {"name": "\xc3\xa9"}]}'
    )
    assert document == Document(Part("a"), [Part("é")])
    assert len(faults) == 2
    for fault in faults:
        fault.encode()  # may be logged


def test_a_fault_is_short_however_long_the_value() -> None:
    document, faults = decode({"part": {"name": "a", "someCount": "x" * 10**6}, "parts": "y" * 10**6})
    assert document == Document(Part("a", ABSENT))
    assert max(map(len, faults)) < 100


def test_faults_beyond_the_limit_are_counted() -> None:
    document, faults = decode({"part": {"name": "a"}, "parts": [None] * 1000})
    assert document.parts == []
    assert len(faults) == MAX_FAULTS + 1
    assert faults[-1] == f"{1000 - MAX_FAULTS} more"
