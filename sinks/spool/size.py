"""How large a spool may be: what the ticks of the age that is kept take at the current rate, never beyond the budget.

    rate    mean bytes of the latest ticks / median seconds between them
    need    rate x age
    limit   the budget until the rate is known; then need and a quarter, no less than `floor`, no more than the budget

The limit rises with the rate at once. It falls only when what lies there, and a need of the new rate behind it, fit: a
cluster that shrinks during an outage costs nothing that was kept before.
"""

import logging
import statistics
from collections import deque
from dataclasses import dataclass
from typing import Final

FLOOR_BYTES: Final = 64 << 20
"""What a spool may have at any rate, where the budget allows it."""

MARGIN: Final = 1.25
"""The limit, in needs: ticks grow, and whole segments go."""

LATEST: Final = 15
"""Ticks that the rate is of."""

LONGEST_STEP_NS: Final = 3_600_000_000_000
"""Between two ticks; beyond it the clock was set, or this replica stood by."""

_HOUR_S: Final = 3600
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SpoolSize:
    """What a spool may have, and how far that goes."""

    limit_bytes: int
    covers_s: float | None
    """Seconds of outage after which the first tick is lost, at the current rate: by size, or by age. None: not known
    before the third tick or so."""


class Sizing:
    """The limit of one spool. Told of each record and of the end of each tick."""

    def __init__(self, name: str, budget: int, age_ns: int, floor: int = FLOOR_BYTES) -> None:
        """`name` for the log, empty for one of which nothing is to be said there."""
        self._name, self.budget, self._age_ns, self._floor = name, budget, age_ns, min(floor, budget)
        self.limit = budget
        """Bytes on the disk."""
        self.size = SpoolSize(budget, None)
        """What is shown; other threads may read it."""
        self._latest: deque[tuple[int, int]] = deque(maxlen=LATEST)
        self._timestamp: int | None = None
        self._before: int | None = None
        self._size = 0
        self._told = self._warned = False

    @property
    def need(self) -> int | None:
        """Bytes that the age takes at the current rate; None while that is not known."""
        if not self._latest:
            return None
        step = statistics.median_low(step for _, step in self._latest)
        return sum(size for size, _ in self._latest) * self._age_ns // (len(self._latest) * step)

    def add(self, timestamp: int, length: int) -> None:
        """A record of a tick has come; one of another tick than before begins that."""
        if timestamp != self._timestamp:
            self._timestamp, self._size = timestamp, 0
        self._size += length

    def end(self, occupied: int) -> None:
        """The tick is whole; so many bytes are on the disk."""
        timestamp, size = self._timestamp, self._size
        self._timestamp = None
        if timestamp is None:
            return
        if self._before is not None and 0 < timestamp - self._before <= LONGEST_STEP_NS:
            self._latest.append((size, timestamp - self._before))
        self._before = timestamp
        if (need := self.need) is None:
            return
        wanted = max(self._floor, min(int(need * MARGIN), self.budget))
        if wanted > self.limit or occupied + need <= wanted:
            self.limit = wanted
        self.size = SpoolSize(self.limit, min(1.0, self.limit / max(need, 1)) * self._age_ns / 1e9)
        if self._name:
            self._tell(need)

    def _tell(self, need: int) -> None:
        tick = sum(size for size, _ in self._latest) / len(self._latest)
        age_h = self._age_ns / 1e9 / _HOUR_S
        covers_h = self.budget / max(need, 1) * age_h
        if need > self.budget and not self._warned:
            self._warned = self._told = True
            _logger.warning(
                "spool %s: its budget of %s covers %.1f h at the current rate of %s a tick, not the %.4g h of "
                "--spool-max-age; --spool-max-bytes=%d would cover them, if the disk has as much",
                self._name,
                _shown(self.budget),
                covers_h,
                _shown(tick),
                age_h,
                need * MARGIN,
            )
        elif need * MARGIN <= self.budget:
            self._warned = False
        if not self._told:
            self._told = True
            _logger.info(
                "spool %s: %s a tick; sized to %s for the %.4g h of --spool-max-age; its budget of %s covers %.1f h",
                self._name,
                _shown(tick),
                _shown(self.limit),
                age_h,
                _shown(self.budget),
                covers_h,
            )


def _shown(size: float) -> str:
    return f"{size / (1 << 20):,.1f} MiB"
