"""Replays take some seconds each: one of every kind for all tests of this folder."""

import pytest

from tests.replay.judge import Judge
from tests.replay.recording import SOURCES, STEPS
from tests.replay.replaying import EVERY, Replayed, replay

QUARTER = (0, 1, 4, 8, STEPS - 1, None)
"""The captures asked in the second form: a start, rates, a missing node, negative rates, the end."""


@pytest.fixture(scope="session", params=SOURCES)
def plain(request: pytest.FixtureRequest) -> Replayed:
    """Plain HTTP to API server and kubelets, InfluxDB as sink and historical source; everything asked."""
    return replay(request.param, tls=False, embedded=False, captures=EVERY)


@pytest.fixture(scope="session", params=SOURCES)
def secured(request: pytest.FixtureRequest) -> Replayed:
    """TLS to API server and kubelets, the embedded history."""
    return replay(request.param, tls=True, embedded=True, captures=QUARTER)


@pytest.fixture(scope="session")
def judges() -> dict[tuple[str, str], Judge]:
    """By source and historical store."""
    return {(source, store): Judge(source, store) for source in SOURCES for store in ("influxdb", "embedded")}
