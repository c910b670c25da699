"""From a record to writes, and finding the points a server will not have, by halves, so that their neighbours arrive.

InfluxDB tells `partial write: ... dropped=N`: the other points of that write are stored. Where N is all of them the
search ends; where it is not, and where a server refuses a write as a whole, each half is sent. Points that were stored
already are sent again meanwhile, with the same time and tags: they overwrite themselves.
"""

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from collector.errors import ExportError

MOST_WRITES = 2_000
"""Writes spent on the halves of one record; what is not told apart by then counts as refused."""


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


async def deliver(send: Callable[[bytes], Awaitable[None]], body: bytes, points: int, max_points: int) -> list[Refused]:
    """Send `body`, at most `max_points` lines a write; what was refused. Raises ExportError when it was not judged."""
    refused: list[Refused] = []
    spent = 0
    for whole in cut(body, points, max_points):
        pieces = [whole]
        while pieces:
            lines, count = piece = pieces.pop()
            if piece is not whole:
                if spent >= MOST_WRITES:
                    refused.append(Refused(lines, count, f"not told apart within {MOST_WRITES} writes"))
                    continue
                spent += 1
            try:
                await send(lines)
            except ExportError as error:
                if not is_about_the_points(error):
                    raise
                if count in {1, error.refused_points}:
                    refused.append(Refused(lines, count, str(error)))
                else:
                    pieces += reversed(cut(lines, count, (count + 1) // 2))
    return refused


def cut(body: bytes, points: int, most: int) -> list[tuple[bytes, int]]:
    """`body`, which has `points` lines, in pieces of at most `most` lines, with the number of lines in each."""
    if points <= most:
        return [(body, points)]
    every = body.splitlines(keepends=True)
    parts = [every[first : first + most] for first in range(0, len(every), most)]
    return [(b"".join(part), len(part)) for part in parts]
