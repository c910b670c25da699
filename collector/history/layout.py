"""How the embedded history lies on the disk, as far as a reader must know (`sinks.history` tells it in full).

    DIR/metrics/2026-11-23T00.000001-000060.parquet

An hour (UTC) and a range of tick numbers. A file whose range lies within another's of the same hour is superseded: it
was merged into the other and is about to be removed.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from collector.core.metrics import GROUPS

METRICS_TABLE = "metrics"

LABEL_COLUMNS = {
    "accelerator": ("make", "model", "accelerator_id"),
    "filesystem": ("resource_id",),
    "disk": ("resource_id",),
}
"""Labelled table -> the labels that tell the rows of one entity apart."""

TABLE_OF_LABELED = {metric.name: group.name for group in GROUPS for metric in group.metrics}
"""Labelled metric -> its table."""

_NAME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d)\.(\d{6,18})-(\d{6,18})\.parquet", re.ASCII)
_HOUR_NS = 3_600_000_000_000


def files(directory: Path, table: str, start: int, end: int) -> list[Path]:
    """The files of `table` that may hold ticks from `start` to `end` (ns since the epoch), oldest first."""
    try:
        paths = list((directory / table).iterdir())
    except FileNotFoundError:
        return []
    found = []
    for path in paths:
        name = _NAME.fullmatch(path.name)
        hour = name and _hour(name[1])
        if name is not None and hour is not None and start // _HOUR_NS <= hour <= end // _HOUR_NS:
            found.append((hour, int(name[2]), -int(name[3]), path))
    return list(_current(sorted(found)))


def _hour(text: str) -> int | None:
    try:
        return int(datetime.strptime(text, "%Y-%m-%dT%H").replace(tzinfo=UTC).timestamp()) // 3600
    except ValueError:
        return None


def _current(found: list[tuple[int, int, int, Path]]) -> Iterator[Path]:
    """Leave out what is superseded; of files that begin alike the longest comes first."""
    reached = (-1, -1)
    for hour, _, last, path in found:
        if (hour, -last) > reached:
            reached = (hour, -last)
            yield path
