"""Who asks and whether they may: what the second server knows about its callers (behaviour reference, 8.9).

`Authenticator` finds the user by the front proxy's headers, a client certificate or a bearer token, in that order, as
API servers do; `Authorizer` has the API server decide. Both remember verdicts for as long as their flags say.
"""

import hashlib
import hmac
import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from collector.kube.auth_attributes import Attributes
from collector.kube.auth_cache import Remembered
from collector.kube.auth_config import AuthConfig, ProxyTrust
from collector.kube.auth_reviews import AccessFault, AccessStatus, Reviewer
from collector.kube.auth_user import ANONYMOUS, Headers, User
from collector.kube.certificates import Peer

__all__ = ["AccessFault", "Authenticator", "Authorizer"]

log = logging.getLogger(__name__)

_LONGEST_TOKEN: Final = 64 << 10


class Authenticator:
    """Finds out who asks. `ttl` is how many seconds a token's review is believed."""

    def __init__(
        self, config: AuthConfig, reviewer: Reviewer, ttl: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._config = config
        self._reviewer = reviewer
        self._ttl = ttl
        self._tokens: Remembered[bytes, User | None] = Remembered(clock=clock)
        # Tokens are remembered by a keyed digest: whoever reads our memory finds none of them.
        self._key = secrets.token_bytes(32)

    def load(self) -> None:
        """Read the CA files. Raises StartError."""
        self._config.load()

    async def authenticate(self, peer: Peer | None, headers: Headers) -> User | None:
        """The user; ANONYMOUS without any credentials, None where credentials are given and none of them is good.

        Raises AccessFault when the API server gives no verdict on a token.
        """
        user, shown = await self._by_certificate(peer, headers)
        if user is not None:
            return user.authenticated()
        token = _bearer_token(headers)
        if token:
            user = await self._by_token(token)
            return user.authenticated() if user is not None else None
        return None if shown else ANONYMOUS

    async def close(self) -> None:
        """Give up the reviews under way."""
        await self._tokens.close()

    async def _by_certificate(self, peer: Peer | None, headers: Headers) -> tuple[User | None, bool]:
        """The user, and whether a certificate was shown that counts for nothing."""
        if peer is None:
            return None, False  # and so no header is believed
        faults = self._faults(peer, headers)
        if isinstance(faults, list) and await self._config.look():
            faults = self._faults(peer, headers)
        if isinstance(faults, list):
            log.debug("client certificate of %r: %s", peer.common_name, "; ".join(faults) or "no CA is known")
            return None, True
        return faults, False

    def _faults(self, peer: Peer, headers: Headers) -> User | list[str] | None:
        """The user; None when the proxy's certificate comes with no user; or why the certificate does not count."""
        faults: list[str] = []
        proxy, users = self._config.proxy(), self._config.users()
        from_proxy = False
        if proxy is not None:
            fault = proxy.authorities.fault(peer)
            if fault is None and proxy.names and peer.common_name not in proxy.names:
                fault = "its name is not among the front proxy's"
            if fault is not None:
                faults.append(f"as front proxy: {fault}")
            else:
                from_proxy = True
                user = _forwarded(proxy, headers)
                if user is not None:
                    return user
        if users is not None:
            fault = users.fault(peer)
            if fault is None and peer.common_name:
                return User(peer.common_name, peer.organizations)
            faults.append(f"as user: {fault or 'it has no common name'}")
        return None if from_proxy else faults

    async def _by_token(self, token: str) -> User | None:
        if len(token) > _LONGEST_TOKEN:
            return None
        digest = hmac.digest(self._key, token.encode("utf-8", "surrogateescape"), hashlib.sha256)

        async def ask() -> tuple[User | None, float]:
            status = await self._reviewer.token(token)
            if not status.authenticated or status.user is None or not status.user.username:
                log.debug("a bearer token was not accepted%s", f": {status.error}" if status.error else "")
                return None, self._ttl
            found = status.user
            extra = sorted((key, tuple(values or ())) for key, values in (found.extra or {}).items())
            return User(found.username, tuple(found.groups or ()), found.uid, tuple(extra)), self._ttl

        return await self._tokens.get(digest, ask)


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """How many seconds a verdict is believed."""

    allowed: float
    denied: float


class Authorizer:
    """Has the API server decide whether a user may do something. `clock` gives monotonic seconds."""

    def __init__(self, reviewer: Reviewer, lifetimes: Lifetimes, clock: Callable[[], float] = time.monotonic) -> None:
        self._reviewer = reviewer
        self._lifetimes = lifetimes
        # By digest: paths and groups are as long as their sender likes, and thousands of verdicts are kept.
        self._verdicts: Remembered[bytes, AccessStatus] = Remembered(clock=clock)

    async def authorize(self, user: User, attributes: Attributes) -> AccessStatus:
        """The verdict. Raises AccessFault when there is none."""

        async def ask() -> tuple[AccessStatus, float]:
            verdict = await self._reviewer.access({**user.review(), **attributes.review()})
            return verdict, self._lifetimes.allowed if verdict.allowed else self._lifetimes.denied

        question = repr((user, attributes)).encode("utf-8", "backslashreplace")
        return await self._verdicts.get(hashlib.sha256(question).digest(), ask)

    async def close(self) -> None:
        """Give up the reviews under way."""
        await self._verdicts.close()


def _bearer_token(headers: Headers) -> str:
    """The token of the first `Authorization` header, empty when it holds none."""
    scheme, _, token = next(iter(headers.get("authorization", ())), "").strip().partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _forwarded(proxy: ProxyTrust, headers: Headers) -> User | None:
    """The user a front proxy names; None when it names none. Only to be asked once the proxy has shown itself."""
    name = _first(headers, proxy.username_headers)
    if not name:
        return None
    groups = tuple(value for header in proxy.group_headers for value in headers.get(header, ()) if value)
    extra: dict[str, list[str]] = {}
    for header, values in headers.items():
        prefix = next((prefix for prefix in proxy.extra_prefixes if header.startswith(prefix)), None)
        if prefix is not None:
            extra.setdefault(unquote(header[len(prefix) :]).lower(), []).extend(values)
    kept = tuple((key, tuple(values)) for key, values in sorted(extra.items()))
    return User(name, groups, _first(headers, proxy.uid_headers), kept)


def _first(headers: Headers, names: tuple[str, ...]) -> str:
    return next((value for name in names for value in headers.get(name, ())[:1] if value), "")
