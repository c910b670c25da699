"""Pace: a computation that many tasks are about to make at once, spread over turns of the event loop.

A new cluster's kubelets all answer the first message of a TLS handshake at about the same time; what then is to be
computed takes more than a millisecond each.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Final, TypeVar

from collector.turns import Turns

SLICE_S: Final = 0.004
"""Longest computation, in seconds, between two turns of the event loop; the last one may overrun it."""

READ_S: Final = 0.02
"""Longest reading from all connections, in seconds, in one turn while there are no clients; what is left is read in the
next one."""

T = TypeVar("T")


class Pace:
    """One for all that compute alike."""

    def __init__(self, turns: Turns | None = None) -> None:
        """Without `turns` nobody else is waited for."""
        self._turns = turns or Turns()
        self._gate = asyncio.Lock()
        self._computed = 0.0
        self._later: deque[Callable[[], None]] = deque()
        self._read_s = 0.0

    async def run(self, compute: Callable[[], T]) -> T:
        """What `compute` returns or raises, in the turn of this one, which comes in the order of the calls."""
        if self._computed <= SLICE_S and not self._gate.locked():
            return self._timed(compute)
        async with self._gate:
            if self._computed > SLICE_S:
                self._computed = 0.0
                await asyncio.sleep(0)
            return self._timed(compute)

    def later(self, compute: Callable[[], None]) -> None:
        """Call it soon, in the order of these calls; it raises nothing."""
        self._later.append(compute)
        if len(self._later) == 1:
            asyncio.get_running_loop().call_soon(self._some)

    def finish(self) -> None:
        """Call at once what is to be called later."""
        while self._later:
            self._later.popleft()()

    def may_read(self) -> bool:
        """Whether there is time left in this turn to read from another connection; for one there always is."""
        return not self._read_s or self._read_s < self._turns.stretch(READ_S)

    def has_read(self, seconds: float) -> None:
        """So long has been read."""
        if not self._read_s:
            asyncio.get_running_loop().call_soon(self._next_turn)
        self._read_s += seconds

    def _next_turn(self) -> None:
        self._read_s = 0.0

    def _some(self) -> None:
        began = time.perf_counter()
        while self._later:
            if time.perf_counter() - began > SLICE_S:
                asyncio.get_running_loop().call_soon(self._some)
                return
            self._later.popleft()()

    def _timed(self, compute: Callable[[], T]) -> T:
        began = time.perf_counter()
        try:
            return compute()
        finally:
            self._computed += time.perf_counter() - began
