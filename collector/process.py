"""How this process is set up: its garbage collector, how many files it may open."""

import contextlib
import gc
import resource


def settle_garbage_collector() -> None:
    """Set the garbage collector to what this process does: many short-lived objects, few cycles, a large steady state.

    With Python's own thresholds it visits 150,000 pods again and again for nothing: a tenth of a cycle's CPU time. What
    is frozen it visits never again; the middle generation is kept small, for a visit of it holds up the event loop.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 5, 400)


def allow_many_connections() -> None:
    """One connection to each node stays open: use as many files as the system lets this process have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
