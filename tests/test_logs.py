"""What each level of `-v` shows (behaviour reference, section 1.4)."""

import logging
from collections.abc import Iterator

import pytest

from collector import logs, startup
from collector.options import parse


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """The log settings of the other tests."""
    loggers = [logging.getLogger(name) for name in ("", "collector", "sinks")]
    before = [(logger, logger.level, logger.handlers[:]) for logger in loggers]
    yield
    for logger, level, handlers in before:
        logger.setLevel(level)
        logger.handlers[:] = handlers


@pytest.mark.parametrize(
    ("verbosity", "shown"),
    [
        (-1, ["state"]),
        (0, ["state"]),
        (1, ["state", "size"]),
        (2, ["state", "size", "hand-off"]),
        (3, ["state", "size", "hand-off"]),
        (4, ["state", "size", "hand-off", "write"]),
        (5, ["state", "size", "hand-off", "write", "detail"]),
        (10, ["state", "size", "hand-off", "write", "detail"]),
    ],
)
@pytest.mark.parametrize("name", ["collector.app", "sinks.manager"])
def test_each_level_shows_what_the_ones_below_show_and_more(verbosity, shown, name, capsys):
    logs.configure(verbosity)
    log = logging.getLogger(name)
    log.info("state")
    log.log(logs.SIZES, "size")
    log.log(logs.HAND_OFF, "hand-off")
    log.log(logs.WRITES, "write")
    log.debug("detail")
    lines = capsys.readouterr().err.splitlines()
    assert [line.rpartition(": ")[2] for line in lines] == shown
    assert all(f" INFO {name}: " in line for line in lines if not line.endswith("detail"))


def test_the_start_says_the_command_line_and_at_level_2_every_flag(capsys):
    arguments = ["--source=kubernetes:", "--sink=influxdb:?pw=geheim", "--sink", "log", "--v=2", "--profiling=false"]
    options = parse(arguments)
    logs.configure(options.v)
    startup.announce(arguments, options)
    said = capsys.readouterr().err
    assert "command line: heapster --source=kubernetes: '--sink=influxdb:?pw=***' --sink log --v=2" in said
    assert "geheim" not in said
    assert "without effect: --profiling" in said
    for flag in ('--sink="influxdb:?pw=***"', '--sink="log"', '-v="2"', '--scrape-offset="5s"', '--ignore-label=""'):
        assert f"FLAG: {flag}" in said
