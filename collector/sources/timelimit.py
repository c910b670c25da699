"""One time limit for many waits, with one timer: asyncio.timeout has the loop keep a timer for each of them."""

import asyncio
from types import TracebackType
from typing import Any, Final


class TimeLimit:
    """`with Turn(limit):` raises TimeoutError in what has not ended `seconds` after it began."""

    def __init__(self, seconds: float) -> None:
        self.seconds: Final = seconds
        # All have the same limit, so the order in which they began is the one in which they are due.
        self.due: Final[dict[Turn, float]] = {}
        """Turns under way -> when they end, by the event loop's clock."""
        self._timer: asyncio.TimerHandle | None = None

    def arm(self, loop: asyncio.AbstractEventLoop) -> None:
        """There are turns under way: see to it that they end."""
        if self._timer is None:
            self._timer = loop.call_at(next(iter(self.due.values())), self._sweep, loop)

    def close(self) -> None:
        """Stop the timer: no turn is cancelled any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        """Cancel what is overdue; the timer then waits for the oldest of the others."""
        now, self._timer = loop.time(), None
        for turn, due in tuple(self.due.items()):
            if due > now:
                self.arm(loop)
                return
            del self.due[turn]
            turn.cancel()


class Turn:
    """A context manager that cancels its task when its time is over."""

    __slots__ = ("_cancelling", "_limit", "_task")

    def __init__(self, limit: TimeLimit) -> None:
        self._limit = limit

    def cancel(self) -> None:
        """The time is over."""
        self._task.cancel()

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None, "a turn is taken in a task"
        self._task: asyncio.Task[Any] = task
        self._cancelling = task.cancelling()
        loop = asyncio.get_running_loop()
        self._limit.due[self] = loop.time() + self._limit.seconds
        self._limit.arm(loop)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._limit.due.pop(self, None) is not None:
            return
        # As asyncio.timeout does: a cancellation from elsewhere is not ours to swallow.
        if self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error
