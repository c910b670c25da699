"""LoopMonitor: how long the event loop keeps others waiting."""

import asyncio
import contextlib
from collections.abc import Callable

PERIOD_S = 0.1
NOTABLE_S = 0.01
"""Shorter delays are the machine's, not ours."""


class LoopMonitor:
    """Asks to be woken every 100 ms and reports by how much it was late."""

    def __init__(self, blocked: Callable[[float], None]) -> None:
        self._blocked = blocked
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to watch."""
        self._task = asyncio.create_task(self._watch(), name="loop monitor")

    async def stop(self) -> None:
        """End watching."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + PERIOD_S
            await asyncio.sleep(PERIOD_S)
            late = loop.time() - due
            if late >= NOTABLE_S:
                self._blocked(late)
