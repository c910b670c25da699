"""LoopMonitor: how long the event loop keeps others waiting."""

import asyncio
import time
from collections.abc import Callable

BUSY_S = 0.004
"""Between two looks while there is something to do. A block is seen short by this at most."""
REST_S = 0.05
"""The same while there is nothing: waking up for nothing would cost a small cluster as much as its cycles."""
QUIET_S = 1.0
"""So long nothing is to have been done before the loop counts as at rest: a cycle has pauses of its own."""
BUSY_SHARE = 0.05
"""Share of a core from which on the loop counts as busy."""
NOTABLE_S = 0.01
"""Shorter delays are the machine's, not ours."""


class LoopMonitor:
    """Asks to be woken every 4 ms, at rest every 50 ms, and reports by how much it was late.

    Whoever became ready while the loop was busy waited as long, so the lateness is what clients feel; it includes what
    the process waited for a core.
    """

    def __init__(self, blocked: Callable[[float], None]) -> None:
        self._blocked = blocked
        self._loop: asyncio.AbstractEventLoop | None = None
        self._handle: asyncio.TimerHandle | None = None
        self._due = self._cpu = self._looked = self._busy = 0.0

    def start(self) -> None:
        """Begin to watch the running loop."""
        self._loop = asyncio.get_running_loop()
        self._arm(self._loop)

    def idle(self) -> float:
        """Seconds since the event loop has last kept its word; 0 while nobody watches."""
        return time.monotonic() - self._looked if self._handle is not None else 0.0

    async def stop(self) -> None:
        """End watching."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _look(self) -> None:
        assert self._loop is not None, "start comes first"
        late = time.monotonic() - self._due
        if late >= NOTABLE_S:
            self._blocked(late)
        self._arm(self._loop)

    def _arm(self, loop: asyncio.AbstractEventLoop) -> None:
        # Not by the loop's own clock: that one stands still while the loop works.
        now, cpu = time.monotonic(), time.thread_time()
        if cpu - self._cpu >= BUSY_SHARE * (now - self._looked):
            self._busy = now
        self._cpu, self._looked = cpu, now
        period = BUSY_S if now - self._busy < QUIET_S else REST_S
        self._due = now + period
        self._handle = loop.call_later(period, self._look)
