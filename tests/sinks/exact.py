"""The recorded batches with their floats as Heapster had them: its log printed six decimals, its writes all digits."""

from functools import cache
from typing import Any

from tests.sinks.batches import Point
from tests.sinks.golden import recorded, written
from tests.sinks.lines import parse_line

DROPPED = {"namespace_id", "pod_id", "hostname", "host_id"}


@cache
def exact(source: str) -> list[dict[str, Any]]:
    """`recorded`, each float taken from what Heapster wrote to InfluxDB."""
    return [_exact(step, lines) for step, lines in zip(recorded(source), written(source), strict=True)]


def _exact(step: dict[str, Any], lines: list[str]) -> dict[str, Any]:
    points = {line.key: line.fields["value"] for line in map(parse_line, lines)}
    return {**step, "sets": {key: _exact_set(entity, points) for key, entity in step["sets"].items()}}


def _exact_set(entity: dict[str, Any], points: dict[Point, Any]) -> dict[str, Any]:
    def value(name: str, labels: dict[str, str], rounded: float) -> float:
        tags = {**entity["labels"], **labels, "cluster_name": "default"}
        found = points[name, tuple(sorted((k, v) for k, v in tags.items() if v and k not in DROPPED))]
        assert abs(rounded - found) <= 5.1e-7
        return found

    return {
        **entity,
        "metrics": {name: value(name, {}, rounded) for name, rounded in entity["metrics"].items()},
        "labeled": [{**one, "value": value(one["name"], one["labels"], one["value"])} for one in entity["labeled"]],
    }
