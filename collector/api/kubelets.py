"""`/api/v1/kubelets`: how each node's kubelet is, without searching a log for it. Heapster had nothing like it."""

from collector.api.route import Context, Document, Request, Route, Style
from collector.api.spec import Schema, Spec

ROOT = "/api/v1/kubelets"

_KUBELET = {
    "type": "object",
    "properties": {
        "node": {"type": "string"},
        "uid": {"type": "string"},
        "state": {
            "enum": ["new", "ok", "failing", "not_ready", "virtual", "no_address"],
            "description": "The last three are not asked.",
        },
        "since": {"type": "number", "description": "Unix time in seconds of the last change."},
        "address": {"type": ["string", "null"], "description": "Where it is asked."},
        "port": {"type": ["integer", "null"]},
        "identity": {"enum": ["verify", "pin", "insecure", "http"]},
        "reason": {"type": ["string", "null"], "description": "The oldest trouble, in one word."},
        "trouble": {"type": ["string", "null"], "description": "The same in words, with the way out."},
        "endpoints": {
            "type": "object",
            "description": "For each path that is asked: ok, or why there is no answer.",
            "additionalProperties": {"type": "string"},
        },
    },
    "required": [
        "node",
        "uid",
        "state",
        "since",
        "address",
        "port",
        "identity",
        "reason",
        "trouble",
        "endpoints",
    ],
    "additionalProperties": False,
}
_SPEC = Spec(
    Schema(
        "Kubelets",
        {
            "type": "object",
            "properties": {"kubelets": {"type": "array", "items": _KUBELET}},
            "required": ["kubelets"],
            "additionalProperties": False,
        },
    )
)


def kubelets(context: Context, _request: Request) -> Document:
    """How each node's kubelet is: asked or left out, answering or not, since when, at which address."""
    return {"kubelets": context.kubelets()}


ROUTES: tuple[Route, ...] = (Route("GET", ROOT, kubelets, Style.PRETTY, "kubelets", _SPEC),)
