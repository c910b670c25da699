"""Remembered: verdicts of the API server, kept for a short while; one question per key under way."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

MOST: Final = 4096
"""Verdicts kept; beyond that the oldest goes, which costs one more question."""


class Remembered(Generic[K, V]):
    """key -> verdict. A failed question is not remembered. `clock` gives monotonic seconds."""

    def __init__(self, most: int = MOST, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self._known: OrderedDict[K, tuple[float, V]] = OrderedDict()
        self._asking: dict[K, asyncio.Task[V]] = {}

    def __len__(self) -> int:
        return len(self._known)

    async def get(self, key: K, ask: Callable[[], Awaitable[tuple[V, float]]]) -> V:
        """The verdict for `key`. When none is known, `ask` gives it, and for how many seconds it is to be believed.

        Whoever asks for the same key meanwhile waits for the same answer; one that leaves takes it from nobody.
        """
        known = self._known.get(key)
        if known is not None and self._clock() < known[0]:
            return known[1]
        task = self._asking.get(key)
        if task is None:
            task = self._asking[key] = asyncio.create_task(self._ask(key, ask), name="access review")
            task.add_done_callback(_retrieved)
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Give up the questions under way, forget all verdicts."""
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._known.clear()

    def _make_room(self) -> None:
        """Let the oldest go: those that are believed no longer, and as many more as are too many."""
        now = self._clock()
        while self._known:
            until, _ = next(iter(self._known.values()))
            if now < until and len(self._known) < self._most:
                return
            self._known.popitem(last=False)

    async def _ask(self, key: K, ask: Callable[[], Awaitable[tuple[V, float]]]) -> V:
        try:
            # Believed from when it was asked for: an answer may be as old as the question.
            began = self._clock()
            verdict, seconds = await ask()
            self._known.pop(key, None)
            if seconds > 0:
                self._make_room()
                self._known[key] = (began + seconds, verdict)
            return verdict
        finally:
            del self._asking[key]


def _retrieved(task: "asyncio.Task[object]") -> None:
    """A failure that nobody waits for any more is nobody's."""
    if not task.cancelled():
        task.exception()
