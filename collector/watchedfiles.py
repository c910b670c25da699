"""WatchedFiles: a value read from files that may be replaced while we run.

The files are looked at (one `stat` each) whenever the value is asked for, so what is asked for after a change is new at
once, and nothing runs in between. `stat` follows symbolic links: a file written anew, one renamed into place and the
swapped directory of a Kubernetes secret all show.
"""

import logging
from collections.abc import Callable, Sequence
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


class WatchedFiles(Generic[T]):
    """A value made of the files at `paths` by `build`, which raises FileFault; `what` names it in messages."""

    def __init__(self, what: str, paths: Sequence[str], build: Callable[[Sequence[bytes]], T]) -> None:
        self._what = what
        self._paths = tuple(Path(path) for path in paths)
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
        before = self._contents
        try:
            self._read()
        except FileFault as error:
            if str(error) != self._complaint:
                self._complaint = str(error)
                log.warning("%s; the one read before stays in use", error)
            return
        self._complaint = ""
        if self._contents != before:
            log.info("%s: read again and in use", self._what)

    def _read(self) -> None:
        contents = tuple(map(_content, self._paths))
        if contents != self._contents:
            self._value = self._build(contents)
            self._contents = contents

    def _signature(self) -> _Signature:
        """What changes with a file; taken before it is read, so that a change in between is seen the next time."""
        return tuple(map(_state, self._paths))


def _state(path: Path) -> tuple[int, int, int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise FileFault(f"{path} cannot be read: {error.strerror or error}") from error
    if len(content) > MOST_BYTES:
        raise FileFault(f"{path} is longer than {MOST_BYTES} bytes: is it a PEM file?")
    return content
