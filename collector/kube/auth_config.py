"""Whose certificates count: CAs and header names from flags, what is missing from the cluster's own config map.

API servers publish in `kube-system/extension-apiserver-authentication` which CA signs their front proxy's certificate,
which names it may have and which headers it writes, and which CA signs the certificates of users.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from collector.errors import KubernetesError
from collector.kube.auth_watch import NAME, ConfigMap, changes, read
from collector.kube.certificates import CaPool
from collector.kube.connection import ApiConnection
from collector.kube.faults import ApiServerError
from collector.watchedfiles import WatchedFiles

log = logging.getLogger(__name__)

PERIOD_S: Final = 60.0
"""Between two looks at the config map where it may not be watched; its CAs change every few months."""
REJOIN_S: Final = 1.0
"""Between the end of a watch and the next one."""
PERIOD_FAILED_S: Final = 5.0
"""The same while it cannot be read."""
HURRY_S: Final = 5.0
"""A certificate that no CA vouches for may be of a new CA: then it is looked at sooner, but not oftener than this."""


@dataclass(frozen=True, slots=True)
class ProxyTrust:
    """What makes a front proxy's word count; header names and prefixes in lower case."""

    authorities: CaPool
    names: frozenset[str] = frozenset()
    """Common names its certificate may have; empty for any."""
    username_headers: tuple[str, ...] = ("x-remote-user",)
    group_headers: tuple[str, ...] = ("x-remote-group",)
    uid_headers: tuple[str, ...] = ()
    extra_prefixes: tuple[str, ...] = ("x-remote-extra-",)


@dataclass(frozen=True, slots=True)
class ProxyFlags:
    """The `--requestheader-...` flags; they count only together with a CA file."""

    authorities: WatchedFiles[CaPool]
    names: Sequence[str]
    username_headers: Sequence[str]
    group_headers: Sequence[str]
    extra_prefixes: Sequence[str]

    def trust(self) -> ProxyTrust:
        """What they say now."""
        return ProxyTrust(
            self.authorities.current(),
            frozenset(self.names),
            _lower(self.username_headers),
            _lower(self.group_headers),
            (),
            _lower(self.extra_prefixes),
        )


class AuthConfig:
    """The CAs of the moment. `run` keeps what comes from the cluster fresh; flags win over the cluster.

    `connection` None looks nothing up (--authentication-skip-lookup).
    """

    def __init__(
        self, connection: ApiConnection | None, users: WatchedFiles[CaPool] | None, proxy: ProxyFlags | None
    ) -> None:
        # Nothing to look up where both are given.
        self._connection = connection if users is None or proxy is None else None
        self._user_files = users
        self._proxy_flags = proxy
        self._data: dict[str, str] = {}
        self._version = ""
        self._refused = False
        self._found_users: CaPool | None = None
        self._found_proxy: ProxyTrust | None = None
        self._complaint = ""
        self._looking = asyncio.Lock()
        self._looked_at = float("-inf")

    def load(self) -> None:
        """Read the files of the flags. Raises StartError."""
        if self._user_files is not None:
            self._user_files.load()
        if self._proxy_flags is not None:
            self._proxy_flags.authorities.load()

    def users(self) -> CaPool | None:
        """The CAs that sign the certificates of users."""
        return self._user_files.current() if self._user_files is not None else self._found_users

    def proxy(self) -> ProxyTrust | None:
        """Which front proxy's word counts."""
        return self._proxy_flags.trust() if self._proxy_flags is not None else self._found_proxy

    async def look(self) -> bool:
        """Read the config map, unless that was done a moment ago; whether anything changed. Faults are logged once."""
        if self._connection is None:
            return False
        loop = asyncio.get_running_loop()
        async with self._looking:
            if loop.time() - self._looked_at < HURRY_S:
                return False
            try:
                found = await read(self._connection)
            except KubernetesError as error:
                self._complain(f"{error}. Until then the front proxy and users' certificates are not recognised anew")
                return False
            finally:
                self._looked_at = loop.time()
            self._recovered()
            return self._learn(found)

    async def run(self) -> None:
        """Follow the config map until cancelled: by a watch, or, where that is refused, by a look every minute."""
        while self._connection is not None:
            await self.look()
            watched = bool(self._version) and not self._complaint and await self._follow(self._connection)
            period = REJOIN_S if watched else PERIOD_FAILED_S if self._complaint else PERIOD_S
            await asyncio.sleep(period * random.uniform(1.0, 1.2))
        await asyncio.Event().wait()

    async def _follow(self, connection: ApiConnection) -> bool:
        """Take every change for as long as a watch lasts; whether it may be watched at all."""
        try:
            async with contextlib.aclosing(changes(connection, self._version)) as following:
                async for found in following:
                    self._learn(found)
        except KubernetesError as error:
            if not (isinstance(error, ApiServerError) and error.lasting):
                log.debug("the watch of config map kube-system/%s ended: %s", NAME, error)
                return True
            if not self._refused:
                self._refused = True
                log.info("config map kube-system/%s is read every %.0f s, for %s", NAME, PERIOD_S, error)
            return False
        return True

    def _learn(self, found: ConfigMap) -> bool:
        """Use a version of the config map; whether it says anything new."""
        data, self._version = found.data or {}, found.version
        changed, self._data = data != self._data, data
        if changed:
            self._take(data)
        return changed

    def _take(self, data: dict[str, str]) -> None:
        """Use what the config map says; what cannot be read leaves the part read before in use."""
        log.info("config map kube-system/%s was read: %s", NAME, ", ".join(sorted(data)) or "it is empty")
        with self._part("client-ca-file"):
            pem = data.get("client-ca-file", "")
            self._found_users = CaPool.of_pem(pem) if pem.strip() else None
        with self._part("requestheader-client-ca-file and its neighbours"):
            pem = data.get("requestheader-client-ca-file", "")
            self._found_proxy = _proxy(data, CaPool.of_pem(pem)) if pem.strip() else None

    @contextlib.contextmanager
    def _part(self, what: str) -> Iterator[None]:
        try:
            yield
        except (ValueError, msgspec.DecodeError) as error:
            log.warning("config map kube-system/%s: %s cannot be read: %s", NAME, what, error)

    def _complain(self, complaint: str) -> None:
        if complaint != self._complaint:
            self._complaint = complaint
            log.warning("config map kube-system/%s: %s", NAME, complaint)

    def _recovered(self) -> None:
        if self._complaint:
            self._complaint = ""
            log.info("config map kube-system/%s: in contact again", NAME)


def _proxy(data: dict[str, str], authorities: CaPool) -> ProxyTrust:
    """Lists stand in the config map as JSON. Raises ValueError."""

    def listed(key: str) -> tuple[str, ...]:
        return tuple(msgspec.json.decode(data.get(f"requestheader-{key}") or "[]", type=list[str]))

    return ProxyTrust(
        authorities,
        frozenset(listed("allowed-names")),
        _lower(listed("username-headers")),
        _lower(listed("group-headers")),
        _lower(listed("uid-headers")),
        _lower(listed("extra-headers-prefix")),
    )


def _lower(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(name.lower() for name in names)
