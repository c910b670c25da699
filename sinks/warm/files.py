"""The directory: what each process left, files that are whole or absent, and one writer."""

import io
import shutil
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from sinks.warm.columns import OtherLayoutError

NAMES, LIGHT = "names.jsonl", "light.npz"
BATCH, WINDOW = ".batch.npz", ".window.npz"
TEMPORARY = ".tmp"

KEPT_RUNS = 3
"""Earlier processes whose ticks may stay: one that ends again and again must not fill the disk."""

UNREADABLE = (
    OSError, ValueError, KeyError, IndexError, TypeError, EOFError, OverflowError, MemoryError, SyntaxError,
    NotImplementedError, zipfile.BadZipFile, zlib.error, msgspec.MsgspecError, OtherLayoutError,
)  # fmt: skip
"""What reading a damaged archive, or one of another version, may end with; of NotImplementedError zipfile
is the author, where the method of compression is damaged."""


def runs(directory: Path) -> list[Path]:
    """What processes left, the latest last."""
    try:
        found = [path for path in directory.iterdir() if path.name.isdigit() and path.is_dir()]
    except FileNotFoundError:
        return []
    return sorted(found, key=lambda path: int(path.name))


def new_run(directory: Path) -> Path:
    """A place for what this process will leave, made now."""
    before = runs(directory)
    run = directory / f"{int(before[-1].name) + 1 if before else 1:08}"
    run.mkdir()
    return run


def remove_runs_before(run: Path, oldest: int) -> None:
    """Forget what processes before that of `run` left, but for KEPT_RUNS with ticks later than `oldest` (ns)."""
    before = [old for old in runs(run.parent) if int(old.name) < int(run.name)]
    wanted = [old for old in before if max(timestamps(old, WINDOW), default=0) > oldest]
    for old in before:
        if old not in wanted[-KEPT_RUNS:]:
            shutil.rmtree(old, ignore_errors=True)


def timestamps(run: Path, ending: str) -> dict[int, Path]:
    """The ticks that a process left files of, BATCH or WINDOW, oldest first."""
    found = {}
    for path in run.iterdir():
        stamp = path.name.removesuffix(ending)
        if stamp != path.name and stamp.isdigit():
            found[int(stamp)] = path
    return dict(sorted(found.items()))


def write(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write an archive that is there as a whole or not at all. Raises OSError."""
    unfinished = path.with_name(path.name + TEMPORARY)
    try:
        with unfinished.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]  # its names are ours
        unfinished.replace(path)
    except OSError:
        unfinished.unlink(missing_ok=True)
        raise


def read(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of an archive. Raises one of UNREADABLE."""
    with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def append(path: Path, lines: bytes) -> None:
    """Add whole lines to a file. Raises OSError."""
    with path.open("ab") as file:
        file.write(lines)
