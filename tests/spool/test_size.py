"""How large a spool may be: as large as its age takes at the current rate, within the budget, and never for less."""

import logging
import random
from collections.abc import Iterable
from pathlib import Path

import pytest

from sinks.spool.index import Tick
from sinks.spool.size import FLOOR_BYTES, LATEST, MARGIN, Sizing
from sinks.spool.spool import MINIMUM_BYTES, Spool, SpoolLimits
from tests.spool.faulty import FaultyDisk

MINUTE = 60 * 10**9
DAY = 24 * 60 * MINUTE
DAYS_TICKS = 24 * 60
MIB, GIB = 1 << 20, 1 << 30
BUDGET = 20 * GIB


def told(sizing: Sizing, sizes: Iterable[int], *, first: int = 0, step: int = MINUTE, occupied: int = 0) -> Sizing:
    for number, size in enumerate(sizes):
        for part in (size // 2, size - size // 2):
            sizing.add(first + number * step, part)
        sizing.end(occupied)
    return sizing


def test_before_the_rate_is_known_it_is_the_budget() -> None:
    sizing = told(Sizing("s", BUDGET, DAY), [MIB])
    assert (sizing.size.limit_bytes, sizing.size.covers_s) == (BUDGET, None)


@pytest.mark.parametrize("step", [MINUTE, 10 * 10**9, 10 * MINUTE])
def test_it_is_what_a_day_takes_and_a_quarter(step: int) -> None:
    sizing = told(Sizing("s", BUDGET, DAY), [MIB] * 40, step=step)
    assert sizing.size.limit_bytes == min(BUDGET, int(MARGIN * MIB * DAY // step))
    assert sizing.size.covers_s == min(86_400, BUDGET // MIB * step / 1e9)


def test_a_small_cluster_has_the_floor_and_a_small_budget_is_kept_all_the_same() -> None:
    assert told(Sizing("s", BUDGET, DAY), [1000] * 3).size.limit_bytes == FLOOR_BYTES
    assert told(Sizing("s", 5 * MIB, DAY), [1000] * 3).size.limit_bytes == 5 * MIB


def test_ticks_that_are_missing_and_a_clock_that_is_set_change_no_rate() -> None:
    for first in (-50, 0, 100):
        sizing = told(told(Sizing("s", BUDGET, DAY), [MIB]), [MIB], first=first * MINUTE)
        assert sizing.size.covers_s is None, "no two ticks in a row yet"
    told(sizing, [MIB] * 3)
    before = sizing.size
    for first in (-50, 10_000, 100, 150):  # in minutes: set back, set forwards and back, three quarters of an hour away
        told(sizing, [MIB] * 3, first=first * MINUTE)
        assert sizing.size == before


def test_it_grows_at_once_and_falls_only_onto_room_for_a_day_behind_what_lies_there() -> None:
    sizing = told(Sizing("s", BUDGET, DAY), [2 * MIB] * LATEST)
    large, lies_there = sizing.size.limit_bytes, GIB
    told(sizing, [MIB] * LATEST, first=LATEST * MINUTE, occupied=lies_there)
    assert sizing.size.limit_bytes == large
    small = int(MIB * DAYS_TICKS * MARGIN)
    told(sizing, [MIB], first=2 * LATEST * MINUTE, occupied=small - DAYS_TICKS * MIB)
    assert sizing.size.limit_bytes == small
    told(sizing, [2 * MIB] * LATEST, first=(2 * LATEST + 1) * MINUTE, occupied=lies_there)
    assert sizing.size.limit_bytes == large


def test_a_budget_that_does_not_cover_a_day_is_said_once_with_the_flag_to_turn(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    sizing = told(Sizing("/spool", GIB, DAY), [2 * MIB] * 40)
    assert sizing.size.covers_s == pytest.approx(86_400 * 512 / DAYS_TICKS)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    said = record.getMessage()
    assert "its budget of 1,024.0 MiB covers 8.5 h at the current rate of 2.0 MiB a tick, not the 24 h" in said
    enough = int(said.split("--spool-max-bytes=")[1].split()[0])
    caplog.clear()
    told(Sizing("/spool", enough, DAY), [2 * MIB] * 40)
    (record,) = caplog.records
    assert record.levelname == "INFO"
    assert "sized to 3,600.0 MiB for the 24 h of --spool-max-age" in record.getMessage()
    # It fits, and then it does not any more: that is said again.
    caplog.clear()
    told(sizing, [MIB // 4] * LATEST, first=100 * MINUTE)
    told(sizing, [2 * MIB] * LATEST, first=200 * MINUTE)
    assert [record.levelname for record in caplog.records] == ["WARNING"]


@pytest.mark.parametrize(("later", "lost"), [(1000, 0), (300, 0), (4000, 40)])
def test_a_cluster_that_shrinks_during_an_outage_loses_nothing_within_the_budget(later: int, lost: int) -> None:
    """A day of large ticks lies there, and then ticks are small; or they grow beyond what the budget has room for."""
    disk = FaultyDisk()
    budget = 130_000
    limits = SpoolLimits(max_bytes=budget, floor_bytes=1, max_age_ns=100 * MINUTE, fresh_bytes=0)
    now = 0.0
    spool = Spool(Path("/spool"), disk, limits, clock=lambda: now, monotonic=lambda: now)
    spool.open()
    sizes = [1000] * 50 + [later] * 50
    for number, size in enumerate(sizes):
        now += 60
        tick = Tick(int(now) * 10**9)
        spool.append(tick, noise(number, size), 1)
        spool.seal()
        spool.index.commit(tick)
        spool.flush()
        assert sum(disk.list(Path("/spool")).values()) <= budget + max(size + 100, limits.segment_bytes(budget))
    ticks, _ = spool.index.balances()
    assert ticks.balanced
    assert (ticks.dropped.get("full", 0) > lost) == (lost > 0)
    assert ticks.queued == 100 - ticks.dropped.get("full", 0)


def noise(number: int, size: int) -> bytes:
    """Bytes that do not compress."""
    return random.Random(number).randbytes(size)


@pytest.mark.parametrize(
    ("room", "share", "budget"),
    [(10 * MIB, 0.5, 5 * MIB), (100 * GIB, 0.5, BUDGET), (10, 0.5, MINIMUM_BYTES), (10, 0.0, BUDGET)],
)
def test_a_budget_that_nobody_named_goes_by_what_the_disk_has_free(room: int, share: float, budget: int) -> None:
    disk = FaultyDisk()
    disk.room = room
    spool = Spool(Path("/spool"), disk, SpoolLimits(max_bytes=BUDGET, free_share=share))
    spool.open()
    assert spool.size.limit_bytes == budget


def test_what_a_spool_has_already_counts_as_free_for_it() -> None:
    disk = FaultyDisk()
    limits = SpoolLimits(max_bytes=GIB, free_share=0.5)
    disk.room = 2 * MIB
    spool = Spool(Path("/spool"), disk, limits)
    spool.open()
    tick = Tick(MINUTE)
    spool.append(tick, noise(1, MIB // 2), 1)
    spool.close()
    disk.kill()
    again = Spool(Path("/spool"), disk, limits)
    again.open()
    assert again.size.limit_bytes == spool.size.limit_bytes == MIB


def test_in_memory_it_is_what_memory_may_hold() -> None:
    spool = Spool(None, FaultyDisk(), SpoolLimits(memory_bytes=MIB, max_age_ns=DAY))
    for number in range(5):
        tick = Tick(number * MINUTE)
        spool.append(tick, noise(number, MIB // 10), 1)
        spool.seal()
    assert spool.size.limit_bytes == MIB
    assert spool.size.covers_s == pytest.approx(600, rel=0.01)


def test_what_is_delivered_from_memory_counts_for_the_rate_as_if_it_lay_on_the_disk() -> None:
    limits = SpoolLimits(max_bytes=GIB, floor_bytes=1, max_age_ns=DAY, fresh_bytes=MIB)
    appending, offering = (Spool(Path("/spool"), FaultyDisk(), limits) for _ in range(2))
    for number in range(5):
        bodies = [noise(number, 1000), noise(number, 1000), b"%d" % number * 1000]
        ticks = Tick(number * MINUTE), Tick(number * MINUTE)
        for body in bodies:
            appending.append(ticks[0], body, 1)
        offering.append(ticks[1], bodies[0], 1)
        delivered, kept = (offering.offer(ticks[1], body, 1) for body in bodies[1:])
        assert delivered is not None
        assert kept is not None
        while (record := offering.index.take()) is not delivered:
            assert record is not None
        offering.index.settle(delivered)
        offering.keep(kept)
        for spool, tick in zip((appending, offering), ticks, strict=True):
            spool.seal()
            spool.index.commit(tick)
    assert appending.size == offering.size
    assert appending.size.limit_bytes < GIB
