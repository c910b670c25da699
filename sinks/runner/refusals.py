"""Finding the points a server will not have, by halves, so that their neighbours arrive.

InfluxDB tells `partial write: ... dropped=N`: the other points of that write are stored. Where N is all of them the
search ends; where it is not, and where a server refuses a write as a whole, each half is sent. Points that were stored
already are sent again meanwhile, with the same time and tags: they overwrite themselves.
"""

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from collector.errors import ExportError

MOST_WRITES = 2_000
"""Writes spent on one refused body; what is not told apart by then counts as refused."""


class Refused(NamedTuple):
    """Lines the server will not have."""

    lines: bytes
    points: int
    words: str


def is_about_the_points(error: ExportError) -> bool:
    """Whether sending the same lines again, later, would be refused again.

    Not so for a wrong password, a missing permission or database: those are put right, and the points are kept.
    """
    return not error.retryable and not error.refuses_us


async def deliver(send: Callable[[bytes], Awaitable[None]], body: bytes, points: int) -> list[Refused]:
    """Send `body`; what was refused of it. Raises ExportError when the points were not judged."""
    refused: list[Refused] = []
    pieces = [(body, points)]
    writes = 0
    while pieces:
        lines, count = pieces.pop()
        if writes >= MOST_WRITES:
            refused.append(Refused(lines, count, f"not told apart within {MOST_WRITES} writes"))
            continue
        writes += 1
        try:
            await send(lines)
        except ExportError as error:
            if not is_about_the_points(error):
                raise
            if count in {1, error.refused_points}:
                refused.append(Refused(lines, count, str(error)))
            else:
                pieces += reversed(halves(lines))
    return refused


def halves(lines: bytes) -> list[tuple[bytes, int]]:
    """The first and the second half of two or more lines, with the number of lines in each."""
    every = lines.splitlines(keepends=True)
    middle = len(every) // 2
    return [(b"".join(part), len(part)) for part in (every[:middle], every[middle:])]
