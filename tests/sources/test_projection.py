"""The C extension: what it accepts it reads right, what is unusual it refuses whole, and neither leaves a trace."""

import contextlib
import copy
import json
import os
import struct
import sys
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.sources import projection
from tests.sources.mutations import written

if not projection.AVAILABLE:
    pytest.fail(
        "collector/sources/_projection was not built: install gcc, libc6-dev and Python's headers (make system), "
        "remove .venv/.ready, run make setup",
        pytrace=False,
    )

from collector.sources._projection import INTEGER, NOTHING, OBJECT, ROWS, TEXT, TIME, Projection
from tests.sources.projected import Reading, RefusedError

KEY = bytes(range(16))
LEAF = (("size", INTEGER, 0, None, False), ("id", TEXT, 0, None, True))
ITEM = (
    ("name", TEXT, 0, None, True),
    ("at", TIME, 0, None, False),
    ("usageCoreNanoSeconds", INTEGER, 1, None, False),
    ("x", INTEGER, 2, None, False),
    ("gone", NOTHING, 0, None, False),
    (
        "part",
        OBJECT,
        0,
        (("name", TEXT, 1, None, False), ("deep", OBJECT, 0, (("x", INTEGER, 3, None, True),), False)),
        False,
    ),
    ("leaves", ROWS, 2, LEAF, False),
)
SHAPE = (("head", OBJECT, 0, (("n", INTEGER, 0, None, True),), True), ("items", ROWS, 1, ITEM, False))
TABLES = (((-1,), 0, False), ((0, -1, -1, 7), 2, False), ((-1,), 1, True))

LEAVES = [{"id": "l0", "size": 1}, {"other": [{"size": 3}], "id": "l1"}]
TREE: Any = {
    "head": {"unknown": [1, {"a": [[], {}]}, "text"], "n": 12345678},
    "items": [
        {
            "name": "first-with-a-longer-name",
            "at": "2026-01-02T03:04:05.123456789Z",
            "usageCoreNanoSeconds": 9223372036854775807,
            "x": 0,
            "gone": None,
            "part": {"name": "inner", "deep": {"y": True, "x": 99999999}},
            "leaves": LEAVES,
        },
        {"part": {}, "at": None, "gone": [], "name": "second", "leaves": None, "some": -1.5e-3, "more": False},
    ],
    "others": {"items": [{"name": "no row"}]},
}


def made() -> Projection:
    return Projection(TABLES, SHAPE, KEY)


def taken(reader: Projection) -> list[list[tuple[list[int], int, list[bytes]]]]:
    """As Reading has it."""
    text, tables = reader.take()
    found = []
    for (defaults, texts, _), (values, parents, spans, identities) in zip(TABLES, tables, strict=True):
        owners = struct.unpack(f"={len(parents) // 4}i", parents)
        columns = np.frombuffer(values, np.int64).reshape(len(defaults), -1)
        places = np.frombuffer(spans, np.uint32).reshape(len(owners), texts, 2).tolist()
        assert len(identities) == 16 * len(owners)
        found.append(
            [
                (columns[:, i].tolist(), owner, [text[begin:end] for begin, end in places[i]])
                for i, owner in enumerate(owners)
            ]
        )
    return found


def read(*documents: bytes) -> list[list[tuple[list[int], int, list[bytes]]]]:
    """The reference's rows of documents that must all be accepted by it."""
    reading = Reading(TABLES, SHAPE)
    for document in documents:
        reading.add(document)
    return reading.rows


def assert_right(reader: Projection, document: bytes) -> bool:
    """Whether `document` was accepted; then its rows are the reference's, otherwise there are none."""
    accepted = reader.add(document)
    found = taken(reader)
    assert found == (read(document) if accepted else [[], [], []])
    return accepted


@pytest.mark.parametrize("indent", [None, 0, 1, 3, 8, "\t"])
def test_a_document_is_read_whatever_its_indentation(indent):
    assert assert_right(made(), json.dumps(TREE, indent=indent).encode())


