"""This machine: directories for what outlives the process, files of certificates, the limit of open files."""

import os
import resource
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from collector.api.security import main_port_security
from collector.api.tls import PairFiles
from collector.doctor.finding import Finding, State, fine, skipped, wrong
from collector.doctor.patient import Patient
from collector.errors import HeapsterError
from collector.uris import masked
from collector.wanted import spool_limits
from collector.watchedfiles import NamedFile
from sinks.base import SinkUri
from sinks.history import HistorySink
from sinks.lock import holder
from sinks.runner.contracts import WireSink
from sinks.runner.place import AUTOMATIC, Place, directory_name, place

LEAST_FREE: Final = 64 << 20
"""bytes; with less the next hour is lost"""
SPARE_FILES: Final = 64
"""beside one connection a node: sinks, clients, files"""
_UNBOUNDED: Final = 0


class _Use(NamedTuple):
    """One directory, what for, and how much may go there."""

    subject: str
    path: Path
    flag: str
    most: int
    """bytes; _UNBOUNDED where no flag bounds it"""
    cap: str
    """the flag or option that bounds it"""
    locks: tuple[Path, ...]


async def places(patient: Patient) -> list[Finding]:
    """One finding a directory."""
    findings = [_judged(use) for use in _uses(patient)]
    wires = [sink.name for _, sink in patient.sinks if isinstance(sink, WireSink)]
    lost = (
        [f"what {', '.join(wires)} cannot take in time is lost"]
        if wires and _unset(patient.options.spool_dir, "spool")
        else []
    )
    if _unset(patient.options.warm_dir, "warm"):
        lost.append("a restart begins with empty hands")
    if lost:
        flag = "--spool-dir" if wires else "--warm-dir"
        findings.append(wrong("place-missing", state=State.WARNING, lost=" and ".join(lost), flag=flag))
    return findings or [skipped("the flags ask for no directory")]


def _unset(flag: str, name: str) -> bool:
    return flag == AUTOMATIC and place(flag, name=name).root is None


def _uses(patient: Patient) -> Iterator[_Use]:
    options = patient.options
    spool: Place = place(options.spool_dir)
    identities = [sink.identity for _, sink in patient.sinks if isinstance(sink, WireSink)]
    if spool.root is not None and identities:
        # One that stands there twice has a second directory.
        seen = [identities[: i + 1].count(identity) for i, identity in enumerate(identities)]
        locks = tuple(spool.root / directory_name(*each) for each in zip(identities, seen, strict=True))
        limits = spool_limits(options)
        # What is chosen by itself goes by what is free.
        most = _UNBOUNDED if limits.free_share else limits.max_bytes * len(identities)
        yield _Use("spool", spool.root, "--spool-dir", most, "--spool-max-bytes", locks)
    for text, sink in patient.sinks:
        if isinstance(sink, HistorySink):
            most = SinkUri.parse(text).integer("max_bytes", _UNBOUNDED, minimum=0, maximum=2**60)
            flag = f"--sink={masked(text)}"
            yield _Use("history", sink.directory, flag, most, "max_bytes= of the history sink", (sink.directory,))
    warm = place(options.warm_dir, name="warm")
    if warm.root is not None:
        yield _Use("warm restart", warm.root, "--warm-dir", _UNBOUNDED, "", (warm.root,))
    if options.kubelet_identity == "pin" and options.kubelet_pin_dir not in {AUTOMATIC, "off"}:
        yield _Use("kubelet pins", Path(options.kubelet_pin_dir), "--kubelet-pin-dir", _UNBOUNDED, "", ())


def _judged(use: _Use) -> Finding:
    there = use.path
    while not there.exists() and there != there.parent:
        there = there.parent
    known = {"path": there, "flag": use.flag, "uid": f"uid {os.geteuid()}"}
    if not there.is_dir():
        return wrong("place-no-directory", use.subject, known=known)
    try:
        with tempfile.TemporaryFile(dir=there):  # it has no name, or loses it at once
            pass
        found = os.statvfs(there)
    except OSError as error:
        return wrong("place-unwritable", use.subject, trouble=error.strerror or error, known=known)
    free = found.f_bavail * found.f_frsize
    if free < LEAST_FREE:
        return wrong("place-full", use.subject, free=_bytes(free), known=known)
    used = _size(use.path)
    if use.most > free + used:
        return wrong(
            "place-small",
            use.subject,
            state=State.WARNING,
            free=_bytes(free),
            wanted=_bytes(use.most),
            more=_bytes(use.most - free - used),
            cap=use.cap,
            known=known,
        )
    owners = sorted({owner for each in use.locks if (owner := holder(each)) is not None})
    held = f"; in use by process {', '.join(owners)}" if owners else ""
    made = "" if there == use.path else ", which is made at start"
    return fine(f"{use.path}{made}: {_bytes(free)} free{held}", use.subject)


def _size(path: Path) -> int:
    """Bytes of the files below, as far as they can be seen."""
    total = 0
    for root, _, names in os.walk(path):
        for name in names:
            try:
                total += (Path(root) / name).stat().st_size
            except OSError:  # gone since
                continue
    return total


def _bytes(size: int) -> str:
    for unit, scale in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size >= scale:
            return f"{size / scale:.1f} {unit}"
    return f"{size} bytes"


async def certificates(patient: Patient) -> list[Finding]:
    """Whether the pairs and CAs that the flags name can be used."""
    options, found = patient.options, []
    serving, gate = main_port_security(options)
    pairs = (
        [("main port", serving.load), *([("clients' CA", gate.load)] if gate is not None else [])] if serving else []
    )
    if patient.aggregated and options.tls_cert_file and options.tls_private_key_file:
        files = (
            NamedFile("--tls-cert-file", options.tls_cert_file),
            NamedFile("--tls-private-key-file", options.tls_private_key_file),
        )
        pairs.append(("second server", PairFiles(*files, ask_client=True).load))
    for subject, load in pairs:
        try:
            load()
        except HeapsterError as error:
            found.append(wrong("certificate-unusable", subject, trouble=error))
        else:
            found.append(fine("its files can be used", subject))
    return found or [skipped("the flags name none")]


async def open_files(patient: Patient) -> list[Finding]:
    """Whether as many files may be open as there are nodes, and some more."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    nodes = len(patient.nodes.items) if patient.nodes is not None else 0
    needed = nodes + SPARE_FILES
    if hard != resource.RLIM_INFINITY and hard < needed:
        return [wrong("open-files", limit=hard, nodes=nodes, needed=needed)]
    shown = "any number" if hard == resource.RLIM_INFINITY else str(hard)
    return [fine(f"{shown} allowed, {needed} needed for {nodes} nodes")]
