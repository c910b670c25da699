"""`/api/v1/ledger`: what became of every tick and every point, sink by sink. Heapster had nothing like it."""

from collector.api.route import Context, Document, Request, Route, Style
from collector.api.spec import Schema, Spec

ROOT = "/api/v1/ledger"

_INTEGER = {"type": "integer", "minimum": 0}
_BALANCE = Schema(
    "Balance",
    {
        "type": "object",
        "description": "Since the start: scraped + recovered = delivered + queued + the sum of dropped.",
        "properties": {
            "scraped": _INTEGER,
            "recovered": _INTEGER,
            "delivered": _INTEGER,
            "queued": _INTEGER,
            "dropped": {"type": "object", "additionalProperties": _INTEGER},
        },
        "required": ["scraped", "recovered", "delivered", "queued", "dropped"],
        "additionalProperties": False,
    },
)
_SINK = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "keeps": {"enum": ["disk", "memory", "none"]},
        "balanced": {"type": "boolean"},
        "ticks": _BALANCE,
        "points": _BALANCE,
        "queuedBytes": _INTEGER,
        "limitBytes": {
            "type": ["integer", "null"],
            "description": "What may wait, at the current rate and within the budget; null for a sink without a spool.",
        },
        "coversSeconds": {
            "type": ["integer", "null"],
            "description": "How long the other side may be away before a tick is lost, at the current rate; null until "
            "that is known.",
        },
        "refused": {"type": "boolean"},
        "trouble": {"type": ["string", "null"]},
    },
    "required": [
        "name",
        "keeps",
        "balanced",
        "ticks",
        "points",
        "queuedBytes",
        "limitBytes",
        "coversSeconds",
        "refused",
        "trouble",
    ],
    "additionalProperties": False,
}
_SPEC = Spec(
    Schema(
        "Ledger",
        {
            "type": "object",
            "properties": {"sinks": {"type": "array", "items": _SINK}},
            "required": ["sinks"],
            "additionalProperties": False,
        },
    )
)


def ledger(context: Context, _request: Request) -> Document:
    """What became of every tick and every point, sink by sink, since the start."""
    return {"sinks": context.ledger()}


ROUTES: tuple[Route, ...] = (Route("GET", ROOT, ledger, Style.PRETTY, "ledger", _SPEC),)
