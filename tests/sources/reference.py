"""The slow, obvious decoder of the kubelet's summary: one dictionary per entity, one line per rule.

Written from the behaviour reference (sections 3.3 to 3.8) and not from the code under test. Where we differ from
Heapster on purpose (docs/data-model.md): a number that is no integer from 0 to 2^63-1 is absent, null is missing, an
object without the names it needs is left out, and an entity that starts in the future has no uptime.
"""

import calendar
import json
import math
import re
from decimal import Decimal
from fractions import Fraction
from typing import Any

from tests.sources.observed import Entity, Key

LARGEST = 2**63 - 1
SYSTEM_NAMES = {"runtime": "docker-daemon", "misc": "system"}
FILESYSTEM = (
    ("filesystem/usage", "usedBytes"),
    ("filesystem/limit", "capacityBytes"),
    ("filesystem/available", "availableBytes"),
    ("filesystem/inodes", "inodes"),
    ("filesystem/inodes_free", "inodesFree"),
    ("filesystem/inodes_used", "inodesUsed"),
)
ACCELERATOR = (
    ("accelerator/memory_total", "memoryTotal"),
    ("accelerator/memory_used", "memoryUsed"),
    ("accelerator/duty_cycle", "dutyCycle"),
)
CPU_AND_MEMORY = (
    ("cpu/usage", "cpu", "usageCoreNanoSeconds"),
    ("memory/usage", "memory", "usageBytes"),
    ("memory/working_set", "memory", "workingSetBytes"),
    ("memory/rss", "memory", "rssBytes"),
    ("memory/page_faults", "memory", "pageFaults"),
    ("memory/major_page_faults", "memory", "majorPageFaults"),
)
NETWORK = (
    ("network/rx", "network", "rxBytes"),
    ("network/rx_errors", "network", "rxErrors"),
    ("network/tx", "network", "txBytes"),
    ("network/tx_errors", "network", "txErrors"),
)

# What Heapster did not read, from Kubernetes' stats/v1alpha1.
OF_EVERYTHING = (
    ("memory/available", "memory", "availableBytes"),
    ("swap/usage", "swap", "swapUsageBytes"),
    ("swap/available", "swap", "swapAvailableBytes"),
    ("cpu/pressure_some", "cpu.psi.some", "total"),
    ("cpu/pressure_full", "cpu.psi.full", "total"),
    ("memory/pressure_some", "memory.psi.some", "total"),
    ("memory/pressure_full", "memory.psi.full", "total"),
    ("io/pressure_some", "io.psi.some", "total"),
    ("io/pressure_full", "io.psi.full", "total"),
)
OF_NODES = (
    ("pid/used", "rlimit", "curproc"),
    ("pid/max", "rlimit", "maxpid"),
    ("ephemeral_storage/inodes_used", "fs", "inodesUsed"),
    *(
        (f"{place}/{what}", f"runtime.{part}", name)
        for place, part in (("imagefs", "imageFs"), ("containerfs", "containerFs"))
        for what, name in (
            ("usage", "usedBytes"),
            ("capacity", "capacityBytes"),
            ("available", "availableBytes"),
            ("inodes", "inodes"),
            ("inodes_free", "inodesFree"),
            ("inodes_used", "inodesUsed"),
        )
    ),
)
OF_PODS = (
    ("process/count", "process_stats", "process_count"),
    ("ephemeral_storage/inodes_used", "ephemeral-storage", "inodesUsed"),
)


DEEPEST = 64
"""Levels that are read (collector/sources/limits.py)."""


class NoSummaryError(Exception):
    """The bytes are no summary."""


