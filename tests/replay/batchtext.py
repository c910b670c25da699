"""Reads the log sink's text of a batch (behaviour reference, 9.2) back into sets."""

import re

from tests.replay.comparing import UPTIME_MS
from tests.replay.world import NO_TIME, Entity, Sets, Value

HEADS = ("   Labels:", "   Metrics:", "   Labeled Metrics:")


def read(text: str) -> tuple[str, Sets]:
    """The printed timestamp, and the sets; fails on anything irregular, and on sets that are not in order."""
    head, *blocks = text.removesuffix("\n\n").split("\n\n")
    found: Sets = {}
    for block in blocks:
        lines = block.split("\n")
        key = lines[0].removeprefix("MetricSet: ")
        assert lines[0] == f"MetricSet: {key}"
        assert key not in found
        found[key] = _entity(lines[1:])
    assert list(found) == sorted(found)
    return head.removeprefix("DataBatch     Timestamp: "), found


def _entity(lines: list[str]) -> Entity:
    scrape, create = (int(line.rpartition(" ")[2]) for line in lines[:2])
    assert [lines[0][:16], lines[1][:16]] == ["   Scrape time: ", "   Create time: "]
    places = [lines.index(head) for head in HEADS]
    labels, metrics, labeled = (
        lines[place + 1 : end] for place, end in zip(places, [*places[1:], len(lines)], strict=True)
    )
    entity = Entity(dict(_pair(line, 6) for line in labels), {}, {}, scrape, create)
    entity.metrics = {name: _value(value) for name, value in (_pair(line, 6) for line in metrics)}
    assert list(entity.labels) == sorted(entity.labels)
    assert list(entity.metrics) == sorted(entity.metrics)
    groups: list[tuple[str, Value, list[tuple[str, str]]]] = []
    for line in labeled:
        if line.startswith("         "):
            groups[-1][2].append(_pair(line, 9))
        else:
            name, value = _pair(line, 6)
            groups.append((name, _value(value), []))
    entity.labeled = {(name, tuple(sorted(pairs))): value for name, value, pairs in groups}
    assert len(entity.labeled) == len(groups)
    for name in ("scrape_ns", "create_ns"):
        if getattr(entity, name) == NO_TIME:
            setattr(entity, name, 0)
    return entity


def _pair(line: str, indent: int) -> tuple[str, str]:
    assert line[:indent].isspace()
    name, _, value = line[indent:].partition(" = ")
    return name, value


def _value(text: str) -> Value:
    if re.fullmatch(r"-?\d+", text):
        return int(text)
    assert re.fullmatch(r"-?\d+\.\d{6}", text), text
    return float(text)


def differences(expected: Sets, found: Sets) -> list[str]:
    """One line for each difference; floats have the six decimals of the text, `uptime` counts to the decoding."""
    lines = [f"{key} is missing" for key in expected.keys() - found.keys()]
    lines += [f"{key} should not be there" for key in found.keys() - expected.keys()]
    for key in sorted(expected.keys() & found.keys()):
        one, other = expected[key], found[key]
        for name in ("labels", "scrape_ns", "create_ns"):
            if getattr(one, name) != getattr(other, name):
                lines.append(f"{key}: {name} are {getattr(other, name)}, not {getattr(one, name)}")
        if list(one.labeled) != list(other.labeled):
            lines.append(f"{key}: labelled values are {list(other.labeled)}, not {list(one.labeled)}")
        for values, others in ((one.metrics, other.metrics), (one.labeled, other.labeled)):
            for name in values.keys() | others.keys():
                wanted, got = values.get(name), others.get(name)
                if not same(name, wanted, got):
                    lines.append(f"{key}: {name} is {got}, not {wanted}")
    return lines


def same(name: object, wanted: Value | None, got: Value | None) -> bool:
    """Whether a printed value is the expected one."""
    if wanted is None or got is None or type(wanted) is not type(got):
        return False
    if name == "uptime":
        return abs(wanted - got) <= UPTIME_MS
    return f"{wanted:.6f}" == f"{got:.6f}" if isinstance(wanted, float) else wanted == got
