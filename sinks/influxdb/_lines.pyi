from collections.abc import Callable
from typing import Any

def write(
    series: tuple[tuple[bytes, tuple[tuple[bytes, int, bool], ...]], ...],
    tail: bytes,
    tags: list[bytes],
    rows: Any,
    cells: Any,
    present: Any,
    places: Any,
    own: list[bytes] | None,
    out: bytearray,
    at: int,
    next: int,  # noqa: A002
    most: int,
    float_text: Callable[[float], str],
    /,
) -> tuple[int, int, int, int]: ...
