"""What can be made to go wrong at a node.

| kind      | what a client sees                                                       |
|-----------|--------------------------------------------------------------------------|
| down      | connection refused, and every open connection is dropped                 |
| slow      | the whole answer, `seconds` late                                         |
| drip      | the head at once, then the body in small pieces over `seconds`            |
| error     | HTTP 500 with the text a kubelet writes when its runtime is gone         |
| garbage   | HTTP 200 with a page of HTML, or bytes that are no text                  |
| truncated | HTTP 200, a body cut in its middle, and a Content-Length that fits the cut |
| hang      | the request is read and never answered                                   |
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from collector.sim.hashing import Stream


class FaultKind(StrEnum):
    """One way for a node to fail; the values are also the names of the command line's flags."""

    DOWN = "down"
    SLOW = "slow"
    DRIP = "drip"
    ERROR = "error"
    GARBAGE = "garbage"
    TRUNCATED = "truncated"
    HANG = "hang"


@dataclass(frozen=True)
class Fault:
    """A node's fault: its kind, and for `slow` and `drip` how many seconds an answer takes."""

    kind: FaultKind
    seconds: float = 5.0


def spread(fractions: dict[FaultKind, float], nodes: int, seed: int, seconds: float) -> dict[int, Fault]:
    """Node index to fault, for fractions of all nodes; a fraction above 0 takes at least one node."""
    order = np.argsort(Stream(seed, "faults").bits(np.arange(nodes)), kind="stable").tolist()
    faults: dict[int, Fault] = {}
    for kind, fraction in fractions.items():
        wanted = max(1, round(fraction * nodes)) if fraction > 0 else 0
        for _ in range(min(wanted, len(order))):
            faults[order.pop()] = Fault(kind, seconds)
    return faults
