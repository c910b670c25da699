"""Files are merged without a change, in order, in bounded pieces; and only those that should be."""

import io
import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sinks.history import columns, merge
from sinks.history.arrow import NONE, combined, text_array, text_ranks, trimmed
from sinks.history.files import HistoryFile
from sinks.history.names import EntityNames, Vocabulary
from sinks.history.schema import SCHEMAS, sort_columns
from sinks.history.store import FAN_IN, plan
from tests.history.batches import MINUTE, START, Fleet, exactly, expected_rows, in_order, rows_by_arrow, rows_by_duckdb


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "PIECE_ROWS", 3)
    monkeypatch.setattr(merge, "PIECE_ROWS", 3)


async def write_ticks(directory: Path, fleet: Fleet, count: int) -> dict[str, list[Path]]:
    """Files of one tick each: table -> paths."""
    paths: dict[str, list[Path]] = {table: [] for table in SCHEMAS}
    names = EntityNames(fleet.entities)
    for k in range(count):
        batch = fleet.batch(START + k * MINUTE)
        await names.follow(batch)
        for table, pieces in columns.tick_tables(batch, names):
            path = directory / f"{table}-{k}.parquet"
            path.write_bytes(merge.parquet_bytes(SCHEMAS[table], pieces, [batch.timestamp]))
            paths[table].append(path)
    return paths


def merged(table: str, paths: Sequence[Path], target: Path, group_rows: int) -> Path:
    with target.open("wb", buffering=0) as file:
        merge.merge(table, paths, group_rows=group_rows, stop=lambda: False)(file)
    return target


@pytest.mark.parametrize("group_rows", [1, 7, 100_000])
@pytest.mark.usefixtures("small_pieces")
async def test_the_merged_file_holds_every_cell_of_its_parts(tmp_path: Path, group_rows: int) -> None:
    fleet = Fleet()
    paths = await write_ticks(tmp_path, fleet, 5)
    again = Fleet()
    batches = [again.batch(START + k * MINUTE) for k in range(5)]
    for table, parts in paths.items():
        whole = merged(table, parts, tmp_path / f"{table}.parquet", group_rows)
        expected = in_order([row for batch in batches for row in expected_rows(batch)[table]])
        assert exactly(rows_by_arrow([whole])) == exactly(expected)
        assert exactly(rows_by_duckdb([whole])) == exactly(expected)
        assert merge.ticks_of(whole) == {START + k * MINUTE for k in range(5)}


@pytest.mark.usefixtures("small_pieces")
async def test_rows_of_a_merged_file_are_in_order(tmp_path: Path) -> None:
    paths = await write_ticks(tmp_path, Fleet(), 4)
    for table, parts in paths.items():
        rows = pq.read_table(merged(table, parts, tmp_path / f"{table}.parquet", 5)).to_pylist()
        keys = [
            [(row[name] is not None, (row[name] or "").encode()) for name in sort_columns(table)] + [row["time"]]
            for row in rows
        ]
        assert keys == sorted(keys)


async def test_merging_in_any_grouping_gives_the_same(tmp_path: Path) -> None:
    paths = (await write_ticks(tmp_path, Fleet(), 4))["metrics"]
    left = merged("metrics", paths[:3], tmp_path / "left.parquet", 4)
    late = merged("metrics", [left, paths[3]], tmp_path / "late.parquet", 10)
    once = merged("metrics", paths, tmp_path / "once.parquet", 10)
    assert pq.read_table(late).equals(pq.read_table(once))


async def test_a_row_that_is_there_twice_comes_once(tmp_path: Path) -> None:
    paths = (await write_ticks(tmp_path, Fleet(), 2))["filesystem"]
    once = merged("filesystem", paths, tmp_path / "once.parquet", 10)
    twice = merged("filesystem", [paths[0], paths[1], paths[0]], tmp_path / "twice.parquet", 10)
    assert pq.read_table(twice).equals(pq.read_table(once))


