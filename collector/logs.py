"""Log lines: one a state change, `time level logger: message`, on standard error."""

import logging
import sys
import time


class _Utc(logging.Formatter):
    converter = staticmethod(time.gmtime)


def configure(verbosity: int) -> None:
    """Send our log lines to standard error. Verbosity 0 shows states and losses, 1 each tick, 2 and more everything."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Utc("%(asctime)sZ %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    level = logging.DEBUG if verbosity >= 2 else logging.INFO
    for name in ("collector", "sinks"):
        logging.getLogger(name).setLevel(level)
    # One line a tick is for those who ask for it.
    logging.getLogger("collector.ticks").setLevel(logging.INFO if verbosity >= 1 else logging.WARNING)