def test_several_documents_lie_in_the_same_tables():
    documents = [json.dumps(TREE).encode(), b'{"head": {"n": 1}}', json.dumps(TREE, indent=2).encode()]
    reader = made()
    assert all(reader.add(document) for document in documents)
    assert taken(reader) == read(*documents)
    assert taken(reader) == [[], [], []]


def test_a_refused_document_between_others_leaves_no_trace():
    good, bad = json.dumps(TREE).encode(), json.dumps(TREE).encode()[:-1]
    reader = made()
    assert [reader.add(document) for document in (good, bad, bad, good)] == [True, False, False, True]
    assert taken(reader) == read(good, good)


def test_every_beginning_of_a_document_is_refused():
    for document in (json.dumps(TREE).encode(), json.dumps(TREE, indent=1).encode()):
        reader = made()
        # Copies of exactly that length: a look behind the end is a look into foreign memory.
        assert not any(reader.add(document[:end]) for end in range(len(document)))
        assert taken(reader) == [[], [], []]


def item(**fields: Any) -> bytes:
    return json.dumps({"head": {"n": 0}, "items": [{"name": "a", **fields}]}, ensure_ascii=False).encode()


def raw(value: str, name: str = "x") -> bytes:
    return b'{"head": {"n": 0}, "items": [{"name": "a", "%s": %s}]}' % (name.encode(), value.encode())


@pytest.mark.parametrize(
    "value",
    [
        "0",
        "1",
        "12",
        "1234567",
        "12345678",
        "123456789",
        "1234567890123456",
        "12345678901234567",
        "9223372036854775807",
    ],
)
def test_a_number_of_any_length(value):
    assert assert_right(made(), raw(value))
    assert assert_right(
        made(), b'{"items": [{"name": "a", "x":%s}],"head":{"n":%s}}' % (value.encode(), value.encode())
    )


@pytest.mark.parametrize(
    "value",
    [
        *(
            "-0",
            "-1",
            "01",
            "00",
            "0x1",
            "1.0",
            "1e3",
            "1E3",
            "+1",
            "",
            "null",
            "true",
            '"1"',
            "[]",
            "{}",
            "1 2",
            "12345678a",
        ),
        *("9223372036854775808", "18446744073709551615", "18446744073709551616", "9" * 19, "9" * 20, "1" * 400),
    ],
)
def test_a_number_that_is_no_count_is_refused(value):
    assert not made().add(raw(value))


@pytest.mark.parametrize(
    "text",
    [
        "1971-01-01T00:00:00Z",
        "2260-12-31T23:59:59.999999999Z",
        "2024-02-29T12:00:00+05:30",
        "2000-03-01T00:00:00.5-23:59",
        "2100-02-28T23:59:59.123456789012345678Z",
        "",
    ],
)
def test_a_time(text):
    assert assert_right(made(), item(at=text))


@pytest.mark.parametrize(
    "text",
    [
        *("1970-12-31T23:59:59Z", "2261-01-01T00:00:00Z", "2023-02-29T00:00:00Z", "2100-02-29T00:00:00Z", "now"),
        *("2026-13-01T00:00:00Z", "2026-00-01T00:00:00Z", "2026-01-00T00:00:00Z", "2026-04-31T00:00:00Z"),
        *("2026-01-01T24:00:00Z", "2026-01-01T00:60:00Z", "2026-01-01T00:00:60Z", "2026-01-01 00:00:00Z"),
        *("2026-01-01T00:00:00", "2026-01-01T00:00:00.Z", "2026-01-01T00:00:00.1234567890123456789Z"),
        *("2026-01-01T00:00:00+24:00", "2026-01-01T00:00:00+00:60", "2026-01-01T00:00:00+0000", "2026-1-01T00:00:00Z"),
        *("2026-01-01T00:00:00ZZ", "2026-01-01T00:00:00z", "2026-01-01t00:00:00Z", " 2026-01-01T00:00:00Z"),
    ],
)
def test_a_time_out_of_the_ordinary_is_refused(text):
    assert not made().add(item(at=text))


