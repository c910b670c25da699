"""The memory budget: the order of what is given up and taken back, what that frees, and what stays right meanwhile."""

import logging
import re
import weakref
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from collector.api.exposition import ClusterText
from collector.budget import QUIET, SHARE, STEPS, Lever, MemoryBudget, budget_of
from collector.core.batch import DataBatch
from collector.core.entities import EntityTable
from collector.core.footprint import CELL, ENTITY, LABELED, ROW, WINDOW, batch_bytes
from collector.core.metrics import FILESYSTEM, GROUPS, INDEX, Clock, Kind, MetricTable
from collector.core.store import LONG_METRICS, MetricStore
from collector.errors import MemoryShortError, UsageError
from collector.process import give_back_memory, memory_limit, resident_bytes
from collector.room import COARSE, Room
from sinks.manager import SinkManager
from tests.api.synthetic import batch as made_up
from tests.api.synthetic import cluster as entities_of

NAMES = [step.name for step in STEPS]
SECOND, MINUTE = 1_000_000_000, 60_000_000_000
NOW = 1_790_000_000 * SECOND
PAGE = Path(__file__).parents[1] / "docs" / "performance.md"


class Process:
    """Memory that is what a test says, in units; each step frees one, and is noted."""

    def __init__(self, limit: int) -> None:
        self.used = 50
        self.done: list[str] = []
        self.told: list[tuple[int, int, int, dict[str, bool]]] = []
        levers = {name: self.lever(name) for name in NAMES[:-1]}
        self.budget = MemoryBudget(limit, levers, used=lambda: self.used, told=self.note)
        self.taken: set[str] = set()

    def lever(self, name: str) -> Lever:
        def give_up() -> None:
            if name not in self.taken:
                self.taken.add(name)
                self.done.append(f"-{name}")
                self.used -= 1

        def take_back() -> None:
            self.taken.remove(name)
            self.done.append(f"+{name}")
            self.used += 1

        return Lever(give_up, take_back)

    def note(self, limit: int, used: int, needed: int, shed: Mapping[str, bool]) -> None:
        self.told.append((limit, used, needed, dict(shed)))


def test_history_is_first_and_scraping_last() -> None:
    assert NAMES[0] == "history-resolution"
    assert NAMES[-1] == "scraping"


