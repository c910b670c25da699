"""Every recorded answer decodes, and every cell equals that of the reference decoder."""

import pytest

from collector.core.metrics import METRICS, Kind
from collector.errors import DecodeError
from collector.sources.summary import decode_summary
from tests.sources.captures import EVERYTHING, POD_ONLY, SUMMARIES, summary_body, wrapped_pod
from tests.sources.observed import batch_of, observed
from tests.sources.reference import reference

READ_AT = 1_790_000_000_123_456_789


@pytest.mark.parametrize("name", SUMMARIES)
def test_every_cell_of_a_capture_equals_the_reference(name: str) -> None:
    body = summary_body(name)
    expected = reference(body, READ_AT)
    assert observed(batch_of(decode_summary(body, READ_AT))) == expected
    assert sum(len(entity.metrics) for entity in expected.values()) > 10
