"""`/metrics`: of the recorded text only names, types and labels are compared (behaviour reference, 2.9)."""

import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

RUNTIME = "No metrics of Go's runtime"

GONE = ("go_", "apiserver_", "etcd_", "get_token_", "reflector_", "rest_client_", "ssh_tunnel_")
"""Beginnings of families under the heading RUNTIME."""


@dataclass(frozen=True)
class Family:
    kind: str
    series: frozenset[tuple[tuple[str, str], ...]]
    """Label sets, quantiles among them."""


def headings() -> tuple[str, ...]:
    return (RUNTIME,)


def differences(recorded: str, found: str, absent: AbstractSet[str] = frozenset()) -> list[str]:
    """One line for each difference in names, types and labels; `absent` are handlers that are not there."""
    wanted, ours = families(recorded), families(found)
    lines: list[str] = []
    for name, family in wanted.items():
        if name.startswith(GONE):
            if name in ours:
                lines.append(f"{name} is there, so it is not gone")
            continue
        other = ours.get(name)
        if other is None:
            lines.append(f"{name} is missing")
            continue
        if other.kind != family.kind:
            lines.append(f"{name} is a {other.kind}, not a {family.kind}")
        missing = {labels for labels in family.series - other.series if dict(labels).get("handler") not in absent}
        if missing:
            lines.append(f"{name} lacks {sorted(missing)[:3]}; there are {sorted(other.series)[:3]}")
    return lines


def families(text: str) -> dict[str, Family]:
    """By name, the name of a counter with its `_total`.

    Go shows routes nobody has asked for; those are left out, and so is an answer's status, which is judged with it.
    """
    found = {}
    for family in text_string_to_metric_families(text):
        idle = [one.labels for one in family.samples if one.name.endswith("_count") and one.value == 0]
        series = frozenset(
            _labels(one.labels)
            for one in family.samples
            if not any(labels.items() <= one.labels.items() for labels in idle)
        )
        name = f"{family.name}_total" if any(s.name == f"{family.name}_total" for s in family.samples) else family.name
        found[name] = Family(family.type, series)
    return found


def _labels(labels: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    kept = {name: value for name, value in labels.items() if name != "code"}
    if "source" in kept:
        kept["source"] = re.sub(r":\d+$", "", kept["source"])
    return tuple(sorted(kept.items()))
