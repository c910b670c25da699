"""The dead-letter file: refused points with the server's words, for people. Line protocol with comments, bounded.

# 2026-11-28T01:02:03Z 1 point refused: http://influxdb:8086 answered 400: field type conflict ...
cpu/usage,nodename=a value=1i 1795393855000000000
"""

import contextlib
import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from sinks.runner.refusals import Refused
from sinks.spool.disk import Disk, append_all

NAME = "dead-letters"

MOST_BYTES = 1 << 20
"""A full file becomes the older one, in the place of its predecessor: two of this size at most."""

LINES_BYTES = 64 << 10
"""Most bytes of one refusal's lines."""

_logger = logging.getLogger(__name__)


class DeadLetters:
    """The two files of one sink. Blocking; the disk's errors are logged, not raised: the points are counted anyway."""

    def __init__(self, directory: Path, disk: Disk) -> None:
        self.path = directory / NAME
        self._older = directory / f"{NAME}.old"
        self._disk = disk

    def write(self, refusals: Sequence[Refused], now: float) -> None:
        """Add them."""
        text = b"".join(_text(one, now) for one in refusals)[:MOST_BYTES]
        try:
            before = self._before(len(text))
            # A file is written whole under another name: no reader and no crash meets half a line.
            temporary = self.path.with_name(f"{NAME}.new")
            self._disk.remove(temporary)
            file = self._disk.open(temporary)
            try:
                append_all(self._disk, file, before + text)
            finally:
                self._disk.close(file)
            self._disk.rename(temporary, self.path)
        except OSError as error:
            _logger.warning("%s cannot be written, refused points are only counted: %s", self.path, error)

    def _before(self, more: int) -> bytes:
        """What the file holds; empty once it is full and has become the older one."""
        with contextlib.suppress(FileNotFoundError):
            before = self._disk.read(self.path, 0, MOST_BYTES)
            if len(before) + more <= MOST_BYTES:
                return before
            self._disk.rename(self.path, self._older)
        return b""


def _text(refused: Refused, now: float) -> bytes:
    when = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    points = "1 point" if refused.points == 1 else f"{refused.points} points"
    head = f"# {when} {points} refused: {' '.join(refused.words.split())}\n".encode("utf-8", "replace")
    lines = refused.lines
    if len(lines) > LINES_BYTES:
        lines = lines[: lines.rfind(b"\n", 0, LINES_BYTES) + 1] + b"# and others, left out here\n"
    return head + lines
