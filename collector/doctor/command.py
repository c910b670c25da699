"""`heapster doctor`: the collector's own flags, and how the findings are to be shown."""

import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import uvloop
from rich.console import Console

from collector.doctor import series, view
from collector.doctor.checks import examine
from collector.doctor.finding import State
from collector.errors import CommandLineError, UsageError
from collector.logs import configure
from collector.options import Options, parse

USAGE = """Usage: heapster doctor [flags of the collector] [--output table|json] [--series]

Whether the collector could run with these flags, and what to change where it could not: put `doctor` before the
arguments of a Deployment. Without any flag those of the collector that is process 1 count, which in its own container
it is. Nothing is started, and nothing that lasts is written anywhere. See docs/doctor.md.

--series says instead how many series and points the InfluxDB sinks would write, by namespace and measurement: two real
scrapes are made, and nothing is sent.

Exit status: 0 nothing is broken, 1 something is, 2 the command line cannot be read. `heapster --help` lists the flags.
"""

BROKEN = 1
_OUTPUTS = ("table", "json")
_NAMES = ("--output", "-o")
_SERIES = "--series"


class Asked(NamedTuple):
    """A command line, read."""

    options: Options
    output: str
    series: bool


def parsed(arguments: Sequence[str]) -> Asked:
    """Raises UsageError, which names every fault; without any: help was asked for."""
    rest, output, counted = [], _OUTPUTS[0], False
    remaining = iter(arguments)
    for argument in remaining:
        name, equals, value = argument.partition("=")
        if argument == _SERIES:
            counted = True
            continue
        if name not in _NAMES:
            rest.append(argument)
            continue
        output = value if equals else next(remaining, "")
        if output not in _OUTPUTS:
            raise UsageError(f"doctor: --output is {output!r}: choose {' or '.join(_OUTPUTS)}")
    return Asked(parse(rest or running_flags()).validated(), output, counted)


def running_flags(command_line: Path = Path("/proc/1/cmdline")) -> list[str]:
    """The flags of the collector whose command line that is; none where it is another program's."""
    try:
        words = command_line.read_bytes().decode(errors="surrogateescape").split("\0")[:-1]
    except OSError:
        return []
    # `heapster ...`, `python /usr/bin/heapster ...`, or `python -m collector ...`
    for i, word in enumerate(words[:3]):
        if Path(word).name == "heapster" or (word == "collector" and words[i - 1] == "-m"):
            return words[i + 1 :]
    return []


def main(arguments: Sequence[str]) -> int:
    """Examine, show, and say by the exit status whether anything is broken. Raises HeapsterError."""
    try:
        asked = parsed(arguments)
    except CommandLineError as error:
        if error.faults:
            raise
        sys.stdout.write(USAGE)
        return 0
    configure(asked.options.v)
    if not asked.options.v:
        # What the parts of the collector say while they are looked at is what the findings say.
        for name in ("collector", "sinks"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
    console = Console(highlight=False)
    if asked.series:
        return _counted(asked, console)
    if asked.output == "table" and console.is_terminal:
        with console.status("...") as status:
            results = uvloop.run(
                examine(asked.options, lambda check: status.update(f"{check.name}: {check.about} ..."))
            )
        console.print(view.table(results))
    else:
        results = uvloop.run(examine(asked.options))
        text = json.dumps(view.document(results), indent=2) + "\n" if asked.output == "json" else view.plain(results)
        sys.stdout.write(text)
    if asked.output == "table":
        sys.stdout.write(view.summary(results) + "\n")
    return BROKEN if any(result.state is State.BROKEN for result in results) else 0


def _counted(asked: Asked, console: Console) -> int:
    if asked.output == "table" and console.is_terminal:
        with console.status("...") as status:
            found = uvloop.run(series.preview(asked.options, told=status.update))
    else:
        found = uvloop.run(series.preview(asked.options))
    if asked.output == "json":
        sys.stdout.write(json.dumps([series.document(each) for each in found], indent=2) + "\n")
    else:
        sys.stdout.write("\n".join("".join(series.text(each)) for each in found))
    return 0
