"""The parts of a cycle sum to the whole, what is slow shows in its own row, and a border that is gone is named."""

import time
from dataclasses import replace

import pytest

from benchmarks import parts, stages
from benchmarks.parts import WATCHED, Watch
from benchmarks.shapes import SMOKE, STAGES
from benchmarks.tables import stages_table
from collector.core.batch import DataBatch
from collector.processors.rate import RateCalculator

BUSY_S = 0.2


async def test_parts_sum_to_the_whole_and_each_has_something():
    async with stages.staged(STAGES[SMOKE]) as stage:
        for _ in range(2):
            await stage.cycle()
        seconds, crossings = await stages.watched_cycle(stage)
    own = {part: seconds[part] for part in seconds if part not in {WATCHED, stages.KERNEL}}
    assert sum(own.values()) == pytest.approx(seconds[WATCHED], rel=1e-9)
    without_sink = set(parts.PARTS) - {parts.LINES, parts.SPOOLING}
    assert set(own) == without_sink | {stages.REST}
    assert all(value > 0 for value in own.values())
    assert 0 <= seconds[stages.KERNEL] <= seconds[WATCHED]
    assert set(crossings) == {place for part in without_sink for place in parts.PARTS[part]}, "a border nobody crosses"


async def test_with_a_sink_its_parts_have_something_too():
    async with stages.staged(replace(STAGES[SMOKE], sink="influxdb-fields")) as stage:
        await stage.cycle()
        seconds, crossings = await stages.watched_cycle(stage)
    assert seconds[parts.LINES] > 0
    assert seconds[parts.SPOOLING] > 0
    borders = {place for part in (parts.LINES, parts.SPOOLING) for place in parts.PARTS[part]}
    assert borders - set(crossings) <= {"sinks.spool.spool:Spool.keep"}, "all is delivered in time"


async def test_what_is_slow_shows_in_its_own_row(monkeypatch):
    steps = RateCalculator.steps

    def slow(self, batch):
        until = time.thread_time() + BUSY_S
        while time.thread_time() < until:
            pass
        yield from steps(self, batch)

    monkeypatch.setattr(RateCalculator, "steps", slow)
    async with stages.staged(STAGES[SMOKE]) as stage:
        await stage.cycle()
        seconds, _ = await stages.watched_cycle(stage)
    assert seconds[parts.RATES] >= BUSY_S
    assert seconds[parts.RATES] > seconds[WATCHED] / 2


def test_behind_it_everything_is_as_it_was():
    before = DataBatch.freezing, RateCalculator.steps
    with Watch().watching():
        assert DataBatch.freezing is not before[0]
    assert (DataBatch.freezing, RateCalculator.steps) == before
    assert "steps" in vars(RateCalculator)


def test_a_border_that_is_gone_is_named_and_the_others_are_left_as_they_were(monkeypatch):
    monkeypatch.setitem(parts.PARTS, "later", ("collector.core.batch:DataBatch.melting",))
    before = DataBatch.freezing
    with pytest.raises(AttributeError, match="melting"), Watch().watching():
        pass
    assert DataBatch.freezing is before


async def test_one_command_prints_parts_floors_and_the_bare_client():
    found = await stages.measure(STAGES[SMOKE])
    assert found["floors_ms_a_node"].keys() == stages.FLOORS.keys()
    assert all(value > 0 for value in found["floors_ms_a_node"].values())
    assert found["bare_client_bytes_a_node"] == pytest.approx(found["bytes_a_node"], rel=0.05)
    assert found["times_the_bare_client"] > 1
    rows = list(stages_table({SMOKE: found}).columns[1].cells)
    assert rows[: len(found["ms_a_node"])] == list(found["ms_a_node"])
