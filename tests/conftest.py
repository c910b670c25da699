"""What holds for every test."""

import asyncio
from pathlib import Path

import pytest
from hypothesis import settings

# looptime asks for the current loop around plain tests too, and Python 3.11 would make one that nobody closes.
asyncio.set_event_loop(None)

# Speed is measured in benchmarks: a busy machine fails no test.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(autouse=True)
def no_spool_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A collector in a test spools where the test says, never where this machine's own one would."""
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.setattr("sinks.runner.place.HOME", Path("/nonexistent"))
