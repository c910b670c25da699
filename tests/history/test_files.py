"""Names of files, what supersedes what, and files that are whole or absent."""

import io
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.history import layout
from sinks.history.files import Disk, HistoryFile, Staging, superseded, temporaries

HOURS = st.integers(0, 24 * 365 * 200)
NUMBERS = st.integers(0, 10**9)
FILES = st.builds(
    lambda hour, first, more: HistoryFile(hour, first, first + more),
    st.integers(0, 2),
    st.integers(1, 20),
    st.integers(0, 6),
)


@given(HOURS, NUMBERS, NUMBERS)
def test_a_name_says_what_it_was_made_of(hour: int, first: int, more: int) -> None:
    file = HistoryFile(hour, first, first + more)
    assert HistoryFile.parse(file.name) == file


def test_the_name_is_readable() -> None:
    hour = int(datetime(2026, 11, 23, 5, tzinfo=UTC).timestamp()) // 3600
    assert HistoryFile(hour, 1, 60).name == "2026-11-23T05.000001-000060.parquet"


@pytest.mark.parametrize(
    "name",
    [
        "",
        "lock",
        ".2026-11-23T05.000001-000060.parquet.tmp",
        "2026-11-23T05.000001-000060.parquet.broken",
        "2026-11-23T25.000001-000060.parquet",
        "2026-13-23T05.000001-000060.parquet",
        "2026-11-23T05.1-60.parquet",
        "2026-11-23T05.000001-000060.parquet ",
        "2026-11-23T05.\u0660\u0660\u0660\u0660\u0660\u0661-000060.parquet",
        "../2026-11-23T05.000001-000060.parquet",
    ],
)
def test_other_names_are_not_ours(name: str, tmp_path: Path) -> None:
    assert HistoryFile.parse(name) is None
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics" / (name.replace("/", "_") or "empty")).touch()
    assert layout.files(tmp_path, "metrics", 0, 2**63 - 1) == []


@given(st.sets(FILES, max_size=12))
def test_superseded_is_what_lies_within_another(files: set[HistoryFile]) -> None:
    expected = {one for one in files if any(other.supersedes(one) for other in files)}
    assert superseded(files) == expected


@settings(deadline=None)
@given(files=st.sets(FILES, max_size=12), start=st.integers(0, 2), hours=st.integers(0, 2))
def test_reader_and_writer_agree_on_what_is_to_be_read(
    files: set[HistoryFile], start: int, hours: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("history")
    (directory / "metrics").mkdir()
    for file in files:
        (directory / "metrics" / file.name).touch()
    end = start + hours
    wanted = [file for file in sorted(files - superseded(files)) if start <= file.hour <= end]
    found = layout.files(directory, "metrics", start * 3600 * 10**9, (end + 1) * 3600 * 10**9 - 1)
    assert [path.name for path in found] == [file.name for file in wanted]


class Broken(Disk):
    """A disk on which one operation fails, always."""

    def __init__(self, operation: str) -> None:
        self._operation = operation

    def _fail(self, operation: str) -> None:
        if operation == self._operation:
            raise OSError(5, "Input/output error")

    def create(self, path: Path) -> io.FileIO:
        self._fail("create")
        return super().create(path)

    def write(self, file: io.FileIO, view: memoryview) -> int:
        super().write(file, view[: len(view) // 2 + 1])
        self._fail("write")
        return len(view) // 2 + 1

    def sync(self, file: io.FileIO) -> None:
        self._fail("sync")
        super().sync(file)

    def rename(self, source: Path, target: Path) -> None:
        if target.name == "second":
            self._fail("rename")
        super().rename(source, target)

    def sync_directory(self, path: Path) -> None:
        self._fail("sync_directory")
        super().sync_directory(path)


@pytest.mark.parametrize("operation", ["create", "write", "sync", "rename", "sync_directory"])
def test_files_are_published_together_or_not_at_all(operation: str, tmp_path: Path) -> None:
    for disk, expected in ((Broken(operation), set()), (Broken("nothing"), {"first", "second"})):

        def stage(disk: Disk = disk) -> None:
            with Staging(disk, []) as staging:
                for name in ("first", "second"):
                    staging.write(tmp_path / name, lambda file: file.write(b"content"))
                assert {path.name for path in tmp_path.iterdir()} == {".first.tmp", ".second.tmp"}
                staging.publish()

        if expected:
            stage()
        else:
            with pytest.raises(OSError, match="Input/output error"):
                stage()
        assert {path.name for path in tmp_path.iterdir()} == expected
    assert (tmp_path / "first").read_bytes() == b"content"


def test_an_abandoned_file_is_taken_over_and_found(tmp_path: Path) -> None:
    (tmp_path / ".one.tmp").write_bytes(b"half of something longer")
    assert list(temporaries(tmp_path)) == [tmp_path / ".one.tmp"]
    with Staging(Disk(), []) as staging:
        staging.write(tmp_path / "one", lambda file: file.write(b"whole"))
        staging.publish()
    assert (tmp_path / "one").read_bytes() == b"whole"
    assert list(temporaries(tmp_path)) == []
