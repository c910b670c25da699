"""Time of the simulated cluster, when a test wants to hold it in its hand."""

from collections.abc import Callable


class ManualClock:
    """A clock that stands still until it is told to advance; call it for seconds since 1970."""

    def __init__(self, start: float = 1_800_000_000.0) -> None:
        self._now = start
        self._listeners: list[Callable[[], None]] = []

    def __call__(self) -> float:
        """The time, seconds since 1970."""
        return self._now

    def advance(self, seconds: float) -> float:
        """Move forward by `seconds` (never back) and wake whoever listens; gives the new time."""
        if seconds < 0:
            raise ValueError(f"a clock cannot go back: advance({seconds})")
        self._now += seconds
        for listener in tuple(self._listeners):
            listener()
        return self._now

    def listen(self, listener: Callable[[], None]) -> None:
        """Have `listener` called after every advance."""
        self._listeners.append(listener)

    def unlisten(self, listener: Callable[[], None]) -> None:
        """Forget `listener`."""
        self._listeners.remove(listener)
