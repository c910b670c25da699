r"""Prometheus' text format 0.0.4, the families asked for and nothing else.

    container_memory_cache{container="web",id="/kubepods/pod1/2",namespace="default",pod="web-1"} 4096 1795399382572

An answer of cAdvisor has megabytes, most of which nobody asked for, and repeats every label text in some twenty
families: a line is cut at its last brace, looked up by its name, and its label text is read once for all families.
Lines are as Go's encoder writes them, the name right before its brace; `\\`, `\"` and `\n` in label values are escapes.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

MAX_FAULTS = 16
"""Unreadable lines described for one answer; more are only counted."""

MAX_VALUE = 1024
"""Characters of a label's value; the paths of cgroups are the longest. A line with a longer one cannot be read."""

_LABEL = re.compile(rb'[ \t]*([a-zA-Z_][a-zA-Z0-9_]*)[ \t]*=[ \t]*"((?:[^"\\]|\\.)*)"[ \t]*(?:,|$)')
_ESCAPED = re.compile(r"\\([\\n\"])")
_ESCAPES = {"\\": "\\", "n": "\n", '"': '"'}


@dataclass(slots=True)
class Series:
    """The samples of one family in parallel lists, in the order of the text."""

    labels: list[int] = field(default_factory=list)
    """Which label set, into `Exposition.label_sets`."""
    values: list[float] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    """ms since the epoch, 0 where the line has no time."""


@dataclass(frozen=True, slots=True)
class Exposition:
    """What was found."""

    label_sets: list[Mapping[str, str]]
    """Each label text once, in the order of their first use."""
    families: Mapping[str, Series]
    """One for every family asked for, without samples where there are none."""
    faults: list[str]
    """Lines that could not be read, at most MAX_FAULTS and a count of the rest."""


def read_text(body: bytes, families: Iterable[str]) -> Exposition:
    """The samples of `families` that carry labels; a line that cannot be read costs that line."""
    found = {name: Series() for name in families}
    wanted = {name.encode(): series for name, series in found.items()}
    numbers: dict[bytes, int | None] = {}
    label_sets: list[Mapping[str, str]] = []
    broken: list[bytes] = []
    for line in body.split(b"\n"):
        head, _, tail = line.rpartition(b"}")
        name, _, text = head.partition(b"{")
        series = wanted.get(name)
        if series is None:
            continue
        number = numbers.get(text, -1)
        if number == -1:
            labels = read_labels(text)
            number = numbers[text] = None if labels is None else len(label_sets)
            if labels is not None:
                label_sets.append(labels)
        try:
            value, *time = tail.split()
            sample = (float(value), int(time[0]) if time else 0)
        except ValueError:
            number = None
        if number is None or len(time) > 1 or b"_" in tail:  # which Python takes for a number's separator
            broken.append(line)
            continue
        series.labels.append(number)
        series.values.append(sample[0])
        series.times.append(sample[1])
    faults = [f"the line {line[:200].decode(errors='replace')!r} cannot be read" for line in broken[:MAX_FAULTS]]
    if len(broken) > MAX_FAULTS:
        faults.append(f"{len(broken) - MAX_FAULTS} more lines")
    return Exposition(label_sets, found, faults)


def read_labels(text: bytes) -> Mapping[str, str] | None:
    """What stands between the braces; None when it is no list of labels, no Unicode, or has a value too long."""
    labels = {}
    at, end = 0, len(text)
    try:
        while at < end and (match := _LABEL.match(text, at)) is not None:
            name, value = match[1].decode(), match[2].decode()
            if len(value) > MAX_VALUE:
                return None
            labels[name] = _unescaped(value) if "\\" in value else value
            at = match.end()
    except UnicodeDecodeError:
        return None
    return labels if at == end else None


def _unescaped(value: str) -> str:
    return _ESCAPED.sub(lambda match: _ESCAPES[match[1]], value)
