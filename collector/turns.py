"""Turns of the event loop: how long background work may keep one.

Scraping, decoding and processing cost least in long stretches, and a client waits for the end of each. So stretches are
long while nobody asks, short while clients come and go, and shortest from a request's arrival to its answer.
"""

import time
from collections.abc import Callable
from typing import Final

ATTENTIVE_S: Final = 1.0
"""Clients count as there for so long, in seconds, behind the latest sign of one."""

SHORT_S: Final = 0.001
"""Longest stretch, in seconds, while they are."""

HURRY_S: Final = 0.01
"""Longest time, in seconds, for which one request keeps stretches shortest: some turns, so that no client and no flood
of them holds the work up."""


class Turns:
    """One for the event loop: servers say when they are asked, background work asks how long it may go on."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` is in seconds."""
        self._clock = clock
        self._attentive = self._hurried = -1.0

    def asked(self) -> None:
        """A request has arrived; its answer needs turns of the loop."""
        now = self._clock()
        self._attentive, self._hurried = now + ATTENTIVE_S, now + HURRY_S

    def served(self) -> None:
        """A client has got an answer, or a piece of a long one."""
        self._attentive, self._hurried = self._clock() + ATTENTIVE_S, -1.0

    @property
    def attentive(self) -> bool:
        """Whether there are clients."""
        return self._clock() < self._attentive

    def stretch(self, alone: float) -> float:
        """Seconds that work may go on for before others get a turn; `alone` while there are no clients.

        None at all means one piece of it.
        """
        now = self._clock()
        if now >= self._attentive:
            return alone
        return 0.0 if now < self._hurried else min(alone, SHORT_S)
