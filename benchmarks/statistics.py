"""Numbers from repeated measurements: order statistics only, since the machine's disturbances are all on one side."""

import math
from collections.abc import Iterable, Sequence
from typing import TypedDict


class Spread(TypedDict):
    """Of several measurements of one thing."""

    count: int
    least: float
    p50: float
    p90: float
    p99: float
    most: float


def percentile(ordered: Sequence[float], fraction: float) -> float:
    """The smallest of the ascending values below or at which at least `fraction` of them lie (nearest rank)."""
    if not ordered:
        raise ValueError("no values: there is no percentile of nothing")
    return ordered[max(0, math.ceil(fraction * len(ordered)) - 1)]


def spread(values: Iterable[float]) -> Spread:
    """The order statistics of `values`, of which there is at least one."""
    ordered = sorted(values)
    at = [percentile(ordered, fraction) for fraction in (0.5, 0.9, 0.99)]
    return Spread(count=len(ordered), least=ordered[0], p50=at[0], p90=at[1], p99=at[2], most=ordered[-1])


class Comparison(TypedDict):
    """Old against new, of pairs measured one right after the other."""

    pairs: int
    old: float
    """Least of all old ones; likewise `new`."""
    new: float
    ratio: float
    """Median of new / old over the pairs: below 1 is an improvement."""
    ratio_least: float
    ratio_most: float


def compared(pairs: Sequence[tuple[float, float]]) -> Comparison:
    """What (old, new) pairs say. Each ratio is taken within its pair, where the load of the machine was the same."""
    if not pairs:
        raise ValueError("no pairs: nothing was measured of both revisions")
    ratios = sorted(new / old if old else math.inf for old, new in pairs)
    return Comparison(
        pairs=len(pairs),
        old=min(old for old, _ in pairs),
        new=min(new for _, new in pairs),
        ratio=median(ratios),
        ratio_least=ratios[0],
        ratio_most=ratios[-1],
    )


def median(values: Iterable[float]) -> float:
    """The middle one; of an even number the mean of the two in the middle."""
    ordered = sorted(values)
    if not ordered:
        raise ValueError("no values: there is no median of nothing")
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2
