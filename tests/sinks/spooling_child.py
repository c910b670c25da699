"""A process to be killed: it spools and delivers batches to an InfluxDB, and says on stdout which ticks are kept.

python -m tests.sinks.spooling_child URI DIRECTORY FIRST_TICK [drain]

`kept <tick> <points>` follows each tick that is spooled; with `drain` it makes none, delivers what is left and says
`drained <ledger>`.
"""

import asyncio
import json
import os
import sys
from pathlib import Path

from sinks.base import build
from sinks.influxdb import InfluxdbSink
from sinks.manager import SinkManager
from sinks.runner import SpooledSink
from sinks.spool.spool import SpoolLimits
from tests.sinks.batches import MINUTE, TIMESTAMP, Cluster

AGE = 100 * 365 * 86_400 * 10**9


def say(text: str) -> None:
    """One line, whole or not at all."""
    os.write(1, f"{text}\n".encode())


async def main(uri: str, directory: Path, first: int, *, drain: bool) -> None:
    """Tick after tick until killed."""
    wire = build(f"{uri}&max_points=60")  # several records a tick
    assert isinstance(wire, InfluxdbSink)
    sink = SpooledSink(wire, directory, SpoolLimits(max_age_ns=AGE))
    sink.start()
    manager, cluster = SinkManager([sink]), Cluster()
    manager.start()
    points = sum(chunk.points for chunk in wire.encode(cluster.batch()))
    for tick in range(first, first if drain else first + 1_000_000):
        manager.export(cluster.batch(TIMESTAMP + tick * MINUTE, seed=tick))
        while _in_hand(manager):
            ledger = manager.ledger()[0]
            assert ledger.balanced, ledger
            await asyncio.sleep(0)
        say(f"kept {tick} {points}")
    while manager.ledger()[0].points.queued:
        await asyncio.sleep(0.01)
    await manager.stop(20)
    ledger = manager.ledger()[0]
    assert ledger.balanced, ledger
    say(f"drained {json.dumps(ledger.document())}")


def _in_hand(manager: SinkManager) -> bool:
    found = manager.statistics()[0]
    return bool(found.waiting or found.exporting)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), drain="drain" in sys.argv[4:]))
