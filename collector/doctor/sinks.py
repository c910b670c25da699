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
from collector.wanted import EMBEDDED, built_sinks, past_of
from sinks.base import SinkUri, build
from sinks.influxdb.options import V2_OPTIONS

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
    # What is not there with a 404 is the database or the bucket, unless it is the path.
    said = str(error).partition(" answered ")[2].split(" (")[0]
    if error.status == 404 and not re.search("database|bucket", said):
        cause = "sink-other-api"
    else:
        v1, v2 = _CAUSES.get(error.status, ("sink-refused", "sink-refused"))
        cause = v2 if _second_api(text) else v1
    return wrong(cause, subject, trouble=error, flag=_flag(text), known=_account(text))


def _second_api(text: str) -> bool:
    uri = SinkUri.parse(text)
    return uri.text("api", "v2" if any(uri.has(name) for name in V2_OPTIONS) else "v1") == "v2"


def _account(text: str) -> dict[str, object]:
    """Of the sink `influxdb`: database and user."""
    uri = SinkUri.parse(text)
    return {"database": uri.text("db", "k8s"), "user": uri.text("user", uri.user or "root")}


_CAUSES: Final = {
    None: ("sink-unreachable", "sink-unreachable"),
    401: ("sink-unauthorized", "sink-unauthorized-v2"),
    403: ("sink-forbidden", "sink-forbidden-v2"),
    404: ("sink-no-database", "sink-no-bucket"),
}
"""Status of the answer -> row of REMEDIES, with a user and with a token."""


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
        known = _account(named) if named else {}
        return [wrong(_unreadable(named, str(error)), subject, trouble=error, known=known)]
    return [fine(f"can be read: {len(names)} metrics of the cluster in the last hour", subject)]


def _unreadable(named: str, said: str) -> str:
    """Row of REMEDIES."""
    if SinkUri.parse(named or EMBEDDED).key == EMBEDDED:
        return "history-files"
    if "answered 401" in said:
        return "history-unauthorized"
    return "history-forbidden" if re.search("answered 403|not authorized", said) else "history-unreachable"
