"""Pins: the key each kubelet showed first, by the uid of its node, kept in a file that a person can read and edit.

A node made anew has another uid and so gets another pin. The file has one line a node; a line that is taken out lets
that node's next key in, at once. It is written anew as a whole and renamed into place.
"""

import asyncio
import contextlib
import logging
import os
import re
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from collector.errors import StartError

log = logging.getLogger(__name__)

FILE_NAME: Final = "kubelet-pins"

WRITE_DELAY_S: Final = 1.0
"""Between a first use and the file: the first scrape sees all nodes, and the file is written once for them."""

_HEAD: Final = (
    "# The keys that kubelets showed first: uid and name of the node, SHA-256 of the public key, when it was seen.\n"
    "# Take a line out to have the key of that node taken anew.\n"
)
_LINE: Final = re.compile(r"(?P<uid>\S+) (?P<node>\S+) sha256:(?P<key>[0-9a-f]{64}) (?P<since>\S+)")


class PinChangedError(OSError):
    """A kubelet shows another key than it did at first."""

    def __init__(self, pin: "Pin", fingerprint: str, path: Path | None) -> None:
        super().__init__(f"the key is {fingerprint}, pinned is {pin.fingerprint}")
        self.pin: Final = pin
        self.fingerprint: Final = fingerprint
        self.path: Final = path


@dataclass(frozen=True, slots=True)
class Pin:
    """What one node's kubelet showed first."""

    node: str
    fingerprint: str
    """SHA-256 of the key (SubjectPublicKeyInfo, DER), in hexadecimal digits"""
    since: str
    """when, RFC 3339"""


class Pins:
    """`load` first, `close` last. Without a file the pins last as long as this object."""

    def __init__(
        self,
        path: Path | None = None,
        *,
        anew: Collection[str] = (),
        present: Callable[[], Collection[str]] = tuple,
        clock: Callable[[], float] = time.time,
        read_only: bool = False,
    ) -> None:
        """`anew` names nodes whose pins are forgotten now; `present` gives the uids of the nodes there are, if known.

        The pins of nodes that are gone leave the file when it is next written; with `read_only` it never is.
        """
        self.path: Final = path
        self._read_only = read_only
        self._anew = frozenset(anew)
        self._present = present
        self._clock = clock
        self._pins: dict[str, Pin] = {}
        self._unwritten: set[str] = set()
        """uids whose pins are in no file yet"""
        self._seen: tuple[int, int, int] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._writing: asyncio.Task[None] | None = None
        self._complaint = ""

    def __len__(self) -> int:
        return len(self._pins)

    def load(self) -> None:
        """Read the file, if there is one, and see that it can be written. Raises StartError."""
        if self.path is None:
            return
        try:
            if not self._read_only:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                if not os.access(self.path.parent, os.W_OK | os.X_OK):
                    raise PermissionError(f"directory {self.path.parent} cannot be written to")
            self._seen = _state(self.path)
            self._pins = _read(self.path)
        except (OSError, ValueError) as error:
            raise StartError(
                f"the kubelets' pins cannot be kept in {self.path}: {error}; choose another directory with "
                "--kubelet-pin-dir (off: they last as long as the process)"
            ) from error
        forgotten = [uid for uid, pin in self._pins.items() if pin.node in self._anew]
        for uid in forgotten:
            log.warning(
                "node %s: its pin is forgotten (--kubelet-repin), its next key counts", self._pins.pop(uid).node
            )
        if forgotten and not self._read_only:
            self._write_out(self._pins)

    def check(self, uid: str, node: str, fingerprint: str) -> None:
        """Accept the key pinned for the node, or pin it where none is. Raises PinChangedError."""
        pin = self._pins.get(uid)
        if pin is not None and pin.fingerprint != fingerprint and self._changed_on_disk():
            self._read_again()
            pin = self._pins.get(uid)
        if pin is None:
            now = datetime.fromtimestamp(self._clock(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            self._pins[uid] = Pin(node, fingerprint, now)
            self._note_unwritten(uid)
        elif pin.fingerprint != fingerprint:
            raise PinChangedError(pin, fingerprint, self.path)

    async def close(self) -> None:
        """Write what is not written yet."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._writing is not None:
            await self._writing
        if self._unwritten:
            await self._write()

    def _note_unwritten(self, uid: str) -> None:
        if self.path is None or self._read_only:
            return
        self._unwritten.add(uid)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(WRITE_DELAY_S, self._begin_to_write)

    def _begin_to_write(self) -> None:
        self._timer = None
        self._writing = asyncio.get_running_loop().create_task(self._write(), name="kubelet pins")

    async def _write(self) -> None:
        if self._changed_on_disk():
            self._read_again()
        present = set(self._present())
        if present:
            self._pins = {uid: pin for uid, pin in self._pins.items() if uid in present or uid in self._unwritten}
        written, self._unwritten = self._unwritten, set()
        try:
            await asyncio.to_thread(self._write_out, dict(self._pins))
        except OSError as error:
            self._unwritten |= written  # with the next one
            self._complain(f"the kubelets' pins cannot be written to {self.path}: {error.strerror or error}")
        else:
            self._complaint = ""

    def _write_out(self, pins: dict[str, Pin]) -> None:
        """Write the file beside its place and put it there."""
        assert self.path is not None
        beside = self.path.with_name(f"{self.path.name}.new")
        lines = (
            f"{uid} {pin.node} sha256:{pin.fingerprint} {pin.since}\n"
            for uid, pin in sorted(pins.items(), key=lambda each: (each[1].node, each[0]))
        )
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii", errors="backslashreplace") as opened:
            opened.write(_HEAD)
            opened.writelines(lines)
            opened.flush()
            os.fsync(opened.fileno())
        beside.replace(self.path)
        self._seen = _state(self.path)

    def _changed_on_disk(self) -> bool:
        return self.path is not None and _state(self.path) != self._seen

    def _read_again(self) -> None:
        """Take over what somebody has done to the file; what is not in it yet stays."""
        assert self.path is not None
        self._seen = _state(self.path)
        try:
            read = _read(self.path)
        except (OSError, ValueError) as error:
            self._complain(f"the kubelets' pins in {self.path} cannot be read again: {error}")
            return
        self._pins = read | {uid: pin for uid, pin in self._pins.items() if uid in self._unwritten}

    def _complain(self, text: str) -> None:
        if text != self._complaint:
            self._complaint = text
            log.warning("%s", text)


def _read(path: Path) -> dict[str, Pin]:
    """The pins in a file, none where there is no file. Raises OSError, and ValueError that names the line."""
    with contextlib.suppress(FileNotFoundError):
        return dict(_parsed(path.read_text(encoding="ascii").splitlines()))
    return {}


def _parsed(lines: list[str]) -> list[tuple[str, Pin]]:
    found = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line.rstrip())
        if match is None:
            raise ValueError(f"line {number} is no pin (uid, node, sha256:KEY, time): take it out or mend it")
        found.append((match["uid"], Pin(match["node"], match["key"], match["since"])))
    return found


def _state(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
