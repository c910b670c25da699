"""One process a directory: an flock, which the kernel gives back however the process ends."""

import contextlib
import fcntl
import os
from pathlib import Path
from typing import TextIO

LOCK_NAME = "lock"


class DirectoryLock:
    """Held from now to `release`. Raises BlockingIOError, naming the owner, when another process has it."""

    def __init__(self, directory: Path) -> None:
        self._file: TextIO = (directory / LOCK_NAME).open("a+")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.seek(0)
            owner = self._file.read(20).strip()
            self._file.close()
            raise BlockingIOError(
                "it is in use by another collector" + (f" (process {owner})" if owner.isdigit() else "")
            ) from None
        with contextlib.suppress(OSError):  # a full disk: only the owner's number is missing
            self._file.truncate(0)
            self._file.write(f"{os.getpid()}\n")
            self._file.flush()

    def release(self) -> None:
        """Let the next one have it."""
        self._file.close()


def holder(directory: Path) -> str | None:
    """The number of the process that has a directory now, `?` where it does not say; None where nobody has it.

    Nothing is written, and a lock file that is not there is not made.
    """
    try:
        file = (directory / LOCK_NAME).open("r")
    except OSError:
        return None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = file.read(20).strip()
            return owner if owner.isdigit() else "?"
        except OSError:
            return None
    return None
