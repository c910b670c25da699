"""What a check says: findings, each in one of four states."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from collector.doctor.remedies import words_of


class State(StrEnum):
    """Of a finding, and of a check: that of its worst finding."""

    OK = "ok"
    WARNING = "warning"
    """The collector runs, with less than was asked for or than is wise."""
    BROKEN = "broken"
    """Something that was asked for does not work."""
    SKIPPED = "skipped"
    """Not looked at, since it was not asked for or something before it is broken."""


WORST_FIRST = (State.BROKEN, State.WARNING, State.OK, State.SKIPPED)


@dataclass(frozen=True, slots=True)
class Finding:
    """One sentence about one subject."""

    state: State
    words: str
    subject: str = ""
    """The node, sink or rule it is about; empty where the check has one subject."""
    cause: str = ""
    """Row of REMEDIES, where something is wrong."""
    remedy: str = ""
    """What to do then."""


def fine(words: str, subject: str = "") -> Finding:
    """All is well."""
    return Finding(State.OK, words, subject)


def skipped(words: str, subject: str = "") -> Finding:
    """Not looked at, and why."""
    return Finding(State.SKIPPED, words, subject)


def wrong(
    cause: str,
    subject: str = "",
    *,
    state: State = State.BROKEN,
    known: Mapping[str, object] = MappingProxyType({}),
    **more: object,
) -> Finding:
    """A row of REMEDIES, filled with what is known of the case."""
    words, remedy = words_of(cause, {"subject": subject, **known, **more})
    return Finding(state, words, subject, cause, remedy)


def worst(findings: Sequence[Finding]) -> State:
    """The state of them all together."""
    states = {finding.state for finding in findings}
    return next((state for state in WORST_FIRST if state in states), State.SKIPPED)
