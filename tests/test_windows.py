"""Quantiles over a sliding window, against a plain list of observations."""

import math
import random

import pytest

from collector.windows import LATEST, QUANTILES, ROWS_AT_ONCE, SLAB_ROWS, WINDOW_S, Windows

START = 1_790_000_000.0


def plain(observations: list[tuple[float, float]], now: float) -> tuple[float, ...]:
    """Nearest-rank quantiles of (moment, value) pairs that are in the window and among the latest."""
    kept = sorted(value for moment, value in observations[-LATEST:] if moment >= now - WINDOW_S)
    if not kept:
        return (math.nan,) * len(QUANTILES)
    return tuple(kept[max(0, math.ceil(q * len(kept)) - 1)] for q in QUANTILES)


@pytest.mark.parametrize("seed", range(5))
def test_quantiles_are_those_of_the_observations_in_the_window(seed):
    chance = random.Random(seed)
    windows = Windows()
    seen: dict[str, list[tuple[float, float]]] = {}
    now = START
    for _ in range(2000):
        now += chance.expovariate(1 / chance.choice((0.5, 20)))
        label = f"node-{chance.randrange(12)}"
        value = chance.randrange(1, 2**20) / 2**10  # exact in four bytes
        windows.add(label, value, now)
        seen.setdefault(label, []).append((now, value))
    # Moments are kept in four bytes: ask where no observation is near the edge of the window.
    while any(abs(now - WINDOW_S - moment) < 0.01 for pairs in seen.values() for moment, _ in pairs):
        now += 0.02
    found = {summary.label: summary for summary in windows.summaries(now)}
    assert set(found) == set(seen)
    for label, pairs in seen.items():
        assert found[label].count == len(pairs)
        assert found[label].total == pytest.approx(sum(value for _, value in pairs))
        assert repr(found[label].quantiles) == repr(plain(pairs, now))


def test_without_an_observation_in_the_window_quantiles_are_no_number():
    windows = Windows()
    windows.add("a", 3.0, START)
    [summary] = windows.summaries(START + WINDOW_S + 1)
    assert (summary.count, summary.total) == (1, 3.0)
    assert all(map(math.isnan, summary.quantiles))


def test_a_series_that_is_forgotten_leaves_nothing_to_the_next():
    windows = Windows()
    for label in ("old", "kept"):
        for _ in range(LATEST):
            windows.add(label, 9.0, START)
    windows.add("kept", 9.0, START + 50)
    windows.forget_before(START + 10)
    windows.add("new", 1.0, START + 60)
    found = {summary.label: (summary.count, summary.quantiles) for summary in windows.summaries(START + 60)}
    assert found == {"kept": (LATEST + 1, (9.0, 9.0, 9.0)), "new": (1, (1.0, 1.0, 1.0))}


def test_many_series_come_in_order_and_complete():
    windows = Windows()
    labels = [f"node-{n}" for n in range(2 * SLAB_ROWS + ROWS_AT_ONCE + 7)]  # some pieces are of two slabs
    for n, label in enumerate(labels):
        windows.add(label, float(n), START + n / 1000)
    assert [(s.label, s.quantiles[0]) for s in windows.summaries(START + 10)] == [
        (label, float(n)) for n, label in enumerate(labels)
    ]
    assert dict(windows.ends())["node-5"] == START + 0.005
