"""Kubernetes label selectors, as far as the recorded good ones go."""

import re
from collections.abc import Callable, Mapping

Matches = Callable[[Mapping[str, str]], bool]


def parse(text: str) -> Matches:
    """`a=b, c!=d, e in (f,g), h notin (i), j, !k`: all must hold."""
    parts = [part.strip() for part in re.split(r",(?![^(]*\))", text) if part.strip()]
    requirements = [_requirement(part) for part in parts]
    return lambda labels: all(holds(labels) for holds in requirements)


def _requirement(text: str) -> Matches:
    if found := re.fullmatch(r"(\S+)\s+(in|notin)\s+\((.*)\)", text):
        name, values = found[1], {value.strip() for value in found[3].split(",")}
        if found[2] == "in":
            return lambda labels: name in labels and labels[name] in values
        return lambda labels: name not in labels or labels[name] not in values
    if found := re.fullmatch(r"([^=!\s]+)\s*(==|=|!=)\s*(\S*)", text):
        name, value, equal = found[1], found[3], found[2] != "!="
        if equal:
            return lambda labels: labels.get(name) == value
        return lambda labels: labels.get(name) != value
    if text.startswith("!"):
        return lambda labels: text[1:] not in labels
    return lambda labels: text in labels
