"""The oracle and the judge are worth something: the first gives Heapster's answers, the second notices every change."""

import dataclasses
import zlib
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.replay.asking import Reply
from tests.replay.comparing import differing, unordered
from tests.replay.explained import Expected
from tests.replay.judge import Judge, recorded
from tests.replay.layout import lay_out, ordered
from tests.replay.oracle import NOTHING, Gone, Oracle
from tests.replay.recording import SOURCES, Question, recording
from tests.replay.world import recorded_world

CAPTURES = (1, 6, None)


@pytest.mark.parametrize("source", SOURCES)
def test_the_oracle_gives_heapsters_answers(source: str) -> None:
    oracle, said, found = Oracle(recorded_world(source)), Counter[str](), []
    for capture in CAPTURES:
        for question in recording(source).questions(capture):
            prediction, wanted = oracle.answer(question), recorded(question)
            if prediction is NOTHING or wanted.status not in {200, 404}:
                continue
            said[question.group] += 1
            if isinstance(prediction, Gone):
                if (prediction.status, prediction.text) != (wanted.status, wanted.text):
                    found.append(f"{question}: {prediction}, not {wanted}")
                continue
            found += [f"{question}: {line}" for line in _differing(wanted, prediction)]
    assert not found, f"{len(found)} differences, such as\n  " + "\n  ".join(found[:20])
    assert said.total() > 7_000
    assert {"model.metric", "model.names", "model.labeled", "model.podlist", "export", "metricsapi"} <= said.keys()
    assert {"historical.metric", "historical.aggregated", "historical.buckets", "historical.names"} <= said.keys()


def _differing(wanted: Expected, prediction: object) -> Iterator[str]:
    """All but the times of requests."""
    for line in differing(unordered(ordered(wanted.document)), unordered(ordered(prediction))):
        if "creationTimestamp" not in line.partition(" ")[0]:
            yield line


def questions() -> Iterator[Question]:
    """A tenth of two captures, always the same."""
    for capture in (1, None):
        for question in recording("summary").questions(capture):
            if zlib.crc32(question.target.encode()) % 10 == 0:
                yield question


def good(question: Question, judge: Judge) -> Reply:
    """The reply that is expected."""
    expected = judge.expected(question)
    headers = {"content-type": expected.content_type}
    if expected.location:
        headers["location"] = expected.location
    if expected.encoding:
        headers["content-encoding"] = expected.encoding
    body = lay_out(ordered(expected.document), expected.style) if expected.style else expected.text.encode()
    return Reply(expected.status, headers, body)


def test_the_judge_accepts_what_is_expected_and_notices_every_change() -> None:
    judge, seen = Judge("summary"), Counter[str]()
    taken = {capture: recording("summary").taken(capture) for capture in (1, None)}
    for question in questions():
        reply = good(question, judge)
        if b"creationTimestamp" in reply.body:
            continue
        now = taken[question.capture]
        assert not judge.differences(question, reply, now), question
        for name, worse in _worse(reply, uptime="uptime" in question.target):
            seen[name] += 1
            assert judge.differences(question, worse, now), f"{name} of {question} goes unnoticed"
    assert {"status", "type", "header", "digit", "space", "cut"} <= seen.keys()


def _worse(reply: Reply, *, uptime: bool) -> Iterator[tuple[str, Reply]]:
    """The reply with one thing wrong."""
    headers = dict(reply.headers)
    yield "status", dataclasses.replace(reply, status=reply.status + 1)
    yield "type", dataclasses.replace(reply, headers=headers | {"content-type": "text/html"})
    other = "identity" if "content-encoding" not in headers else "br"
    yield "header", dataclasses.replace(reply, headers=headers | {"content-encoding": other})
    if reply.body:
        yield "cut", dataclasses.replace(reply, body=reply.body[:-1])
        yield "space", dataclasses.replace(reply, body=reply.body + b" ")
    start = reply.body.find(b'"value": ')
    if start >= 0 and not uptime:
        yield "digit", dataclasses.replace(reply, body=reply.body[: start + 9] + b"1" + reply.body[start + 9 :])


def test_a_value_that_is_another_by_rule_is_expected_to_be_that() -> None:
    judge = Judge("summary")
    path = "/api/v1/model/namespaces/default/pods/db-143ebc0a7b-p4f8x/containers/db/metrics/cpu/usage_rate"
    (question,) = (one for one in recording("summary").questions(None) if one.target == path)
    wrapped = 2**64 - 1682135
    assert wrapped in [point["value"] for point in question.answer["body"]["metrics"]]
    points = judge.expected(question).document["metrics"]
    assert len(points) == len(question.answer["body"]["metrics"]) - 1
    assert wrapped not in [point["value"] for point in points]
    assert judge.differences(question, _as_recorded(question), 0.0)


def _as_recorded(question: Question) -> Reply:
    body = lay_out(ordered(question.answer["body"]), question.answer["style"])
    return Reply(200, {"content-type": "application/json"}, body)