def test_every_day_of_four_centuries_but_the_ends():
    reader = made()
    days = np.arange("1971-01-01", "2261-01-01", dtype="datetime64[D]")
    document = {"head": {"n": 0}, "items": [{"name": "a", "at": f"{day}T00:00:00Z"} for day in days]}
    assert reader.add(json.dumps(document).encode())
    times = np.frombuffer(reader.take()[1][1][0], np.int64)[: days.size]
    assert (times == days.astype("datetime64[ns]").astype(np.int64)).all()


@pytest.mark.parametrize(
    "document",
    [
        *(item(name=name) for name in ("", "x" * 1025, 'a"', "a\\", "a\n", "ä", "a\x7f\x80")),
        *(
            raw(text, "unknown")
            for text in ('"\\n"', '"\\u0041"', '"ä"', "tru", "nul", "[1,]", "[1 2]", '{"a"}', "{,}")
        ),
        *(
            raw(text, "unknown")
            for text in ("-", "1.", "1.e3", "1e", ".5", "01", "NaN", "Infinity", "[}", '{"a":1]', "{1:2}")
        ),
        *(raw(text, "gone") for text in ("[1]", "{}", "0", '""')),
        *(raw(text, "leaves") for text in ("{}", "[null]", "[1]", '[{"id":"a"},]', '[{"size":1}]', "[[]]", "true")),
        *(raw(text, "part") for text in ("null", "[]", '{"deep":{}}', '{"deep":null}')),
        raw('1, "x": 1'),
        raw('"b"', "name"),
        raw("1", "\\u0078"),
        b'{"items": []}',
        b'{"head": {}}',
        b'{"head": {"n": 0}, "head": {"n": 0}}',
        b'{"head": {"n": 0}} x',
        b'{"head": {"n": 0}}\0',
        b'{"head": {"n": 0},}',
        b'{"head" {"n": 0}}',
        b'\xef\xbb\xbf{"head": {"n": 0}}',
        b"[]",
        b"null",
        b"",
        b" ",
    ],
)
def test_what_is_unusual_is_refused_whole(document):
    reader = made()
    assert not reader.add(document)
    assert taken(reader) == [[], [], []]


def test_nesting_has_a_limit():
    reader = made()
    for depth in range(1, 200):
        for opening, closing in (("[", "]"), ('{"a":', "}")):
            accepted = assert_right(reader, raw(opening * depth + "1" + closing * depth, "unknown"))
            assert accepted == (depth <= 48)


def test_an_identity_comes_from_the_texts_and_where_wanted_the_parents():
    def identities(*documents: Any, key: bytes = KEY) -> list[list[bytes]]:
        reader = Projection(TABLES, SHAPE, key)
        assert all(reader.add(json.dumps(document).encode()) for document in documents)
        return [[bytes(table[3][i : i + 16]) for i in range(0, len(table[3]), 16)] for table in reader.take()[1]]

    def one(name: str, inner: str, *leaves: str) -> dict[str, Any]:
        part = {"part": {"name": inner}} if inner else {}
        return {"head": {"n": 0}, "items": [{"name": name, **part, "leaves": [{"id": leaf} for leaf in leaves]}]}

    _, items, leaves = identities(one("a", "b", "l", "l"), one("a", "b", "l"), one("ab", "", "l"), one("a", "", "l"))
    assert items[0] == items[1]
    assert len(set(items)) == 3
    assert leaves[0] == leaves[1] == leaves[2]
    assert len(set(leaves)) == 3
    # The texts may come in any order, and after the rows below.
    turned = {"items": [{"leaves": [{"id": "l"}], "part": {"name": "b"}, "name": "a"}], "head": {"n": 3}}
    assert identities(turned)[1:] == [items[:1], leaves[:1]]
    assert identities(one("a", "b", "l"), key=b"k" * 16)[1] != items[:1]
    many = identities(*(one("n" * (i + 1), "m" * j, "x") for i in range(40) for j in range(40)))
    assert len(set(many[1])) == len(set(many[2])) == 1600


