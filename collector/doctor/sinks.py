"""Sinks, each asked whether it would take points, and the past, asked whether it can be read."""

import asyncio
import re
import time
from typing import Final

from collector.core.contracts import ProbedSink, Sink
from collector.core.metrics import Kind
from collector.core.visibility import Visibility
from collector.doctor.finding import Finding, fine, skipped, wrong
from collector.doctor.patient import Patient
from collector.errors import ExportError, HistoryError, UsageError
from collector.history.contracts import EntityKey
from collector.uris import masked
from collector.wanted import built_sinks, past_of
from sinks.base import SinkUri, build

PAST_NS: Final = 3600 * 1_000_000_000
"""How much of the past is asked for."""


async def sinks(patient: Patient) -> list[Finding]:
    """One finding a sink, all of them asked at the same time."""
    options, findings = patient.options, []
    for text in options.sink:
        try:
            sink = build(text, visibility=Visibility(options.extended_metrics))
        except UsageError as error:
            flag = _flag(text)
            findings.append(wrong("sink-malformed", masked(text), trouble=error, flag=flag))
        else:
            patient.sinks.append((text, sink))
    if not options.sink:
        patient.sinks += built_sinks(options)
    for _, sink in patient.sinks:
        patient.closing.push_async_callback(sink.stop)
    findings += await asyncio.gather(*(_probed(text, sink) for text, sink in patient.sinks))
    return findings or [skipped("the flags ask for no sink")]


def _flag(text: str) -> str:
    return f"--sink={masked(text)}"


async def _probed(text: str, sink: Sink) -> Finding:
    subject = masked(text)
    if not isinstance(sink, ProbedSink):
        return fine(f"{sink.name} needs nobody else", subject)
    try:
        return fine(await sink.probe(), subject)
    except ExportError as error:
        return _refused(text, subject, error)


def _refused(text: str, subject: str, error: ExportError) -> Finding:
    uri = SinkUri.parse(text)
    database, user = uri.text("db", "k8s"), uri.text("user", uri.user or "root")
    second = any(uri.has(name) for name in ("token", "token_file", "org", "bucket")) or uri.text("api") == "v2"
    known = {
        "trouble": error,
        "flag": _flag(text),
        "credentials": "token= or token_file=" if second else "user= and pw=",
        "grant": "Give the token the right to write to the bucket."
        if second
        else f'On that server: GRANT WRITE ON "{database}" TO "{user}"',
        "create": "Make the bucket on that server, or correct org= and bucket= in " + _flag(text) + "."
        if second
        else f'On that server, as an administrator: CREATE DATABASE "{database}"; then GRANT WRITE ON "{database}" TO '
        f'"{user}"',
    }
    # What is not there with a 404 is the database or the bucket, unless it is the path.
    other = error.status == 404 and not re.search(
        "database|bucket", str(error).partition(" answered ")[2].split(" (")[0]
    )
    cause = "sink-other-api" if other else _CAUSES.get(error.status, "sink-refused")
    return wrong(cause, subject, known=known)


_CAUSES: Final = {
    None: "sink-unreachable",
    401: "sink-unauthorized",
    403: "sink-forbidden",
    404: "sink-no-database",
}
"""Status of the answer -> row of REMEDIES."""


async def past(patient: Patient) -> list[Finding]:
    """Whether the historical API has something to answer from."""
    named = patient.options.historical_source
    try:
        history = past_of(patient.options, patient.sinks)
    except UsageError as error:
        return [wrong("history-unusable", masked(named), trouble=masked(str(error)))]
    if history is None:
        return [skipped("no sink keeps a past that can be asked for")]
    patient.closing.push_async_callback(history.stop)
    now, subject = time.time_ns(), masked(named) or "embedded"
    try:
        names = await history.metric_names(EntityKey(Kind.CLUSTER), now - PAST_NS, now)
    except HistoryError as error:
        return [wrong("history-unreadable", subject, trouble=error, way_out=_way_out(patient, str(error)))]
    return [fine(f"can be read: {len(names)} metrics of the cluster in the last hour", subject)]


def _way_out(patient: Patient, said: str) -> str:
    named = patient.options.historical_source
    if not named:
        return "See what is wrong with the files, or move the directory away: a new one is made."
    uri = SinkUri.parse(named)
    if "answered 401" in said:
        return "Correct user= and pw= in --historical-source and in the --sink like it."
    if "answered 403" in said or "not authorized" in said:
        return f'On that server: GRANT ALL ON "{uri.text("db", "k8s")}" TO "{uri.text("user", uri.user or "root")}"'
    return "Start that server, or correct the address in --historical-source and in the --sink like it."
