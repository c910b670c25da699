"""The judge: what is expected of one answer, and in what a given one differs."""

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import unquote

from tests.replay import comparing
from tests.replay.asking import Reply
from tests.replay.explained import EXPLAINED, METRICS_ROOTS, Expected, changes, final_world
from tests.replay.layout import lay_out, ordered, read
from tests.replay.oracle import DEPRECATED, HISTORICAL, NOTHING, Gone, Oracle
from tests.replay.recording import Question, recording
from tests.replay.world import World, recorded_world

TEXT = "text/plain; charset=utf-8"
JSON = "application/json"


class Judge:
    """Judges the answers of one source over one historical store.

    `used` names the headings without which an answer would be wrong.
    """

    def __init__(self, source: str, store: str = "influxdb") -> None:
        self._entries = [entry for entry in EXPLAINED if entry.store in {"", store}]
        self._store = store
        self._world, self._final = recorded_world(source), final_world(source)
        self._before, self._after = Oracle(self._world), Oracle(self._final)
        cells = [cell for group in changes(source).values() for cell in group]
        names = {metric for _, _, metric, _ in cells}
        self._touched = names | {old for old, new in DEPRECATED.items() if new in names}
        self.used: set[str] = set()

    def differences(self, question: Question, reply: Reply, now: float) -> list[str]:
        """In what `reply`, given at `now` (Unix time in s), is not as expected."""
        return list(compare(question, self.expected(question), reply, now, self._final, self._store))

    def expected(self, question: Question) -> Expected:
        """The recorded answer, with every explained difference applied."""
        for entry in self._entries:
            alike = entry.alike(question)
            if alike is not None:
                self.used.add(entry.heading)
                (other,) = (
                    one
                    for one in recording(question.source).questions(question.capture)
                    if one.target == alike and one.method == question.method and not one.headers
                )
                return self.expected(other)
        made = self._changed(question, recorded(question))
        for entry in self._entries:
            other = entry.answer(question, made)
            if other is not None:
                assert other != made, f"{entry.heading} changes nothing of {question}"
                self.used.add(entry.heading)
                made = other
        return made

    def _changed(self, question: Question, made: Expected) -> Expected:
        """What becomes of an answer where values of its batches are others."""
        if not self._may_show_changes(question):
            return made
        before, after = self._before.answer(question), self._after.answer(question)
        if before == after:
            return made
        assert after is not NOTHING, f"nothing is said of what becomes of {question}"
        assert not isinstance(before, Gone)
        problems = list(comparing.differing(_timeless(before), _timeless(made.document)))
        assert not problems, f"{question}: the oracle does not understand the recorded answer: {problems[:3]}"
        if isinstance(after, Gone):
            return Expected(after.status, TEXT, text=after.text, encoding=made.encoding)
        return replace(made, document=after)

    def _may_show_changes(self, question: Question) -> bool:
        target = unquote(question.target)
        if not self._touched or question.answer["status"] != 200:
            return False
        if any(name in target for name in self._touched):
            return True
        return (
            target.partition("?")[0].rstrip("/").endswith("/metrics") or "metric-export" in target or "/apis/" in target
        )


def recorded(question: Question) -> Expected:
    """The answer as Heapster gave it."""
    answer = question.answer
    return Expected(
        answer["status"],
        answer["ctype"],
        answer.get("body"),
        answer.get("style", ""),
        answer.get("text", ""),
        answer.get("location"),
        answer.get("content-encoding"),
    )


def compare(
    question: Question, expected: Expected, reply: Reply, now: float, world: World, store: str
) -> Iterator[str]:
    """One line for each difference."""
    headers = reply.headers
    for what, found, wanted in (
        ("status", reply.status, expected.status),
        ("Content-Type", headers.get("content-type"), expected.content_type),
        ("Location", headers.get("location"), expected.location),
        ("Content-Encoding", headers.get("content-encoding"), expected.encoding),
    ):
        if found != wanted:
            yield f"{what} is {found!r}, not {wanted!r}"
    if not expected.style:
        if reply.body != expected.text.encode():
            yield f"text is {reply.body[:300]!r}, not {expected.text[:300]!r}"
        return
    wanted = comparing.unordered(expected.document)
    if lay_out(ordered(wanted), expected.style) == reply.body:
        return
    try:
        found = read(reply.body)
    except ValueError:
        yield f"no JSON: {reply.body[:300]!r}"
        return
    if lay_out(found, expected.style) != reply.body:
        yield f"not laid out as Heapster's {expected.style} JSON: {reply.body[:300]!r}"
    found = comparing.unordered(found)
    if question.target.startswith(METRICS_ROOTS):
        wanted = _with_request_times(wanted)
    shown = datetime.fromtimestamp(int(now), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    path = question.target.partition("?")[0].rstrip("/")
    settled = comparing.settled(
        ordered(wanted), found, uptime=path.endswith("/uptime"), summed=_is_summed(question, world, store), now=shown
    )
    if lay_out(settled, "compact") == lay_out(found, "compact"):
        return
    yield from comparing.differing(settled, found)
    if list(_fields(settled)) != list(_fields(found)):
        yield f"the fields are in another order: {reply.body[:300]!r}"


def _is_summed(question: Question, world: World, store: str) -> bool:
    """Whether the last bits of its floats are nobody's.

    That is so of sums over containers, and, of the embedded history, of averages over several series, which InfluxDB
    adds series by series.
    """
    path = question.target.partition("?")[0].rstrip("/")
    found = _PODS.fullmatch(path)
    if found is not None and any(
        world.is_sum(f"namespace:{found[1]}/pod:{pod}", found[3]) for pod in found[2].split(",")
    ):
        return True
    past = path.startswith(HISTORICAL) and store == "embedded" and "average" in path
    return past and _relabelled(path.removeprefix(HISTORICAL), world)


def _relabelled(path: str, world: World) -> bool:
    """Whether the labels of what a path names have changed over time."""
    found = _OWNER.match(path)
    if found is None:
        return False
    key = f"node:{found[1]}" if found[1] else f"namespace:{found[2]}/pod:{found[3]}"
    return len({one.labels.get("labels") for sets in world.sets if (one := sets.get(key)) is not None}) > 1


_OWNER = re.compile("/(?:nodes/([^/]+)|namespaces/([^/]+)/pods/([^/]+))/")
_PODS = re.compile(
    "/api/v1/(?:model|historical)/namespaces/([^/]+)/pod(?:s|-list)/([^/]+)/metrics(?:-aggregated/[^/]+)?/(.+)"
)


def _with_request_times(document: object) -> object:
    """With the fields for the time of the request, which are no value of ours to compare."""
    if isinstance(document, list):
        return [_with_request_times(each) for each in document]
    if not isinstance(document, dict):
        return document
    made = {name: _with_request_times(each) for name, each in document.items()}
    if "name" in made and "usage" not in made:
        made["creationTimestamp"] = ""
    return made


def _timeless(document: object) -> object:
    """In order, and without the times of requests."""
    made = comparing.unordered(document)

    def strip(part: object) -> object:
        if isinstance(part, list):
            return [strip(each) for each in part]
        if isinstance(part, dict):
            return {name: strip(each) for name, each in part.items() if name != "creationTimestamp"}
        return part

    return ordered(strip(made))


def _fields(document: object) -> Iterator[str]:
    """Every field's name, in the order of writing."""
    if isinstance(document, list):
        for each in document:
            yield from _fields(each)
    elif isinstance(document, dict):
        for name, each in document.items():
            yield name
            yield from _fields(each)
