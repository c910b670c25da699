"""The recorded batches and answers of the original, and a MetricStore filled from those batches.

`tests/captures/golden/<source>/` holds `batches.json.gz` (every metric set of every step) and `capture-*.json.gz`
(what the REST API answered after a step), for the sources `summary` and `kubelet`.
"""

import gzip
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from collector.api.route import Context
from collector.core.batch import DataBatch
from collector.core.entities import EntityTable
from collector.core.metrics import FLOAT64, GROUPS, Clock, Kind, MetricTable
from collector.core.store import MetricStore
from collector.kube import wire
from collector.kube.build import Builder, Oddities
from collector.selfmetrics import SelfMetrics

CAPTURES = Path(__file__).parent.parent / "captures" / "golden"
NO_TIME = -6795364578871345152
"""How the recordings print a time that was never set."""
SECOND = 1_000_000_000


@dataclass(frozen=True)
class Recorded:
    """One recorded answer."""

    method: str
    target: str
    headers: dict[str, str]
    answer: dict[str, Any]

    @property
    def group(self) -> str:
        return self.answer["class"]

    def body(self) -> bytes:
        """The bytes the original sent, its random order of names put straight."""
        if "text" in self.answer:
            return self.answer["text"].encode()
        body, style = self.answer["body"], self.answer["style"]
        if self.target.startswith("/api/v1/metric-export-schema"):
            body = _in_order(body, SCHEMA_FIELDS)
        elif self.target.startswith("/api/v1/metric-export"):
            body = [_in_order(entity, EXPORT_FIELDS) for entity in body]
            body.sort(key=lambda entity: json.dumps(entity, separators=(",", ":")))
        elif isinstance(body, list):
            body = sorted(body)
        elif self.target.startswith("/apis/"):
            body = _usage_in_order(body)
        elif "items" in body:
            body = {"items": [_fields_in_order(item) for item in body["items"]]}
        else:
            body = _fields_in_order(body)
        if style == "pretty":
            return json.dumps(body, indent=1).replace("\n", "\n ").encode()
        return (json.dumps(body, separators=(",", ":")) + ("\n" if style == "compact+nl" else "")).encode()


EXPORT_FIELDS = ("metrics", "start", "end", "labels", "value")
SCHEMA_FIELDS = (
    *("metrics", "common_labels", "pod_labels"),
    *("name", "key", "description", "labels", "type", "value_type", "units"),
)
"""Fields of objects in the order the original wrote them; a map's keys, which are none of these, are sorted."""


def _in_order(value: Any, fields: tuple[str, ...]) -> Any:
    """`value` with the fields of its objects in order: the recordings sorted them."""
    if isinstance(value, list):
        return [_in_order(item, fields) for item in value]
    if isinstance(value, float):
        return round(value, 6)  # the replayed batches hold no more: the log sink printed them
    if not isinstance(value, dict):
        return value
    names = sorted(value, key=lambda name: (fields.index(name) if set(value) <= set(fields) else 0, name))
    return {name: _in_order(value[name], fields) for name in names}


def straightened(target: str, body: bytes) -> bytes:
    """An export's entities sorted, their bytes as they are; any other body as it is."""
    if not target.startswith("/api/v1/metric-export") or not body.startswith(b"[{"):
        return body
    entities = body.removeprefix(b"[").removesuffix(b"]\n").replace(b'},{"metrics"', b'}\n{"metrics"').split(b"\n")
    return b"[" + b",".join(sorted(entities)) + b"]\n"


def _fields_in_order(series: dict[str, Any]) -> dict[str, Any]:
    return {"metrics": series["metrics"], "latestTimestamp": series["latestTimestamp"]}


def _usage_in_order(found: dict[str, Any]) -> dict[str, Any]:
    """A list or an object of the metrics API: its fields in the order they were sent, its items in ours."""
    if "items" in found:
        items = found["items"] and sorted(
            map(_usage_in_order, found["items"]),
            key=lambda item: (item["metadata"].get("namespace"), item["metadata"]["name"]),
        )
        return {"metadata": found["metadata"], "items": items}
    ordered = _picked(found, ("metadata", "timestamp", "window", "usage", "containers"))
    ordered["metadata"] = _picked(found["metadata"], ("name", "namespace", "creationTimestamp"))
    if "containers" in found:
        ordered["containers"] = [_picked(container, ("name", "usage")) for container in found["containers"]]
    return ordered


