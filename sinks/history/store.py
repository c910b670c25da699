"""The directory of a history: what is added, merged, expired and set aside. Blocking: for threads, two at most.

One thread adds ticks, another keeps the directory in order; they never touch the same file. A tick counts as stored
once its `metrics` file has its name; its labelled files have theirs before.
"""

import io
import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path

import pyarrow as pa

from sinks.history.columns import PIECE_ROWS
from sinks.history.files import (
    HOUR_NS,
    Disk,
    HistoryFile,
    Staging,
    listing,
    superseded,
    temporaries,
)
from sinks.history.merge import HOUR_ROWS, UNREADABLE, check, merge, parquet_bytes, ticks_of
from sinks.history.schema import METRICS_TABLE, SCHEMAS, TABLES
from sinks.lock import DirectoryLock

FAN_IN = 8
"""Files of a size that are merged into one of the next size while their hour is open. At 60 s between ticks a tick is
so written three times in all, and a query of the open hour opens at most 14 files. A merge holds a piece of every file:
150 MB at most, however big the cluster."""

KNOWN_HOURS = 48
"""Hours whose ticks are kept in mind, to know a tick that comes again."""

BROKEN = ".broken"
"""Behind the name of a file that cannot be read, which a dot before it hides from readers: kept for people until its
time is over."""

_logger = logging.getLogger(__name__)


