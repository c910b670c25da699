"""What InfluxDB is asked and what it holds afterwards, against what Heapster asked and left there (9.1)."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any
from urllib.parse import parse_qs

from tests.replay.batchtext import UPTIME_MS
from tests.replay.comparing import SUMMED
from tests.replay.explained import changes, final_world
from tests.replay.recording import recording
from tests.replay.tap import Asked
from tests.replay.world import Point, Value, World, key_of, point_of, points
from tests.sinks.lines import parse_line

PREPARATION = "InfluxDB: database and retention policy are made to work"
"""Heapster pinged, and sent `CREATE DATABASE k8s WITH NAME "default"`; we look, create, and look again."""

HEAPSTERS_PREPARATION = [
    ("GET", "/ping", ""),
    ("GET", "/query", 'db=&q=CREATE DATABASE k8s WITH NAME "default"'),
]
OUR_PREPARATION = [
    ("GET", "/query", 'q=SHOW RETENTION POLICIES ON "k8s"'),
    ("POST", "/query", 'q=CREATE DATABASE "k8s" WITH DURATION INF REPLICATION 1 NAME "default"'),
    ("GET", "/query", 'q=SHOW RETENTION POLICIES ON "k8s"'),
]


def headings() -> tuple[str, ...]:
    return (PREPARATION,)


Identity = tuple[int, str, tuple[tuple[str, str], ...]]


def expected_points(recorded: Iterable[Point], source: str) -> dict[Identity, Value]:
    """The recorded points, with every explained difference applied."""
    world = final_world(source)
    cells = {cell for group in changes(source).values() for cell in group}
    found = {}
    for point in recorded:
        cell = (point.step, point.key, point.metric, point.labels)
        value = world.cell(cell) if cell in cells else point.value
        if value is not None:
            found[point.step, point.metric, point.tags] = value
    return found


def points_differ(found: Sequence[Point], recorded: Sequence[Point], source: str) -> list[str]:
    """One line for each point that is missing, should not be there, or has another value or type."""
    return values_differ(found, expected_points(recorded, source), final_world(source))


def values_differ(found: Sequence[Point], wanted: Mapping[Identity, Value], world: World) -> list[str]:
    """The same against values by identity."""
    got = {(point.step, point.metric, point.tags): point.value for point in found}
    assert len(got) == len(found)
    lines = [f"missing: {identity} {wanted[identity]}" for identity in wanted.keys() - got.keys()]
    lines += [f"should not be there: {identity} {got[identity]}" for identity in got.keys() - wanted.keys()]
    lines += [
        f"{identity} is {got[identity]!r}, not {value!r}"
        for identity, value in wanted.items()
        if identity in got and not _same(identity, value, got[identity], world)
    ]
    return sorted(lines)


def _same(identity: Identity, wanted: Value, got: Value, world: World) -> bool:
    _, metric, tags = identity
    if type(wanted) is not type(got):
        return False
    if metric == "uptime":
        return abs(wanted - got) <= UPTIME_MS
    if isinstance(wanted, float) and world.is_sum(key_of(dict(tags)), metric):
        return abs(wanted - got) <= SUMMED * abs(wanted)
    return wanted == got


def schema_differs(found: Mapping[str, Any], recorded: Mapping[str, Any], source: str) -> list[str]:
    """One line for each difference. Where values are others, series may be: they are counted from the points."""
    lines = [
        f"{name}: {found[name]}, not {recorded[name]}"
        for name in ("database", "retention_policies")
        if found[name] != recorded[name]
    ]
    lines += [
        f"measurement {name} is missing" for name in recorded["measurements"].keys() - found["measurements"].keys()
    ]
    for name, one in found["measurements"].items():
        wanted = recorded["measurements"].get(name)
        if wanted is None:
            lines.append(f"measurement {name} should not be there")
        elif one != wanted | {"series": _series(source).get(name, 0)}:
            lines.append(f"measurement {name}: {one}, not {wanted} with {_series(source).get(name, 0)} series")
    return lines


@cache
def _series(source: str) -> Mapping[str, int]:
    """Measurement -> series, after every explained difference; without one they are the recorded ones."""

    recorded = points(recording(source).lines())
    series: dict[str, set[Any]] = {}
    for _, metric, tags in expected_points(recorded, source):
        series.setdefault(metric, set()).add(tags)
    if not changes(source):
        assert {name: one["series"] for name, one in recording(source).schema()["measurements"].items()} == {
            name: len(each) for name, each in series.items()
        }
    return {name: len(each) for name, each in series.items()}


def requests_differ(found: Sequence[Asked], recorded: Sequence[Mapping[str, Any]], source: str) -> list[str]:
    """One line for each request that differs: how the database is prepared, then one write a batch."""
    heapsters = [(one["method"], one["path"], one["query"]) for one in recorded]
    assert heapsters[: len(HEAPSTERS_PREPARATION)] == HEAPSTERS_PREPARATION
    ours = [(one.method, one.path, one.query) for one in found]
    lines = []
    if ours[: len(OUR_PREPARATION)] != OUR_PREPARATION:
        lines.append(f"the database is prepared by {ours[: len(OUR_PREPARATION)]}")
    # After the first write the history may ask, too; it only reads.
    writes = [one for one in found[len(OUR_PREPARATION) :] if not _reads(one)]
    others = recorded[len(HEAPSTERS_PREPARATION) :]
    if len(writes) != len(others):
        lines.append(f"{len(writes)} writes, not {len(others)}")
    for step, (one, other) in enumerate(zip(writes, others, strict=False)):
        if (one.method, one.path, sorted(one.query.split("&"))) != (
            other["method"],
            other["path"],
            sorted(other["query"].split("&")),
        ):
            lines.append(f"step {step}: {one.method} {one.path}?{one.query}, not {other['path']}?{other['query']}")
        lines += [f"step {step}: {line}" for line in _lines_differ(one.body, other["body"], step, source)]
    return lines


def _reads(one: Asked) -> bool:
    statement = parse_qs(one.body if one.method == "POST" else one.query).get("q", [""])[0]
    return one.path == "/query" and statement.startswith(("SELECT ", "SHOW "))


def _lines_differ(found: str, recorded: str, step: int, source: str) -> list[str]:
    """Line by line as text; only where a value is another by rule or by the clock is it looked at."""
    timestamp = recording(source).timestamps[step]
    assert found.endswith("\n")
    ours, heapsters = set(found.split("\n")[:-1]), {line for line in recorded.split("\n") if line}

    def read(lines: set[str]) -> dict[str, Point]:
        made = {}
        for line in lines:
            parsed = parse_line(line)
            assert parsed.timestamp == timestamp, line
            (value,) = parsed.fields.values()
            made[line.rpartition(" value=")[0]] = point_of(parsed.measurement, dict(parsed.tags), value, step)
        return made

    left, missing = read(ours - heapsters), read(heapsters - ours)
    wanted = expected_points(missing.values(), source)
    world, lines = final_world(source), []
    for text in left.keys() | missing.keys():
        one, other = left.get(text), missing.get(text)
        identity = None if other is None else (other.step, other.metric, other.tags)
        value = None if identity is None else wanted.get(identity)
        if one is None and value is None:
            continue
        if one is None or value is None or identity is None or not _same(identity, value, one.value, world):
            lines.append(f"{text}: {one and one.value!r}, not {value!r}")
    return lines
