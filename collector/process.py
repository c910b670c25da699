"""How this process is set up: its garbage collector, how many files it may open, its memory and the limit of that."""

import contextlib
import ctypes
import gc
import os
import resource
from pathlib import Path

PAGE = os.sysconf("SC_PAGE_SIZE")
CGROUPS = Path("/sys/fs/cgroup")
NO_LIMIT = 1 << 60
"""The old cgroups write a number beyond this where there is none."""


def settle_garbage_collector() -> None:
    """Set the garbage collector to what this process does: many short-lived objects, few cycles, a large steady state.

    With Python's own thresholds it visits 150,000 pods again and again for nothing: a tenth of a cycle's CPU time. What
    is frozen it visits never again; the middle generation is kept small, for a visit of it holds up the event loop.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(5_000, 5, 800)


def allow_many_connections() -> None:
    """One connection to each node stays open: use as many files as the system lets this process have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def give_back_memory() -> None:
    """Let the allocator give back to the system what it keeps for nothing."""
    with contextlib.suppress(AttributeError, OSError):  # musl has no such function, and keeps little
        ctypes.CDLL(None).malloc_trim(0)


def resident_bytes() -> int:
    """The memory that this process holds."""
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * PAGE


def memory_limit(root: Path = CGROUPS, own: Path = Path("/proc/self/cgroup")) -> int | None:
    """The lowest limit of memory, bytes, of this process's cgroup and of those above it; None where there is none."""
    try:
        lines = own.read_text("utf-8").splitlines()
    except OSError:
        return None
    found = []
    for _, controllers, path in (line.split(":", 2) for line in lines if line.count(":") >= 2):
        if controllers == "":
            base, name = root, "memory.max"
        elif "memory" in controllers.split(","):
            base, name = root / "memory", "memory.limit_in_bytes"
        else:
            continue
        place = base / path.lstrip("/")
        for directory in (place, *place.parents):
            with contextlib.suppress(OSError, ValueError):
                found.append(int((directory / name).read_text("ascii")))
            if directory == base:
                break
    return min((limit for limit in found if limit < NO_LIMIT), default=None)
