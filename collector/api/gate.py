"""Who is let in: asked about every request before it is answered, on servers that have a gate.

`CertificateGate` is the main port's (behaviour reference, 1.8), `ReviewGate` the second server's (8.9).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from collector.api import health
from collector.api.route import Answer
from collector.api.status import StatusError
from collector.api.target import parse_query, split_target
from collector.api.viewer import NO_VERDICT, Viewer, status_answer
from collector.kube.auth import AccessFault, Authenticator, Authorizer
from collector.kube.auth_attributes import read_attributes
from collector.kube.auth_user import Headers
from collector.kube.certificates import CaPool, Peer
from collector.watchedfiles import WatchedFiles

REFUSED: Final = "refused"
"""In the HTTP metrics, the handler of requests that were not let in."""

OPEN_PATHS: Final = frozenset({"/healthz", "/healthz/healthz"}) | health.OPEN_PATHS
"""On the main port these need no certificate: probes have none (K24)."""


@dataclass(frozen=True, slots=True)
class Ask:
    """What a gate sees of a request; `target` is as it stood in the request line, `peer` None without certificate."""

    method: str
    target: str
    headers: Iterable[tuple[str, str]]
    peer: Peer | None


class Gate(Protocol):
    """Lets requests pass or answers them itself."""

    def load(self) -> None:
        """Read what it needs. Raises StartError."""

    async def admit(self, ask: Ask) -> "Answer | Viewer | None":
        """The answer to a request that is not let in; else whose rights narrow what is answered, if anybody's.

        Never raises.
        """


class CertificateGate:
    """The main port: a client certificate that the CAs vouch for, with one of some common names.

    `users` None allows every name. Status and text of each refusal are Heapster's (1.8).
    """

    def __init__(self, authorities: WatchedFiles[CaPool], users: frozenset[str] | None) -> None:
        self._authorities = authorities
        self._users = users

    def load(self) -> None:
        """Read the CA file. Raises StartError."""
        self._authorities.load()

    async def admit(self, ask: Ask) -> Answer | None:
        """401 without a certificate or name, 500 for one that fails verification, 403 for a name not listed."""
        if split_target(ask.target)[0] in OPEN_PATHS:
            return None
        if ask.peer is None:
            return _text("Unauthorized", 401)
        fault = self._authorities.current().fault(ask.peer)
        if fault is not None:
            return _text(fault, 500)
        name = ask.peer.common_name
        if not name:
            return _text("Unauthorized", 401)
        if self._users is not None and name not in self._users:
            return _text("Forbidden", 403)
        return None


class ReviewGate:
    """The second server: who asks is found out, and whether they may, path by path; only probes are open.

    Below `/api` it only finds out who asks: what they need depends on the route, and is asked for there.
    """

    def __init__(self, authenticator: Authenticator, authorizer: Authorizer) -> None:
        self._authenticator = authenticator
        self._authorizer = authorizer

    def load(self) -> None:
        """Read the CA files. Raises StartError."""
        self._authenticator.load()

    async def admit(self, ask: Ask) -> Answer | Viewer | None:
        """A Status document: 401 for credentials that are none, 403 for what is not allowed, 500 without a verdict."""
        path, query = split_target(ask.target)
        if path is None or path in health.OPEN_PATHS:
            return None  # of the first, the dispatcher says what is wrong with it
        try:
            user = await self._authenticator.authenticate(ask.peer, _headers(ask.headers))
            if user is None:
                return _status(401, "Unauthorized", "Unauthorized")
            if is_viewed(path):
                return Viewer(user, self._authorizer)
            attributes = read_attributes(ask.method, path, parse_query(query))
            verdict = await self._authorizer.authorize(user, attributes)
        except AccessFault:
            return _status(500, "InternalError", NO_VERDICT)
        if verdict.allowed:
            return None
        message = attributes.denial(user.name, verdict.reason)
        return _status(403, "Forbidden", message, attributes.details())


def is_viewed(path: str) -> bool:
    """Whether a decoded path of the second server belongs to Heapster's API, seen through its caller's rights."""
    return path == "/api" or path.startswith("/api/")


def allowed_users(text: str) -> frozenset[str] | None:
    """The names of `--allowed-users`; None, for every name, when the flag is empty."""
    return frozenset(name.strip() for name in text.split(",")) if text else None


def _headers(headers: Iterable[tuple[str, str]]) -> Headers:
    """Name in lower case -> its values in order."""
    found: dict[str, list[str]] = {}
    for name, value in headers:
        found.setdefault(name.lower(), []).append(value)
    return found


def _text(message: str, status: int) -> Answer:
    headers = {"X-Content-Type-Options": "nosniff"}
    return Answer(f"{message}\n".encode(), "text/plain; charset=utf-8", status, headers)


def _status(code: int, reason: str, message: str, details: Mapping[str, str] | None = None) -> Answer:
    return status_answer(StatusError(message, code, reason, details or None))
