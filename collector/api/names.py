"""Long lists of names: sorted and written in bites, so that no other request waits for them.

Heapster's lists came in random order; these are sorted, by code point.
"""

import asyncio
from bisect import bisect_left
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from collector.api import jsontext
from collector.core.batch import DataBatch


class Ordered(Protocol):
    """What can be sorted."""

    def __lt__(self, other: Any, /) -> bool: ...


T = TypeVar("T", bound=Ordered)

BITE = 2_048
"""Names handled between two looks at the event loop: some milliseconds."""


async def name_list(
    batch: DataBatch, rows: NDArray[np.intp], name: Callable[[DataBatch, int], str]
) -> AsyncIterator[bytes]:
    """The pretty JSON list of the sorted names of `rows` of `batch`, in pieces.

    Bites are sorted one by one; then a sample of them says where to cut, and what lies between two cuts is sorted
    together: no step handles many more than BITE names. `batch` is held until the end, so that no row changes hands.
    """
    if not len(rows):
        yield b"[]"
        return
    separator = f",\n{jsontext.PREFIX} "
    opening = f"[\n{jsontext.PREFIX} "
    runs = []
    for start in range(0, len(rows), BITE):
        runs.append(sorted(name(batch, row) for row in rows[start : start + BITE].tolist()))
        await asyncio.sleep(0)
    for names in between_cuts(runs):
        names.sort()
        yield (opening + separator.join(map(jsontext.string, names))).encode()
        opening = separator
        await asyncio.sleep(0)
    yield f"\n{jsontext.PREFIX}]".encode()


def between_cuts(runs: list[list[T]]) -> Iterator[list[T]]:
    """What is in all the sorted `runs`, about BITE at a time: every one of a list comes before the next list."""
    step = max(1, BITE // len(runs))
    sample = sorted(run[i] for run in runs for i in range(step, len(run), step))
    starts = [0] * len(runs)
    for cut in sample[len(runs) :: len(runs)]:
        ends = [bisect_left(run, cut) for run in runs]
        piece = [name for run, start, end in zip(runs, starts, ends, strict=True) for name in run[start:end]]
        if piece:
            yield piece
        starts = ends
    yield [name for run, start in zip(runs, starts, strict=True) for name in run[start:]]
