"""Scenarios: time series behaviour as plain text. The language is described in tests/scenarios/README.md.

A file becomes Scenarios, a Scenario Statements, each with its block of indented lines. `player` plays them.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

SECOND = 1_000_000_000
DAY = datetime(2026, 1, 1, tzinfo=UTC)
"""The day of every time of day in a scenario."""

BLOCKS = {"load", "cluster"}
STATEMENTS = BLOCKS | {"options", "tick", "expect", "absent"}


class ScenarioError(Exception):
    """A line that cannot be understood; the message starts with file:line."""


@dataclass(frozen=True)
class Line:
    """One line of a scenario file, without indentation."""

    file: str
    number: int
    text: str

    def error(self, what: str) -> ScenarioError:
        return ScenarioError(f"{self.file}:{self.number}: {what}\n    {self.text}")


@dataclass(frozen=True)
class Statement:
    """A line at the margin, and the indented lines below it."""

    line: Line
    block: list[Line] = field(default_factory=list)


@dataclass(frozen=True)
class Scenario:
    """A title and what happens."""

    title: str
    statements: list[Statement]


def parse(text: str, file: str) -> list[Scenario]:
    """The scenarios of one file; raises ScenarioError at the first line that is none of the language."""
    scenarios: list[Scenario] = []
    for number, raw in enumerate(text.splitlines(), 1):
        line = Line(file, number, raw.strip())
        if not line.text or line.text.startswith("#"):
            continue
        word, _, rest = line.text.partition(" ")
        if raw[0].isspace():
            if not scenarios or not scenarios[-1].statements:
                raise line.error("an indented line belongs to the statement above it, and there is none")
            if scenarios[-1].statements[-1].line.text.split()[0] not in BLOCKS:
                raise line.error(f"only {' and '.join(sorted(BLOCKS))} have indented lines")
            scenarios[-1].statements[-1].block.append(line)
        elif word == "scenario":
            scenarios.append(Scenario(rest.strip(), []))
        elif word not in STATEMENTS:
            raise line.error(f"unknown word {word!r}; known are scenario, {', '.join(sorted(STATEMENTS))}")
        elif not scenarios:
            raise line.error("a file starts with a scenario")
        else:
            scenarios[-1].statements.append(Statement(line))
    return scenarios


def scenarios_of(folder: Path) -> Iterator[tuple[str, Scenario]]:
    """(name for a test report, scenario) of every file in `folder`."""
    for path in sorted(folder.glob("*.txt")):
        for scenario in parse(path.read_text(), f"tests/scenarios/{path.name}"):
            yield f"{path.stem}: {scenario.title}", scenario


# The small parts of lines. All raise ValueError for what they cannot read.


def entity(text: str, known: set[str]) -> tuple[str, list[str], str]:
    """`pod default/web-1 on node-a: cpu/usage=1` as its kind, the words before the colon, and what is behind it."""
    head, _, rest = f"{text} ".partition(": ")
    kind, *subject = head.split()
    if kind not in known:
        raise ValueError(f"unknown word {kind!r}; known here are {', '.join(sorted(known))}")
    return kind, subject, rest


def name_of(kind: str, subject: list[str]) -> str:
    """The one word that names an entity."""
    if len(subject) != 1:
        raise ValueError(f"write `{kind} NAME: name=value ...`, not {kind} {' '.join(subject)}")
    return subject[0]


def pairs(text: str) -> list[tuple[str, str]]:
    """`a=1 b=` as pairs."""
    found = []
    for word in text.split():
        name, equals, value = word.partition("=")
        if not equals:
            raise ValueError(f"{word!r} is no name=value")
        found.append((name, value))
    return found


def time_of_day(text: str) -> int:
    """`10:00:05.5` as ns since the epoch, on the one day on which scenarios take place."""
    match = re.fullmatch(r"(\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?", text.strip())
    if match is None:
        raise ValueError(f"{text.strip()!r} is no time of day such as 10:00:05 or 10:00:05.5")
    hours, minutes, seconds, fraction = match.groups()
    second = int(DAY.timestamp()) + int(hours) * 3600 + int(minutes) * 60 + int(seconds)
    return second * SECOND + int((fraction or "0").ljust(9, "0"))