@pytest.mark.parametrize(
    ("tables", "shape", "key", "error"),
    [
        ((), SHAPE, KEY, ValueError),
        (TABLES, SHAPE, b"short", ValueError),
        (TABLES, (), KEY, ValueError),
        (TABLES, (("a", 99, 0, None, False),), KEY, ValueError),
        (TABLES, (("a", -1, 0, None, False),), KEY, ValueError),
        (TABLES, (("a", INTEGER, 1, None, False),), KEY, ValueError),
        (TABLES, (("a", INTEGER, -1, None, False),), KEY, ValueError),
        (TABLES, (("a", TEXT, 0, None, False),), KEY, ValueError),
        (TABLES, (("a", ROWS, 0, LEAF, False),), KEY, ValueError),
        (TABLES, (("a", ROWS, 3, LEAF, False),), KEY, ValueError),
        (TABLES, (("a", ROWS, 2, None, False),), KEY, ValueError),
        (TABLES, (("a", ROWS, 2, LEAF, False), ("b", ROWS, 2, LEAF, False)), KEY, ValueError),
        (TABLES, (("", INTEGER, 0, None, False),), KEY, ValueError),
        (TABLES, (("n" * 32, INTEGER, 0, None, False),), KEY, ValueError),
        (TABLES, (('a"', INTEGER, 0, None, False),), KEY, ValueError),
        (TABLES, (("ä", INTEGER, 0, None, False),), KEY, ValueError),
        (TABLES, tuple((f"f{i}", INTEGER, 0, None, False) for i in range(65)), KEY, ValueError),
        (TABLES, (("a", INTEGER, 0, None, False),), KEY, ValueError),  # the last table inherits and is fed by nobody
        (TABLES, ("a",), KEY, TypeError),
        ((1,), SHAPE, KEY, TypeError),
        ((((2**64,), 0, False),), SHAPE, KEY, OverflowError),
        ((((0,), -1, False),), SHAPE, KEY, ValueError),
        ([], SHAPE, KEY, TypeError),
    ],
)
def test_a_shape_that_makes_no_sense_is_an_error(tables, shape, key, error):
    with pytest.raises(error):
        Projection(tables, shape, key)


def test_only_bytes_and_views_of_bytes_are_documents():
    for document in ("{}", None, [123, 125], 2):
        with pytest.raises(TypeError):
            made().add(document)
    with pytest.raises(BufferError):
        made().add(memoryview(bytearray(b"{}{}"))[::2])


@pytest.mark.parametrize("behind", [b"", b"\0", b" ", b"\r\n0\r\n\r\n", b"9", b"}", b'"', b"}}}}}}}}}}}}"])
def test_a_view_is_read_as_bytes_are_whatever_stands_around_it(behind):
    whole = json.dumps(TREE, indent=1).encode()
    for document in (whole, whole[:-1], whole + b" ", whole + b"]", b'{"head": {"n": 12', b"", b"{"):
        for before in (b"", b"{"):
            for around in (bytearray, bytes):
                memory = around(before + document + behind)
                reader = made()
                view = memoryview(memory)[len(before) : len(before) + len(document)]
                assert reader.add(view) == made().add(document) == (document in {whole, whole + b" "})
                assert taken(reader) == (read(document) if document in {whole, whole + b" "} else [[], [], []])
                assert memory == before + document + behind  # what was lent is as it was


def test_a_view_of_a_view_of_other_numbers_is_read_too():
    document = json.dumps(TREE).encode()
    for memory in (memoryview(bytearray(document)), np.frombuffer(bytearray(document), np.uint8), bytearray(document)):
        reader = made()
        assert reader.add(memory)
        assert taken(reader) == read(document)


def test_nothing_leaks():
    good, bad = json.dumps(TREE).encode(), json.dumps(TREE).encode()[:-3]

    def work() -> None:
        reader = made()
        for _ in range(20):
            reader.add(good)
            reader.add(bad)
        reader.take()
        with contextlib.suppress(ValueError):  # pytest.raises keeps a block of its own each time
            Projection(TABLES, (*SHAPE, ("more", INTEGER, 9, None, False)), KEY)

    tracemalloc.start()  # counts the extension's own memory, too
    try:
        work()
        references, (before, _) = sys.getrefcount(Projection), tracemalloc.get_traced_memory()
        for _ in range(200):
            work()
        assert tracemalloc.get_traced_memory()[0] - before < 10_000
        assert sys.getrefcount(Projection) == references
    finally:
        tracemalloc.stop()


