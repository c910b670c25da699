"""The C extension that puts values into rows and finds rows, held against NumPy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.core import place
from collector.core.identities import Identities
from collector.core.place import find, find_by_numpy, scatter, scatter_by_numpy

if not place.AVAILABLE:
    pytest.fail(
        "collector/core/_place was not built: install gcc, libc6-dev and Python's headers (make system), "
        "remove .venv/.ready, run make setup",
        pytrace=False,
    )

from collector.core._place import find as find_in_c
from collector.core._place import scatter as scatter_in_c

ROWS, METRICS = 40, 6
value = st.one_of(st.integers(-3, 3), st.integers(-(2**63), 2**63 - 1))


@st.composite
def scattered(draw: st.DrawFn) -> tuple[np.ndarray, list[int], list[np.ndarray]]:
    rows = draw(st.lists(st.integers(0, ROWS - 1), unique=True))
    rows = [row if draw(st.integers(0, 5)) else -1 for row in rows]
    metrics = draw(st.lists(st.integers(0, METRICS - 1), unique=True))
    columns = [draw(st.lists(value, min_size=len(rows), max_size=len(rows))) for _ in metrics]
    return np.array(rows, np.int32), metrics, [np.array(column, np.int64) for column in columns]


@given(scattered(), st.booleans())
def test_both_ways_write_the_same_cells(given_, times):
    rows, metrics, columns = given_
    written = []
    for write in (scatter, scatter_by_numpy):
        cells, present = np.full((METRICS, ROWS), -7, np.int64), np.zeros((METRICS, ROWS), np.bool_)
        write(rows, metrics, columns, cells, None if times else present)
        written.append((cells.tolist(), present.tolist()))
    assert written[0] == written[1]
    expected = np.full((METRICS, ROWS), -7, np.int64)
    for m, column in zip(metrics, columns, strict=True):
        for row, number in zip(rows.tolist(), column.tolist(), strict=True):
            if row >= 0 and (number != 0 if times else number >= 0):
                expected[m, row] = number
    assert written[0][0] == expected.tolist()


keys = st.tuples(st.sampled_from([0, 1, 5, 1023, 1024, 2**63 + 5]), st.integers(1, 40))


@given(st.dictionaries(keys, st.none(), max_size=100), st.lists(keys, max_size=200), st.lists(st.integers(0, 99)))
def test_both_ways_find_the_same_numbers(known, wanted, forgotten):
    identities = Identities()
    identities.put(np.array(list(known), np.uint64).reshape(-1, 2), np.arange(len(known), dtype=np.int32))
    identities.forget(forgotten)
    asked = np.array(wanted, np.uint64).reshape(-1, 2)
    found = find(asked, identities._slots, identities._owner)
    assert found.tolist() == find_by_numpy(asked, identities._slots, identities._owner).tolist()
    numbers = {key: number for number, key in enumerate(known) if number not in forgotten}
    assert found.tolist() == [numbers.get(key, place.UNKNOWN) for key in wanted]


def test_keys_may_be_a_part_of_others():
    identities = Identities()
    some = np.arange(1, 41, dtype=np.uint64).reshape(-1, 2)
    identities.put(some, np.arange(20, dtype=np.int32))
    assert identities.find(some[::2]).tolist() == list(range(0, 20, 2))


def test_a_full_table_ends_the_search():
    slots, owner = np.zeros(8, np.int32), np.ones((2, 1), np.uint64)
    found = np.empty(1, np.int32)
    find_in_c(np.array([[5, 5]], np.uint64), slots, owner, found)
    assert found.tolist() == [place.UNKNOWN]


def cells() -> np.ndarray:
    return np.zeros((METRICS, ROWS), np.int64)


def flags() -> np.ndarray:
    return np.zeros((METRICS, ROWS), np.bool_)


def frozen() -> np.ndarray:
    array = cells()
    array.setflags(write=False)
    return array


def rows(*given_: int) -> np.ndarray:
    return np.array(given_, np.int32)


ONE = [np.array([1])]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((rows(ROWS), [0], ONE, cells(), flags()), IndexError),
        ((rows(0), [METRICS], ONE, cells(), flags()), IndexError),
        ((rows(0), [-1], ONE, cells(), flags()), IndexError),
        ((rows(0), ["a"], ONE, cells(), flags()), TypeError),
        ((rows(0), [0, 1], ONE, cells(), flags()), ValueError),
        ((rows(0), 3, ONE, cells(), flags()), TypeError),
        ((rows(0), [0], 3, cells(), flags()), TypeError),
        ((rows(0, 1), [0], ONE, cells(), flags()), ValueError),
        ((rows(0), [0], [np.array([1], np.int32)], cells(), flags()), ValueError),
        ((rows(0), [0], [np.arange(4)[::4]], cells()[:, ::2], flags()), ValueError),
        ((np.array([0]), [0], ONE, cells(), flags()), ValueError),
        ((rows(0), [0], ONE, cells(), flags()[:, :5].copy()), ValueError),
        ((rows(0), [0], ONE, cells()[0].copy(), flags()), ValueError),
        ((rows(0), [0], ONE, frozen(), flags()), ValueError),
        ((rows(0), [0], ONE, cells(), 5), TypeError),
    ],
)
def test_what_does_not_fit_is_an_error(arguments, error):
    with pytest.raises(error):
        scatter_in_c(*arguments)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((np.ones((2, 3), np.uint64), np.zeros(8, np.int32), np.ones((2, 4), np.uint64), rows(0, 0)), ValueError),
        ((np.ones((2, 2), np.uint64), np.zeros(6, np.int32), np.ones((2, 4), np.uint64), rows(0, 0)), ValueError),
        ((np.ones((2, 2), np.uint64), np.zeros(0, np.int32), np.ones((2, 4), np.uint64), rows(0, 0)), ValueError),
        ((np.ones((2, 2), np.uint64), np.zeros(8, np.int32), np.ones((3, 4), np.uint64), rows(0, 0)), ValueError),
        ((np.ones((2, 2), np.uint64), np.zeros(8, np.int32), np.ones((2, 4), np.uint64), rows(0)), ValueError),
        ((5, np.zeros(8, np.int32), np.ones((2, 4), np.uint64), rows(0)), TypeError),
    ],
)
def test_a_table_that_is_none_is_an_error(arguments, error):
    with pytest.raises(error):
        find_in_c(*arguments)
