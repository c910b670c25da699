"""Exporting to a history and looking at what became of it."""

import asyncio
from collections.abc import Iterable
from pathlib import Path

from collector.core.batch import DataBatch
from sinks.history import HistorySink
from tests.history.batches import exactly, expected_rows, files_of, in_order, rows_by_arrow

TABLES = ("metrics", "filesystem", "disk", "accelerator")


async def settle(sink: HistorySink) -> None:
    """Let the upkeep under way end."""
    if sink._upkeep is not None:
        await asyncio.wait([sink._upkeep])


async def export(sink: HistorySink, batches: Iterable[DataBatch]) -> None:
    for batch in batches:
        await sink.export(batch)
        await settle(sink)


def names_of(directory: Path, table: str = "metrics") -> list[str]:
    return [path.name for path in files_of(directory, table)]


def everything(directory: Path) -> dict[str, list[dict[str, tuple[type, str]]]]:
    return {table: exactly(rows_by_arrow(files_of(directory, table))) for table in TABLES}


def all_rows(batches: Iterable[DataBatch]) -> dict[str, list[dict[str, tuple[type, str]]]]:
    found = [expected_rows(batch) for batch in batches]
    return {table: exactly(in_order([row for rows in found for row in rows[table]])) for table in TABLES}
