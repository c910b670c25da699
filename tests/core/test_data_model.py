"""docs/data-model.md against the code it specifies."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from collector.core.batch import DataBatch, LabeledTable
from collector.core.entities import NULL, EntityTable
from collector.core.metrics import DYNAMIC_LIMIT, FILESYSTEM, GROUPS, Clock, Kind, MetricTable
from collector.core.sample import Block
from collector.core.slots import LabelTable, Pins
from collector.core.store import LONG_METRICS, LONG_RETENTION_NS, SHORT_RETENTION_NS
from collector.sources.summary import decode_summary
from tests.sources.observed import batch_of

PAGE = (Path(__file__).parents[2] / "docs" / "data-model.md").read_text()


def section(title: str) -> str:
    """The text below the heading that begins so, up to the next heading of its level or a higher one."""
    heading = re.search(rf"^(#+) {re.escape(title)}.*$", PAGE, re.MULTILINE)
    assert heading is not None
    rest = PAGE[heading.end() :]
    following = re.search(rf"^#{{1,{len(heading[1])}}} ", rest, re.MULTILINE)
    return rest[: following.start()] if following else rest


def tables(text: str) -> list[list[list[str]]]:
    """The tables of a section: rows of cells without their backticks, headings first."""
    found = re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE)
    rows = [[[cell.strip().strip("`") for cell in line.split("|")[1:-1]] for line in one.splitlines()] for one in found]
    return [[table[0], *table[2:]] for table in rows]


def arrays_of(thing: object) -> dict[str, tuple[str, int]]:
    """Every public array: name -> dtype and number of dimensions."""
    attributes = {name: getattr(thing, name) for name in dir(thing) if not name.startswith("_")}
    return {name: (str(a.dtype), a.ndim) for name, a in attributes.items() if isinstance(a, np.ndarray)}


@pytest.mark.parametrize(
    ("title", "thing"),
    [
        ("`EntityTable`: the rows", EntityTable()),
        ("`LabelTable`", LabelTable(Pins())),
        ("`DataBatch`: one tick", DataBatch(EntityTable(), MetricTable(), 0)),
        ("`LabeledTable`", LabeledTable(FILESYSTEM)),
        ("`NodeSample`", Block.empty()),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_array_is_in_its_table_with_its_dtype(title: str, thing: object) -> None:
    heading, *rows = tables(section(title))[0]
    stated = [dict(zip(heading, row, strict=True)) for row in rows]
    dimensions = [len(row["shape"].split(",")) if "shape" in row else 1 for row in stated]
    names = [row[0] for row in rows]
    assert dict(zip(names, zip((row["dtype"] for row in stated), dimensions, strict=True), strict=True)) == arrays_of(
        thing
    )


def test_kinds_and_clocks_are_numbered_as_stated() -> None:
    kinds = tables(section("Entities and their keys"))[0][1:]
    assert [(row[0], row[1]) for row in kinds] == [(f"{kind.value} {kind.name}", kind.label) for kind in Kind]
    clocks = tables(section("`DataBatch`: one tick"))[1][1:]
    assert [row[0] for row in clocks] == [f"{clock.value} {clock.name}" for clock in Clock]


def test_limits_are_as_stated() -> None:
    assert f"There are {DYNAMIC_LIMIT} such columns" in PAGE
    assert all(f"`{group.name}`" in PAGE for group in GROUPS)
    store = section("`MetricStore`")
    assert f"now minus {SHORT_RETENTION_NS // 10**9} s" in store
    assert f"now minus {LONG_RETENTION_NS // (60 * 10**9)} min" in store
    assert all(f"`{name}`" in store for name in LONG_METRICS)


def test_the_worked_example_is_true() -> None:
    text = section("A worked example")
    body = re.search(r"```json\n(.*?)```", text, re.DOTALL)
    assert body is not None
    json.loads(body[1])
    minute = int(datetime(2026, 1, 1, 0, 1, tzinfo=UTC).timestamp()) * 10**9
    sample = decode_summary(body[1].encode(), minute)
    batch = batch_of(sample)
    entities = batch.entities
    rows, cells = tables(text)

    owned = np.flatnonzero(entities.kind[: entities.size] != NULL).tolist()
    assert rows[1:] == [
        [
            str(row),
            Kind(entities.kind[row]).name,
            str(entities.parent[row]),
            str(entities.node[row]),
            entities.name[row],
            str(batch.exists[row]),
        ]
        for row in owned
    ]
    assert cells[1:] == [
        [str(row), metric.name, str(batch.value(row, m))]
        for row in owned
        for m, metric in batch.metrics
        if batch.present[m, row]
    ]
    given = {row: {clock.name for clock in Clock if batch.times[clock, row]} for row in owned}
    assert given == {0: set(), 512: {"START", "SCRAPE", "CPU"}, 1024: set(), 1536: {"SCRAPE", "NETWORK"}, 2048: set()}
    (volume,) = batch.labeled_of(1536)
    assert (volume.name, volume.labels, volume.value) == ("filesystem/usage", {"resource_id": "Volume:cache"}, 4096)
    assert sum(len(table) for table in batch.labeled.values()) == 1
    assert list(sample.faults) == ["$.pods[0].volume[0].inodesFree is 18446744073709551615"]
    assert sample.faults[0] in text
