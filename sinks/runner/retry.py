"""When to try again."""

import random
from collections.abc import Callable

FIRST_S = 1.0
"""Seconds before the first retry, before jitter."""

LONGEST_S = 30.0
"""Most seconds between two tries, before what the server asks for."""

REFUSED_S = 300.0
"""Seconds between two looks at a server that will not hear us, before jitter: nothing is retried meanwhile."""

LOOK_S = 5.0
"""Seconds between two looks at whether what it did not like has been changed here."""

LONGEST_ASKED_S = 3600.0
"""Most seconds of a Retry-After that are honoured."""


def asked_delay(retry_after_s: float | None) -> float:
    """Seconds the server asked for, as far as they are honoured."""
    return min(retry_after_s or 0.0, LONGEST_ASKED_S)


class Backoff:
    """Doubling delays with jitter, and no shorter than the server asked for."""

    def __init__(self, jitter: Callable[[], float] = random.random) -> None:
        self._jitter = jitter
        self.failures = 0
        """In a row."""

    def failed(self, retry_after_s: float | None = None, *, refused: bool = False) -> float:
        """One more failure; seconds until the next try: half to all of the delay, so that collectors spread.

        `refused`: the server will not hear us, and a try is no more than a look at whether it does by now.
        """
        delay = REFUSED_S if refused else min(LONGEST_S, FIRST_S * (1 << min(self.failures, 20)))
        self.failures += 1
        return max(delay * (1 + self._jitter()) / 2, asked_delay(retry_after_s))

    def succeeded(self) -> None:
        """The other side works."""
        self.failures = 0
