"""The file layer of the spool: every operation that touches the disk, few enough for a faulty one in tests."""

import os
from collections.abc import Mapping
from pathlib import Path


class Disk:
    """The real one. Everything raises OSError; a file is a descriptor until `close`."""

    def make_directory(self, path: Path) -> None:
        """Make `path` and what is above it; no error when it is there."""
        path.mkdir(mode=0o750, parents=True, exist_ok=True)

    def list(self, directory: Path) -> Mapping[str, int]:
        """The files of a directory: name -> bytes."""
        with os.scandir(directory) as entries:
            return {entry.name: entry.stat().st_size for entry in entries if entry.is_file(follow_symlinks=False)}

    def free(self, directory: Path) -> int:
        """Bytes that its file system still has for us."""
        found = os.statvfs(directory)
        return found.f_bavail * found.f_frsize

    def open(self, path: Path) -> int:
        """A new file, to append to."""
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o640)

    def append(self, file: int, content: bytes | memoryview) -> int:
        """Write some bytes at the end; how many."""
        return os.write(file, content)

    def sync(self, file: int) -> None:
        """Return when the file's content is on the disk."""
        os.fdatasync(file)

    def sync_path(self, path: Path) -> None:
        """The same for a file that another process wrote."""
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fdatasync(file)
        finally:
            os.close(file)

    def close(self, file: int) -> None:
        """Give the descriptor back."""
        os.close(file)

    def read(self, path: Path, offset: int, length: int) -> bytes:
        """At most `length` bytes from `offset`; fewer only at the end of the file."""
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            pieces = []
            while length > 0 and (piece := os.pread(file, length, offset)):
                pieces.append(piece)
                offset, length = offset + len(piece), length - len(piece)
            return b"".join(pieces)
        finally:
            os.close(file)

    def truncate(self, path: Path, length: int) -> None:
        """Cut a file."""
        os.truncate(path, length)

    def rename(self, source: Path, target: Path) -> None:
        """Give a file its name, replacing what has it."""
        source.replace(target)

    def remove(self, path: Path) -> None:
        """Remove a file; no error when it is not there."""
        path.unlink(missing_ok=True)

    def sync_directory(self, path: Path) -> None:
        """Return when the names in `path` are on the disk."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def append_all(disk: Disk, file: int, content: bytes) -> None:
    """Write all of `content`, however little the disk takes at a time."""
    view = memoryview(content)
    while view:
        written = disk.append(file, view)
        if written <= 0:
            raise OSError("the disk takes no bytes")
        view = view[written:]
