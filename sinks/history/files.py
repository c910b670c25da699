"""File names, the way to the disk, and the rule that a file is whole or absent.

    2026-11-23T00.000001-000060.parquet

is the hour (UTC) and the range of tick numbers the file stands for: every tick that was written in that hour got the
next number, and a file made of others covers all of theirs. A file whose range lies within another's of the same hour
is superseded and not to be read. So a reader needs no more than a directory listing.
"""

import contextlib
import io
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

HOUR_NS = 3_600_000_000_000
TEMPORARY = ".tmp"

_NAME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d)\.(\d{6,18})-(\d{6,18})\.parquet", re.ASCII)


@dataclass(frozen=True, slots=True, order=True)
class HistoryFile:
    """The name of one file."""

    hour: int
    """Hours since the epoch."""
    first: int
    last: int
    """The numbers of the ticks it stands for, both inclusive."""

    @property
    def name(self) -> str:
        """The file's name in its table's directory."""
        start = datetime.fromtimestamp(self.hour * 3600, UTC)
        return f"{start:%Y-%m-%dT%H}.{self.first:06}-{self.last:06}.parquet"

    @property
    def end_ns(self) -> int:
        """When the hour ends, ns since the epoch."""
        return (self.hour + 1) * HOUR_NS

    @classmethod
    def parse(cls, name: str) -> Self | None:
        """What a name says; None when it is not one of ours."""
        found = _NAME.fullmatch(name)
        if found is None:
            return None
        try:
            start = datetime.strptime(found[1], "%Y-%m-%dT%H").replace(tzinfo=UTC)
        except ValueError:
            return None
        return cls(int(start.timestamp()) // 3600, int(found[2]), int(found[3]))

    def supersedes(self, other: "HistoryFile") -> bool:
        """Whether this file, another one, holds all that `other` stands for."""
        return self != other and self.hour == other.hour and self.first <= other.first and other.last <= self.last


def superseded(files: Iterable[HistoryFile]) -> set[HistoryFile]:
    """Those of `files` that another one of them supersedes."""
    # By start, the longest first: whatever ends before something that began earlier lies within it.
    found: set[HistoryFile] = set()
    hour, reach = -1, -1
    for file in sorted(files, key=lambda each: (each.hour, each.first, -each.last)):
        if file.hour != hour:
            hour, reach = file.hour, -1
        if file.last <= reach:
            found.add(file)
        reach = max(reach, file.last)
    return found


class Disk:
    """Every operation that changes the disk: the seam at which tests make it full, broken or slow."""

    def create(self, path: Path) -> io.FileIO:
        """A new file, unbuffered."""
        return path.open("xb", buffering=0)

    def write(self, file: io.FileIO, view: memoryview) -> int:
        """Write some bytes; how many."""
        return file.write(view)

    def sync(self, file: io.FileIO) -> None:
        """Return when the file's content is on the disk."""
        os.fsync(file.fileno())

    def rename(self, source: Path, target: Path) -> None:
        """Give a file its final name, replacing what has it."""
        source.replace(target)

    def remove(self, path: Path) -> None:
        """Remove a file, if it is there."""
        path.unlink(missing_ok=True)

    def sync_directory(self, path: Path) -> None:
        """Return when the names in `path` are on the disk."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class Staging:
    """Files written under temporary names, then published together; left without `publish`, nothing stays.

    Blocking; raises OSError. What had its name already and could not be removed again is added to `unwanted`.
    """

    def __init__(self, disk: Disk, unwanted: list[Path]) -> None:
        self._disk = disk
        self._unwanted = unwanted
        self._staged: list[tuple[Path, Path]] = []
        self._published: list[Path] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for temporary, _ in self._staged:
            with contextlib.suppress(OSError):  # no reader looks at a temporary name; start-up removes it
                self._disk.remove(temporary)
        for path in self._published:
            try:
                self._disk.remove(path)
            except OSError:
                self._unwanted.append(path)

    def write(self, path: Path, fill: Callable[[io.RawIOBase], None]) -> None:
        """Let `fill` write what is to become the file `path`."""
        temporary = path.with_name(f".{path.name}{TEMPORARY}")
        self._staged.append((temporary, path))
        self._disk.remove(temporary)
        with self._disk.create(temporary) as file:
            fill(_Writer(self._disk, file))
            self._disk.sync(file)

    def publish(self) -> None:
        """Give the files their names, in the order they were written."""
        while self._staged:
            temporary, path = self._staged[0]
            self._disk.rename(temporary, path)
            self._published.append(path)
            self._staged.pop(0)
        for directory in dict.fromkeys(path.parent for path in self._published):
            self._disk.sync_directory(directory)
        self._published.clear()


class _Writer(io.RawIOBase):
    """A file that writes all it is given, through the Disk."""

    def __init__(self, disk: Disk, file: io.FileIO) -> None:
        super().__init__()
        self._disk = disk
        self._file = file

    def writable(self) -> bool:
        return True

    def write(self, content: bytes | bytearray | memoryview) -> int:  # type: ignore[override]  # typeshed: any Buffer
        view = memoryview(content).cast("B")
        at = 0
        while at < len(view):
            at += self._disk.write(self._file, view[at:])
        return at


def listing(directory: Path) -> list[HistoryFile]:
    """The files of one table, superseded ones too, in order; none when the directory is not there."""
    try:
        names = [path.name for path in directory.iterdir()]
    except FileNotFoundError:
        return []
    return sorted(file for name in names if (file := HistoryFile.parse(name)) is not None)


def temporaries(directory: Path) -> Sequence[Path]:
    """What an interrupted process left unfinished in `directory`."""
    return [path for path in directory.iterdir() if path.name.startswith(".") and path.name.endswith(TEMPORARY)]
