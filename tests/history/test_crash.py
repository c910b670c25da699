"""A writer killed at any moment, or stopped by the kernel: no file is half there, no tick twice, none lost."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from sinks.history import HistorySink
from tests.history.batches import START, Fleet, expected_counts, row_counts, ticks_in
from tests.history.writer_process import FILE_LIMIT

KILLS = 12
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def nursery() -> Iterator[subprocess.Popen[str]]:
    """The process that starts writers."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.history.writer_process"],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        process.stdin.close()  # type: ignore[union-attr]  # it is a pipe
        assert process.wait(30) == 0


def start_writer(nursery: subprocess.Popen[str], which: str, directory: Path, acknowledged: Path) -> int:
    assert nursery.stdin is not None
    assert nursery.stdout is not None
    nursery.stdin.write(f"{which}\t{directory}\t{acknowledged}\n")
    nursery.stdin.flush()
    return int(nursery.stdout.readline())


def await_end(nursery: subprocess.Popen[str]) -> None:
    assert nursery.stdout is not None
    assert nursery.stdout.readline() == "ended\n"


async def test_killed_at_any_moment_the_history_stays_whole(nursery: subprocess.Popen[str], tmp_path: Path) -> None:
    directory, acknowledged = tmp_path / "history", tmp_path / "acknowledged"
    acknowledged.touch()
    moments = random.Random(20261123)
    for _ in range(KILLS):
        before = acknowledged.stat().st_size
        pid = start_writer(nursery, "until-killed", directory, acknowledged)
        limit = time.monotonic() + 60
        while acknowledged.stat().st_size == before and time.monotonic() < limit:
            time.sleep(0.005)
        time.sleep(moments.uniform(0, 0.4))
        os.kill(pid, signal.SIGKILL)
        await_end(nursery)
        for path in directory.rglob("*.parquet"):
            pq.ParquetFile(path).read()
    done = [int(line) for line in acknowledged.read_text().splitlines()]
    assert len(done) >= KILLS
    # What the next start makes of it: a tick that was not acknowledged may be there, but only as a whole.
    sink = HistorySink(directory)
    sink.start()
    await sink.stop()
    ticks = ticks_in(directory)
    assert len(ticks) == len(set(ticks))
    assert set(done) <= set(ticks)
    assert set(ticks) - set(done) <= {tick + 5 * 60 * 10**9 for tick in [START, *done]}
    template = expected_counts([Fleet().batch(0)])
    for table, counts in row_counts(directory).items():
        assert counts == dict.fromkeys(ticks, template[table][0])


def test_a_limit_of_the_kernel_on_file_sizes_is_an_error_that_leaves_nothing(
    nursery: subprocess.Popen[str], tmp_path: Path
) -> None:
    directory, told = tmp_path / "history", tmp_path / "told"
    start_writer(nursery, "against-a-limit", directory, told)
    await_end(nursery)
    left, said = told.read_text().splitlines()
    assert left == "['lock']"
    assert f"cannot be written to {directory}: File too large" in said
    batch = Fleet().batch(START)
    assert row_counts(directory) == expected_counts([batch])
    assert max(path.stat().st_size for path in directory.rglob("*.parquet")) > FILE_LIMIT
