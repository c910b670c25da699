"""What the start says, and which sinks it goes on with (behaviour reference, section 1.7)."""

import asyncio
import logging
import shlex
from collections.abc import Sequence
from dataclasses import fields

from collector import __version__
from collector.core.contracts import Sink, StartableSink
from collector.errors import StartError
from collector.logs import HAND_OFF
from collector.options import Options, given_in_vain, shown, spelled
from collector.uris import masked

log = logging.getLogger(__name__)


def announce(arguments: Sequence[str], options: Options) -> None:
    """Log the command line and the version, flags that have no effect, and at -v=2 the value of every flag.

    Secrets are masked (F36).
    """
    log.info("command line: %s", shlex.join(["heapster", *map(masked, arguments)]))
    log.info("heapster version %s", __version__)
    if idle := given_in_vain(arguments):
        log.info("accepted for old manifests, without effect: %s", ", ".join(idle))
    for option in fields(options):
        value = getattr(options, option.name)
        values = value if isinstance(value, tuple) and "list" not in option.metadata["kind"] else (value,)
        for each in values:
            log.log(HAND_OFF, 'FLAG: %s="%s"', spelled(option.name), masked(shown(each, option.name)))


async def failed_sinks(sinks: Sequence[Sink], *, asked_for: bool = True) -> list[Sink]:
    """Start the sinks that have something to take hold of; those that could not, to be left out (K26).

    Raises StartError, the first one met, when that leaves none of those that were asked for.
    """
    failed: list[Sink] = []
    faults: list[StartError] = []
    for sink in sinks:
        try:
            if isinstance(sink, StartableSink):
                await asyncio.to_thread(sink.start)
        except StartError as error:
            failed.append(sink)
            faults.append(error)
    if faults and asked_for and len(failed) == len(sinks):
        raise faults[0]
    for fault in faults:
        log.error("a sink is left out: %s", fault)
    return failed
