"""Where what outlives the process lies, where the spools do within it, and which sinks get one."""

import hashlib
import logging
import os
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from collector.core.contracts import Sink
from sinks.runner.contracts import WireSink
from sinks.runner.sink import SpooledSink
from sinks.spool.spool import SpoolLimits

AUTOMATIC, OFF = "auto", "off"

STATE_DIRECTORY = "STATE_DIRECTORY"
"""Set by systemd for a unit with StateDirectory=."""

HOME = Path("/var/lib/heapster")
"""Where the manifests mount a volume. It is used when it is there and never made: a directory in a container's own
layer would not outlive the container."""

_logger = logging.getLogger(__name__)


class Place(NamedTuple):
    """A directory of ours."""

    root: Path | None
    required: bool
    """Whether it was asked for, so that a sink that cannot have it is left out rather than run without."""


def state_directory(environ: Mapping[str, str] = os.environ, home: Path | None = None) -> Path | None:
    """The directory that somebody has set up for what outlives the process, where there is one to write to."""
    return next(
        (each for each in _candidates(environ, home) if each.is_dir() and os.access(each, os.W_OK | os.X_OK)), None
    )


def _candidates(environ: Mapping[str, str], home: Path | None = None) -> list[Path]:
    """Where such a directory is looked for. The variable may name several, with colons between them."""
    return [*(Path(text) for text in environ.get(STATE_DIRECTORY, "").split(":")[:1] if text), home or HOME]


def place(
    flag: str, environ: Mapping[str, str] = os.environ, home: Path | None = None, *, name: str = "spool"
) -> Place:
    """What a flag such as --spool-dir means here; `name` is the directory's own within the one for everything."""
    if flag == OFF:
        return Place(None, required=False)
    if flag != AUTOMATIC:
        return Place(Path(flag), required=True)
    state = state_directory(environ, home)
    return Place(state / name if state is not None else None, required=False)


def with_spools(
    sinks: Sequence[Sink], spool_dir: str, limits: SpoolLimits, *, clock: Callable[[], float]
) -> list[Sink]:
    """`sinks`, each one that has a wire behind a spool, where there is a directory for it."""
    found = place(spool_dir)
    wires = [sink for sink in sinks if isinstance(sink, WireSink)]
    if found.root is None:
        if wires and spool_dir == AUTOMATIC:
            _logger.info(
                "no spool: no writable directory at %s; what %s cannot take in time is lost; --spool-dir sets one",
                " or ".join(map(str, _candidates(os.environ))),
                ", ".join(sink.name for sink in wires),
            )
        return list(sinks)
    root, seen = found.root, Counter[str]()
    limits = replace(limits, free_share=limits.free_share / max(len(wires), 1))
    spooled: list[Sink] = []
    for sink in sinks:
        if isinstance(sink, WireSink):
            seen[sink.identity] += 1
            directory = root / directory_name(sink.identity, seen[sink.identity])
            spooled.append(SpooledSink(sink, directory, limits, required=found.required, clock=clock))
        else:
            spooled.append(sink)
    return spooled


def directory_name(identity: str, occurrence: int = 1) -> str:
    """A name for any identity: readable as far as it is harmless, and a hash, so that no two share one."""
    readable = re.sub(r"[^A-Za-z0-9]+", "-", identity).strip("-")[:60]
    digest = hashlib.sha256(f"{occurrence} {identity}".encode("utf-8", "replace")).hexdigest()[:16]
    return f"{readable}-{digest}"
