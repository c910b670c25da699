"""What was recorded of Heapster on a small cluster (tests/captures/golden): inputs by step, and what it made of them.

Nothing here knows our code: the inputs are replayed to a collector and the outputs are what it is judged by.
"""

import calendar
import gzip
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

GOLDEN = Path(__file__).parents[1] / "captures" / "golden"
SOURCES = ("summary", "kubelet")
STEPS = 11
SECOND = 1_000_000_000
SHORT_RETENTION_NS = 140 * SECOND

_TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d?):(\d\d):(\d\d)(?:[.,](\d+))?(Z|([+-]\d\d:\d\d))", re.ASCII)

Labels = tuple[tuple[str, str], ...]
Cell = tuple[int, str, str, Labels]
"""Step, key of the set, metric, and the labels of a labelled value (none for a plain one)."""


@cache
def unpack(name: str) -> Any:
    """A gzipped JSON document below GOLDEN."""
    return json.loads(gzip.decompress((GOLDEN / name).read_bytes()))


def ns(text: str) -> int:
    """RFC 3339, as generously as Go reads it -> ns since the epoch. ValueError when it is none."""
    found = _TIME.fullmatch(text)
    if found is None:
        raise ValueError(text)
    if found[1] == "0000":
        return -(2**63)  # Go knows a year 0: before everything
    seconds = calendar.timegm(tuple(int(part) for part in found.groups()[:6]))
    if found[8] not in {"Z", None}:
        offset = int(found[9][1:3]) * 3600 + int(found[9][4:]) * 60
        seconds -= -offset if found[9].startswith("-") else offset
    return seconds * SECOND + int((found[7] or "0").ljust(9, "0")[:9])


def rfc3339(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True)
class Kubelet:
    """What one kubelet answers in one step. No `status` means that nothing listens."""

    address: str
    answers: Mapping[str, tuple[int, str, bytes] | None]
    """`summary` and `cadvisor` -> status, content type, body."""


@dataclass(frozen=True)
class Inputs:
    """Everything that can be read of the cluster in one step."""

    objects: Mapping[str, list[dict[str, Any]]]
    """`nodes`, `pods`, `namespaces` -> core/v1 objects."""
    kubelets: Mapping[str, Kubelet]
    """Node name -> its kubelet."""


@cache
def inputs(step: int) -> Inputs:
    """The recorded inputs of a step."""
    document = unpack(f"inputs/step-{step:02d}.json.gz")
    kubelets = {
        name: Kubelet(
            one["address"],
            {
                kind: (answer["status"], answer["ctype"], answer["body"].encode()) if answer["mode"] == "ok" else None
                for kind, answer in one.items()
                if kind in {"summary", "cadvisor"}
            },
        )
        for name, one in document["kubelets"].items()
    }
    return Inputs({plural: document[plural] for plural in ("nodes", "pods", "namespaces")}, kubelets)


@dataclass(frozen=True)
class Question:
    """One recorded request and Heapster's answer to it."""

    source: str
    capture: int | None
    """The step after which it was asked; None: at the end, with the historical API."""
    method: str
    target: str
    headers: Mapping[str, str]
    answer: Mapping[str, Any] = field(repr=False)

    @property
    def group(self) -> str:
        """The recorder's class."""
        return str(self.answer["class"])

    @property
    def step(self) -> int:
        """The newest step that the answer can know of."""
        return STEPS - 1 if self.capture is None else self.capture

    def __str__(self) -> str:
        when = "at the end" if self.capture is None else f"after step {self.capture}"
        shown = "".join(f" [{name}: {value}]" for name, value in self.headers.items())
        return f"{self.source} {when}: {self.method} {self.target}{shown}"


class Recording:
    """Heapster's output with one of the two sources."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.command: list[str] = json.loads((GOLDEN / source / "command.json").read_text())["collector"]
        timeline = json.loads((GOLDEN / source / "timeline.json").read_text())["timeline"]
        self.timestamps = [ns(one["batch"]) for one in timeline]
        assert [one["step"] for one in timeline] == list(range(STEPS))
        self.batches = [step["sets"] for step in unpack(f"{source}/batches.json.gz")]
        """By step: key -> `labels`, `metrics`, `labeled`, `scrape_ns`, `create_ns`."""

    def arrival(self, step: int) -> float:
        """When the store got a step's batch, Unix time in s: five seconds after its window, 25 when a node refused."""
        return self.timestamps[step] / SECOND + (25 if self._refusing(step) else 5)

    def decoded(self, step: int) -> float:
        """When the kubelets were asked in a step, Unix time in s."""
        return self.timestamps[step] / SECOND + 5

    def taken(self, capture: int | None) -> float:
        """When the answers of a capture were asked for, Unix time in s."""
        return ns(self._document(capture)["meta"]["taken_at"]) / SECOND

    def held(self, step: int) -> list[int]:
        """The steps whose whole batches the store holds after `step`."""
        oldest = self.arrival(step) * SECOND - SHORT_RETENTION_NS
        return [one for one in range(step) if self.timestamps[one] > oldest] + [step]

    def questions(self, capture: int | None) -> list[Question]:
        """Every recorded request of a capture, the symbolic times of its path filled in."""
        first, last = self.timestamps[0] // SECOND, self.timestamps[self.step_of(capture)] // SECOND
        found = []
        for key, answer in self._document(capture)["responses"].items():
            method, target, headers = _key(key)
            found.append(Question(self.source, capture, method, _with_times(target, first, last), headers, answer))
        return found

    def step_of(self, capture: int | None) -> int:
        return STEPS - 1 if capture is None else capture

    def wire(self) -> list[dict[str, Any]]:
        """The requests that Heapster sent to InfluxDB, in order."""
        text = gzip.decompress((GOLDEN / self.source / "influx-wire.jsonl.gz").read_bytes())
        return [json.loads(line) for line in text.splitlines()]

    def lines(self) -> list[str]:
        """Every point found in InfluxDB afterwards, as line protocol with `@STEP` for a time."""
        text = gzip.decompress((GOLDEN / self.source / "influx-lines.txt.gz").read_bytes())
        return text.decode().splitlines()

    def schema(self) -> dict[str, Any]:
        """Policies, and per measurement field types, tag keys and the number of series."""
        found: dict[str, Any] = unpack(f"{self.source}/influx-schema.json.gz")
        return found

    def _document(self, capture: int | None) -> Any:
        name = "final" if capture is None else f"step-{capture:02d}"
        return unpack(f"{self.source}/capture-{name}.json.gz")

    def _refusing(self, step: int) -> bool:
        kind = "summary" if self.source == "summary" else "cadvisor"
        return any(kubelet.answers[kind] is None for kubelet in inputs(step).kubelets.values())


@cache
def recording(source: str) -> Recording:
    return Recording(source)


def _key(key: str) -> tuple[str, str, dict[str, str]]:
    """`METHOD target [Header: value]`, of which method and header may be missing."""
    method, target = ("GET", key) if key.startswith("/") else tuple(key.split(" ", 1))
    header = re.fullmatch(r"(.*) \[([A-Za-z-]+): ?(.*)\]", target)
    return (method, header[1], {header[2]: header[3]}) if header else (method, target, {})


def _with_times(target: str, first: int, last: int) -> str:
    def moment(match: re.Match[str]) -> str:
        return rfc3339((first if match[1] == "first" else last) + int(match[2] or 0))

    return re.sub(r"\{(first|last)([+-]\d+)?\}", moment, target)
