"""Expectations of a scenario: `expect` and `absent`, compared with the sets of the last tick."""

import re
from collections.abc import Mapping
from typing import Any

from collector.core.batch import MetricSet
from collector.core.metrics import INDEX
from tests.processors.answers import rfc3339
from tests.processors.scenario import Line, pairs, time_of_day

Sets = Mapping[str, MetricSet]

_DYNAMIC = re.compile(r"custom/.+|.+/(request|limit)")
"""Metrics that only the cluster knows the names of."""


def unmet(line: Line, words: list[str], sets: Sets, statement: str) -> list[str]:
    """What `line` expects and `sets` do not have, as `file:line: ..., wanted ..., got ...`; empty when it holds.

    The forms, behind the word `statement`:

        expect [only] [labels | times] KEY name=value ...
        expect only entities KEY ...
        absent [labels] KEY [name ...]

    Raises ValueError for any other.
    """
    only = statement == "expect" and words[:1] == ["only"]
    words = words[only:]
    what = words.pop(0) if words and words[0] in {"labels", "times", "entities"} else "metrics"
    if what == "entities":
        if not only:
            raise ValueError("write `expect only entities`; one entity is expected by naming a metric or label of it")
        return _compared(line, " ".join(sorted(words)), " ".join(sorted(sets)))
    if not words:
        raise ValueError("which entity?")
    key, *named = words
    if statement == "absent":
        return _absent(line, sets.get(key), named, what)
    return _expected(line, key, sets, dict(pairs(" ".join(named))), what, only=only)


def _absent(line: Line, found: MetricSet | None, named: list[str], what: str) -> list[str]:
    if not named:
        return [] if found is None else _failed(line, "no such entity", f"it, with {_told(found.metrics)}")
    for name in named:
        if what == "metrics" and name not in INDEX and not _DYNAMIC.fullmatch(name):
            raise ValueError(f"there is no metric {name}, so it is always absent")
    if found is None:
        return _failed(line, "the entity without these", "no such entity")
    there = [name for name in named if name in _values(found, what)]
    return _compared(line, "none of them", " ".join(there) or "none of them")


def _expected(line: Line, key: str, sets: Sets, wanted: dict[str, str], what: str, *, only: bool) -> list[str]:
    if key not in sets:
        return _failed(line, "the entity", f"only {' '.join(sorted(sets)) or 'nothing'}")
    values = _values(sets[key], what)
    got = {name: _shown(values.get(name), text, what) for name, text in wanted.items()}
    if only:
        got |= {name: str(value) for name, value in values.items() if name not in wanted}
    return _compared(line, _told(wanted), _told(got))


def _values(found: MetricSet, what: str) -> dict[str, Any]:
    match what:
        case "labels":
            return dict(found.labels)
        case "times":
            return {"scrape": found.scrape_time, "start": found.start_time}
        case _:
            return dict(found.metrics)


def _shown(value: Any, wanted: str, what: str) -> str:
    """`value` written as `wanted` is: an integer plainly, a float with the same number of decimals, a time as one."""
    if value is None:
        return "absent"
    if what == "times":
        if not value:
            return "none"
        return rfc3339(value) if wanted == "none" or time_of_day(wanted) != value else wanted
    if isinstance(value, float):
        _, point, decimals = wanted.partition(".")
        return f"{value:.{len(decimals)}f}" if point else repr(value)
    return str(value)


def _told(values: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={each}" for name, each in sorted(values.items())) or "nothing"


def _compared(line: Line, wanted: str, got: str) -> list[str]:
    return [] if wanted == got else _failed(line, wanted, got)


def _failed(line: Line, wanted: str, got: str) -> list[str]:
    return [f"{line.file}:{line.number}: {line.text}\n    wanted {wanted}\n    got    {got}"]
