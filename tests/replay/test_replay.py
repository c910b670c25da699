"""Everything that Heapster was recorded to say of eleven steps of a cluster, asked again of the whole collector.

The inputs come over real sockets, step by step; after each step the recorded questions are put over real connections.
What may differ is in `explained`, entry by entry.
"""

import re
from collections import defaultdict
from pathlib import Path

from tests.replay import batchtext, influx
from tests.replay.explained import EXPLAINED, changes, final_world, reordered
from tests.replay.influx import headings as influx_headings
from tests.replay.judge import Judge
from tests.replay.ownmetrics import differences as own_differences
from tests.replay.ownmetrics import headings as own_headings
from tests.replay.recording import SECOND, SOURCES, STEPS, inputs, recording, rfc3339
from tests.replay.replaying import Replayed
from tests.replay.world import points

Judges = dict[tuple[str, str], Judge]
COMPATIBILITY = Path(__file__).parents[2] / "docs" / "compatibility.md"
OWN = "selfmetrics"


def differing(replayed: Replayed, judge: Judge) -> dict[str, list[str]]:
    """Class of question -> a line for each answer that is not as expected."""
    found = defaultdict(list)
    for one in replayed.answers:
        if one.question.group != OWN:
            for line in judge.differences(one.question, one.reply, one.now):
                found[one.question.group].append(f"{one.question}: {line}")
    return found


def shown(found: dict[str, list[str]]) -> str:
    lines = [
        f"{group}: {len(lines)} differences, such as\n  " + "\n  ".join(lines[:10]) for group, lines in found.items()
    ]
    return "\n".join(lines)


def test_every_recorded_answer_is_given_again(plain: Replayed, judges: Judges) -> None:
    asked = sum(len(recording(plain.source).questions(capture)) for capture in (*range(STEPS), None))
    assert len(plain.answers) == asked > 23_000
    found = differing(plain, judges[plain.source, "influxdb"])
    assert not found, shown(found)


def test_every_recorded_answer_is_given_again_over_tls_and_from_the_embedded_history(
    secured: Replayed, judges: Judges
) -> None:
    assert len(secured.answers) > 13_000
    found = differing(secured, judges[secured.source, "embedded"])
    assert not found, shown(found)


def test_own_metrics_keep_names_types_and_labels(plain: Replayed) -> None:
    texts = [one for one in plain.answers if one.question.group == OWN]
    assert len(texts) == STEPS + 1
    for one in texts:
        found = own_differences(one.question.answer["text"], one.reply.body.decode())
        assert not found, f"{one.question}: {found}"


def test_every_batch_is_heapsters(plain: Replayed) -> None:
    check_batches(plain)


def test_every_batch_is_heapsters_over_tls(secured: Replayed) -> None:
    check_batches(secured)


def check_batches(replayed: Replayed) -> None:
    world = final_world(replayed.source)
    assert len(replayed.texts) == STEPS
    found = []
    for step, text in enumerate(replayed.texts):
        time, sets = batchtext.read(text)
        assert time == f"{recording_time(world.timestamps[step])} +0000 UTC"
        found += [f"step {step}: {line}" for line in batchtext.differences(world.sets[step], sets)]
    assert not found, f"{len(found)} differences, such as\n  " + "\n  ".join(found[:20])


def recording_time(timestamp: int) -> str:
    return rfc3339(timestamp // SECOND).replace("T", " ").removesuffix("Z")


def test_every_point_in_influxdb_is_heapsters(plain: Replayed) -> None:
    found = influx.points_differ(plain.points, points(recording(plain.source).lines()), plain.source)
    assert not found, f"{len(found)} differences, such as\n  " + "\n  ".join(found[:20])


def test_the_schema_in_influxdb_is_heapsters(plain: Replayed) -> None:
    found = influx.schema_differs(plain.schema, recording(plain.source).schema(), plain.source)
    assert not found, found


def test_what_is_sent_to_influxdb_is_what_heapster_sent(plain: Replayed) -> None:
    found = influx.requests_differ(plain.asked, recording(plain.source).wire(), plain.source)
    assert not found, f"{len(found)} differences, such as\n  " + "\n  ".join(found[:20])


def test_changes_came_by_watch_and_no_node_was_asked_that_was_not_ready(plain: Replayed) -> None:
    assert plain.lists == {"nodes": 1, "pods": 1, "namespaces": 1}
    for name, asked in plain.kubelet_requests.items():
        ready = [
            step
            for step in range(STEPS)
            for node in inputs(step).objects["nodes"]
            if node["metadata"]["name"] == name and {"type": "Ready", "status": "True"}.items() <= _ready(node).items()
        ]
        answering = [step for step in ready if inputs(step).kubelets[name].answers["summary"]]
        assert len(asked) == len(answering), name


def _ready(node: dict) -> dict:
    return next(each for each in node["status"]["conditions"] if each["type"] == "Ready")


# The tables themselves.


def test_every_explained_difference_has_a_heading() -> None:
    headings = set(re.findall(r"^##? (.*)$", COMPATIBILITY.read_text(), re.MULTILINE))
    used = [entry.heading for entry in EXPLAINED] + [*own_headings(), *influx_headings()]
    assert not [heading for heading in used if heading not in headings]


def test_every_explained_difference_still_explains_something(judges: Judges) -> None:
    for (source, _), judge in judges.items():
        for capture in (0, 8, None):
            for question in recording(source).questions(capture):
                judge.expected(question)
    used = {heading for source in SOURCES for heading in changes(source)}
    used |= {heading for judge in judges.values() for heading in judge.used}
    used |= {heading for source in SOURCES for heading in reordered(source)}
    assert [entry.heading for entry in EXPLAINED if entry.heading not in used] == []
