"""Every recorded answer of the original within reach of these routes, byte for byte."""

import zlib

import aiohttp
import pytest
from api.golden import Recorded, Replay, captures, recorded, straightened, without_creation_times
from yarl import URL

from collector.api import API_ROOTS, ROUTES
from collector.api.dispatch import Dispatcher
from collector.api.route import Answer
from collector.api.server import ApiServer

ELSEWHERE = ("/api/v1/historical",)
"""Routes of other groups; a recorded answer below these is judged with them."""

OWN_METRICS = "selfmetrics"
"""The class of `/metrics`, whose values are the process's own."""


def in_reach(source: str, capture: str) -> list[Recorded]:
    found = [
        question
        for question in recorded(source, capture)
        if not question.target.startswith(ELSEWHERE) and question.group != OWN_METRICS
    ]
    assert len(found) > 1000
    return found


async def whole_body(answer: Answer) -> bytes:
    if isinstance(answer.body, bytes):
        return answer.body
    return b"".join([chunk async for chunk in answer.body])


def step_of(source: str, capture: str) -> int:
    return 10 if "final" in capture else int(capture.removeprefix("capture-step-")[:2])


@pytest.mark.parametrize("source", ["summary", "kubelet"])
async def test_every_recorded_answer_is_given_again_byte_for_byte(source):
    replay = Replay(source)
    dispatcher = Dispatcher(replay.context, ROUTES, API_ROOTS)
    differences = []
    for capture in captures(source)[1:] + captures(source)[:1]:  # capture-final sorts first and comes last
        replay.until(step_of(source, capture))
        for question in in_reach(source, capture):
            answer = (await dispatcher.answer(question.method, question.target, question.headers)).answer
            body = without_creation_times(await whole_body(answer) if question.method != "HEAD" else b"")
            seen = (
                answer.status,
                answer.content_type,
                answer.headers.get("Location"),
                straightened(question.target, body),
            )
            expected = (
                question.answer["status"],
                question.answer["ctype"],
                question.answer.get("location"),
                without_creation_times(question.body()),
            )
            if seen != expected:
                differences.append((capture, question.method, question.target, seen, expected))
    assert not differences, (len(differences), differences[:5])


async def test_recorded_answers_are_the_same_over_a_real_socket():
    replay = Replay()
    replay.until(10)
    server = ApiServer(replay.context, host="127.0.0.1", port=0)
    await server.start()
    differences = []
    try:
        async with aiohttp.ClientSession(auto_decompress=False) as session:
            for question in in_reach("summary", "capture-final.json.gz"):
                if question.group.startswith("model.") and zlib.crc32(question.target.encode()) % 8:
                    continue  # the bulk is compared without a socket
                url = f"http://127.0.0.1:{server.port}{question.target}"
                headers = {"Accept-Encoding": "", **question.headers}
                async with session.request(
                    question.method, URL(url, encoded=True), headers=headers, allow_redirects=False
                ) as response:
                    body = await response.read()
                    encoding = response.headers.get("Content-Encoding")
                    if encoding:
                        body = zlib.decompress(body, 47)
                    seen = (
                        response.status,
                        response.headers["Content-Type"],
                        encoding,
                        straightened(question.target, without_creation_times(body)),
                    )
                    expected = (
                        question.answer["status"],
                        question.answer["ctype"],
                        question.answer.get("content-encoding"),
                        without_creation_times(question.body()),
                    )
                    if seen != expected:
                        differences.append((question.method, question.target, seen, expected))
    finally:
        await server.stop()
    assert not differences, (len(differences), differences[:5])
