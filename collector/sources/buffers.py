"""Buffers that answers lie in, used again: fresh memory of this size costs more than what is done with it.

An answer of 200 KB in a new buffer has the kernel clear fifty pages and Python clear them once more, a tenth of what
a fetch costs.
"""

from collections import deque
from typing import Final

_MOST: Final = 160
"""Buffers kept: those of answers that wait to be decoded together, and of some that are on their way."""
_LARGEST: Final = 1 << 20
"""Larger ones are not kept."""
_STEP: Final = 64 * 1024
"""Sizes are multiples of this: answers of about one size fit the same buffers."""
_TRIES: Final = 4
"""Buffers looked at: answers are done with in the order they came, so that the oldest is free or none is."""


class Buffers:
    """A buffer is lent until no memoryview of it is left: that is when Python lets it change its size."""

    def __init__(self) -> None:
        self._lent: deque[bytearray] = deque()

    def take(self, size: int) -> bytearray:
        """A buffer of `size` bytes or more, with whatever it held before."""
        for _ in range(min(len(self._lent), _TRIES)):
            buffer = self._lent.popleft()
            if not _is_free(buffer):
                self._lent.append(buffer)
            elif size <= len(buffer) <= _LARGEST:
                self._lent.append(buffer)
                return buffer
        buffer = bytearray(-(-size // _STEP) * _STEP)
        if len(self._lent) < _MOST and len(buffer) <= _LARGEST:
            self._lent.append(buffer)
        return buffer


def _is_free(buffer: bytearray) -> bool:
    try:
        buffer.append(buffer.pop())
    except BufferError:
        return False
    return True
