"""What Heapster answers when a world is as it is: section 8 of the behaviour reference, slowly and from dictionaries.

It shares no code with the product. Against the recorded world it must give the recorded answers (`test_oracle`); from
then on it says what a recorded answer becomes where a listed difference changes a value, and what another world is
answered. Times of answers (`creationTimestamp`) are left to who compares.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.replay import selectors
from tests.replay.recording import SECOND, Labels, Question, ns, rfc3339
from tests.replay.world import Entity, Value, World

DEPRECATED = {
    "cpu-usage": "cpu/usage_rate",
    "cpu-limit": "cpu/limit",
    "memory-limit": "memory/limit",
    "memory-usage": "memory/usage",
    "memory-working": "memory/working_set",
}
LONG = ("cpu/usage_rate", "memory/usage")
STANDARD = (
    *("uptime", "cpu/usage", "cpu/load", "ephemeral_storage/usage", "memory/usage", "memory/rss", "memory/cache"),
    *("memory/working_set", "memory/page_faults", "memory/major_page_faults", "network/rx", "network/rx_errors"),
    *("network/tx", "network/tx_errors"),
)
EXPORTED = {*STANDARD, "cpu/limit", "memory/limit"}
CUMULATIVE = {name for name in STANDARD if name in {"uptime", "cpu/usage"} or "faults" in name or "network" in name}
EXPORTED_LABELS = (
    *("nodename", "hostname", "host_id", "container_name", "container_base_image", "pod_name", "pod_id"),
    *("namespace_id", "labels"),
)
UNTAGGED = {"namespace_id", "pod_id", "hostname", "host_id"}
SELECTED = ("type", "nodename", "namespace_name", "pod_name", "container_name")
MODEL, HISTORICAL, EXPORT = "/api/v1/model", "/api/v1/historical", "/api/v1/metric-export"
METRICS = "/apis/metrics.k8s.io/v1alpha1"
ZERO = "0001-01-01T00:00:00Z"

_ENTITY = (
    r"(?:/nodes/(?P<node>[^/]+)(?:/freecontainers/(?P<free>[^/]+))?"
    r"|/namespaces/(?P<namespace>[^/]+)(?:/pods/(?P<pod>[^/]+)(?:/containers/(?P<container>[^/]+))?)?)?"
)
_NAMES = re.compile(_ENTITY + "/metrics/?")
_SERIES = re.compile(_ENTITY + "/metrics/(?P<metric>.+?)/?")
_AGGREGATED = re.compile(_ENTITY + "/metrics-aggregated/(?P<functions>[^/]+)/(?P<metric>.+?)/?")
_POD_LIST = re.compile(
    r"/namespaces/(?P<namespace>[^/]+)/pod-list/(?P<pods>[^/]+)"
    r"/metrics(?:-aggregated/(?P<functions>[^/]+))?/(?P<metric>.+?)/?"
)
_LIST = re.compile(
    r"/(?:debug/(?P<all>allkeys)|nodes(?:/(?P<node>[^/]+)/(?P<free>freecontainers))?"
    r"|(?P<spaces>namespaces)(?:/(?P<namespace>[^/]+)/(?P<pods>pods)(?:/(?P<pod>[^/]+)/(?P<containers>containers))?)?)/?"
)
_RESOURCE = re.compile(
    r"/(?:nodes(?:/(?P<node>[^/]+))?|(?:namespaces/(?P<namespace>[^/]+)/)?pods|namespaces/(?P<of>[^/]+)/pods/(?P<pod>[^/]+))/?"
)
_UNITS = {"ms": 10**6, "s": SECOND, "m": 60 * SECOND, "h": 3600 * SECOND, "d": 86_400 * SECOND}


@dataclass(frozen=True)
class Gone:
    """Not JSON: this status and text."""

    status: int
    text: str


Prediction = Any
"""A document, or Gone; NOTHING where the oracle has nothing to say."""
NOTHING = object()


class Oracle:
    """Answers from one world."""

    def __init__(self, world: World) -> None:
        self._world = world

    def answer(self, question: Question) -> Prediction:
        """What a good GET request is answered; NOTHING for a bad one, and for what depends on no value."""
        url = urlsplit(question.target)
        path, query = unquote(url.path), _query(url.query)
        if question.method != "GET" or not _good(query):
            return NOTHING
        for root, ask in ((MODEL, self._model), (HISTORICAL, self._historical), (METRICS, self._resource)):
            if path.startswith(f"{root}/"):
                return ask(path.removeprefix(root), query, question.step)
        return self._export(question.step) if path.rstrip("/") == EXPORT else NOTHING

    # Model API.

    def _model(self, path: str, query: Mapping[str, str], step: int) -> Prediction:
        if found := _POD_LIST.fullmatch(path):
            if found["functions"]:
                return NOTHING
            pods = found["pods"].split(",")
            keys = [f"namespace:{found['namespace']}/pod:{pod}" for pod in pods]
            return {
                "items": [
                    self._series(key, found["metric"], query, step, repeats=pods.count(pod))
                    for key, pod in zip(keys, pods, strict=True)
                ]
            }
        if found := _NAMES.fullmatch(path):
            return self._names(_key(found), step)
        if found := _SERIES.fullmatch(path):
            return self._series(_key(found), found["metric"], query, step)
        found = _LIST.fullmatch(path)
        return NOTHING if found is None else self._list(found, step)

    def _names(self, key: str, step: int) -> list[str]:
        sets = [self._world.sets[one].get(key) for one in self._world.held(step)]
        return sorted({name for found in sets if found is not None for name in found.metrics})

    def _series(self, key: str, metric: str, query: Mapping[str, str], step: int, repeats: int = 1) -> Any:
        labels, metric = _labels(query), DEPRECATED.get(metric, metric)
        steps = range(step + 1) if metric in LONG and not labels else self._world.held(step)
        start, end = query.get("start"), query.get("end")
        found = [
            (time, value)
            for time, value in self._values(key, metric, labels, steps)
            if (not start or time >= ns(start)) and (not end or time <= ns(end))
        ]
        return _series([each for each in found for _ in range(repeats)])

    def _values(self, key: str, metric: str, labels: Labels, steps: Sequence[int]) -> Iterator[tuple[int, Value]]:
        for step in steps:
            value = self._world.cell((step, key, metric, labels))
            if value is not None:
                yield self._world.timestamps[step], value

    def _list(self, found: re.Match[str], step: int, *, host: bool = True) -> list[str]:
        latest = self._world.sets[step]
        if found["all"]:
            return sorted(latest)
        if found["spaces"] and not found["namespace"]:
            return sorted(key.removeprefix("namespace:") for key in latest if re.fullmatch("namespace:[^/]*", key))
        if found["namespace"]:
            inside = f"namespace:{found['namespace']}/pod:"
            inside += f"{found['pod']}/container:" if found["containers"] else ""
        elif found["free"]:
            inside = f"node:{found['node']}/container:"
        else:
            name = "hostname" if host else "nodename"
            return sorted(one.labels[name] for one in latest.values() if one.labels["type"] == "node")
        return sorted(key.removeprefix(inside) for key in latest if re.fullmatch(re.escape(inside) + "[^/]*", key))

    # Metric export.

    def _export(self, step: int) -> list[Any]:
        kinds = {"node", "pod", "pod_container", "sys_container"}
        sets = [one for one in self._world.sets[step].values() if one.labels["type"] in kinds]
        return [_exported(one, rfc3339(self._world.timestamps[step] // SECOND)) for one in sets]

    # Historical API: InfluxDB's arithmetic.

    def _historical(self, path: str, query: Mapping[str, str], step: int) -> Prediction:
        steps = range(step + 1)
        if "start" not in query:
            found = _NAMES.fullmatch(path)
            return self._known_names(_key(found), steps) if found else NOTHING
        if found := _POD_LIST.fullmatch(path):
            keys = [f"namespace:{found['namespace']}/pod:{pod}" for pod in found["pods"].split(",")]
            answers = [self._past(key, found["metric"], found["functions"], query, steps) for key in keys]
            return NOTHING if NOTHING in answers else {"items": answers}
        if found := _AGGREGATED.fullmatch(path):
            return self._past(_key(found), found["metric"], found["functions"], query, steps)
        if found := _SERIES.fullmatch(path):
            return self._past(_key(found), found["metric"], None, query, steps)
        return NOTHING

    def _known_names(self, key: str, steps: Sequence[int]) -> Prediction:
        """SHOW MEASUREMENTS looks at each condition alone: one series may fulfil the first and another the second."""
        wanted = next((self._world.sets[one][key].labels for one in steps if key in self._world.sets[one]), None)
        if wanted is None:
            return NOTHING
        asked = {name: wanted[name] for name in SELECTED if name in wanted}
        if wanted["type"] in {"pod", "pod_container"}:
            del asked["nodename"]
        values: dict[str, set[tuple[str, str]]] = {}
        for one in steps:
            for entity in self._world.sets[one].values():
                for name in {*entity.metrics, *(name for name, _ in entity.labeled)}:
                    values.setdefault(name, set()).update(entity.labels.items())
        return sorted(name for name, known in values.items() if known >= asked.items())

    def _past(
        self, key: str, metric: str, functions: str | None, query: Mapping[str, str], steps: Sequence[int]
    ) -> Prediction:
        start, end = query["start"], query.get("end")
        found = [
            (time, value)
            for time, value in self._values(key, DEPRECATED.get(metric, metric), _labels(query), steps)
            if time > ns(start) and (not end or time < ns(end))
        ]
        if not found:
            return NOTHING
        if functions is None:
            return _series(found)
        size, names = _bucket(query.get("bucket", "")), functions.split(",")
        if size is None or not {*names} <= FUNCTIONS:
            return NOTHING
        series = {time: self._tags(key, self._world.timestamps.index(time)) for time, _ in found}
        points = [Point(time, value, series[time]) for time, value in found]
        return aggregated(sorted(points, key=lambda each: (each.series, each.time)), names, size, ns(start))

    def _tags(self, key: str, step: int) -> list[tuple[str, str]]:
        """What tells series of one entity apart: its labels may change over time."""
        return sorted(
            each for each in self._world.sets[step][key].labels.items() if each[1] and each[0] not in UNTAGGED
        )

    def seen(self, question: Question) -> list[str] | None:
        """The names of nodes, namespaces, pods or system containers that there have ever been, if that is asked."""
        path = unquote(urlsplit(question.target).path)
        found = _LIST.fullmatch(path.removeprefix(HISTORICAL)) if path.startswith(HISTORICAL) else None
        if found is None or found["all"] or found["containers"]:
            return None
        steps = range(question.step + 1)
        return sorted({name for step in steps for name in self._list(found, step, host=False)})

    def had(self, question: Question) -> list[str] | None:
        """The names of metrics that an entity has ever had, if that is asked of the past."""
        path = unquote(urlsplit(question.target).path)
        found = _NAMES.fullmatch(path.removeprefix(HISTORICAL)) if path.startswith(HISTORICAL) else None
        if found is None:
            return None
        sets = [batch[key] for batch in self._world.sets[: question.step + 1] if (key := _key(found)) in batch]
        return sorted({name for one in sets for name in (*one.metrics, *(name for name, _ in one.labeled))})

    # Resource metrics.

    def _resource(self, path: str, query: Mapping[str, str], step: int) -> Prediction:
        found = _RESOURCE.fullmatch(path)
        if found is None:
            return NOTHING
        shown = self._world.shown[step].objects
        if path.startswith("/nodes"):
            named = [each for each in shown["nodes"] if found["node"] in {None, each["metadata"]["name"]}]
            gone = Gone(404, f"No metrics for node {found['node']}")
            items = [self._node(each["metadata"]["name"], step) for each in _selected(named, query)]
        else:
            namespace, pod = found["namespace"] or found["of"], found["pod"]
            named = [each for each in shown["pods"] if namespace in {None, each["metadata"]["namespace"]}]
            named = [each for each in named if pod in {None, each["metadata"]["name"]}]
            if pod and not named:
                return NOTHING
            gone = Gone(404, f"No metrics availalble for pod {namespace}/{pod}")
            items = [self._pod(each, step) for each in _selected(named, query)]
        kept = [each for each in items if each is not None]
        if found["node"] or found["pod"]:
            return kept[0] if kept else gone
        return {"metadata": {}, "items": kept or None}

    def _node(self, name: str, step: int) -> Any:
        usage = _usage(self._world.sets[step].get(f"node:{name}"))
        return usage and {"metadata": {"name": name}, **self._when(step), "usage": usage}

    def _pod(self, pod: Mapping[str, Any], step: int) -> Any:
        meta, sets = pod["metadata"], self._world.sets[step]
        key = f"namespace:{meta['namespace']}/pod:{meta['name']}"
        names = [container["name"] for container in pod["spec"]["containers"]]
        usages = [_usage(sets.get(f"{key}/container:{name}")) for name in names]
        if not all(usages):
            return None
        containers = [{"name": name, "usage": usage} for name, usage in zip(names, usages, strict=True)]
        named = {"name": meta["name"], "namespace": meta["namespace"]}
        return {"metadata": named, **self._when(step), "containers": containers}

    def _when(self, step: int) -> dict[str, str]:
        return {"timestamp": rfc3339(self._world.timestamps[step] // SECOND), "window": "1m0s"}


def _query(text: str) -> dict[str, str]:
    """The first value of each parameter; Go drops a pair that is wrongly encoded."""
    pairs = "&".join(pair for pair in text.split("&") if not re.search("%(?![0-9a-fA-F]{2})", pair))
    return {name: values[0] for name, values in parse_qs(pairs).items()}


def _good(query: Mapping[str, str]) -> bool:
    """Whether times can be read and labels are pairs."""
    pairs = [pair.partition(":") for pair in query.get("labels", "").split(",") if query.get("labels")]
    try:
        for name in ("start", "end"):
            if query.get(name):
                ns(query[name])
    except ValueError:
        return False
    return all(name and value for name, _, value in pairs)


@dataclass(frozen=True)
class Point:
    """One point of the past."""

    time: int
    value: Value
    series: list[tuple[str, str]]
    """Its tags: one entity may have several series over time."""


def aggregated(found: Sequence[Point], functions: Sequence[str], size: int, start: int) -> Any:
    """Buckets of `size` ns (0: one) as InfluxDB makes them; a lone selector has its own point's time.

    `found` comes series by series.
    """
    buckets: dict[int, list[Point]] = {}
    for point in found:
        buckets.setdefault(point.time - point.time % size if size else start + 1, []).append(point)
    rows = []
    for begin, inside in sorted(buckets.items()):
        picked = {name: _aggregate(name, inside) for name in functions}
        time = begin
        if not size and len(functions) == 1 and functions[0] not in {"average", "median", "count"}:
            time = _picked(functions[0], inside)
        rows.append((time, picked))
    whole = {name: all(float(row[name]).is_integer() for _, row in rows) for name in functions}
    return {"buckets": [_bucket_document(time, row, whole) for time, row in rows], "bucketSize": size}


def _aggregate(name: str, inside: Sequence[Point]) -> Value:
    ordered = sorted(point.value for point in inside)
    if name == "count":
        return len(ordered)
    if name == "average":
        return _mean(inside)
    if name == "median":
        middle = len(ordered) // 2
        if len(ordered) % 2:
            return ordered[middle]
        low, high = ordered[middle - 1], ordered[middle]
        return low + (high - low) / 2
    if name in {"max", "min"}:
        return ordered[-1] if name == "max" else ordered[0]
    return ordered[_place(name, len(ordered))]


def _mean(inside: Sequence[Point]) -> float:
    """The mean of each series, weighed by its points: the last digits of floats depend on it."""
    total: Value = 0
    for _, points in groupby(inside, lambda point: point.series):
        values = [point.value for point in points]
        total += sum(values) / len(values) * len(values) if len(values) > 1 else values[0]
    return total / len(inside)


def _place(name: str, count: int) -> int:
    return max(int(count * int(name.removesuffix("-perc")) / 100 + 0.5) - 1, 0)


def _picked(name: str, inside: Sequence[Point]) -> int:
    """The time of the point that a selector picks."""
    if name in {"max", "min"}:
        extreme = (max if name == "max" else min)(point.value for point in inside)
        return min(point.time for point in inside if point.value == extreme)
    ordered = sorted(inside, key=lambda point: point.value)
    return ordered[_place(name, len(ordered))].time


FUNCTIONS = {"average", "max", "min", "median", "count", "50-perc", "95-perc", "99-perc"}
_FIELDS = {"average": "average", "max": "maximum", "min": "minimum", "median": "median"}


def _bucket_document(time: int, row: Mapping[str, Value], whole: Mapping[str, bool]) -> Any:
    made: dict[str, Any] = {"timestamp": _time(time)}
    for name, value in row.items():
        shown = {"intValue": int(value)} if whole[name] else {"floatValue": float(value)}
        if name == "count":
            made["count"] = int(value)
        elif name in _FIELDS:
            made[_FIELDS[name]] = shown
        else:
            made.setdefault("percentiles", {})[name.removesuffix("-perc")] = shown
    return made


def _time(time: int) -> str:
    text, fraction = rfc3339(time // SECOND), time % SECOND
    return text if not fraction else f"{text[:-1]}.{fraction:09d}".rstrip("0") + "Z"


def _bucket(text: str) -> int | None:
    """ns; 0 without a bucket, None for what is refused."""
    if not text:
        return 0
    found = re.fullmatch(r"([0-9]+)(ms|s|m|h|d)", text)
    return int(found[1]) * _UNITS[found[2]] if found else None


def _key(found: re.Match[str]) -> str:
    if found["node"]:
        return f"node:{found['node']}" + (f"/container:{found['free']}" if found["free"] else "")
    if not found["namespace"]:
        return "cluster"
    key = f"namespace:{found['namespace']}" + (f"/pod:{found['pod']}" if found["pod"] else "")
    return key + (f"/container:{found['container']}" if found["container"] else "")


def _labels(query: Mapping[str, str]) -> Labels:
    pairs = [pair.partition(":") for pair in query.get("labels", "").split(",") if pair]
    return tuple(sorted((name, value) for name, _, value in pairs))


def _series(found: Sequence[tuple[int, Value]]) -> Any:
    return {
        "metrics": [{"timestamp": _time(time), "value": int(value) % 2**64} for time, value in found],
        "latestTimestamp": _time(max(time for time, _ in found)) if found else ZERO,
    }


def _exported(one: Entity, now: str) -> Any:
    since = _time(one.create_ns) if one.create_ns else ZERO
    metrics: dict[str, list[Any]] = {}
    for name, value in one.metrics.items():
        if name in EXPORTED:
            metrics[name] = [{"start": since if name in CUMULATIVE else now, "end": now, "value": value}]
    for (name, labels), value in one.labeled.items():
        point = {"start": now, "end": now, "labels": dict(labels), "value": value}
        metrics.setdefault(name, []).append(point)
    labels = {name: one.labels[name] for name in EXPORTED_LABELS if name in one.labels}
    forced = {"node": "machine", "pod": "/pod"}.get(one.labels["type"])
    return {"metrics": metrics, "labels": labels | ({"container_name": forced} if forced else {})}


def _usage(one: Entity | None) -> dict[str, str] | None:
    if one is None or "cpu/usage_rate" not in one.metrics or "memory/working_set" not in one.metrics:
        return None
    return {
        "cpu": millis(int(one.metrics["cpu/usage_rate"])),
        "memory": binary(int(one.metrics["memory/working_set"])),
    }


def millis(value: int) -> str:
    """A canonical decimal quantity of thousandths."""
    return str(value // 1000) if value % 1000 == 0 else f"{value}m"


def binary(value: int) -> str:
    """A canonical binary quantity."""
    for power, suffix in ((60, "Ei"), (50, "Pi"), (40, "Ti"), (30, "Gi"), (20, "Mi"), (10, "Ki")):
        if value and value % (1 << power) == 0:
            return f"{value >> power}{suffix}"
    return str(value)


def _selected(objects: Sequence[Mapping[str, Any]], query: Mapping[str, str]) -> list[Mapping[str, Any]]:
    matches = selectors.parse(query.get("labelSelector", ""))
    return [each for each in objects if matches(each["metadata"].get("labels") or {})]