class Store:
    """One history directory. Every method may raise OSError."""

    def __init__(self, directory: Path, disk: Disk, *, retention_ns: int, max_bytes: int) -> None:
        self.directory = directory
        self._disk = disk
        self._retention_ns = retention_ns
        self._max_bytes = max_bytes
        self._lock: DirectoryLock | None = None
        self._ticks: dict[int, set[int]] = {}
        """Hour -> the ticks stored, ns since the epoch."""
        self._next: dict[int, int] = {}
        """Hour -> the number of its next tick."""
        self._renaming = threading.Lock()
        """Held while files give way to the one they were merged into, and while names are read to find ticks."""
        self._unwanted: list[Path] = []
        """Files of a tick that could not be stored as a whole, to be removed before the next one."""

    def open(self) -> None:
        """Take the directory, creating it if need be, and clear away what an interrupted process left there."""
        if self._lock is not None:
            return
        # This allocator gives freed memory back; the default one kept some 80 MB after a merge.
        pa.set_memory_pool(pa.system_memory_pool())
        for table in TABLES:
            (self.directory / table).mkdir(parents=True, exist_ok=True)
        lock = DirectoryLock(self.directory)
        try:
            for path in self._leftovers():
                self._disk.remove(path)
            self._disk.sync_directory(self.directory)
        except BaseException:
            lock.release()
            raise
        self._lock = lock

    def close(self) -> None:
        """Let another process have the directory."""
        if self._lock is not None:
            self._lock.release()
        self._lock = None
        self._ticks.clear()
        self._next.clear()

    def holds(self, tick: int) -> bool:
        """Whether the tick of this timestamp is stored."""
        return tick in self._known(tick // HOUR_NS)

    def add(self, tick: int, tables: Iterable[tuple[str, Iterable[pa.Table]]]) -> None:
        """Store a tick: `tables` in the order of TABLES, each with its row groups. All of it or nothing."""
        while self._unwanted:
            self._disk.remove(self._unwanted[-1])
            self._unwanted.pop()
        hour = tick // HOUR_NS
        ticks = self._known(hour)
        number = self._next[hour]
        self._next[hour] = number + 1  # even if this fails: what is left of it must not pass for another tick's
        name = HistoryFile(hour, number, number).name
        with Staging(self._disk, self._unwanted) as staging:
            for table, groups in tables:
                content = memoryview(parquet_bytes(SCHEMAS[table], groups, [tick]))
                staging.write(self.directory / table / name, partial(_fill, content))
            staging.publish()
        ticks.add(tick)

    # Keeping order.

    def upkeep(self, now: int, open_hours: set[int], stop: Callable[[], bool]) -> None:
        """Remove what is past its time at `now` (ns since the epoch) and merge what may be merged.

        Raises merge.StoppedError soon after `stop()`.
        """
        self._expire(now, open_hours)
        for table in TABLES:
            files = listing(self.directory / table)
            done = superseded(files)
            for file in sorted(done):  # a merge could not remove them
                self._disk.remove(self.directory / table / file.name)
            for hour, of_hour in groupby(sorted(set(files) - done), key=lambda file: file.hour):
                chosen = plan(list(of_hour), is_open=hour in open_hours)
                while chosen:
                    self._merge(table, chosen, stop, whole_hour=hour not in open_hours)
                    chosen = plan(self._live(table, hour), is_open=hour in open_hours)

    def _merge(self, table: str, files: Sequence[HistoryFile], stop: Callable[[], bool], *, whole_hour: bool) -> None:
        paths = [self.directory / table / file.name for file in files]
        merged = HistoryFile(files[0].hour, files[0].first, files[-1].last)
        rows = HOUR_ROWS if whole_hour else PIECE_ROWS
        try:
            with Staging(self._disk, []) as staging:
                staging.write(self.directory / table / merged.name, merge(table, paths, group_rows=rows, stop=stop))
                with self._renaming:
                    staging.publish()
                    for path in paths:
                        self._disk.remove(path)
        except UNREADABLE as error:
            if not _is_damage(error) or not [path for path in paths if self._set_aside_if_broken(path)]:
                raise

    def _expire(self, now: int, open_hours: set[int]) -> None:
        sizes = self._sizes()
        total = sum(sizes.values())
        by_hour = sorted((file.hour, path) for path, file in self._files() if path in sizes)
        for hour, group in groupby(by_hour, key=lambda entry: entry[0]):
            expired = (hour + 1) * HOUR_NS <= now - self._retention_ns
            if not expired and not (0 < self._max_bytes < total and hour not in open_hours):
                break
            # The metrics go last: without them the hour's other files would count as never stored.
            for path in sorted((path for _, path in group), key=lambda path: path.parent.name == METRICS_TABLE):
                self._disk.remove(path)
                total -= sizes[path]
            if not expired:
                _logger.info("history %s: removed an hour before its time, to stay within max_bytes", self.directory)

    def _live(self, table: str, hour: int) -> list[HistoryFile]:
        """The files of one hour that are to be read, in order."""
        files = [file for file in listing(self.directory / table) if file.hour == hour]
        return sorted(set(files) - superseded(files))

    def _files(self) -> Iterator[tuple[Path, HistoryFile]]:
        """Every file of ours, those set aside too."""
        for table in TABLES:
            for path in (self.directory / table).iterdir():
                file = HistoryFile.parse(path.name.removeprefix(".").removesuffix(BROKEN))
                if file is not None:
                    yield path, file

    def _sizes(self) -> dict[Path, int]:
        sizes = {}
        for path, _ in self._files():
            try:
                sizes[path] = path.stat().st_size
            except FileNotFoundError:  # merged or removed since it was listed
                continue
        return sizes

    def _leftovers(self) -> Iterator[Path]:
        stored = listing(self.directory / METRICS_TABLE)
        for table in TABLES:
            yield from temporaries(self.directory / table)
            files = listing(self.directory / table)
            done = superseded(files)
            for file in files:
                # A tick's labelled file whose metrics never got their name.
                half = file.first == file.last and not any(
                    file.hour == other.hour and other.first <= file.first <= other.last for other in stored
                )
                if half or file in done:
                    yield self.directory / table / file.name

    def _known(self, hour: int) -> set[int]:
        """The ticks stored of one hour, read from the files when it is first asked for."""
        if hour not in self._ticks:
            with self._renaming:
                files = [file for table in TABLES for file in listing(self.directory / table) if file.hour == hour]
                live = self._live(METRICS_TABLE, hour)
                self._ticks[hour] = set().union(
                    *(self._ticks_of(self.directory / METRICS_TABLE / file.name) for file in live)
                )
            self._next[hour] = max((file.last for file in files), default=0) + 1
            while len(self._ticks) > KNOWN_HOURS:
                oldest = min(self._ticks.keys() - {hour})
                del self._ticks[oldest], self._next[oldest]
        return self._ticks[hour]

    def _ticks_of(self, path: Path) -> set[int]:
        try:
            return ticks_of(path)
        except FileNotFoundError:  # its time was over
            return set()
        except UNREADABLE as error:
            if _is_damage(error) and self._set_aside_if_broken(path):
                return set()
            raise

    def _set_aside_if_broken(self, path: Path) -> bool:
        try:
            check(path.parent.name, path)
        except UNREADABLE as error:
            if not _is_damage(error):
                raise
            aside = path.with_name(f".{path.name}{BROKEN}")
            self._disk.rename(path, aside)
            _logger.warning("history file %s cannot be read and was set aside as %s: %s", path, aside.name, error)
            return True
        return False


def _fill(content: memoryview, file: io.RawIOBase) -> None:
    file.write(content)


def _is_damage(error: Exception) -> bool:
    """Whether a file cannot be read because of what is in it: Arrow then has an OSError without a number."""
    return not isinstance(error, OSError) or error.errno is None


def plan(files: Sequence[HistoryFile], *, is_open: bool) -> Sequence[HistoryFile]:
    """Which files of one hour, in order and none superseded, to merge next; none when all is well.

    A closed hour becomes one file. In an open one FAN_IN files of a size, one after the other, become one.
    """
    if not is_open:
        return files if len(files) > 1 else ()
    alike = (list(run) for _, run in groupby(files, key=_size_class))
    return next((run for run in alike if len(run) >= FAN_IN), ())


def _size_class(file: HistoryFile) -> int:
    """How often FAN_IN goes into the number of ticks a file stands for."""
    count, ticks = 0, file.last - file.first + 1
    while ticks >= FAN_IN:
        count, ticks = count + 1, ticks // FAN_IN
    return count
