"""Which pod fills a slot, and when its containers started: functions of time alone.

A slot's pods follow one another without a gap: the next is created in the second the last is deleted. Its
containers start `delay` seconds later. A container with a restart period is killed and started again each time the
period has passed. All times are whole seconds relative to the plan's origin; generation 0 is the pod that is there
at the origin.
"""

from dataclasses import dataclass

import numpy as np

from collector.sim.hashing import I64
from collector.sim.plan import Plan


@dataclass(frozen=True)
class Lives:
    """The lives of some nodes' pods and containers at one second.

    | column     | shape     | meaning                                                     |
    |------------|-----------|-------------------------------------------------------------|
    | generation | (n, P)    | how many pods the slot has had since the origin             |
    | birth      | (n, P)    | when its pod was created                                    |
    | started    | (n, P, C) | when the container started last; before that, when it will  |
    | restarts   | (n, P, C) | how often it was started again                              |
    """

    generation: I64
    birth: I64
    started: I64
    restarts: I64


def lives(plan: Plan, nodes: slice, second: int) -> Lives:
    """The lives in `nodes` at `second`."""
    slots = plan.slots
    first_birth, lifetime = slots.first_birth[nodes], slots.lifetime[nodes]
    generation = (second - first_birth) // lifetime
    birth = first_birth + generation * lifetime
    ready = (birth + slots.delay[nodes])[..., None]
    period = plan.containers.restart_period[nodes]
    restarts = np.maximum(0, (second - ready) // period)
    return Lives(generation, birth, ready + restarts * period, restarts)
