"""The byte stream of a watch, cut into lines wherever the network cut it."""


class LineSplitter:
    """Collects chunks, gives whole lines.

    A line longer than `limit` bytes is dropped and counted in `dropped`; the lines after it are kept.
    """

    def __init__(self, limit: int) -> None:
        self.dropped = 0
        self._limit = limit
        self._parts: list[bytes] = []
        self._size = 0
        self._dropping = False

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that `chunk` completes, without their ends; blank ones are left out."""
        *ends, rest = chunk.split(b"\n")
        lines = []
        for end in ends:
            self._add(end)
            if self._dropping:
                self.dropped += 1
            elif line := b"".join(self._parts).strip():
                lines.append(line)
            self._parts, self._size, self._dropping = [], 0, False
        self._add(rest)
        return lines

    def _add(self, part: bytes) -> None:
        if not part:
            return
        self._size += len(part)
        if self._size > self._limit:
            self._parts, self._dropping = [], True
        if not self._dropping:
            self._parts.append(part)
