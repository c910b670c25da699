"""What all tests of the history share."""

import pytest

from sinks.history import store
from sinks.history.files import Disk


@pytest.fixture(autouse=True)
def quick_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forcing files to the disk is half the time of a test and shows nothing: no test cuts the power."""
    monkeypatch.setattr(Disk, "sync", lambda _disk, _file: None)
    monkeypatch.setattr(Disk, "sync_directory", lambda _disk, _path: None)


@pytest.fixture
def small_fan_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four files become one: a few ticks show what otherwise takes an hour."""
    monkeypatch.setattr(store, "FAN_IN", 4)
