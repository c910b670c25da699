"""From what ends the collector to an exit status, and the text of `--version`."""

import pytest

from collector import __main__, version
from collector.errors import CommandLineError, HeapsterError, StartError, UsageError
from collector.version import UNKNOWN, commit


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (None, 0),
        (CommandLineError("--x is no flag"), 2),
        (UsageError("no source", "no sink"), 255),
        (StartError("the port is in use"), 255),
        (OSError("too many open files"), 255),
        (HeapsterError("the second server has ended"), 1),
    ],
)
def test_each_end_has_heapsters_status(error, status, monkeypatch, capsys):
    async def serve(_options: object) -> None:
        if error is not None:
            raise error

    monkeypatch.setattr(__main__, "serve", serve)
    monkeypatch.setattr(__main__.logs, "configure", lambda _verbosity: None)
    assert __main__.main(["--source=kubernetes:"]) == status
    said = capsys.readouterr().err
    for fault in getattr(error, "faults", [str(error)] if error else []):
        assert f"heapster: {fault}\n" in said
    assert ("Usage: heapster" in said) == (status == 2)


@pytest.mark.parametrize(
    ("note", "found"),
    [
        ('{"url": "git+https://h/r", "vcs_info": {"vcs": "git", "commit_id": "abc"}}', "abc"),
        ('{"url": "file:///src", "dir_info": {}}', UNKNOWN),
        ('{"vcs_info": null}', UNKNOWN),
        ("", UNKNOWN),
        ("[]", UNKNOWN),
    ],
)
def test_the_commit_is_what_pip_noted_unless_the_image_says_it(note, found, monkeypatch):
    monkeypatch.setattr(version, "_install_note", lambda: note)
    assert commit({}) == found
    assert commit({"HEAPSTER_COMMIT": "def"}) == "def"