_values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 2**64),
    st.sampled_from([2**63 - 1, 2**63, 10**19, 10**8, 10**16, 99999999]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(max_codepoint=0x7F), max_size=40),
    st.sampled_from(["2026-01-02T03:04:05Z", "2026-01-02T03:04:05.5+01:00", "\0raw:1e5", "\0raw:-0", "ä"]),
    st.sampled_from([{}, [], [{}], {"x": 1}, [{"id": "z"}], [[[1]]]]),
)


@st.composite
def documents(draw: st.DrawFn) -> bytes:
    """TREE after some changes, in any indentation, perhaps torn."""
    tree = copy.deepcopy(TREE)
    for _ in range(draw(st.integers(0, 3))):
        here: Any = tree
        while True:
            places = list(here) if isinstance(here, dict) else list(range(len(here)))
            if not places:
                break
            place = draw(st.sampled_from(places))
            if isinstance(here[place], dict | list) and draw(st.integers(0, 4)):
                here = here[place]
                continue
            match draw(st.integers(0, 3)):
                case 0:
                    del here[place]
                case 1 if isinstance(here, dict):
                    here["\0again:" + place] = copy.deepcopy(draw(_values))
                case 2 if isinstance(here, dict):
                    here[draw(st.sampled_from(["x", "id", "name", "at", "size", "n", "new"]))] = copy.deepcopy(
                        draw(_values)
                    )
                case _:
                    here[place] = copy.deepcopy(draw(_values))
            break
    body = bytearray(written(tree))
    for _ in range(draw(st.integers(0, 2)) // 2):
        start = draw(st.integers(0, len(body)))
        new = draw(
            st.one_of(st.binary(max_size=2), st.sampled_from([b"}", b'"', b",", b"\\", b" ", b"\n  ", b"0", b"]"]))
        )
        body[start : start + draw(st.integers(0, 2))] = new
    return bytes(body)


@settings(max_examples=int(os.environ.get("FUZZ_EXAMPLES", "400")))
@given(st.lists(documents(), min_size=1, max_size=4))
def test_what_is_accepted_is_what_pythons_json_reads(bodies):
    reader = made()
    accepted = [body for body in bodies if reader.add(body)]
    try:
        assert taken(reader) == read(*accepted)
    except (RefusedError, ValueError) as error:
        raise AssertionError(f"accepted, although it breaks a rule: {error!r}") from error


@settings(max_examples=int(os.environ.get("FUZZ_EXAMPLES", "400")))
@given(st.lists(documents(), min_size=1, max_size=6), st.randoms())
def test_what_was_read_before_changes_neither_what_is_accepted_nor_what_is_read(bodies, random):
    """A reader remembers what stood between the values, and looks no closer where the same stands once more."""
    knowing = made()
    for body in bodies * 2:
        knowing.add(body)
    knowing.take()
    again = [*bodies, *bodies]
    random.shuffle(again)
    for body in again:
        fresh = made()
        assert knowing.add(memoryview(bytearray(body))) == fresh.add(body)
        assert taken(knowing) == taken(fresh)


def test_the_same_names_in_another_place_are_told_apart():
    """Between the same two values may stand what is right in one object and wrong in another."""
    reader = made()
    inner = '"part": {\n  "name": "inner"\n  },\n  "leaves": []'
    good = f'{{"head": {{"n": 1}}, "items": [{{"name": "a",\n  {inner}\n  }}]}}'.encode() + b" " * 64
    assert assert_right(reader, good)
    assert assert_right(reader, good)
    for old, new in (
        (b'"name": "a",\n', b'"name": "a"\n'),  # no comma
        (b"{\n  ", b"{,\n  "),
        (b'"leaves": []', b'"part": {}'),  # twice
        (b'"name": "a",\n', b'"nbme": "a",\n'),  # a required one is missing
        (b"},\n  ", b"},,\n  "),
        (b"]\n  }", b"],\n  }"),
        (b'"inner"\n  },', b'"inner"\n  ],'),
        (b'"head": ', b'"head"; '),
    ):
        assert good.count(old) == 1, old
        assert not assert_right(reader, good.replace(old, new))
        assert assert_right(reader, good)
