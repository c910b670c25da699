"""The memory budget: what is given up, in which order, when another batch would not fit.

Before each batch the resident memory and what the batch will need, as the one before did, are held against
--memory-budget. STEPS are taken in their order until it fits; they are taken back from the last on, one at a time:
scraping as soon as a batch fits, the others once there is clearly room. What a step has freed is what it is expected to
cost again.

    step                 gives up                                              frees
    history-resolution   of the 15 minutes of CPU and memory usage three       3/4 of WINDOW a row and tick
                         ticks of four, but for the latest minutes
    history              all of these but what whole batches hold              the rest of it
    texts                label texts of /metrics/cluster between two requests  some 110 bytes an entity
    batches              whole batches but the latest (without the light       a batch each
                         cadence: but the latest two)
    scraping             new batches: the latest one is served and grows old   the next batch
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from collector.errors import MemoryShortError, UsageError
from collector.kube.quantity import QuantityError, value

log = logging.getLogger(__name__)

AUTOMATIC, OFF = "auto", "off"

SHARE: Final = 0.85
"""Of the cgroup's limit, with `auto`: the rest is for answers under way and for what the kernel counts besides."""

ROOM: Final = 0.9
"""A step is taken back only where all would then fit into this share of the budget."""

QUIET: Final = 3
"""So many batches must have fitted before one is."""


MOST_FREED: Final = 4
"""A step frees at most this part of the budget: what else went at that moment is no reason to wait for ever."""


@dataclass(frozen=True, slots=True)
class Step:
    """Something to give up."""

    name: str
    gives_up: str


STEPS: Final = (
    Step("history-resolution", "of the last 15 minutes of CPU and memory usage every fourth window is kept"),
    Step("history", "the last 15 minutes of CPU and memory usage are those of the whole batches kept"),
    Step("texts", "label texts of /metrics/cluster are made anew for each request"),
    Step("batches", "past batches are not kept"),
    Step("scraping", "no window is collected; what is there is served and grows old"),
)
"""In the order in which they are taken."""

SCRAPING: Final = STEPS[-1].name


@dataclass(frozen=True, slots=True)
class Lever:
    """How a step is taken, each time anew while it lasts, and taken back."""

    give_up: Callable[[], None]
    take_back: Callable[[], None]


def _nothing() -> None:
    """For scraping, which has no lever: who collects asks."""


class MemoryBudget:
    """`look` before each batch. `limit` in bytes, 0 for no bound.

    `used` measures the resident memory, bytes, `release` has the allocator give back what it keeps; `levers` says how
    the steps by these names are taken, and without one a step is passed over, but for scraping. `told` gets budget,
    used, needed and which steps are taken.
    """

    def __init__(
        self,
        limit: int,
        levers: Mapping[str, Lever],
        *,
        used: Callable[[], int],
        release: Callable[[], None] = _nothing,
        told: Callable[[int, int, int, Mapping[str, bool]], None] = lambda *_: None,
    ) -> None:
        self.limit = limit
        self._levers = {**levers, SCRAPING: Lever(_nothing, _nothing)}
        self._steps = [step for step in STEPS if step.name in self._levers]
        self._freed: list[int] = []
        """Bytes that each step taken has freed, in their order."""
        self._used = used
        self._release = release
        self._told = told
        self._quiet = 0

    @property
    def shed(self) -> list[str]:
        """The steps taken."""
        return [step.name for step in self._steps[: len(self._freed)]]

    def look(self, needed: int) -> None:
        """Make room for a batch of `needed` bytes. Raises MemoryShortError when there is none to be made."""
        used = self._used()
        if self.limit:
            used = self._make_room(used, needed)
        self._told(self.limit, used, needed, {step.name: step.name in self.shed for step in self._steps})
        if len(self._freed) == len(self._steps):
            raise MemoryShortError(f"{_shown(used)} are used and {_shown(needed)} needed; {self._turn()}")

    def _make_room(self, used: int, needed: int) -> int:
        for step in self._steps[: len(self._freed)]:
            self._levers[step.name].give_up()
        if used + needed <= self.limit:
            self._take_back(used, needed)
            return used
        self._quiet = 0
        self._release()
        used = self._used()
        while used + needed > self.limit and len(self._freed) < len(self._steps):
            step = self._steps[len(self._freed)]
            self._levers[step.name].give_up()
            self._release()
            before, used = used, self._used()
            self._freed.append(min(max(0, before - used), self.limit // MOST_FREED))
            log.warning(
                "memory: step %s: %s; %s are used and %s needed for the next batch; %s",
                step.name,
                step.gives_up,
                _shown(before),
                _shown(needed),
                self._turn(),
            )
        return used

    def _take_back(self, used: int, needed: int) -> None:
        """Take the last step back when there has been room for it for a while."""
        stopped = len(self._freed) == len(self._steps)  # to be over as soon as a batch fits
        if not self._freed or (not stopped and used + needed + self._freed[-1] > ROOM * self.limit):
            self._quiet = 0
            return
        self._quiet += 1
        if stopped or self._quiet >= QUIET:
            self._quiet = 0
            self._freed.pop()
            step = self._steps[len(self._freed)]
            self._levers[step.name].take_back()
            log.info(
                "memory: step %s is over: %s are used, of a budget of %s", step.name, _shown(used), _shown(self.limit)
            )

    def _turn(self) -> str:
        return (
            f"the budget is {_shown(self.limit)} (--memory-budget, by default {SHARE:.0%} of the container's limit): "
            "raise it, or collect less often (--metric-resolution)"
        )


def budget_of(flag: str, limit: Callable[[], int | None]) -> int:
    """The bytes that --memory-budget means, 0 for no bound; `limit` tells the cgroup's. Raises UsageError."""
    if flag == OFF:
        return 0
    if flag == AUTOMATIC:
        return int((limit() or 0) * SHARE)
    try:
        found = value(flag)
    except QuantityError:
        found = 0
    if found <= 0:
        raise UsageError(
            f"--memory-budget is {flag!r}; it must be auto, off, or a quantity of bytes such as 1500Mi or 2Gi"
        )
    return found


def _shown(size: int) -> str:
    return f"{size / (1 << 20):,.0f} MiB"
