"""A small line protocol reader, slow and obvious, in the two dialects that servers speak."""

from collections.abc import Iterator
from dataclasses import dataclass

INFLUXDB = "influxdb"
"""A backslash before a special character always escapes it; models/points.go of InfluxDB 1 and 2."""

COUNTING = "counting"
"""A special character is escaped when an odd number of backslashes stands before it; VictoriaMetrics."""


@dataclass(frozen=True)
class Line:
    """One point."""

    measurement: str
    tags: tuple[tuple[str, str], ...]
    fields: dict[str, int | float]
    timestamp: int

    @property
    def key(self) -> tuple[str, tuple[tuple[str, str], ...]]:
        return self.measurement, self.tags


def parse(body: bytes, dialect: str = INFLUXDB) -> list[Line]:
    """Every line of `body`; fails on anything irregular."""
    text = body.decode()
    assert not text or text.endswith("\n")
    return [parse_line(line, dialect) for line in text.split("\n")[:-1]]


def parse_line(line: str, dialect: str = INFLUXDB) -> Line:
    key, fields, timestamp = _split(line, " ", dialect)
    measurement, *tags = _split(key, ",", dialect)
    pairs = [_split(tag, "=", dialect) for tag in tags]
    assert all(len(pair) == 2 and pair[1] for pair in pairs), line
    values = dict(_split(field, "=", dialect) for field in _split(fields, ",", dialect))
    return Line(
        _unescape(measurement, ", "),
        tuple((_unescape(k, ",= "), _unescape(v, ",= ")) for k, v in pairs),
        {_unescape(k, ",= "): _number(v) for k, v in values.items()},
        int(timestamp),
    )


def _number(text: str) -> int | float:
    assert set(text) <= set("0123456789-.i"), text
    return int(text.removesuffix("i")) if text.endswith("i") else float(text)


def _split(text: str, separator: str, dialect: str) -> list[str]:
    return list(_parts(text, separator, dialect))


def _parts(text: str, separator: str, dialect: str) -> Iterator[str]:
    first = backslashes = 0
    for i, character in enumerate(text):
        escaped = backslashes % 2 == 1 if dialect == COUNTING else backslashes > 0
        if character == separator and not escaped:
            yield text[first:i]
            first = i + 1
        backslashes = backslashes + 1 if character == "\\" else 0
    yield text[first:]


def _unescape(text: str, special: str) -> str:
    for character in special:
        text = text.replace(f"\\{character}", character)
    return text
