"""The slow, obvious reading of what a Projection reads: through Python's own JSON, one rule a line.

It says what an accepted document must give, not which are accepted: that is the extension's choice, as long as what it
accepts is right.
"""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from collector.sources import _projection as extension

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class RefusedError(Exception):
    """The document breaks a rule: the extension must not accept it."""


class Reading:
    """The rows of each table: (values, parent, texts)."""

    def __init__(self, tables: Any, shape: Any) -> None:
        self._tables = tables
        self._shape = shape
        self.rows: list[list[tuple[list[int], int, list[bytes]]]] = [[] for _ in tables]

    def add(self, document: bytes) -> None:
        tree = json.loads(document.decode("ascii"), object_pairs_hook=_object, parse_constant=_refuse)
        self._read(tree, self._shape, 0, self._row(0, 0))

    def _row(self, table: int, parent: int) -> int:
        defaults, texts, _ = self._tables[table]
        self.rows[table].append((list(defaults), parent, [b""] * texts))
        return len(self.rows[table]) - 1

    def _read(self, tree: Any, shape: Any, table: int, row: int) -> None:
        if not isinstance(tree, dict):
            raise RefusedError
        values, _, texts = self.rows[table][row]
        for name, kind, slot, inner, required in shape:
            if name not in tree:
                if required:
                    raise RefusedError
                continue
            value = tree[name]
            if kind == extension.INTEGER:
                if type(value) is not int or not 0 <= value < 2**63:
                    raise RefusedError
                values[slot] = value
            elif kind == extension.TIME:
                values[slot] = _nanoseconds(value) if value not in (None, "") else values[slot]
            elif kind == extension.TEXT:
                if not isinstance(value, str) or not 1 <= len(value) <= 253:
                    raise RefusedError
                texts[slot] = value.encode("ascii")
            elif kind == extension.OBJECT:
                self._read(value, inner, table, row)
            elif kind == extension.ROWS:
                if value is not None and not isinstance(value, list):
                    raise RefusedError
                for item in value or []:
                    self._read(item, inner, slot, self._row(slot, row))
            elif value not in (None, []):
                raise RefusedError


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return dict(pairs)


def _refuse(text: str) -> None:
    raise RefusedError


def _nanoseconds(text: Any) -> int:
    if not isinstance(text, str):
        raise RefusedError
    digits = text.partition(".")[2]
    fraction = digits[: len(digits) - len(digits.lstrip("0123456789"))]
    whole = text.replace(f".{fraction}", "", 1) if fraction else text
    since = datetime.fromisoformat(whole) - EPOCH
    return since // timedelta(seconds=1) * 10**9 + int((fraction + "000000000")[:9])
