"""The API server's wire: Status objects, lines of a watch, continue tokens, field selectors."""

import base64
import binascii

import msgspec

from collector.sim.objects import Json

JSON_TYPE = "application/json"
encode = msgspec.json.Encoder().encode


def status_body(code: int, reason: str, message: str) -> Json:
    """A Status object that tells of a failure."""
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
    }


def event_line(change: str, body: Json) -> bytes:
    """One line of a watch; `body` names its kind."""
    return encode({"type": change, "object": body}) + b"\n"


def object_line(kind: str, change: str, body: Json) -> bytes:
    """One line of a watch about an object of `kind`."""
    return event_line(change, {"kind": kind, "apiVersion": "v1", **body})


def write_continue(second: int, begin: int) -> str:
    """A token that goes on with the list taken at `second`, from its object `begin`."""
    return base64.urlsafe_b64encode(b"%d/%d" % (second, begin)).decode()


def read_continue(token: str) -> tuple[int, int]:
    """The second and the next object; ValueError when it is no token of ours."""
    try:
        second, begin = base64.urlsafe_b64decode(token.encode()).split(b"/")
        return int(second), int(begin)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"{token!r} is no continue token") from error


def read_selector(text: str) -> dict[str, str]:
    """The equalities of a field selector; inequalities are ignored."""
    parts = text.replace("==", "=").split(",")
    pairs = (part.partition("=") for part in parts if part and "!=" not in part)
    return {key: value for key, _, value in pairs}