def _picked(found: dict[str, Any], fields: tuple[str, ...]) -> dict[str, Any]:
    assert set(found) <= set(fields)
    return {field: found[field] for field in fields if field in found}


def without_creation_times(body: bytes) -> bytes:
    """`body` without the one time in it that is the request's own."""
    return re.sub(rb'("creationTimestamp": )"[0-9TZ:-]+"', rb"\1", body)


def missing_pod_is_404(question: Recorded) -> Recorded | None:
    """F14: a pod that does not exist was 500, and is 404 with the same text."""
    if question.answer["status"] == 500 and question.answer.get("text", "").startswith("Error while getting pod "):
        return replace(question, answer={**question.answer, "status": 404})
    return None


def old_root_is_served(question: Recorded, others: dict[str, Recorded]) -> Recorded | None:
    """F15: the root of 1.5.4 was not there at HEAD, and answers like the other one."""
    old, new = "/apis/metrics/v1alpha1", "/apis/metrics.k8s.io/v1alpha1"
    if question.target in {old, f"{old}/nodes", f"{old}/pods"}:
        assert question.answer["text"] == "404 page not found\n"
        return replace(question, answer=others[question.target.replace(old, new)].answer)
    return None


@cache
def read(name: str) -> Any:
    return json.loads(gzip.decompress((CAPTURES / name).read_bytes()))


def captures(source: str) -> list[str]:
    return sorted(path.name for path in (CAPTURES / source).glob("capture-*.json.gz"))


def recorded(source: str, capture: str) -> Iterator[Recorded]:
    """Every answer of one capture as it must be given: F14 and F15 differ deliberately (docs/compatibility.md)."""
    as_sent = list(_as_sent(source, capture))
    by_target = {each.target: each for each in as_sent if each.method == "GET" and not each.headers}
    for question in as_sent:
        yield missing_pod_is_404(question) or old_root_is_served(question, by_target) or question


def _as_sent(source: str, capture: str) -> Iterator[Recorded]:
    """Every answer of one capture, the symbolic times of its paths filled in."""
    document = read(f"{source}/{capture}")
    first, last = _instant(document["batches"][0]), _instant(document["batches"][-1])
    for key, answer in document["responses"].items():
        method, _, rest = key.partition(" ") if not key.startswith("/") else ("GET", "", key)
        target, headers = rest, {}
        header = re.fullmatch(r"(.*) \[([A-Za-z-]+): ?(.*)\]", rest)
        if header is not None:
            target, headers = header[1], {header[2]: header[3]}
        yield Recorded(method, _with_times(target, first, last), headers, answer)


def _with_times(target: str, first: int, last: int) -> str:
    def moment(match: re.Match[str]) -> str:
        at = (first if match[1] == "first" else last) + int(match[2] or 0)
        return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    return re.sub(r"\{(first|last)([+-]\d+)?\}", moment, target)


def _instant(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())