def reference(body: bytes, read_at: int) -> dict[Key, Entity]:
    """What a batch of this one answer must hold; raises NoSummaryError."""
    try:
        text = body.decode("utf-8", "surrogateescape")
        tree = json.loads(text, parse_int=Decimal, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise NoSummaryError from error
    if (
        min(_depth(text, within_texts=True), _depth(text, within_texts=False)) > DEEPEST
        or not isinstance(tree, dict)
        or not isinstance(tree.get("node"), dict)
        or not _is_name(tree["node"].get("nodeName"))
    ):
        raise NoSummaryError
    return _Reference(tree["node"]["nodeName"], read_at).entities_of(tree)


def _depth(text: str, *, within_texts: bool) -> int:
    """How many brackets are open at once at most. Those within texts count too, or not: to be refused it takes both."""
    depth = deepest = 0
    in_text = escaped = False
    for character in text:
        if in_text and not within_texts:
            in_text = escaped or character != '"'
            escaped = not escaped and character == "\\"
        elif character == '"':
            in_text = not within_texts
        elif character in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "]}":
            depth -= 1
    return deepest


class _Reference:
    def __init__(self, node: str, read_at: int) -> None:
        self.node = node
        self.read_at = read_at
        self.found: dict[Key, Entity] = {}

    def entities_of(self, tree: dict[str, Any]) -> dict[Key, Entity]:
        node = tree["node"]
        labels = {"nodename": self.node, "hostname": self.node, "host_id": ""}

        entity = self.entity(node, "node", labels, clocks=("cpu", "memory", "network"))
        entity.times |= _first_of(entity, "cpu", "memory", "network")
        entity.metrics |= _counts(node, CPU_AND_MEMORY + NETWORK + (("ephemeral_storage/usage", "fs", "usedBytes"),))
        entity.metrics |= _counts(node, OF_EVERYTHING + OF_NODES)
        entity.labeled += _filesystem(node.get("fs"), "/")
        self.found["node", self.node] = entity

        for item in _items(node.get("systemContainers")):
            if _is_name(item.get("name")):
                name = SYSTEM_NAMES.get(item["name"], item["name"])
                container = self.container(item, "sys_container", labels | {"container_name": name})
                self.found["sys_container", self.node, name] = container  # the later one counts

        for pod in _items(tree.get("pods")):
            self.add_pod(pod, labels)
        return self.found

    def add_pod(self, pod: dict[str, Any], labels: dict[str, str]) -> None:
        pod_ref = pod.get("podRef")
        if not isinstance(pod_ref, dict) or not _is_name(pod_ref.get("name")) or not _is_name(pod_ref.get("namespace")):
            return
        name, namespace = pod_ref["name"], pod_ref["namespace"]
        labels = labels | {"pod_id": _text(pod_ref.get("uid")), "pod_name": name, "namespace_name": namespace}

        entity = self.entity(pod, "pod", labels, clocks=("cpu", "memory", "network"))
        entity.times |= _first_of(entity, "network")
        ephemeral = ("ephemeral_storage/usage", "ephemeral-storage", "usedBytes")
        entity.metrics |= _counts(pod, CPU_AND_MEMORY + NETWORK + (ephemeral,))
        entity.metrics |= _counts(pod, OF_EVERYTHING + OF_PODS)
        for volume in _items(pod.get("volume")):
            entity.labeled += _filesystem(volume, f"Volume:{_text(volume.get('name'))}")
        self.found["pod", namespace, name] = entity  # the later one counts

        for item in _items(pod.get("containers")):
            if not _is_name(item.get("name")):
                continue
            container = self.container(item, "pod_container", labels | {"container_name": item["name"]})
            key = ("pod_container", namespace, name, item["name"])
            before = self.found.get(key)
            if before is None or container.times.get("start", 0) >= before.times.get("start", 0):
                self.found[key] = container
        for other, found in self.found.items():
            if other[:3] == ("pod_container", namespace, name):
                found.labels["pod_id"] = labels["pod_id"]  # one pod has one uid, the one reported last

    def entity(self, item: dict[str, Any], kind: str, labels: dict[str, str], clocks: tuple[str, ...]) -> Entity:
        entity = Entity({"type": kind, **labels})
        start = _ns(item.get("startTime"))
        if start:
            entity.times["start"] = start
            if start <= self.read_at:
                entity.metrics["uptime"] = (self.read_at - start) // 1_000_000
        for clock in clocks:
            time = _ns(_object(item.get(clock)).get("time"))
            if time:
                entity.times[clock] = time
        return entity

    def container(self, item: dict[str, Any], kind: str, labels: dict[str, str]) -> Entity:
        entity = self.entity(item, kind, labels, clocks=("cpu", "memory"))
        entity.times |= _first_of(entity, "cpu", "memory")
        entity.metrics |= _counts(item, CPU_AND_MEMORY + OF_EVERYTHING)

        rootfs = _count(_object(item.get("rootfs")).get("usedBytes"))
        logs = _count(_object(item.get("logs")).get("usedBytes"))
        if rootfs is not None and logs is not None and rootfs + logs <= LARGEST:
            entity.metrics["ephemeral_storage/usage"] = rootfs + logs

        for accelerator in _items(item.get("accelerators")):
            label_set = tuple(
                (label, _text(accelerator.get(name)))
                for label, name in (("make", "make"), ("model", "model"), ("accelerator_id", "id"))
            )
            for metric, name in ACCELERATOR:
                given = accelerator.get(name)
                value = 0 if given is None else _count(given)
                if value is not None:
                    entity.labeled.append((metric, label_set, value))
        entity.labeled += _filesystem(item.get("rootfs"), "/")
        entity.labeled += _filesystem(item.get("logs"), "logs")

        for custom in _items(item.get("userDefinedMetrics")):
            number = _float(custom.get("value"))
            known_type = custom.get("type") in ("gauge", "cumulative", "delta")
            if _is_name(custom.get("name")) and known_type and number is not None:
                entity.metrics[f"custom/{custom['name']}"] = number
        return entity


def _refuse(text: str) -> None:
    raise ValueError(text)


def _items(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    try:
        return value.encode().decode() if isinstance(value, str) and len(value) <= 253 else ""
    except UnicodeEncodeError:
        return ""


def _is_name(value: Any) -> bool:
    return 1 <= len(_text(value)) <= 253


def _count(value: Any) -> int | None:
    return int(value) if isinstance(value, Decimal) and 0 <= value <= LARGEST else None


def _float(value: Any) -> float | None:
    if value is None:
        return 0.0
    if isinstance(value, Decimal | float) and math.isfinite(float(value)):
        return float(value)
    return None


def _counts(item: dict[str, Any], fields: tuple[tuple[str, str, str], ...]) -> dict[str, int]:
    read = {}
    for metric, part, name in fields:
        holder = item
        for step in part.split("."):
            holder = _object(holder.get(step))
        read[metric] = _count(holder.get(name))
    return {metric: value for metric, value in read.items() if value is not None}


def _filesystem(value: Any, resource_id: str) -> list[tuple[str, tuple[tuple[str, str], ...], int]]:
    read = [(metric, _count(_object(value).get(name))) for metric, name in FILESYSTEM]
    return [(metric, (("resource_id", resource_id),), value) for metric, value in read if value is not None]


def _first_of(entity: Entity, *clocks: str) -> dict[str, int]:
    return next(({"scrape": entity.times[clock]} for clock in clocks if clock in entity.times), {})


def _ns(value: Any) -> int:
    """Nanoseconds since the epoch of an RFC 3339 time; 0 for everything else and for times that do not fit."""
    if not isinstance(value, str):
        return 0
    match = re.fullmatch(
        r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt]([0-9]{2}):([0-9]{2}):([0-9]{2})(\.[0-9]{1,18})?"
        r"([Zz]|([+-])([0-9]{2}):([0-9]{2}))",
        value,
    )
    if match is None:
        return 0
    year, month, day, hour, minute, second = (int(match[i]) for i in range(1, 7))
    offset = 0
    if match[9]:
        if int(match[10]) > 23 or int(match[11]) > 59:
            return 0
        offset = int(match[9] + "1") * (int(match[10]) * 3600 + int(match[11]) * 60)
    if not (year >= 1 and 1 <= month <= 12 and 1 <= day <= calendar.monthrange(year, month)[1]):
        return 0
    if hour > 23 or minute > 59 or second > 59:
        return 0
    seconds = calendar.timegm((year, month, day, hour, minute, second)) - offset
    ns = seconds * 10**9 + math.floor(Fraction("0" + (match[7] or ".0")) * 10**9)
    return ns if 0 < ns <= LARGEST else 0
