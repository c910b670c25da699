"""A disk in memory that fails on demand and loses, with the power, whatever was not synced."""

import errno
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sinks.spool.disk import Disk


@dataclass(eq=False)
class Inode:
    """A file: what it holds, and how much of that survives a loss of power."""

    content: bytearray = field(default_factory=bytearray)
    synced: int = 0
    spoilt_at: int | None = None
    """Where the content began that a sync failed for: the kernel may have forgotten it, and no later sync brings it
    back, nor saves what is written behind it."""
    spoilt_to: int = 0
    """Where that content ended."""

    def sync(self) -> None:
        """All is on the disk, but for what was forgotten."""
        if self.spoilt_at is None:
            self.synced = len(self.content)

    def spoil(self) -> None:
        """A sync fails."""
        if self.synced < len(self.content):
            self.spoilt_at, self.spoilt_to = self.synced, len(self.content)

    def spoilt(self, end: int) -> bool:
        """Whether a sync has failed for what ends there."""
        return self.spoilt_at is not None and self.spoilt_at < end <= self.spoilt_to


Change = Callable[[dict[str, Inode]], None]


class FaultyDisk(Disk):
    """One directory. `fail` is asked before each operation and may raise; `room` is what is left, None for no limit."""

    def __init__(self) -> None:
        self.files: dict[str, Inode] = {}
        self._durable: dict[str, Inode] = {}
        self._changes: list[Change] = []
        self._open: dict[int, Inode] = {}
        self._next = 1
        self.room: int | None = None
        self.most = 1 << 30
        """Bytes one append takes at most: short writes."""
        self.fail: Callable[[str], None] = lambda _: None
        self.told: Callable[[str, str], None] = lambda _operation, _name: None
        """Told of removals that are asked for, of syncs of the directory, and of syncs and reads that fail."""

    def _change(self, change: Change) -> None:
        """A name changes: at once for all who look, on the disk only with the next sync of the directory."""
        change(self.files)
        self._changes.append(change)

    def make_directory(self, path: Path) -> None:  # noqa: ARG002  # there is one directory
        self.fail("make_directory")

    def list(self, directory: Path) -> Mapping[str, int]:  # noqa: ARG002
        self.fail("list")
        return {name: len(inode.content) for name, inode in self.files.items()}

    def free(self, directory: Path) -> int:  # noqa: ARG002
        self.fail("free")
        return 1 << 40 if self.room is None else self.room

    def open(self, path: Path) -> int:
        self.fail("open")
        if path.name in self.files:
            raise FileExistsError(errno.EEXIST, "there already", str(path))
        inode = Inode()
        self._change(lambda names: names.__setitem__(path.name, inode))
        self._next += 1
        self._open[self._next] = inode
        return self._next

    def append(self, file: int, content: bytes | memoryview) -> int:
        self.fail("append")
        taken = bytes(content[: self.most])
        if self.room is not None:
            if not self.room:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            taken = taken[: self.room]
            self.room -= len(taken)
        self._open[file].content += taken
        return len(taken)

    def sync(self, file: int) -> None:
        self._sync(self._open[file])

    def sync_path(self, path: Path) -> None:
        self._sync(self.files[path.name])

    def _sync(self, inode: Inode) -> None:
        try:
            self.fail("sync")
        except OSError:
            inode.spoil()
            self.told("sync failed", "")
            raise
        inode.sync()

    def close(self, file: int) -> None:
        del self._open[file]

    def read(self, path: Path, offset: int, length: int) -> bytes:
        try:
            self.fail("read")
        except OSError:
            self.told("read failed", path.name)
            raise
        if path.name not in self.files:
            raise FileNotFoundError(errno.ENOENT, "not there", str(path))
        return bytes(self.files[path.name].content[offset : offset + length])

    def truncate(self, path: Path, length: int) -> None:
        self.fail("truncate")
        inode = self.files[path.name]
        del inode.content[length:]
        inode.synced = min(inode.synced, length)
        if inode.spoilt_at is not None:
            inode.spoilt_at = min(inode.spoilt_at, length)

    def rename(self, source: Path, target: Path) -> None:
        self.fail("rename")
        inode = self.files[source.name]

        def change(names: dict[str, Inode]) -> None:
            if names.get(source.name) is inode:
                del names[source.name]
            names[target.name] = inode

        self._change(change)

    def remove(self, path: Path) -> None:
        self.told("remove", path.name)
        self.fail("remove")
        gone = self.files.get(path.name)
        if gone is None:
            return
        if self.room is not None:
            self.room += len(gone.content)

        def change(names: dict[str, Inode]) -> None:
            if names.get(path.name) is gone:
                del names[path.name]

        self._change(change)

    def sync_directory(self, path: Path) -> None:  # noqa: ARG002
        try:
            self.fail("sync_directory")
        except OSError:
            self.told("sync failed", "")
            raise
        self._durable = dict(self.files)
        self._changes.clear()
        self.told("sync_directory", "")

    def crash(
        self,
        happened: Callable[[], bool],
        kept: Callable[[int], int],
        *,
        zeros: Callable[[], bool] = lambda: False,
    ) -> None:
        """Lose the power: of the unsynced names those that `happened` remain, in any order's outcome; of `n` unsynced
        bytes of a file `kept(n)` remain, the others gone or, with `zeros`, nothing but zeros."""
        names = dict(self._durable)
        for change in self._changes:
            if happened():
                change(names)
        for inode in names.values():
            unsynced = len(inode.content) - inode.synced
            if unsynced > 0:
                cut = inode.synced + kept(unsynced)
                lost = len(inode.content) - cut
                del inode.content[cut:]
                if zeros():
                    inode.content += bytes(lost)
            inode.synced, inode.spoilt_at = len(inode.content), None
        self.files, self._durable = names, dict(names)
        self._changes.clear()
        self._open.clear()
        self.fail = lambda _: None

    def kill(self) -> None:
        """End the process: the kernel keeps all that was written."""
        self._open.clear()
