"""Disks that go wrong."""

import errno
import io
import os
from pathlib import Path

from sinks.history.files import Disk


def failure(number: int) -> OSError:
    return OSError(number, os.strerror(number))


class FailingDisk(Disk):
    """Once told to, fails after so many operations, and every time from then on until it is healed.

    The first write to a file is short.
    """

    def __init__(self, number: int = errno.ENOSPC) -> None:
        self._operations = 0
        self._fail_at: int | None = None
        self._number = number

    @property
    def failed(self) -> bool:
        return self._fail_at is not None and self._operations > self._fail_at

    def fail_after(self, operations: int) -> None:
        self._fail_at = self._operations + operations

    def heal(self) -> None:
        self._fail_at = None

    def _count(self) -> None:
        self._operations += 1
        if self.failed:
            raise failure(self._number)

    def create(self, path: Path) -> io.FileIO:
        self._count()
        return super().create(path)

    def write(self, file: io.FileIO, view: memoryview) -> int:
        written = super().write(file, view if file.tell() else view[: len(view) // 2 + 1])
        self._count()
        return written

    def sync(self, file: io.FileIO) -> None:
        self._count()
        super().sync(file)

    def rename(self, source: Path, target: Path) -> None:
        self._count()
        super().rename(source, target)

    def remove(self, path: Path) -> None:
        self._count()
        super().remove(path)

    def sync_directory(self, path: Path) -> None:
        self._count()
        super().sync_directory(path)


class FullDisk(FailingDisk):
    """A full disk, on which files can still be removed."""

    def remove(self, path: Path) -> None:
        Disk.remove(self, path)
