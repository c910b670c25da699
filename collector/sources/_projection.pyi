from typing import Any, Self

INTEGER: int
TIME: int
TEXT: int
OBJECT: int
ROWS: int
NOTHING: int

class Projection:
    most: int
    def __new__(
        cls, tables: tuple[tuple[tuple[int, ...], int, bool], ...], shape: tuple[Any, ...], key: bytes
    ) -> Self: ...
    def add(self, document: bytes, /) -> bool: ...
    def take(self) -> tuple[bytes, tuple[tuple[bytearray, bytearray, bytearray, bytearray], ...]]: ...
