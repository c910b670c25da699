"""Every recorded answer of the historical API: the original's over InfluxDB 1.6.7, and ours where it shall differ."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from api.golden import Recorded, Replay, recorded

from collector.api.route import Context
from collector.history.contracts import History
from tests.sinks.exact import exact

ROOT = "/api/v1/historical"
FINAL = "capture-final.json.gz"

ORDER = ("metrics", "latestTimestamp", "buckets", "bucketSize")
BUCKET_ORDER = ("timestamp", "count", "average", "maximum", "minimum", "median", "percentiles")

NO_DATA = ("No results for metric ", "Unable to list ")
FORBIDDEN = "Invalid "

Answered = tuple[int, str, bytes]
"""Status, content type, body."""


def questions(source: str) -> list[Recorded]:
    """What was asked of the historical API after the last step."""
    return [question for question in recorded(source, FINAL) if question.target.startswith(ROOT)]


def context(source: str, history: History) -> Context:
    """The recorded cluster after its last step, with that past."""
    replay = Replay(source)
    replay.until(10)
    return replace(replay.context, history=history)


def original(question: Recorded) -> Answered:
    """What Heapster answered, its random order of names put straight."""
    answer = question.answer
    if "text" in answer:
        return answer["status"], answer["ctype"], answer["text"].encode()
    body = _in_order(answer["body"])
    if answer["style"] == "pretty":
        text = json.dumps(body, indent=1).replace("\n", "\n ")
    else:
        text = json.dumps(body, separators=(",", ":")) + "\n"
    return answer["status"], answer["ctype"], text.encode()


def _in_order(body: Any) -> Any:
    if isinstance(body, list):
        return sorted(body)
    if "items" in body:
        return {"items": [_in_order(item) for item in body["items"]]}
    found = {name: body[name] for name in ORDER if name in body}
    if "buckets" in found:
        found["buckets"] = [{name: one[name] for name in BUCKET_ORDER if name in one} for one in found["buckets"]]
    assert found == body
    return found


def expected(question: Recorded, source: str, *, pod_ids_missing: str = "") -> tuple[str, Answered]:
    """Our answer, and why it is not the original's ("" when it is)."""
    status, kind, body = original(question)
    listed = _lists(source).get(question.target.removeprefix(ROOT).rstrip("/"))
    if listed is not None:  # the wrong column of the database's reply, or a column that it no longer has
        text = json.dumps(listed, indent=1).replace("\n", "\n ")
        return "F10 lists", (200, "application/json", text.encode())
    if "/pod-id" in question.target:
        note = f" ({pod_ids_missing})" if pod_ids_missing else ""
        return "F10 pod ids, F11 no data", (404, kind, body + note.encode())
    if status == 500 and body.decode().startswith(FORBIDDEN):
        return "F11 forbidden characters", (400, kind, body)
    if status == 500 and body.decode().startswith(NO_DATA):
        return "F11 no data", (404, kind, body)
    return "", (status, kind, body)


def _lists(source: str) -> dict[str, list[str]]:
    """Path -> the names that a list should have held: of every step."""
    found: dict[str, set[str]] = {}
    for path, name in _names(source):
        found.setdefault(path, set()).add(name)
    return {path: sorted(names) for path, names in found.items()}


def _names(source: str) -> Iterator[tuple[str, str]]:
    for step in exact(source):
        for entity in step["sets"].values():
            labels = entity["labels"]
            match labels["type"]:
                case "node":
                    yield "/nodes", labels["nodename"]
                case "ns":
                    yield "/namespaces", labels["namespace_name"]
                case "pod":
                    yield f"/namespaces/{labels['namespace_name']}/pods", labels["pod_name"]
                case "sys_container":
                    yield f"/nodes/{labels['nodename']}/freecontainers", labels["container_name"]
