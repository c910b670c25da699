"""The files of a spool: appending, reading back, removing, and taking stock at the start. No ledger here."""

import contextlib
import errno
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sinks.spool import cursor
from sinks.spool.disk import Disk, append_all
from sinks.spool.index import Record, Segment
from sinks.spool.records import FormatError, Place, header, scan

CURSOR = "cursor"
_TEMPORARY = "cursor.new"
_NAME = re.compile(r"([0-9]{8,18})\.spool")

_UNREADABLE = frozenset({errno.EIO, errno.EBADMSG, errno.EUCLEAN, errno.ENODATA})
"""What a disk says of a place that it cannot read any more."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Found:
    """One segment at the start."""

    segment: Segment
    places: tuple[Place, ...]
    settled: cursor.Ranges
    lost: int
    """Bytes behind the first record that is not whole."""


class Segments:
    """The segment files of one directory. One caller at a time; raises OSError."""

    def __init__(self, directory: Path, disk: Disk) -> None:
        self.directory = directory
        self._disk = disk
        self._file: int | None = None
        self._next = 1
        self._unsynced = self._unnamed = False
        self._unwanted: list[Path] = []
        self.all: list[Segment] = []
        """Oldest first; the last one may be `current`."""
        self.current: Segment | None = None
        """The one appended to."""

    @property
    def size(self) -> int:
        """Bytes of all of them."""
        return sum(segment.bytes for segment in self.all)

    @property
    def free(self) -> int:
        """Bytes that the disk still has for us."""
        return self._disk.free(self.directory)

    def path(self, segment: Segment) -> Path:
        """Where a segment lies."""
        return self.directory / f"{segment.number:08}.spool"

    @property
    def restless(self) -> bool:
        """Whether something is to be synced or removed."""
        return self._unsynced or self._unnamed or bool(self._unwanted)

    # The start.

    def recover(self) -> list[Found]:
        """Take stock: every whole record, oldest segment first. Cuts what is damaged; raises FormatError."""
        self._disk.make_directory(self.directory)
        listing = self._disk.list(self.directory)
        settled = self._cursor(listing)
        numbers = sorted(number for name in listing if (number := _number(name)) is not None)
        self._next = numbers[-1] + 1 if numbers else 1
        every = (self._recovered(number, listing[f"{number:08}.spool"], settled) for number in numbers)
        found = [one for one in every if one is not None]
        self._secure()
        return found

    def _secure(self) -> None:
        """What an earlier process wrote may still be in the kernel's memory alone."""
        try:
            for segment in self.all:
                self._disk.sync_path(self.path(segment))
            self._disk.sync_directory(self.directory)
        except OSError as error:
            self._unsafe(error)

    def _unsafe(self, error: OSError) -> None:
        _logger.warning("spool %s: a segment may not survive a loss of power: %s", self.directory, error)

    def _cursor(self, listing: Mapping[str, int]) -> Mapping[bytes, cursor.Ranges]:
        if CURSOR not in listing:
            return {}
        try:
            found = cursor.read(self._disk.read(self.directory / CURSOR, 0, listing[CURSOR]))
        except OSError:
            found = None
        if found is None:
            _logger.warning(
                "spool %s: its cursor cannot be read; some points are delivered once more, which changes nothing",
                self.directory,
            )
        return found or {}

    def _recovered(self, number: int, size: int, settled: Mapping[bytes, cursor.Ranges]) -> Found | None:
        segment = Segment(number, b"", 0)
        path = self.path(segment)
        try:
            found = scan(lambda offset, length: self._disk.read(path, offset, length), size)
        except OSError as error:
            if error.errno not in _UNREADABLE:
                raise
            _logger.warning(
                "spool %s: %s cannot be read (%s) and is left as it is; its %d bytes are not delivered",
                self.directory,
                path.name,
                error,
                size,
            )
            return Found(segment, (), (), size)
        except FormatError as error:
            raise FormatError(
                f"spool {self.directory}: {path.name} is of {error}; let the version that wrote it deliver it, or move "
                "the file away"
            ) from None
        lost = size - found.good
        if lost:
            _logger.warning(
                "spool %s: %s is damaged after %d whole records; %d of its %d bytes are lost",
                self.directory,
                path.name,
                len(found.places),
                lost,
                size,
            )
        if not found.places:
            self._discard(path)
            return Found(segment, (), (), lost) if lost else None
        if lost:
            with contextlib.suppress(OSError):  # said again at the next start, no more
                self._disk.truncate(path, found.good)
        segment.id, segment.bytes = found.id, found.good
        self.all.append(segment)
        return Found(segment, found.places, settled.get(found.id, ()), lost)

    # Appending.

    def append(self, frame: bytes) -> tuple[Segment, int]:
        """Write one record; the segment and the offset it has there. On an OSError nothing of it stays."""
        segment = self.current or self._open()
        assert self._file is not None
        offset = segment.bytes
        self._unsynced = True
        try:
            append_all(self._disk, self._file, frame)
        except OSError:
            # What follows a torn record is never read: cut it off, and go on in another file.
            self.roll()
            with contextlib.suppress(OSError):
                self._disk.truncate(self.path(segment), offset)
            raise
        segment.bytes += len(frame)
        return segment, offset

    def _open(self) -> Segment:
        segment = Segment(self._next, b"", 0)
        self._next += 1
        head, segment.id = header()
        file = self._disk.open(self.path(segment))
        try:
            append_all(self._disk, file, head)
        except OSError:
            with contextlib.suppress(OSError):
                self._disk.close(file)
            self._discard(self.path(segment))
            raise
        segment.bytes = len(head)
        self._file, self.current = file, segment
        self._unnamed = True
        self.all.append(segment)
        return segment

    def sync(self) -> None:
        """Return when all that was appended is on the disk."""
        if self._file is not None and self._unsynced:
            self._disk.sync(self._file)
            self._unsynced = False
        if self._unnamed:
            self._disk.sync_directory(self.directory)
            self._unnamed = False

    def roll(self) -> None:
        """End the current segment; the next record opens another one."""
        file, self._file, self.current = self._file, None, None
        if file is None:
            return
        if self._unsynced:
            try:
                self._disk.sync(file)
            except OSError as error:
                self._unsafe(error)
        self._unsynced = False
        with contextlib.suppress(OSError):
            self._disk.close(file)

    # Reading and removing.

    def read(self, record: Record) -> bytes:
        """The bytes of a record."""
        assert record.segment is not None
        return self._disk.read(self.path(record.segment), record.offset, record.length)

    def remove(self, segment: Segment) -> None:
        """Remove a file, now or, when the disk does not let us, later."""
        if segment is self.current:
            self.roll()
        self.all.remove(segment)
        self._discard(self.path(segment))

    def _discard(self, path: Path) -> None:
        try:
            self._disk.remove(path)
        except OSError:
            self._unwanted.append(path)

    def remove_unwanted(self) -> None:
        """Try again to remove what could not be removed."""
        unwanted, self._unwanted = self._unwanted, []
        for path in unwanted:
            self._discard(path)

    def write_cursor(self) -> None:
        """Note what is settled, atomically."""
        temporary = self.directory / _TEMPORARY
        self._disk.remove(temporary)
        file = self._disk.open(temporary)
        try:
            append_all(self._disk, file, cursor.written(self.all))
            self._disk.sync(file)
        finally:
            self._disk.close(file)
        self._disk.rename(temporary, self.directory / CURSOR)
        self._disk.sync_directory(self.directory)


def _number(name: str) -> int | None:
    """The number of a segment's file; None for any other name, such as one with more zeros than we write."""
    found = _NAME.fullmatch(name)
    number = int(found[1]) if found else 0
    return number if name == f"{number:08}.spool" else None
