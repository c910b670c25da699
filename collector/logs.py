"""Log lines: one a state change, `time level logger: message`, on standard error.

The levels of `-v` are Heapster's (behaviour reference, section 1.4). Each lies a step below INFO, so that a module
logs with `log.log(HAND_OFF, ...)` and the level decides what is seen.
"""

import logging
import sys
import time
from typing import Final

SIZES: Final = logging.INFO - 1
"""-v=1: how large each batch is, and what it took."""
HAND_OFF: Final = logging.INFO - 2
"""-v=2: every hand-off to a sink; at start every flag."""
WRITES: Final = logging.INFO - 4
"""-v=4: how much a sink wrote."""
EVERYTHING: Final = 5
"""From this -v on all is seen."""


class _Utc(logging.Formatter):
    converter = staticmethod(time.gmtime)


def configure(verbosity: int) -> None:
    """Send our log lines to standard error, as many as `-v` asks for; 0 shows states and losses."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Utc("%(asctime)sZ %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    for level in (SIZES, HAND_OFF, WRITES):
        logging.addLevelName(level, "INFO")
    shown = logging.DEBUG if verbosity >= EVERYTHING else logging.INFO - max(0, verbosity)
    for name in ("collector", "sinks"):
        logging.getLogger(name).setLevel(shown)
