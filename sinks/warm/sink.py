"""WarmSink: the Sink contract on top of the directory. Files are written in threads."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from collector.core.batch import DataBatch
from collector.core.entities import NULL, EntityTable
from collector.core.light import LightStore
from collector.core.store import LONG_RETENTION_NS
from collector.errors import ExportError, StartError
from sinks.lock import DirectoryLock
from sinks.warm import columns, files, names

KEPT_BATCHES = 3
"""Whole batches on disk: what the store shows of most metrics at the usual resolution."""

LINES_AT_ONCE = 1_024
"""Entities described between two turns of the event loop, some milliseconds."""

SLACK = 4_096
"""Lines a file of names may hold in vain before it is written anew."""

log = logging.getLogger(__name__)


class WarmSink:
    """Keeps on disk what the next process needs to go on. `light` is the light cadence's store, None without one."""

    name = "Warm Restart"

    def __init__(self, directory: Path, *, light: Callable[[], LightStore | None] = lambda: None) -> None:
        self.directory = directory
        self._light = light
        self._lock: DirectoryLock | None = None
        self._run: Path | None = None
        self._entities: EntityTable | None = None
        self._versions: NDArray[np.int64] = np.empty(0, np.int64)
        """By row: the label version that its latest line told of; 0 for none."""
        self._lines = 0

    def start(self) -> None:
        """Take the directory. Blocking; raises StartError."""
        try:
            self.directory.mkdir(mode=0o750, parents=True, exist_ok=True)
            self._lock = DirectoryLock(self.directory)
        except OSError as error:
            raise StartError(f"no warm restart: {self._explain(error)}") from error

    async def export(self, batch: DataBatch) -> None:
        """Write a frozen batch, and the light samples as they are now. Raises ExportError."""
        try:
            if self._run is None:
                self._run = await asyncio.to_thread(files.new_run, self.directory)
            await self._follow(self._run, batch.entities)
            light = self._light()
            samples = None if light is None else columns.light(light)
            await asyncio.to_thread(self._write, self._run, batch, samples)
        except OSError as error:
            raise ExportError(self._explain(error)) from error

    async def stop(self) -> None:
        """Write the light samples once more, and let the directory go."""
        light = self._light()
        if self._run is not None and light is not None:
            with contextlib.suppress(OSError):  # those of the latest batch are there
                await asyncio.to_thread(files.write, self._run / files.LIGHT, columns.light(light))
        if self._lock is not None:
            self._lock.release()

    async def _follow(self, run: Path, entities: EntityTable) -> None:
        """Describe the rows whose owner, or its labels, changed; on the event loop, which owns the entities."""
        if self._lines > 2 * entities.count + SLACK or entities is not self._entities:
            unfinished = run / (files.NAMES + files.TEMPORARY)
            self._entities, self._lines = None, 0  # should this fail, it is for the next tick to begin anew
            self._versions = np.zeros(0, np.int64)
            await asyncio.to_thread(unfinished.unlink, missing_ok=True)
            await self._describe(unfinished, entities)
            await asyncio.to_thread(unfinished.replace, run / files.NAMES)
            self._entities = entities
        else:
            await self._describe(run / files.NAMES, entities)

    async def _describe(self, path: Path, entities: EntityTable) -> None:
        """Add the lines of all rows that the lines until now do not tell of."""
        size = entities.size
        if self._versions.size < size:
            self._versions = np.concatenate([self._versions, np.zeros(size - self._versions.size, np.int64)])
        stale = (self._versions[:size] != entities.label_version[:size]) & (entities.parent[:size] != NULL)
        stale[entities.cluster] = self._versions[entities.cluster] == 0
        rows = np.flatnonzero(stale)
        for start in range(0, rows.size, LINES_AT_ONCE):
            if start:
                await asyncio.sleep(0)
            piece = rows[start : start + LINES_AT_ONCE]
            versions = entities.label_version[piece].copy()
            text = names.encode(entities, piece.tolist())
            await asyncio.to_thread(files.append, path, text)
            self._versions[piece] = versions
            self._lines += piece.size

    def _write(self, run: Path, batch: DataBatch, samples: dict[str, NDArray[Any]] | None) -> None:
        files.write(run / f"{batch.timestamp}{files.WINDOW}", columns.window(batch))
        if samples is not None:
            files.write(run / files.LIGHT, samples)
        files.write(run / f"{batch.timestamp}{files.BATCH}", columns.whole(batch))
        batches = files.timestamps(run, files.BATCH)
        for old in list(batches.values())[:-KEPT_BATCHES]:
            old.unlink(missing_ok=True)
        oldest = batch.timestamp - LONG_RETENTION_NS
        for timestamp, path in files.timestamps(run, files.WINDOW).items():
            if timestamp <= oldest:
                path.unlink(missing_ok=True)
        files.remove_runs_before(run, oldest)

    def _explain(self, error: OSError) -> str:
        return (
            f"{self.directory} cannot be used for what a restart goes on with: {error.strerror or error}; make room or "
            "repair what is wrong there, or set --warm-dir"
        )
