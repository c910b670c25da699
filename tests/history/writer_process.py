"""A process that starts writers to be killed: one line in for each, its pid out. Run as `python -m`, never by pytest.

Forking one process that has imported everything costs a hundredth of starting Python for each writer.
"""

import asyncio
import os
import resource
import sys
from pathlib import Path

from collector.errors import ExportError
from sinks.history import HistorySink
from tests.history.batches import MINUTE, START, Fleet

FILE_LIMIT = 5_000


async def write_until_killed(directory: Path, acknowledged: Path) -> None:
    """Export a tick after the other, from the first one that is not acknowledged on; the clock runs fast."""
    done = [int(line) for line in acknowledged.read_text().splitlines()]
    sink, fleet = HistorySink(directory), Fleet()
    # Five minutes a tick: an hour ends every twelve ticks, so that merges are under way much of the time.
    tick = (done[-1] if done else START) + 5 * MINUTE
    with acknowledged.open("ab", buffering=0) as file:
        while True:
            await sink.export(fleet.batch(tick))
            file.write(b"%d\n" % tick)
            tick += 5 * MINUTE


async def write_against_a_limit(directory: Path, acknowledged: Path) -> None:
    """Export once while no file may be longer than FILE_LIMIT, then without that limit; tell what happened."""
    sink, batch = HistorySink(directory), Fleet().batch(START)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_LIMIT, hard))
    said = "no error"
    try:
        await sink.export(batch)
    except ExportError as error:
        said = str(error)
    left = sorted(path.name for path in directory.rglob("*") if path.is_file())
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    await sink.export(batch)
    await sink.stop()
    acknowledged.write_text(f"{left}\n{said}\n")


WRITERS = {"until-killed": write_until_killed, "against-a-limit": write_against_a_limit}


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    for line in sys.stdin:
        which, directory, acknowledged = line.rstrip("\n").split("\t")
        pid = os.fork()
        if pid == 0:
            try:
                asyncio.run(WRITERS[which](Path(directory), Path(acknowledged)))
            finally:
                os._exit(0)
        say(str(pid))
        os.waitpid(pid, 0)
        say("ended")


if __name__ == "__main__":
    main()
