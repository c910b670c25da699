"""Vitals: what probes ask of the process as a whole: is it alive, does it know its cluster, is it stopping.

Written by the composition root, read by `/livez` and `/readyz`. Nothing here depends on how fast a node answers.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

LOOP: Final = "event-loop"
TICKS: Final = "scrape-loop"
LIGHT: Final = "light-scrape-loop"

LOOP_LIMIT_S: Final = 10.0
"""The event loop's timers may be late by this."""

STUCK_WINDOWS: Final = 5
"""A cadence that has ended no window for so many is stuck: every one of them has a deadline of its own."""


@dataclass(frozen=True, slots=True)
class Pulse:
    """Something that has to give a sign of life within `limit_s` seconds; `idle` is the seconds since the last one."""

    what: str
    idle: Callable[[], float]
    limit_s: float

    def fault(self) -> str | None:
        """What is wrong, None when nothing is."""
        idle = self.idle()
        if idle <= self.limit_s:
            return None
        return f"{self.what} has given no sign of life for {idle:.0f} s, at most {self.limit_s:.0f} s are allowed"


@dataclass(slots=True)
class Vitals:
    """One process. What is not watched is no fault."""

    synced: bool = False
    """Whether nodes, pods and namespaces have been listed."""
    stopping: bool = False
    """Set at the first signal, before anything is taken down."""
    pulses: dict[str, Pulse] = field(default_factory=dict)

    def watch(self, name: str, pulse: Pulse) -> None:
        """Ask this of every liveness probe from now on."""
        self.pulses[name] = pulse

    def fault(self, name: str) -> str | None:
        """What is wrong with the pulse of this name."""
        pulse = self.pulses.get(name)
        return pulse.fault() if pulse is not None else None


def stuck_limit(resolution_ns: int, timeout_ns: int) -> float:
    """After how many seconds without an ended window a cadence is stuck."""
    return (STUCK_WINDOWS * resolution_ns + timeout_ns) / 1e9
