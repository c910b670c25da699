"""SIGTERM and SIGINT: the first asks for an orderly stop, the second ends the process where it stands."""

import asyncio
import logging
import os
import signal

log = logging.getLogger(__name__)

SIGNALLED = 128
"""Exit status of a process that a second signal ended: this and the signal's number, as a shell would say it."""


def stop_requested() -> asyncio.Event:
    """Set at the first signal. The second ends the process at once, whatever it waits for.

    No harm is done by that: what lies on disk is whole at any moment (docs/reliability.md).
    """
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _received, number, stopped)
    return stopped


def _received(number: int, stopped: asyncio.Event) -> None:
    if not stopped.is_set():
        stopped.set()
        return
    log.warning("a second signal: stopping at once, with status %d", SIGNALLED + number)
    logging.shutdown()
    os._exit(SIGNALLED + number)
