"""What the kernel says of a process."""

import contextlib
import os
from pathlib import Path

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """User and system CPU seconds of a process so far, its threads included, its children not."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * _TICK_S


def peak_mib(pid: int | str = "self") -> float:
    """Peak resident memory. Not getrusage's: that one starts with the size of the parent."""
    return _status(pid, "VmHWM:")


def resident_mib(pid: int | str = "self") -> float:
    """Resident memory now."""
    return _status(pid, "VmRSS:")


BEFORE_OTHERS = -10
BEHIND_OTHERS = 10


def as_another_machine() -> None:
    """Get a core before others do, where that is permitted.

    In life a client has a machine of its own: how long it waits for a core here is not the collector's doing.
    """
    with contextlib.suppress(PermissionError):
        os.nice(BEFORE_OTHERS)


def behind_others(pid: int) -> None:
    """Let a process have the cores that others leave, all its threads: it stands for machines that are not here."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.setpriority(os.PRIO_PROCESS, int(thread.name), BEHIND_OTHERS)


def niceness(pid: int = 0) -> int:
    """Of a process; 0: of this one."""
    return os.getpriority(os.PRIO_PROCESS, pid)


def load() -> dict[str, object]:
    """On what the numbers were taken: cores, and how many processes wanted them in the last minutes."""
    one, five, _ = os.getloadavg()
    return {"cores": os.cpu_count(), "load_1_minute": round(one, 2), "load_5_minutes": round(five, 2)}


def _status(pid: int | str, field: str) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024
