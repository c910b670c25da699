"""The log sink: Heapster's text block of a batch (behaviour reference, section 9.2), written from columns."""

import asyncio
import logging
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Self

import numpy as np
from numpy.typing import NDArray

from collector.core.batch import DataBatch
from collector.core.metrics import Clock
from collector.core.visibility import HEAPSTERS, Visibility
from sinks.base import SinkUri

CHUNK_ENTITIES = 250
"""Entities of one log record: some 10 ms of work, and well below what a log shipper takes for one entry."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NO_TIME = "0001-01-01 00:00:00 +0000 UTC -6795364578871345152"
"""How Go prints a time that was never set; the number is what is left of year 1 in 64 bits of nanoseconds."""

_logger = logging.getLogger(__name__)


class LogSink:
    """Logs every batch at level info: one record, or several in a row that make up one text when it is long.

    It has no options.
    """

    name = "Log Sink"

    def __init__(self, logger: logging.Logger = _logger, visibility: Visibility = HEAPSTERS) -> None:
        self._logger = logger
        self._visibility = visibility

    @classmethod
    def from_uri(cls, uri: SinkUri) -> Self:
        """The sink on this module's logger."""
        return cls(visibility=uri.visibility)

    async def export(self, batch: DataBatch) -> None:
        """Log one frozen batch, letting others run between records."""
        if not self._logger.isEnabledFor(logging.INFO):
            return
        for text in batch_texts(batch, visibility=self._visibility):
            self._logger.info("%s", text)
            await asyncio.sleep(0)

    async def stop(self) -> None:
        """Nothing to release."""


def batch_texts(
    batch: DataBatch, entities: int = CHUNK_ENTITIES, *, visibility: Visibility = HEAPSTERS
) -> Iterator[str]:
    """The text of a batch, cut between entities; joined, the pieces are Heapster's text."""
    shown = visibility.plain(batch.metrics)
    rows = np.flatnonzero(batch.exists[: batch.rows]).tolist()
    in_order = sorted((batch.entities.key(row), row) for row in rows)
    names = sorted((descriptor.name, m) for m, descriptor in batch.metrics)
    head = f"DataBatch     Timestamp: {go_time(batch.timestamp)}\n\n"
    for first in range(0, len(in_order), entities):
        chunk = in_order[first : first + entities]
        metrics = _metric_lines(batch, names, np.array([row for _, row in chunk]), shown)
        texts = [_entity_text(batch, *entity, lines, visibility) for entity, lines in zip(chunk, metrics, strict=True)]
        yield head + "".join(texts)
        head = ""


def _metric_lines(
    batch: DataBatch, names: Sequence[tuple[str, int]], rows: NDArray[np.intp], shown: NDArray[np.bool_]
) -> list[list[str]]:
    """The lines of the plain metrics of each of `rows`: column by column, a few times faster than row by row."""
    lines: list[list[str]] = [[] for _ in range(rows.size)]
    kinds = batch.entities.kind[rows]
    for name, m in names:
        places = np.flatnonzero(batch.present[m, rows] & shown[m, kinds])
        for k, value in zip(places.tolist(), batch.column(m)[rows[places]].tolist(), strict=True):
            lines[k].append(f"      {name} = {_number(value)}")
    return lines


def _entity_text(batch: DataBatch, key: str, row: int, metrics: Sequence[str], visibility: Visibility) -> str:
    lines = [
        f"MetricSet: {key}",
        f"   Scrape time: {_set_time(int(batch.times[Clock.SCRAPE, row]))}",
        f"   Create time: {_set_time(int(batch.times[Clock.START, row]))}",
        "   Labels:",
        *(f"      {name} = {value}" for name, value in sorted(batch.entities.label_set(row).items())),
        "   Metrics:",
        *metrics,
        "   Labeled Metrics:",
    ]
    for found in batch.labeled_of(row, visibility):
        lines.append(f"      {found.name} = {_number(found.value)}")
        lines += [f"         {name} = {value}" for name, value in found.labels.items()]
    return "\n".join(lines) + "\n\n"


def _number(value: int | float) -> str:  # noqa: PYI041  # a float that is an int prints otherwise
    return f"{value:.6f}" if isinstance(value, float) else str(value)


def _set_time(ns: int) -> str:
    return f"{go_time(ns)} {ns}" if ns else _NO_TIME


def go_time(ns: int) -> str:
    """`ns` since the epoch as Go prints a time by default: `2026-11-23 00:31:00.25 +0000 UTC`."""
    seconds, fraction = divmod(ns, 1_000_000_000)
    shown = f".{fraction:09}".rstrip("0") if fraction else ""
    return f"{_EPOCH + timedelta(seconds=seconds):%Y-%m-%d %H:%M:%S}{shown} +0000 UTC"