def test_steps_come_in_order_one_for_each_bit_of_memory_and_go_in_reverse(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    process = Process(100)
    seen = []
    for used in (50, 91, 91, 91, 91):  # 10 more are needed: each time one step more
        process.used = used
        process.budget.look(10)
        seen.append(process.budget.shed)
    assert seen == [NAMES[:count] for count in range(5)]
    process.used = 91
    with pytest.raises(MemoryShortError, match=r"--memory-budget.*--metric-resolution"):
        process.budget.look(10)
    assert process.budget.shed == NAMES
    process.used = 89  # a batch fits again: collecting goes on at once, the rest waits for clear room
    process.budget.look(10)
    assert process.budget.shed == NAMES[:-1]
    process.used = 40
    for _ in range(4 * QUIET):
        process.budget.look(10)
    assert process.budget.shed == []
    assert process.done == [f"-{name}" for name in NAMES[:-1]] + [f"+{name}" for name in reversed(NAMES[:-1])]
    for name in NAMES:
        said = [line for line in caplog.messages if f"step {name}:" in line or f"step {name} is over" in line]
        assert len(said) == 2, name
        assert "--memory-budget" in said[0]


def test_nothing_is_taken_back_where_it_would_not_fit_nor_in_a_hurry() -> None:
    process = Process(100)
    process.used = 91
    process.budget.look(10)
    assert process.budget.shed == NAMES[:1]
    process.used = 80
    for _ in range(10 * QUIET):  # 80 + 10 + 1 is more than the room
        process.budget.look(10)
    assert process.budget.shed == NAMES[:1]
    process.used = 70
    for _ in range(QUIET - 1):
        process.budget.look(10)
    assert process.budget.shed == NAMES[:1]
    process.used = 81
    process.budget.look(10)
    process.used = 70
    for _ in range(QUIET - 1):
        process.budget.look(10)
    assert process.budget.shed == NAMES[:1]
    process.budget.look(10)
    assert process.budget.shed == []


def test_without_a_budget_nothing_is_given_up_and_the_state_is_told() -> None:
    process = Process(0)
    process.used = 10**18
    process.budget.look(10**18)
    assert process.told == [(0, 10**18, 10**18, dict.fromkeys(NAMES, False))]


@pytest.mark.parametrize(
    ("flag", "limit", "expected"),
    [
        ("off", 1000, 0),
        ("auto", 1000, int(1000 * SHARE)),
        ("auto", None, 0),
        ("1Gi", 5, 1 << 30),
        ("1500M", None, 1_500_000_000),
    ],
)
def test_the_flag(flag: str, limit: int | None, expected: int) -> None:
    assert budget_of(flag, lambda: limit) == expected


@pytest.mark.parametrize("flag", ["", "0", "-1Gi", "much", "1GB", "1e999999999"])
def test_a_budget_that_is_none(flag: str) -> None:
    if flag == "1e999999999":
        assert budget_of(flag, lambda: None) == 2**63 - 1
        return
    with pytest.raises(UsageError, match="--memory-budget"):
        budget_of(flag, lambda: None)


# The cgroup.


def test_the_lowest_limit_above_this_process_counts(tmp_path: Path) -> None:
    own = tmp_path / "cgroup"
    place = tmp_path / "fs" / "kubepods" / "pod1" / "c1"
    place.mkdir(parents=True)
    own.write_text("0::/kubepods/pod1/c1\n")
    assert memory_limit(tmp_path / "fs", own) is None
    (place / "memory.max").write_text("max\n")
    assert memory_limit(tmp_path / "fs", own) is None
    (place.parent / "memory.max").write_text("1000\n")
    assert memory_limit(tmp_path / "fs", own) == 1000
    (place / "memory.max").write_text("500\n")
    assert memory_limit(tmp_path / "fs", own) == 500
    # As a container sees it: its own group is the root of what is mounted.
    (tmp_path / "fs" / "memory.max").write_text("300\n")
    own.write_text("0::/\n")
    assert memory_limit(tmp_path / "fs", own) == 300


def test_the_limit_of_the_old_cgroups(tmp_path: Path) -> None:
    own = tmp_path / "cgroup"
    own.write_text("9:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n")
    (tmp_path / "fs" / "memory").mkdir(parents=True)
    (tmp_path / "fs" / "memory" / "memory.limit_in_bytes").write_text("9223372036854771712\n")
    assert memory_limit(tmp_path / "fs", own) is None
    (tmp_path / "fs" / "memory" / "memory.limit_in_bytes").write_text("2048\n")
    assert memory_limit(tmp_path / "fs", own) == 2048
    assert memory_limit(tmp_path / "fs", tmp_path / "nothing") is None


# What things cost.


def test_the_bytes_of_a_batch_are_those_of_its_columns() -> None:
    entities, metrics = EntityTable(), MetricTable()
    batch = DataBatch(entities, metrics, NOW)
    row = entities.node_row("a")
    batch.ensure_rows()
    rows = np.array([row], np.int32)
    batch.exists[rows] = True
    for name in ("cpu/usage", "memory/usage"):
        batch.put(INDEX[name], rows, np.array([7]))
    label = entities.labels.resource("/")
    batch.labeled[FILESYSTEM.name].append(rows, np.array([label], np.int32), np.array([[1]]))
    batch.freeze()
    cell = batch.cells.itemsize + batch.present.itemsize
    entity = batch.times.itemsize * len(batch.times) + batch.exists.itemsize + batch.share.itemsize
    table = batch.labeled[FILESYSTEM.name]
    label_set = sum(array.nbytes for array in (table.row, table.label, table.values, table.present))
    assert (cell, entity, label_set) == (CELL, ENTITY, LABELED[FILESYSTEM.name])
    assert batch_bytes(batch) == 2 * cell + 2 * entity + label_set  # the cluster is an entity, too


def test_the_bytes_of_a_row_are_those_of_the_entity_table() -> None:
    entities = EntityTable()
    columns = [array for array in vars(entities).values() if isinstance(array, np.ndarray)]
    assert sum(array.itemsize for array in columns) == ROW
    assert {array.size for array in columns} == {entities.size}


def test_a_tick_of_the_long_window_costs_a_row_what_is_said() -> None:
    entities = entities_of(8, 10, 2)
    store = MetricStore(clock=lambda: NOW / SECOND)
    store.add(made_up(entities, NOW))
    [entry] = store._long
    kept = list(entry.columns.values())
    assert len(kept) == len(LONG_METRICS)
    narrow = [column for column in kept if column._values.dtype == np.int32]
    spent = sum(column._values.nbytes + column._given.nbytes for column in kept)
    wide = 4 * entities.size * (len(kept) - len(narrow))
    assert spent - wide == WINDOW * entities.size


def documented(what: str) -> int:
    """The bytes that the page gives for one of these."""
    [row] = re.findall(rf"^\| {what} \|.*\| ([\d,]+) \|$", PAGE.read_text("utf-8"), re.MULTILINE)
    return int(row.replace(",", ""))


def test_the_page_says_what_stays_beside_the_batches() -> None:
    assert documented("row of an entity") == ROW
    assert documented("tick of the 15 minutes, a row") == round(WINDOW)
    assert len(GROUPS) == len(LABELED)


def test_the_formula_of_the_deployment_covers_what_a_node_costs() -> None:
    node = (
        documented("node, in a batch") + 30 * documented("pod, in a batch") + 60 * documented("container, in a batch")
    )
    rows = 1 + 3 + 30 + 60
    kept = 3 * node + rows * (documented("row of an entity") + 210 + 15 * documented("tick of the 15 minutes, a row"))
    kept += 38_000 + 30 * 640  # the connection, and what the API server says of the pods
    text = (PAGE.parent / "deploy.md").read_text("utf-8")
    [formula] = re.findall(r"200 MiB \+ ([\d.]+) MiB a node of 30 pods", text)
    assert 0.6 * float(formula) < kept / (1 << 20) < float(formula)


def test_an_entity_has_its_times() -> None:
    assert len(Clock) * 8 + 2 == ENTITY


# What the steps free, measured, and what stays right.


class Service:
    """A store with a past, and room for more of it."""

    def __init__(self, nodes: int = 20, *, light: bool = True) -> None:
        self.now = NOW
        self.entities = entities_of(nodes, 30, 2)
        self.store = MetricStore(clock=lambda: self.now / SECOND)
        self.texts = ClusterText()
        self.sinks = SinkManager([])
        self.shed: Mapping[str, bool] = {}
        self.used = 0
        self.room = Room(
            "1Gi",
            self.store,
            self.sinks,
            self.texts,
            lambda: object() if light else None,  # type: ignore[arg-type,return-value]
            lambda _limit, _used, _needed, shed: setattr(self, "shed", shed),
            used=lambda: self.used,
        )

    def tick(self, seconds: int = 60) -> DataBatch:
        self.now += seconds * SECOND
        batch = made_up(self.entities, self.now - 5 * SECOND, seed=self.now % 997)
        self.store.add(batch)
        return batch

    def until(self, step: str) -> None:
        """Be so short of memory that everything up to `step` is given up."""
        order = iter([1 << 40] * (2 + NAMES.index(step)) + [0])
        self.room.budget._used = lambda: next(order, 0)
        self.room.make()
        assert self.room.budget.shed == NAMES[: 1 + NAMES.index(step)]


def values_of(batch: DataBatch, name: str, row: int) -> float:
    value = batch.value(row, INDEX[name])
    assert value is not None
    return value


def test_the_long_window_is_thinned_and_right_where_it_is_there() -> None:
    service = Service()
    batches = {}
    for _ in range(16):
        batch = service.tick()
        batches[batch.timestamp] = values_of(batch, "memory/usage", 5 * 512)
        latest = batch
    full = service.store.series(5 * 512, INDEX["memory/usage"], 0, service.now)
    assert len(full[0]) >= 14
    before = len(service.store._long)
    service.until("history-resolution")
    times, values = service.store.series(5 * 512, INDEX["memory/usage"], 0, service.now)
    assert latest.timestamp in times
    assert len(times) <= 2 + before // COARSE + 1
    assert values == [batches[time] for time in times]
    for _ in range(30):
        batch = service.tick()
        batches[batch.timestamp] = values_of(batch, "memory/usage", 5 * 512)
    times, values = service.store.series(5 * 512, INDEX["memory/usage"], 0, service.now)
    assert values == [batches[time] for time in times]
    assert times[-1] == batch.timestamp
    assert times[-1] - times[0] > 10 * MINUTE, "it still reaches as far back"
    assert len(times) <= 15 // COARSE + 4


def test_without_the_long_window_whole_batches_answer() -> None:
    service = Service()
    for _ in range(5):
        batch = service.tick()
    service.until("history")
    assert service.store._long == []
    times, values = service.store.series(5 * 512, INDEX["memory/usage"], 0, service.now)
    assert times[-1] == batch.timestamp
    assert values[-1] == values_of(batch, "memory/usage", 5 * 512)
    service.tick()
    assert service.store._long == []


async def test_texts_are_let_go_and_made_again() -> None:
    service = Service()
    batch = service.tick()

    async def text() -> bytes:
        chunks = service.texts.write(batch, frozenset(Kind), openmetrics=False)
        return b"".join([chunk async for chunk in chunks])

    before = await text()
    assert service.texts._rows._pieces
    service.until("texts")
    assert not service.texts._rows._pieces
    assert await text() == before
    service.room.make()  # while it lasts, texts are let go before each batch
    assert not service.texts._rows._pieces


@pytest.mark.parametrize(("light", "kept"), [(True, 1), (False, 2)])
def test_past_batches_go_and_those_that_answers_need_stay(light: bool, kept: int) -> None:
    service = Service(light=light)
    known = [weakref.ref(service.tick(30)) for _ in range(4)]
    service.until("batches")
    assert [ref() is not None for ref in known] == [False] * (4 - kept) + [True] * kept
    latest = service.store.latest()
    assert latest is known[-1]()
    assert latest is not None
    assert (service.store.before(latest) is None) == light
    service.tick(30)
    assert len(service.store.batches) == kept


def test_past_batches_really_give_their_memory_back() -> None:
    service = Service(nodes=400)
    for _ in range(3):
        service.tick(30)
    one = batch_bytes(service.tick(30))
    give_back_memory()
    before, count = resident_bytes(), len(service.store.batches)
    assert count == 4
    service.until("batches")
    give_back_memory()
    freed = before - resident_bytes()
    assert 0.7 * 3 * one < freed < 1.7 * 3 * one, (freed, one)


def test_what_was_given_up_comes_back_in_reverse() -> None:
    service = Service()
    service.tick()
    service.until("batches")
    seen = []
    for _ in range(5 * QUIET):
        service.room.make()
        service.tick()
        seen.append(len(service.room.budget.shed))
    assert sorted(seen, reverse=True) == seen
    assert seen[-1] == 0
    assert len(service.store.batches) == 3
    assert not any(service.shed.values())
    assert len(service.store._long) > 2


def test_collecting_stops_last_and_goes_on_when_there_is_room() -> None:
    service = Service()
    service.tick()
    service.room.budget._used = lambda: 1 << 40
    with pytest.raises(MemoryShortError):
        service.room.make()
    assert service.shed == dict.fromkeys(NAMES, True)
    assert service.store.latest() is not None
    service.room.budget._used = lambda: 0
    service.room.make()
    assert service.shed["scraping"] is False
