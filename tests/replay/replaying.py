"""The whole replay of one source: every step collected, every recorded question asked, every point read back."""

import asyncio
import json
import ssl
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.replay.asking import Reply, Request, ask
from tests.replay.cluster import replay_cluster
from tests.replay.recording import STEPS, Question, inputs, ns, recording
from tests.replay.running import Running, command_line, running
from tests.replay.tap import Asked, Tap
from tests.replay.world import Point, point_of
from tests.servers import Influxd, influxd

Captures = Sequence[int | None]
EVERY: Captures = (*range(STEPS), None)


@dataclass
class Answered:
    """A recorded question, the answer it got, and when (Unix time in s)."""

    question: Question
    reply: Reply
    now: float


@dataclass
class Replayed:
    """What came of a replay."""

    source: str
    answers: list[Answered] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    """The log sink's, by step."""
    asked: list[Asked] = field(default_factory=list)
    """Requests to InfluxDB until the last batch was delivered."""
    points: list[Point] = field(default_factory=list)
    """Everything found in InfluxDB."""
    schema: dict[str, Any] = field(default_factory=dict)
    kubelet_requests: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    lists: dict[str, int] = field(default_factory=dict)


def replay(source: str, *, tls: bool, embedded: bool, captures: Captures = EVERY) -> Replayed:
    """Replay a source against plain or TLS servers, with InfluxDB or the embedded history."""
    return asyncio.run(_replay(source, tls=tls, embedded=embedded, captures=captures))


async def _replay(source: str, *, tls: bool, embedded: bool, captures: Captures) -> Replayed:
    found, made = recording(source), Replayed(source)
    async with AsyncExitStack() as closing:
        directory = Path(closing.enter_context(tempfile.TemporaryDirectory()))
        database, tap = None, None
        if not embedded:
            database = closing.enter_context(influxd(directory))
            tap = await closing.enter_async_context(Tap(database.url).listening())
        cluster = await closing.enter_async_context(replay_cluster(inputs(0), tls=tls))
        arguments = command_line(found.command, cluster, directory, tap.url if tap else "")
        run = await closing.enter_async_context(running(arguments, cluster))
        for step in range(STEPS):
            end, decoded, arrival = found.timestamps[step], found.decoded(step), found.arrival(step)
            await run.step(inputs(step), end, decoded=decoded, arrival=arrival)
            if step in captures:
                made.answers += await _asked(run, source, step)
        if tap:
            made.asked = list(tap.asked)
        if None in captures:
            made.answers += await _asked(run, source, None)
        made.texts = run.texts
        made.kubelet_requests = {name: cluster.asked(name) for name in inputs(0).kubelets}
        made.lists = dict(cluster.api.lists)
        if database:
            made.points = await asyncio.to_thread(read_points, database, found.timestamps)
            made.schema = await asyncio.to_thread(read_schema, database)
    return made


async def _asked(run: Running, source: str, capture: int | None, tls: ssl.SSLContext | None = None) -> list[Answered]:
    found = recording(source)
    run.clock.now = now = found.taken(capture)
    asked = []
    # /metrics comes alone and last, twice: it tells of what was asked before, itself included.
    questions = [one for one in found.questions(capture) if one.group != "selfmetrics"]
    own = [one for one in found.questions(capture) if one.group == "selfmetrics"]
    for some in (questions, own, own):
        replies = await ask(run.port, [Request(one.method, one.target, one.headers) for one in some], tls=tls)
        asked += [Answered(*each, now) for each in zip(some, replies, strict=True)]
    return [one for one in asked if one.question.group != "selfmetrics"] + asked[-len(own) :]


def read_points(server: Influxd, timestamps: Sequence[int], database: str = "k8s") -> list[Point]:
    """Every point of a database; a time that is no batch's fails."""
    steps = {timestamp: step for step, timestamp in enumerate(timestamps)}
    types = {
        (one["name"], row[0]): row[1] for one in server.query("SHOW FIELD KEYS", database) for row in one["values"]
    }
    found = []
    for one in server.query("SELECT * FROM /.*/ GROUP BY *", database):
        columns = one["columns"]
        assert columns == ["time", "value"], columns
        cast = {"integer": int, "float": float}[types[one["name"], "value"]]
        tags = {name: value for name, value in one["tags"].items() if value}
        for time, value in one["values"]:
            found.append(point_of(one["name"], tags, cast(value), steps[ns(time)]))
    return found


def read_schema(server: Influxd, database: str = "k8s") -> dict[str, Any]:
    """As recorded: policies; per measurement the field types, tag keys and the number of series."""
    names = ("name", "duration", "shardGroupDuration", "replicaN", "default")
    (policies,) = server.query(f'SHOW RETENTION POLICIES ON "{database}"')
    assert policies["columns"] == list(names)
    measurements: dict[str, Any] = {}
    for one in server.query("SHOW FIELD KEYS", database):
        fields: dict[str, list[str]] = {}
        for name, kind in one["values"]:
            fields.setdefault(name, []).append(kind)
        measurements[one["name"]] = {"fields": fields, "series": 0}
    for one in server.query("SHOW TAG KEYS", database):
        measurements[one["name"]]["tag_keys"] = sorted(row[0] for row in one["values"])
    for one in server.query("SHOW SERIES", database):
        for (series,) in one["values"]:
            measurements[series.partition(",")[0]]["series"] += 1
    return {
        "database": database,
        "measurements": measurements,
        "retention_policies": [
            {name: str(value) if name == "replicaN" else value for name, value in zip(names, row, strict=True)}
            for row in policies["values"]
        ],
    }


def dump(document: Any) -> str:
    return json.dumps(document, sort_keys=True)