async def test_columns_of_another_version_are_kept_and_missing_ones_are_null(tmp_path: Path) -> None:
    one, other = (await write_ticks(tmp_path, Fleet(), 2))["metrics"]
    old = pq.read_table(one).drop_columns(["memory/rss", "dynamic_int"])
    pq.write_table(old, one)
    new = pq.read_table(other).append_column("memory/new", pa.array(range(pq.read_metadata(other).num_rows)))
    pq.write_table(new, other)
    table = pq.read_table(merged("metrics", [one, other], tmp_path / "m.parquet", 100))
    assert table.schema.names[-1] == "memory/new"
    assert table["memory/new"].null_count == len(old)
    assert table["memory/rss"].null_count >= len(old)
    assert len(table) == len(old) + len(new)


async def test_a_merge_stops_when_it_is_asked_to(tmp_path: Path) -> None:
    paths = (await write_ticks(tmp_path, Fleet(), 2))["metrics"]
    fill = merge.merge("metrics", paths, group_rows=10, stop=lambda: True)
    with pytest.raises(merge.StoppedError):
        fill(io.BytesIO())  # type: ignore[arg-type]


# Planning.


def test_a_closed_hour_becomes_one_file() -> None:
    files = [HistoryFile(5, 1, 12), HistoryFile(5, 13, 13), HistoryFile(5, 15, 15)]
    assert plan(files, is_open=False) == files
    assert plan(files[:1], is_open=False) == ()
    assert plan([], is_open=False) == ()


@given(st.integers(1, 4000))
@settings(max_examples=30, deadline=None)
def test_an_open_hour_has_few_files_and_each_tick_is_merged_seldom(ticks: int) -> None:
    files: list[HistoryFile] = []
    written = 0
    for number in range(1, ticks + 1):
        files.append(HistoryFile(0, number, number))
        while chosen := plan(files, is_open=True):
            assert files[-len(chosen) :] == list(chosen)
            files[-len(chosen) :] = [HistoryFile(0, chosen[0].first, chosen[-1].last)]
            written += chosen[-1].last - chosen[0].first + 1
    assert files[0].first == 1
    assert all(one.last + 1 == other.first for one, other in itertools.pairwise(files))
    assert len(files) <= (FAN_IN - 1) * 4
    assert written <= ticks * 3


# Sorting and dictionaries.

TEXTS = st.lists(st.sampled_from(["", "a", "b", "ab", "é", "🧀", "z\0", "Z"]) | st.none(), min_size=1, max_size=30)


@given(st.lists(st.tuples(st.integers(0, 2**33), st.integers(0, 3), st.integers(0, 2**40)), min_size=1, max_size=30))
def test_combined_numbers_order_as_the_columns_do(rows: list[tuple[int, int, int]]) -> None:
    found = combined([np.array(column) for column in zip(*rows, strict=True)])
    by_number = [rows[at] for at in np.argsort(found, kind="stable")]
    assert by_number == sorted(rows)
    assert len(set(found.tolist())) == len(set(rows))


@given(TEXTS)
def test_ranks_order_as_bytes_do_with_null_first(texts: list[str | None]) -> None:
    words: Vocabulary[str] = Vocabulary()
    codes = np.array([NONE if text is None else words.code(text) for text in texts], np.int32)
    ranks = text_ranks(text_array(words.words))[codes]
    by_rank = [texts[at] for at in np.argsort(ranks, kind="stable")]
    assert by_rank == sorted(texts, key=lambda text: (text is not None, (text or "").encode()))


@given(TEXTS, TEXTS)
def test_a_trimmed_dictionary_holds_what_is_used_once(texts: list[str | None], others: list[str | None]) -> None:
    words: Vocabulary[str] = Vocabulary()
    codes = [NONE if text is None else words.code(text) for text in [*others, *texts]][len(others) :]
    column = trimmed(np.array(codes, np.int32), text_array(words.words))
    column.validate(full=True)
    assert column.to_pylist() == texts
    assert sorted(column.dictionary.to_pylist()) == sorted({text for text in texts if text is not None})


@given(st.lists(st.integers(0, 30), min_size=1), st.sets(st.integers(0, 30)))
def test_a_vocabulary_forgets_and_keeps(values: list[int], keep: set[int]) -> None:
    words: Vocabulary[int] = Vocabulary()
    codes = np.array([words.code(value) for value in values], np.int32)
    used = np.unique(codes[[value in keep for value in values]])
    moved = words.keep(used)
    assert {words.words[new] for new in moved[used].tolist()} == keep & set(values)
    assert len(words) == used.size
    for value in values:
        assert words.words[words.code(value)] == value
