"""From the inputs of a made-up cluster to the world a collector must hold, by the slow references of other tests.

`sources/reference` decodes, `processors/brute_force` computes; what the API server says is read here, slowly too.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from tests.processors.brute_force import BruteForce, reported
from tests.replay.oldclients import quantity
from tests.replay.recording import SECOND, Inputs
from tests.replay.world import Entity, Sets, World
from tests.sources.reference import NoSummaryError, reference

SPECIFIED = {"cpu": "cpu", "memory": "memory", "ephemeral-storage": "ephemeral_storage"}


@dataclass(frozen=True)
class LabelOptions:
    """--store-label (new name -> old), --ignore-label, --label-separator."""

    store: Mapping[str, str]
    ignore: frozenset[str]
    separator: str


def world_of(shown: Sequence[Inputs], first: int, resolution: int, labels: LabelOptions) -> World:
    """The world of these inputs; windows end at `first` (ns) and every `resolution` ns from there."""
    timestamps = [first + step * resolution for step in range(len(shown))]
    world = World(timestamps, [timestamp / SECOND + 5 for timestamp in timestamps], list(shown))
    brute_force = BruteForce()
    for timestamp, inputs in zip(timestamps, shown, strict=True):
        decoded = int((timestamp / SECOND + 5) * 1e9)
        answers = [_answer(body, decoded) for body in _bodies(inputs)]
        nodes = {each["metadata"]["name"]: _node(each) for each in inputs.objects["nodes"]}
        pods = {(p["metadata"]["namespace"], p["metadata"]["name"]): _pod(p) for p in inputs.objects["pods"]}
        namespaces = {each["metadata"]["name"]: each["metadata"]["uid"] for each in inputs.objects["namespaces"]}
        answers = [answer for answer in answers if answer]
        batch = brute_force.tick(answers, nodes, pods, namespaces, timestamp)
        sets = {key: _entity(found) for key, found in batch.items()}
        _relabel(sets, nodes, pods, labels)
        world.sets.append(sets)
    return world


def _bodies(inputs: Inputs) -> list[bytes]:
    """The answers of nodes that are asked: 3.1."""
    found = []
    for node in inputs.objects["nodes"]:
        conditions = {each["type"]: each["status"] for each in node["status"]["conditions"]}
        answer = inputs.kubelets[node["metadata"]["name"]].answers["summary"]
        if conditions.get("Ready", "True") == "True" and answer is not None and answer[0] == 200:
            found.append(answer[2])
    return found


def _answer(body: bytes, decoded: int) -> dict[str, Any]:
    try:
        found = reference(body, decoded)
    except NoSummaryError:
        return {}
    sets = {}
    for (kind, *names), entity in found.items():
        labels = entity.labels
        inside = {"uid": labels["pod_id"]} if "pod_id" in labels else {}
        if kind in {"node", "sys_container"}:
            key = f"node:{names[0]}"
        else:
            key = f"namespace:{names[0]}/pod:{names[1]}"
            inside |= {"namespace": names[0], "pod": names[1]}
        if kind.endswith("container"):
            key += f"/container:{names[-1]}"
            inside["container"] = names[-1]
        sets[key] = reported(
            kind,
            node=labels["nodename"],
            metrics=entity.metrics,
            times=entity.times,
            labeled=entity.labeled,
            **inside,
        )
    return sets


def _node(each: Mapping[str, Any]) -> dict[str, Any]:
    meta, status = each["metadata"], each["status"]
    hosts = [one["address"] for one in status["addresses"] if one["type"] == "Hostname" and one["address"]]
    return {
        "hostname": hosts[-1] if hosts else meta["name"],
        "host_id": each["spec"].get("externalID", ""),
        "labels": meta["labels"],
        "capacity": _amounts(status["capacity"]),
        "allocatable": _amounts(status["allocatable"]),
    }


def _pod(each: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "uid": each["metadata"]["uid"],
        "labels": each["metadata"]["labels"],
        "containers": {
            one["name"]: {
                "image": one["image"],
                "requests": _amounts(one["resources"]["requests"]),
                "limits": _amounts(one["resources"]["limits"]),
            }
            for one in each["spec"]["containers"]
        },
        "restarts": {one["name"]: one["restartCount"] for one in each["status"]["containerStatuses"]},
    }


def _amounts(texts: Mapping[str, str]) -> dict[str, int]:
    """Whole units rounded up, cpu in thousandths."""
    return {
        SPECIFIED.get(name, name): math.ceil(_exact(text) * (1000 if name == "cpu" else 1))
        for name, text in texts.items()
    }


def _exact(text: str) -> Decimal:
    mantissa, e, exponent = text.partition("e")
    return Decimal(mantissa) * 10 ** int(exponent) if e else quantity(text)


def _entity(found: Mapping[str, Any]) -> Entity:
    labeled = {(name, tuple(sorted(dict(labels).items()))): value for name, labels, value in found["labeled"]}
    times = found["times"]
    return Entity(found["labels"], found["metrics"], labeled, times.get("scrape", 0), times.get("start", 0))


def _relabel(sets: Sets, nodes: Mapping[str, Any], pods: Mapping[tuple[str, str], Any], options: LabelOptions) -> None:
    """6.2, with the options."""
    for entity in sets.values():
        labels = entity.labels
        if "labels" not in labels:
            continue
        owner = nodes[labels["nodename"]] if labels["type"] == "node" else None
        given = (owner or pods[labels["namespace_name"], labels["pod_name"]])["labels"]
        labels |= {new: given[old] for new, old in options.store.items() if old in given}
        kept = sorted(f"{name}:{value}" for name, value in given.items() if name not in options.ignore)
        labels["labels"] = options.separator.join(kept)
