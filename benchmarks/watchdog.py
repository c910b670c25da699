"""Who holds up the event loop: a thread that looks at the loop's stack whenever the loop is late.

Each block is reported with its length and the frames met most often while it lasted. Where the loop's thread keeps the
GIL to itself, the looking waits too: then the frames are those right behind. Collections of the garbage collector are
timed apart.
"""

import asyncio
import gc
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

BEAT_S = 0.002
LATE_S = 0.012
"""So late is late enough for a look."""
DEPTH = 8


@dataclass(slots=True)
class Block:
    """One time the loop did not turn."""

    seconds: float
    cpu_seconds: float
    """Of the loop's thread: without what it waited for a core, which is the machine's and not ours."""
    at: float
    """time.perf_counter() when it ended."""
    frames: Counter[str] = field(default_factory=Counter)


class Watchdog:
    """A context manager around what is watched, on the loop's own thread. Keeps blocks of `notable_s` and more."""

    def __init__(self, notable_s: float = 0.02) -> None:
        self._notable_s = notable_s
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._beat, self._cpu = time.perf_counter(), time.thread_time()
        self._seen: Counter[str] = Counter()
        self._over = threading.Event()
        self._sampler = threading.Thread(target=self._watch, daemon=True, name="watchdog")
        self._handle: asyncio.TimerHandle | None = None
        self._collecting = 0.0
        self.blocks: list[Block] = []
        self.collections: list[tuple[int, float]] = []
        """(generation, CPU seconds) of the garbage collector's longer work."""

    def __enter__(self) -> Self:
        gc.callbacks.append(self._collected)
        self._beat, self._cpu = time.perf_counter(), time.thread_time()
        self._tick()
        self._sampler.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self._over.set()
        self._sampler.join()
        gc.callbacks.remove(self._collected)
        if self._handle is not None:
            self._handle.cancel()

    def _tick(self) -> None:
        now, cpu = time.perf_counter(), time.thread_time()
        blocked, used = now - self._beat, cpu - self._cpu
        self._beat, self._cpu = now, cpu
        if blocked >= self._notable_s:
            self.blocks.append(Block(blocked, used, now, self._seen))
        if self._seen:
            self._seen = Counter()
        self._handle = self._loop.call_later(BEAT_S, self._tick)

    def _watch(self) -> None:
        while not self._over.wait(BEAT_S):
            if time.perf_counter() - self._beat > LATE_S:
                frame = sys._current_frames().get(self._thread)
                if frame is not None:
                    self._seen[_said(frame)] += 1
                del frame  # or all that its functions hold would stay until the next look

    def _collected(self, phase: str, about: dict[str, int]) -> None:
        if phase == "start":
            self._collecting = time.thread_time()
        elif (took := time.thread_time() - self._collecting) > 0.002:
            self.collections.append((about["generation"], took))


def _said(frame: FrameType | None) -> str:
    """The innermost frames, outermost last."""
    frames = []
    while frame is not None and len(frames) < DEPTH:
        code = frame.f_code
        frames.append(f"{Path(code.co_filename).name}:{frame.f_lineno} {code.co_name}")
        frame = frame.f_back
    return " < ".join(frames)
