"""A real file system with an end to it: a tmpfs in a mount namespace of its own, which nothing outside can see."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest


class SmallDisk:
    """Mounted at `path` for those whom `within` starts; `seen` is the same directory from outside."""

    def __init__(self, path: Path, size: str) -> None:
        self.path = path
        mount = f"mount -t tmpfs -o size={size} none '{path}' && echo mounted && exec sleep infinity"
        ours = [] if os.geteuid() == 0 else ["--map-root-user"]
        self._holder = subprocess.Popen(
            ["unshare", "--mount", *ours, "sh", "-c", mount], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self._holder.stdout is not None
        self.mounted = self._holder.stdout.readline() == "mounted\n"
        user = [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]
        self.within: Sequence[str] = ("nsenter", *user, "--mount", f"--target={self._holder.pid}", f"--wd={Path.cwd()}")

    @property
    def seen(self) -> Path:
        """The directory, for a process outside of the namespace."""
        return Path(f"/proc/{self._holder.pid}/root{self.path}")

    def fill(self, but: int = 0) -> None:
        """Take every byte that is left, whatever else is being freed meanwhile, or all but so many."""
        with (self.seen / "ballast").open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while not but or shutil.disk_usage(self.seen).free > but:
                file.write(bytes(4096))

    def free(self) -> None:
        """Give them back."""
        (self.seen / "ballast").unlink()

    def close(self) -> str:
        """End the namespace, and with it the mount; what was complained about."""
        self._holder.kill()
        return self._holder.communicate()[1]


@contextlib.contextmanager
def small_disk(path: Path, size: str) -> Iterator[SmallDisk]:
    """One of so many bytes (`8m`) at `path`. Skips, and says why, where the kernel has none to give."""
    missing = [name for name in ("unshare", "nsenter", "mount") if shutil.which(name) is None]
    if missing:
        _without(f"not installed: {', '.join(missing)}")
    path.mkdir()
    disk = SmallDisk(path, size)
    try:
        if not disk.mounted:
            _without(disk.close().strip())
        yield disk
    finally:
        disk.close() if disk.mounted else None


def _without(why: str) -> None:
    pytest.skip(f"no file system to fill, as no mount namespace can be made here: {why}")
