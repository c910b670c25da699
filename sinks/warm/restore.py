"""Read back what an earlier process left."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from collector.core.batch import DataBatch
from collector.core.entities import EntityTable
from collector.core.light import LightStore
from collector.core.metrics import MetricTable
from collector.core.store import LONG_RETENTION_NS, SHORT_RETENTION_NS, MetricStore
from sinks.warm import columns, files
from sinks.warm.names import Line, Owners, decode

AT_ONCE = 2_048
"""Entities created between two turns of the event loop, some milliseconds."""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Restored:
    """What there was to go on with."""

    batches: list[DataBatch] = field(default_factory=list)
    """Whole and frozen, oldest first; the last one is what the next rates span from."""
    windows: int = 0
    """Ticks of which there was only what the store keeps for longer."""
    light: Callable[[LightStore], None] = lambda _store: None
    """Gives a light store the samples of the earlier process."""


async def restore(
    directory: Path, entities: EntityTable, metrics: MetricTable, store: MetricStore, *, now: int
) -> Restored:
    """Fill `store` with what processes left that ended a moment before `now` (ns since the epoch).

    Never raises for what is damaged, of another version or too old: that is left out, and said.
    """
    found = Restored()
    for run in await asyncio.to_thread(files.runs, directory):
        reading = _Reading(run, entities, metrics, store, now)
        try:
            await reading.read(found)
        except OSError as error:
            reading.faults.append(str(error))
        if reading.faults:
            log.warning(
                "warm restart: %d files in %s are damaged or of another version and left out: %s, ...",
                len(reading.faults),
                run,
                reading.faults[0],
            )
    if found.batches or found.windows:
        log.info(
            "warm restart: going on with %d batches and %d more of the last 15 minutes",
            len(found.batches),
            found.windows,
        )
    return found


class _Reading:
    """One process's leavings. `faults` says what could not be read."""

    def __init__(self, run: Path, entities: EntityTable, metrics: MetricTable, store: MetricStore, now: int) -> None:
        self._run, self._store, self._now = run, store, now
        self._entities, self._metrics = entities, metrics
        self.faults: list[str] = []

    async def read(self, found: Restored) -> None:
        """Read what is not too old. Raises OSError when the directory cannot be listed."""
        batches = self._since(files.timestamps(self._run, files.BATCH), SHORT_RETENTION_NS)
        windows = self._since(files.timestamps(self._run, files.WINDOW), LONG_RETENTION_NS)
        if not windows and not batches:
            return
        owners = await self._owners()
        for at in sorted(batches.keys() | windows.keys()):
            path = batches.get(at) or windows[at]
            try:
                arrays = await asyncio.to_thread(files.read, path)
                if at in batches:
                    batch = columns.batch_of(arrays, owners, self._entities, self._metrics)
                    self._store.keep(batch)
                    found.batches.append(batch)
                else:
                    columns.take_window(arrays, owners, self._entities, self._store)
                    found.windows += 1
            except files.UNREADABLE as error:
                self.faults.append(f"{path.name}: {error!r}")
        found.light = partial(self._light, owners)

    def _since(self, ticks: dict[int, Path], age: int) -> dict[int, Path]:
        return {at: path for at, path in ticks.items() if self._now - age < at <= self._now}

    async def _owners(self) -> Owners:
        known: dict[int, Line] = {}
        try:
            text = await asyncio.to_thread((self._run / files.NAMES).read_bytes)
        except OSError as error:
            self.faults.append(f"{files.NAMES}: {error}")
            text = b""
        lines = text.split(b"\n")[:-1]  # behind the last line's end there is nothing, or a line that was cut short
        for start in range(0, len(lines), AT_ONCE):
            for line in decode(lines[start : start + AT_ONCE]):
                known[line.row] = line
            await asyncio.sleep(0)
        owners = Owners(known, self._entities)
        for _ in range(0, len(known), AT_ONCE):
            owners.create(AT_ONCE)
            await asyncio.sleep(0)
        return owners

    def _light(self, owners: Owners, store: LightStore) -> None:
        try:
            if (self._run / files.LIGHT).exists():
                columns.take_light(files.read(self._run / files.LIGHT), owners, store)
        except files.UNREADABLE as error:
            log.warning("warm restart: %s of %s is left out: %r", files.LIGHT, self._run, error)
