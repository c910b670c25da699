"""WatchedFiles: a value read from files that may be replaced while we run.

The files are looked at (one `stat` each) whenever the value is asked for, so what is asked for after a change is new at
once, and nothing runs in between. `stat` follows symbolic links: a file written anew, one renamed into place and the
swapped directory of a Kubernetes secret all show.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Generic, TypeVar

from collector.errors import StartError

log = logging.getLogger(__name__)

T = TypeVar("T")

MOST_BYTES: Final = 4 << 20
"""Certificates are some kilobytes; a file above this is the wrong one."""

_Signature = tuple[tuple[int, int, int, int, int] | None, ...]


class FileFault(ValueError):  # noqa: N818  # it is what is wrong with a file, in words
    """What is wrong with the content; the message names the file."""


@dataclass(frozen=True, slots=True)
class NamedFile:
    """A file, and the flag that names it."""

    flag: str
    path: str

    def __str__(self) -> str:
        return f"{self.flag} {self.path}"


class WatchedFiles(Generic[T]):
    """A value that `build` makes of the contents of `files`; it raises FileFault for contents it cannot use."""

    def __init__(self, files: Sequence[NamedFile], build: Callable[[Sequence[bytes]], T]) -> None:
        self._files = tuple(files)
        self._build = build
        self._seen: _Signature = ()
        self._contents: tuple[bytes, ...] = ()
        self._complaint = ""
        self._value: T | None = None

    def load(self) -> None:
        """Read the files for the first time. Raises StartError that names the file and the reason."""
        self._seen = self._signature()
        try:
            self._read()
        except FileFault as error:
            raise StartError(str(error)) from error

    def current(self) -> T:
        """The value; made anew when a file has changed. A change that cannot be used is logged once and passed over."""
        seen = self._signature()
        if seen != self._seen:
            self._seen = seen
            self._reread()
        assert self._value is not None, "load comes first"
        return self._value

    def _reread(self) -> None:
        try:
            self._read()
        except FileFault as error:
            if str(error) != self._complaint:
                self._complaint = str(error)
                log.warning("%s; the one read before stays in use", error)
            return
        self._complaint = ""
        log.info("%s: read again", " and ".join(map(str, self._files)))

    def _read(self) -> None:
        contents = tuple(map(_content, self._files))
        if contents != self._contents:
            self._value = self._build(contents)
            self._contents = contents

    def _signature(self) -> _Signature:
        """What changes with a file; taken before it is read, so that a change in between is seen the next time."""
        return tuple(map(_state, self._files))


def _state(file: NamedFile) -> tuple[int, int, int, int, int] | None:
    try:
        found = Path(file.path).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _content(file: NamedFile) -> bytes:
    try:
        with Path(file.path).open("rb") as opened:
            content = opened.read(MOST_BYTES + 1)
    except OSError as error:
        raise FileFault(f"{file} cannot be read: {error.strerror or error}") from error
    if len(content) > MOST_BYTES:
        raise FileFault(f"{file} is longer than {MOST_BYTES} bytes: is it a PEM file?")
    return content
