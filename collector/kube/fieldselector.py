"""Field selectors: `metadata.name=web-1,metadata.namespace!=kube-system`, read and applied as Kubernetes does.

Terms are divided by commas; in a value a comma, `=` and a backslash stand behind a backslash. Every object of the
metrics API has the same two fields. Source: apimachinery's `fields/selector.go`, whose words of refusal are kept.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from collector.gotext import quoted
from collector.kube.selector import SelectorError

NAME: Final = "metadata.name"
NAMESPACE: Final = "metadata.namespace"

_TERM: Final = re.compile(r"(?:[^\\,]|\\.?)*", re.DOTALL)
_PARTS: Final = re.compile(r"(?P<field>.*?)(?P<operator>!=|==|=)(?P<value>.*)", re.DOTALL)
_ESCAPE: Final = re.compile(r"\\(.?)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class FieldSelector:
    """(field, whether equal, value) terms that must all hold; without any it selects everything."""

    terms: tuple[tuple[str, bool, str], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.terms)

    def matches(self, fields: Mapping[str, str]) -> bool:
        """Whether an object with these fields is selected; a field it does not have counts as empty."""
        return all((fields.get(field, "") == value) is equal for field, equal, value in self.terms)


EVERYTHING: Final = FieldSelector()


def parse(text: str) -> FieldSelector:
    """The selector that `text` writes; SelectorError when it writes none, or names a field that objects do not have."""
    terms = []
    for term in sorted(filter(None, _terms(text))):
        parts = _PARTS.fullmatch(term)
        if parts is None:
            raise SelectorError(f"invalid selector: '{text}'; can't understand '{term}'")
        terms.append((parts["field"], parts["operator"] != "!=", _unescaped(parts["value"])))
    for field, _, _ in terms:
        if field not in {NAME, NAMESPACE}:
            known = f"{quoted(NAME)}, {quoted(NAMESPACE)}"
            raise SelectorError(f"{quoted(field)} is not a known field selector: only {known}")
    return FieldSelector(tuple(terms))


def _terms(text: str) -> list[str]:
    """The terms between commas that do not stand behind a backslash."""
    found, at = [], 0
    while True:
        term = _TERM.match(text, at)
        assert term is not None, "the pattern takes the empty text"
        found.append(term[0])
        if term.end() == len(text):
            return found
        at = term.end() + 1


def _unescaped(value: str) -> str:
    plain = _ESCAPE.sub("", value)
    if "," in plain or "=" in plain:
        char = next(char for char in plain if char in ",=")
        raise SelectorError(f"invalid field selector: unescaped character in value: {ord(char)}")
    for escape in _ESCAPE.finditer(value):
        if escape[1] not in {"\\", ",", "="}:
            raise SelectorError(f"invalid field selector: invalid escape sequence: {escape[0]}")
    return _ESCAPE.sub(r"\1", value)
