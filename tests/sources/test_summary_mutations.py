"""Whatever a node answers: its own cells or a clear error, and never a change to anybody else's."""

import json
from collections.abc import Sequence

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from collector.core import intake
from collector.core.entities import EntityTable
from collector.core.sample import NodeSample
from collector.errors import DecodeError
from collector.sources.summary import decode_summary
from tests.sources.captures import EVERYTHING, summary_body
from tests.sources.mutations import TREES, odd_answers, torn, written
from tests.sources.observed import Entity, Key, batch_of, observed
from tests.sources.reference import NoSummaryError, reference

READ_AT = 1_790_000_000_000_000_000
AKS = [summary_body(f"k8s-1.26-linux-containerd-aks-ms-2023-scrape{i}.json") for i in (1, 2)]
BARE_METAL = summary_body("k8s-1.18-linux-baremetal-pvc-honeycomb-2020.json")
ELSEWHERE = EVERYTHING.replace(b'"node-a"', b'"node-b"').replace(b'"uid-web-1"', b'"uid-web-1-again"')

many = settings(max_examples=150, deadline=None)
some = settings(max_examples=40, deadline=None)


def decoded(body: bytes, read_at: int = READ_AT) -> NodeSample | None:
    """The sample, None for a body that is refused; anything but these two fails the test."""
    try:
        return decode_summary(body, read_at)
    except DecodeError:
        return None


def expected(body: bytes, read_at: int = READ_AT) -> dict[Key, Entity] | None:
    try:
        return reference(body, read_at)
    except NoSummaryError:
        return None


def assert_equals_reference(body: bytes) -> None:
    sample = decoded(body)
    assert (None if sample is None else observed(batch_of(sample))) == expected(body)


def merged(answers: Sequence[dict[Key, Entity] | None]) -> dict[Key, Entity]:
    """One batch of several answers: entity by entity the last one counts."""
    found: dict[Key, Entity] = {}
    for answer in answers:
        found |= answer or {}
    for key, entity in found.items():
        if key[0] == "pod_container":
            entity.labels["pod_id"] = found["pod", *key[1:3]].labels["pod_id"]
    return found


@many
@given(odd_answers())
def test_an_odd_answer_gives_what_the_reference_gives(body: bytes) -> None:
    assert_equals_reference(body)


@many
@given(st.data())
def test_a_torn_answer_gives_what_the_reference_gives(data: st.DataObject) -> None:
    body = written(data.draw(st.sampled_from(TREES)))
    assert_equals_reference(data.draw(torn(body)))


@many
@given(st.binary(max_size=40))
def test_random_bytes_are_refused(body: bytes) -> None:
    assert decoded(body) is None


def test_an_answer_cut_off_anywhere_is_refused() -> None:
    for end in range(len(EVERYTHING)):
        with pytest.raises(DecodeError):
            decode_summary(EVERYTHING[:end], READ_AT)


@pytest.mark.parametrize("opening", ["[", '{"a":'])
@pytest.mark.parametrize("field", ["pods", "elsewhere"])
def test_nesting_of_any_depth_is_left_out_or_refused(opening: str, field: str) -> None:
    closing = "]" if opening == "[" else "}"
    # Around 1,000 the depth meets Python's limit, a little earlier or later for each of the two decoders.
    for depth in (*range(900, 1010), 5_000, 100_000):
        body = f'{{"node": {{"nodeName": "node-a"}}, "{field}": {opening * depth}1{closing * depth}}}'.encode()
        sample = decoded(body)
        assert sample is None or (sample.node, list(sample.pod_names)) == ("node-a", [])


@pytest.mark.parametrize("depth", range(60, 70))
@pytest.mark.parametrize("text", ["", "]", "[", '\\"]', "\\\\"], ids=repr)
def test_the_reference_knows_how_deep_is_read(depth: int, text: str) -> None:
    deep = "[" * depth + f'"{text}"' + "]" * depth
    assert_equals_reference(f'{{"node": {{"nodeName": "node-a", "odd": {deep}}}, "text": "{text}"}}'.encode())


@some
@given(odd_answers(), st.permutations(range(3)))
def test_a_neighbour_of_an_odd_answer_is_not_touched(odd: bytes, order: list[int]) -> None:
    bodies = [AKS[0], odd, BARE_METAL]
    answers = [expected(body) for body in bodies]
    assume(sum(len(answer or {}) for answer in answers) == len(merged(answers)))  # nobody claims to be another
    samples = [decoded(bodies[i]) for i in order]
    batch = batch_of(*(sample for sample in samples if sample is not None))
    assert observed(batch) == merged(answers)


@some
@given(st.lists(st.one_of(st.sampled_from([*AKS, EVERYTHING, ELSEWHERE]), odd_answers()), max_size=6))
def test_samples_may_be_written_in_groups_of_any_size(bodies: list[bytes]) -> None:
    answers = [expected(body, READ_AT + i) for i, body in enumerate(bodies)]
    samples = [sample for i, body in enumerate(bodies) if (sample := decoded(body, READ_AT + i)) is not None]
    for flush_rows in (1, 10, 100, 1_000_000):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(intake, "FLUSH_ROWS", flush_rows)
            assert observed(batch_of(*samples)) == merged(answers)


@some
@given(st.lists(odd_answers(), max_size=4))
def test_what_an_earlier_tick_held_does_not_show_in_a_later_one(bodies: list[bytes]) -> None:
    entities = EntityTable()
    for body in bodies:
        sample = decoded(body)
        if sample is not None:
            assert observed(batch_of(sample, entities=entities)) == expected(body)


def test_a_refused_answer_says_what_is_wrong_with_it() -> None:
    cases = {
        b"": "no JSON document: Expecting value",
        b"<html>502 Bad Gateway</html>": "no JSON document: Expecting value",
        b"[]": r"lacks what every answer must have: \$ is a list",
        b"{}": r"lacks what every answer must have: \$\.node is missing",
        b'{"node": {}}': r"\$\.node\.nodeName is missing",
        b'{"node": {"nodeName": ""}}': r"\$\.node\.nodeName is ''",
        b'{"node": {"nodeName": null}}': r"\$\.node\.nodeName is missing",
        b'{"node": {"nodeName": "a"}, "pods": [': "no JSON document",
        b'\xef\xbb\xbf{"node": {"nodeName": "a"}}': "no JSON document: Unexpected UTF-8 BOM",
        json.dumps({"node": {"nodeName": "n" * 254}}).encode(): r"\$\.node\.nodeName is 'nnnn",
    }
    for body, message in cases.items():
        with pytest.raises(DecodeError, match=message):
            decode_summary(body, READ_AT)
