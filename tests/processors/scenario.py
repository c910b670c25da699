"""Scenarios: time series behaviour as plain text. The language is described in tests/scenarios/README.md.

A file becomes Scenarios, a Scenario Statements, each with its block of lines; Player plays them against the pipeline,
through the kubelets' and the API server's own wire formats.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from collector.core.batch import MetricSet
from collector.kube import wire
from collector.kube.build import Builder, Oddities
from collector.processors.labels import LabelCopier
from collector.sources.summary import decode_summary
from tests.processors import answers
from tests.processors.rig import SECOND, Rig

CAPTURES = Path(__file__).parents[1] / "captures"
DAY = datetime(2026, 1, 1, tzinfo=UTC)
"""The day of every time of day in a scenario."""

BLOCKS = {"load", "cluster"}
STATEMENTS = BLOCKS | {"options", "tick", "expect", "absent"}


class ScenarioError(Exception):
    """A line that cannot be understood; the message starts with file:line."""


@dataclass(frozen=True)
class Line:
    """One line of a scenario file, without indentation."""

    file: str
    number: int
    text: str

    def error(self, what: str) -> ScenarioError:
        return ScenarioError(f"{self.file}:{self.number}: {what}\n    {self.text}")


@dataclass(frozen=True)
class Statement:
    """A line at the margin, and the indented lines below it."""

    line: Line
    block: list[Line] = field(default_factory=list)


@dataclass(frozen=True)
class Scenario:
    """A title and what happens."""

    title: str
    statements: list[Statement]


def parse(text: str, file: str) -> list[Scenario]:
    """The scenarios of one file; raises ScenarioError at the first line that is none of the language."""
    scenarios: list[Scenario] = []
    for number, raw in enumerate(text.splitlines(), 1):
        line = Line(file, number, raw.strip())
        if not line.text or line.text.startswith("#"):
            continue
        word, _, rest = line.text.partition(" ")
        if raw[0].isspace():
            if not scenarios or not scenarios[-1].statements:
                raise line.error("an indented line belongs to the statement above it, and there is none")
            if scenarios[-1].statements[-1].line.text.split()[0] not in BLOCKS:
                raise line.error(f"only {' and '.join(sorted(BLOCKS))} have indented lines")
            scenarios[-1].statements[-1].block.append(line)
        elif word == "scenario":
            scenarios.append(Scenario(rest.strip(), []))
        elif word not in STATEMENTS:
            raise line.error(f"unknown word {word!r}; known are scenario, {', '.join(sorted(STATEMENTS))}")
        elif not scenarios:
            raise line.error("a file starts with a scenario")
        else:
            scenarios[-1].statements.append(Statement(line))
    return scenarios


def play(scenario: Scenario) -> list[str]:
    """The failed expectations of one scenario, as `file:line: ..., wanted ..., got ...`."""
    player = Player()
    for statement in scenario.statements:
        player.play(statement)
    return player.failures


class Player:
    """Plays the statements of one scenario."""

    def __init__(self) -> None:
        self.failures: list[str] = []
        self._rig = Rig()
        self._kubelets = answers.Kubelets(0)
        self._pods: dict[str, answers.JSON] = {}
        self._builders = {kind: Builder(Oddities(kind)) for kind in ("node", "pod", "namespace")}
        self._sets: dict[str, MetricSet] = {}

    def play(self, statement: Statement) -> None:
        line = statement.line
        word, _, rest = line.text.partition(" ")
        try:
            match word:
                case "options":
                    self._options(pairs(rest))
                case "load":
                    self._kubelets = answers.Kubelets(time_of_day(rest))
                case "cluster":
                    pass
                case "tick":
                    self._tick(time_of_day(rest))
                case "expect" | "absent":
                    self._check(line, word, rest.split())
        except ValueError as error:
            raise line.error(str(error)) from error
        for inner in statement.block:
            try:
                (self._load if word == "load" else self._change)(inner.text)
            except ValueError as error:
                raise inner.error(str(error)) from error

    def _options(self, given: list[tuple[str, str]]) -> None:
        stored: list[tuple[str, str]] = []
        ignored: set[str] = set()
        separator, annotation = ",", ""
        for name, value in given:
            match name:
                case "store-label":
                    new, _, old = value.partition("=")
                    stored.append((old or new, new))
                case "ignore-label":
                    ignored.add(value)
                case "label-separator":
                    separator = value
                case "host-id-annotation":
                    annotation = value
                case _:
                    raise ValueError(f"unknown option {name}")
        self._rig = Rig(LabelCopier(tuple(stored), frozenset(ignored), separator), annotation)

    def _load(self, text: str) -> None:
        """One line of a `load` block."""
        kind, subject, rest = _entity(text, {"node", "system", "pod", "container", "capture"})
        if kind == "capture":
            self._kubelets.captured.append((CAPTURES / subject).read_bytes())
            return
        values, _, times_given = f" {rest} ".partition(" @ ")
        metrics, times = dict(pairs(values)), _times(pairs(times_given))
        match kind:
            case "node":
                self._kubelets.node(subject, metrics, times)
            case "system":
                self._kubelets.system(subject, metrics, times)
            case "pod":
                path, _, node = subject.partition(" on ")
                if not node:
                    raise ValueError(f"pod {path} runs on no node: write `pod {path} on NODE:`")
                uid = metrics.pop("uid", f"uid-of-{path}")
                self._kubelets.pod(path, node, uid, metrics, times)
            case _:
                self._kubelets.container(subject, metrics, times)

    def _change(self, text: str) -> None:
        """One line of a `cluster` block, as one watch event."""
        rig, builders = self._rig, self._builders
        kind, subject, rest = _entity(text, {"node", "pod", "container", "namespace", "gone"})
        properties = dict(pairs(rest))
        match kind:
            case "gone":
                kind, _, subject = subject.partition(" ")
                listers: dict[str, Callable[[], None]] = {
                    "node": lambda: rig.nodes.apply([(subject, None)]),
                    "namespace": lambda: rig.namespaces.apply([(subject, None)]),
                    "pod": lambda: rig.pods.apply([(_pod_key(subject), None)]),
                }
                if kind not in listers:
                    raise ValueError(f"unknown word {kind!r}; gone can be {', '.join(sorted(listers))}")
                listers[kind]()
            case "node":
                node = msgspec.convert(answers.node_object(subject, properties), wire.NodeObject)
                rig.nodes.apply([(subject, builders["node"].node(node))])
            case "namespace":
                namespace = msgspec.convert(answers.namespace_object(subject, properties), wire.NamespaceObject)
                rig.namespaces.apply([(subject, builders["namespace"].namespace(namespace))])
            case "pod":
                self._pods[subject] = answers.pod_object(subject, properties)
                self._apply_pod(subject)
            case _:
                path, _, name = subject.rpartition("/")
                if path not in self._pods:
                    raise ValueError(f"container {subject} comes before its pod {path}")
                answers.add_container(self._pods[path], name, properties)
                self._apply_pod(path)

    def _apply_pod(self, path: str) -> None:
        pod = msgspec.convert(self._pods[path], wire.PodObject)
        self._rig.pods.apply([(_pod_key(path), self._builders["pod"].pod(pod))])

    def _tick(self, timestamp: int) -> None:
        samples = [decode_summary(body, self._kubelets.read_at) for body in self._kubelets.bodies()]
        self._sets = self._rig.tick(samples, timestamp).metric_sets()

    # Expectations.

    def _check(self, line: Line, word: str, words: list[str]) -> None:
        """`expect [only] [labels | times] KEY ...`, `expect only entities KEY ...`, `absent [labels] KEY ...`."""
        only = word == "expect" and words[:1] == ["only"]
        words = words[only:]
        what = words.pop(0) if words and words[0] in {"labels", "times", "entities"} else "metrics"
        if what == "entities":
            if not only:
                raise ValueError("write `expect only entities`; one entity is expected by naming a metric or label")
            self._compare(line, sorted(words), sorted(self._sets))
            return
        if not words:
            raise ValueError("which entity?")
        key, named = words[0], words[1:]
        found = self._sets.get(key)
        if word == "absent":
            if not named:
                self._compare(line, None, found)
            elif found is None:
                self._fail(line, "the entity without these", "no such entity")
            else:
                self._compare(line, [], sorted(set(named) & _values(found, what).keys()))
            return
        if found is None:
            self._fail(line, "the entity", f"only {', '.join(sorted(self._sets)) or 'nothing'}")
            return
        wanted, got = dict(pairs(" ".join(named))), _values(found, what)
        shown = {name: _shown(got.get(name), text, what) for name, text in wanted.items()}
        if only:
            shown |= {name: str(value) for name, value in got.items() if name not in wanted}
        self._compare(line, wanted, shown)

    def _compare(self, line: Line, wanted: Any, got: Any) -> None:
        if wanted != got:
            self._fail(line, _told(wanted), _told(got))

    def _fail(self, line: Line, wanted: str, got: str) -> None:
        self.failures.append(f"{line.file}:{line.number}: {line.text}\n    wanted {wanted}\n    got    {got}")


def pairs(text: str) -> list[tuple[str, str]]:
    """`a=1 b=` as pairs; raises ValueError for a word without `=`."""
    found = [(word.partition("="), word) for word in text.split()]
    for (_, equals, _), word in found:
        if not equals:
            raise ValueError(f"{word!r} is no name=value")
    return [(name, value) for (name, _, value), _ in found]


def time_of_day(text: str) -> int:
    """`10:00:05.5` as ns since the epoch, on the one day on which scenarios take place."""
    match = re.fullmatch(r"(\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?", text.strip())
    if match is None:
        raise ValueError(f"{text.strip()!r} is no time of day such as 10:00:05 or 10:00:05.5")
    hours, minutes, seconds, fraction = match.groups()
    second = int(DAY.timestamp()) + int(hours) * 3600 + int(minutes) * 60 + int(seconds)
    return second * SECOND + int((fraction or "0").ljust(9, "0"))


def _entity(text: str, known: set[str]) -> tuple[str, str, str]:
    """`pod default/web-1 on node-a: cpu/usage=1` as its kind, its subject and the rest."""
    head, _, rest = f"{text} ".partition(": ")
    kind, _, subject = head.strip().partition(" ")
    if kind not in known:
        raise ValueError(f"unknown word {kind!r}; known here are {', '.join(sorted(known))}")
    if not subject:
        raise ValueError(f"which {kind}?")
    return kind, subject, rest


def _times(given: list[tuple[str, str]]) -> dict[str, int | None]:
    """What stands behind `@`: clock -> ns, None for `none`; `time` is all clocks at once."""
    found: dict[str, int | None] = {}
    for name, text in given:
        time = None if text == "none" else time_of_day(text)
        if name == "time":
            found = dict.fromkeys(answers.CLOCKS, time) | found
        elif name in {"start", *answers.CLOCKS}:
            found[name] = time
        else:
            raise ValueError(f"unknown clock {name!r}; known are start, time, {', '.join(answers.CLOCKS)}")
    return found


def _pod_key(path: str) -> tuple[str, str]:
    namespace, _, name = path.partition("/")
    return namespace, name


def _values(found: MetricSet, what: str) -> dict[str, Any]:
    match what:
        case "labels":
            return dict(found.labels)
        case "times":
            return {"scrape": found.scrape_time, "start": found.start_time}
        case _:
            return dict(found.metrics)


def _shown(value: Any, wanted: str, what: str) -> str:
    """`value` written as `wanted` is: an integer plainly, a float with the same number of decimals, a time as one."""
    if value is None:
        return "absent"
    if what == "times":
        if not value:
            return "none"
        return str(value) if wanted == "none" or time_of_day(wanted) != value else wanted
    if isinstance(value, float):
        _, point, decimals = wanted.partition(".")
        return f"{value:.{len(decimals)}f}" if point else repr(value)
    return str(value)


def _told(value: Any) -> str:
    match value:
        case None:
            return "no such entity"
        case MetricSet():
            return f"it, with {', '.join(value.metrics) or 'no metrics'}"
        case dict():
            return " ".join(f"{name}={each}" for name, each in sorted(value.items()))
        case _:
            return " ".join(value) or "none of them"


def scenarios_of(folder: Path) -> Iterator[tuple[str, Scenario]]:
    """(name for a test report, scenario) of every file in `folder`."""
    for path in sorted(folder.glob("*.txt")):
        for scenario in parse(path.read_text(), f"tests/scenarios/{path.name}"):
            yield f"{path.stem}: {scenario.title}", scenario
