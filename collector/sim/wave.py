"""The shape of load over time, and its integral in closed form.

A wave is two parabolic arches a period, close to a sine but made of multiplications alone, so that its values are
the same bits on every machine. A load is `1 + daily_depth * wave(daily) + swing_depth * wave(swing)`: it is
multiplied with a base rate, and a counter is the base rate times the integral. Because the integral has a closed
form, a counter at any time can be computed without having followed it there.
"""

from dataclasses import dataclass

import numpy as np

from collector.sim.hashing import F64, I64

DAY_SECONDS = 86_400.0


def wave(turns: F64) -> F64:
    """A wave of period 1 and amplitude 1 at `turns`: 0 at 0, 1 at 1/4, 0 at 1/2, -1 at 3/4."""
    place = turns - np.rint(turns)  # in [-1/2, 1/2]: the second arch stands before zero
    return 8.0 * place * (1.0 - 2.0 * np.abs(place))


def wave_integral(turns: F64) -> F64:
    """The integral of `wave` from 0 to `turns`; periodic, since a whole period sums to zero."""
    place = np.abs(turns - np.rint(turns))
    return place * place * (4.0 - (16.0 / 3.0) * place)


@dataclass(frozen=True)
class Load:
    """How hard each slot works over time. Every array has the same shape.

    | column       | unit    | meaning                                             |
    |--------------|---------|-----------------------------------------------------|
    | daily_phase  | turns   | where in its day the slot is at time 0              |
    | daily_depth  | 1       | how far the day moves the rate away from its base   |
    | swing_period | seconds | length of the shorter wave, minutes                 |
    | swing_phase  | turns   | where in that wave the slot is at time 0            |
    | swing_depth  | 1       | how far the shorter wave moves the rate             |
    """

    daily_phase: F64
    daily_depth: F64
    swing_period: F64
    swing_phase: F64
    swing_depth: F64

    def integral(self, seconds: F64) -> F64:
        """The integral of the load from time 0 to `seconds` (same shape, or one more leading axis)."""
        daily = self.daily_depth * DAY_SECONDS * wave_integral(seconds / DAY_SECONDS + self.daily_phase)
        swing = self.swing_depth * self.swing_period * wave_integral(seconds / self.swing_period + self.swing_phase)
        return seconds + daily + swing

    def swing(self, seconds: F64) -> F64:
        """The shorter wave alone, in [-1, 1]: what moves the memory."""
        return wave(seconds / self.swing_period + self.swing_phase)

    def lowest(self) -> F64:
        """A lower bound of the load at any time."""
        return 1.0 - self.daily_depth - self.swing_depth

    def rows(self, nodes: slice) -> "Load":
        """The load of some nodes: a view, leading axis cut."""
        return Load(
            self.daily_phase[nodes],
            self.daily_depth[nodes],
            self.swing_period[nodes],
            self.swing_phase[nodes],
            self.swing_depth[nodes],
        )

    def per_container(self, containers: int) -> "Load":
        """The same load for each of a slot's containers: one more axis, written out so that loops over it are long."""
        return Load(
            *(
                np.repeat(each[..., None], containers, axis=-1)
                for each in (
                    self.daily_phase,
                    self.daily_depth,
                    self.swing_period,
                    self.swing_phase,
                    self.swing_depth,
                )
            )
        )


def seconds_of(milliseconds: I64) -> F64:
    """Milliseconds as float64 seconds."""
    return milliseconds / 1000.0
