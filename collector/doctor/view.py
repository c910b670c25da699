"""What is shown: a table on a terminal, aligned lines elsewhere, JSON for machines."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from rich.table import Table
from rich.text import Text

from collector import __version__
from collector.doctor.checks import Result
from collector.doctor.finding import WORST_FIRST, Finding, State, worst

SUBJECTS_SHOWN: Final = 3
"""Of those that share one trouble; JSON has them all."""

_STYLES = {State.OK: "green", State.WARNING: "yellow", State.BROKEN: "bold red", State.SKIPPED: "dim"}
_ARROW: Final = "-> "


class Line(NamedTuple):
    """Findings of one kind, as one line."""

    state: State
    check: str
    words: str
    remedies: Sequence[str]


def lines(results: Iterable[Result]) -> Iterator[Line]:
    """What is shown to people: of many alike one line for each kind of trouble, and one for those that are well."""
    for result in results:
        for alike in _alike(result.findings, many=result.check.many):
            yield Line(alike[0].state, result.check.name, _words(alike), _remedies(alike))


def _alike(findings: Sequence[Finding], *, many: bool) -> list[list[Finding]]:
    """Findings that one line tells, the worst first, else in their order."""
    groups: dict[tuple[State, str, str], list[Finding]] = {}
    for finding in findings:
        apart = "" if many else finding.subject
        groups.setdefault((finding.state, finding.cause, apart), []).append(finding)
    return sorted(groups.values(), key=lambda group: WORST_FIRST.index(group[0].state))


def _words(alike: Sequence[Finding]) -> str:
    first = alike[0]
    if len(alike) == 1:
        return f"{first.subject}: {first.words}" if first.subject else first.words
    shown = ", ".join(finding.subject for finding in alike[:SUBJECTS_SHOWN])
    more = f" and {len(alike) - SUBJECTS_SHOWN:,} more" if len(alike) > SUBJECTS_SHOWN else ""
    if len({finding.words for finding in alike}) == 1:
        return f"{len(alike):,} ({shown}{more}): {first.words}"
    if first.state is State.OK:
        return f"{len(alike):,}: {shown}{more}"
    return f"{len(alike):,} ({shown}{more}), such as {first.subject}: {first.words}"


def _remedies(alike: Sequence[Finding]) -> list[str]:
    """Each once; they differ where they name their subject."""
    remedies = list(dict.fromkeys(finding.remedy for finding in alike if finding.remedy))
    more = len(remedies) - SUBJECTS_SHOWN
    return remedies[:SUBJECTS_SHOWN] + ([f"and so for {more:,} more (--output json)"] if more > 0 else [])


def table(results: Sequence[Result]) -> Table:
    """For a terminal."""
    shown = Table(title="heapster doctor", title_justify="left", show_lines=False, expand=False)
    shown.add_column("state", no_wrap=True)
    shown.add_column("check", no_wrap=True)
    shown.add_column("what was found")
    for line in lines(results):
        said = Text(line.words)
        for remedy in line.remedies:
            said.append(f"\n{_ARROW}{remedy}", style="bold")
        shown.add_row(Text(line.state.value, style=_STYLES[line.state]), line.check, said)
    return shown


def plain(results: Sequence[Result]) -> str:
    """For files and pipes: a line a finding, its remedies below it."""
    width = max(len(result.check.name) for result in results)
    text = []
    for line in lines(results):
        text.append(f"{line.state.value:<7}  {line.check:<{width}}  {line.words}\n")
        text += [f"{'':<{width + 11}}{_ARROW}{remedy}\n" for remedy in line.remedies]
    return "".join(text)


def summary(results: Sequence[Result]) -> str:
    """All in one line."""
    states = [result.state for result in results]
    broken = [result.check.name for result in results if result.state is State.BROKEN]
    counts = ", ".join(f"{states.count(state)} {state.value}" for state in State if state in states)
    verdict = f"Broken: {', '.join(broken)}." if broken else "Nothing is broken."
    return f"{len(states)} checks: {counts}. {verdict}"


def document(results: Sequence[Result]) -> dict[str, Any]:
    """For machines: see SCHEMA. Every finding, every node."""
    return {
        "version": __version__,
        "state": worst([finding for result in results for finding in result.findings]).value,
        "checks": [
            {
                "check": result.check.name,
                "about": result.check.about,
                "state": result.state.value,
                "findings": [_finding(finding) for finding in result.findings],
            }
            for result in results
        ],
    }


def _finding(finding: Finding) -> dict[str, str | None]:
    return {
        "state": finding.state.value,
        "subject": finding.subject or None,
        "cause": finding.cause or None,
        "words": finding.words,
        "remedy": finding.remedy or None,
    }


_STATE = {"enum": [state.value for state in State]}
_TEXT_OR_NULL = {"type": ["string", "null"]}
SCHEMA: Final[dict[str, Any]] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "required": ["version", "state", "checks"],
    "additionalProperties": False,
    "properties": {
        "version": {"type": "string"},
        "state": _STATE,
        "checks": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["check", "about", "state", "findings"],
                "additionalProperties": False,
                "properties": {
                    "check": {"type": "string"},
                    "about": {"type": "string"},
                    "state": _STATE,
                    "findings": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "required": ["state", "subject", "cause", "words", "remedy"],
                            "additionalProperties": False,
                            "properties": {
                                "state": _STATE,
                                "subject": _TEXT_OR_NULL,
                                "cause": _TEXT_OR_NULL,
                                "words": {"type": "string"},
                                "remedy": _TEXT_OR_NULL,
                            },
                        },
                    },
                },
            },
        },
    },
}
"""Of the document."""