class Cluster:
    """The recorded cluster: batches that share one entity table."""

    def __init__(self, source: str = "summary") -> None:
        self.entities = EntityTable()
        self.metrics = MetricTable()
        self.sets = [step["sets"] for step in read(f"{source}/batches.json.gz")]
        document = read(f"{source}/{captures(source)[0]}")
        self.timestamps = [_instant(text) * SECOND for text in document["batches"]]

    def batch(self, step: int) -> DataBatch:
        """The frozen batch of one step."""
        batch = DataBatch(self.entities, self.metrics, self.timestamps[step])
        sets = self.sets[step]
        rows = {key: self._row(key, sets[key]["labels"]) for key in sorted(sets)}
        batch.ensure_rows()
        for key, row in rows.items():
            self._fill(batch, row, sets[key])
        batch.freeze()
        return batch

    def _row(self, key: str, labels: dict[str, str]) -> int:
        entities = self.entities
        parts = re.fullmatch(r"(?:namespace:([^/]*)(?:/pod:([^/]*))?|node:([^/]*))?(?:/container:(.*))?|cluster", key)
        assert parts is not None, key
        namespace, pod, node, container = parts.groups()
        if key == "cluster":
            return entities.cluster
        if node is not None:
            row = entities.node_row(node)
            if container is not None:
                return entities.child_row(Kind.SYS_CONTAINER, row, container, row)
            own = {name: value for name, value in labels.items() if name not in {"type", "nodename"}}
            entities.set_own_labels(row, own)
            return row
        if pod is None:
            row = entities.namespace_row(namespace)
            entities.set_own_labels(row, {"namespace_id": labels.get("namespace_id", "")})
            return row
        on = entities.node_row(labels.get("nodename") or labels["hostname"])
        row = entities.pod_row(namespace, pod, on)
        entities.place(np.array([row], np.int32), np.array([on], np.int32))
        if container is None:
            entities.uid[row] = labels.get("pod_id", "")
            entities.set_own_labels(row, {"labels": labels["labels"]} if "labels" in labels else {})
            return row
        row = entities.child_row(Kind.POD_CONTAINER, row, container, on)
        entities.set_own_labels(row, {name: labels[name] for name in ("container_base_image",) if name in labels})
        return row

    def _fill(self, batch: DataBatch, row: int, found: dict[str, Any]) -> None:
        batch.exists[row] = True
        for clock, field in ((Clock.SCRAPE, "scrape_ns"), (Clock.START, "create_ns")):
            batch.times[clock, row] = 0 if found[field] == NO_TIME else found[field]
        for name, value in found["metrics"].items():
            m = self.metrics.find(name)
            if m is None:
                m = self.metrics.custom(name[7:]) if name.startswith("custom/") else None
            if m is None:
                m = self.metrics.resource_request(name.removesuffix("/request"))
            assert m is not None
            dtype = FLOAT64 if self.metrics.descriptors[m].is_float else np.int64
            batch.put(m, np.array([row]), np.array([value], dtype))
        for value in found["labeled"]:
            group = next(group for group in GROUPS if group.column(value["name"]) is not None)
            column = group.column(value["name"])
            assert column is not None
            cells = np.full((len(group.metrics), 1), -1, np.int64)
            cells[column, 0] = np.array([value["value"]], group.metrics[column].dtype).view(np.int64)[0]
            pairs = tuple(sorted(value["labels"].items()))
            label = self.entities.labels.intern(pairs)
            batch.labeled[group.name].append(np.array([row], np.int32), np.array([label], np.int32), cells)


class Replay:
    """A store fed with the recorded batches at the times the original got them, and the handlers' view of it."""

    def __init__(self, source: str = "summary") -> None:
        self.source = source
        self.cluster = Cluster(source)
        self.now = 0.0
        self.store = MetricStore(clock=lambda: self.now)
        self.context = Context(self.store, SelfMetrics("test"), clock=lambda: self.now)
        self._next = 0
        self._builder = Builder(Oddities("golden"))

    def until(self, step: int) -> None:
        """Feed the batches up to this step."""
        while self._next <= step:
            # A batch is complete 5 s after its timestamp; with a node that refuses (step 6), after 25 s.
            self.now = self.cluster.timestamps[self._next] / SECOND + (25 if self._next == 6 else 5)
            self.store.add(self.cluster.batch(self._next))
            self._list(self._next)
            self._next += 1
        self.now += 1

    def _list(self, step: int) -> None:
        """The nodes and pods that the API server had in one step."""
        inputs, listers = read(f"inputs/step-{step:02d}.json.gz"), self.context.listers
        listers.nodes.replace([self._builder.node(msgspec.convert(each, wire.NodeObject)) for each in inputs["nodes"]])
        listers.pods.replace([self._builder.pod(msgspec.convert(each, wire.PodObject)) for each in inputs["pods"]])
