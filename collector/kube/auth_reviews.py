"""TokenReview and SubjectAccessReview: questions to the API server about a token, and about a user's rights.

Asked in `v1`; an API server that has only `v1beta1` (before 1.6 and until 1.21 there were both) is asked in that (F16).
"""

import asyncio
import logging
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import aiohttp
import msgspec

from collector.errors import KubernetesError
from collector.kube import faults
from collector.kube.connection import ApiConnection

R = TypeVar("R")

log = logging.getLogger(__name__)

DEADLINE_S: Final = 10.0
"""For one review; who asked gets an error after that."""
MOST_AT_ONCE: Final = 64
"""Reviews under way: somebody who tries tokens must not flood the API server through us."""

_VERSIONS: Final = ("v1", "v1beta1")
_MOST_BYTES: Final = 1 << 20
_RETRY_PAUSE_S: Final = 0.2
_DEADLINE: Final = aiohttp.ClientTimeout(total=DEADLINE_S)


class AccessFault(KubernetesError):  # noqa: N818  # no verdict: neither a yes nor a no
    """The API server gave no verdict; the message is for the log, not for whoever asks."""


class ReviewedUser(msgspec.Struct, gc=False):
    """`status.user` of a TokenReview."""

    username: str = ""
    uid: str = ""
    groups: list[str] | None = None
    extra: dict[str, list[str] | None] | None = None


class TokenStatus(msgspec.Struct, gc=False):
    """`status` of a TokenReview."""

    authenticated: bool = False
    user: ReviewedUser | None = None
    error: str = ""


class AccessStatus(msgspec.Struct, gc=False):
    """`status` of a SubjectAccessReview."""

    allowed: bool = False
    reason: str = ""


class _TokenReview(msgspec.Struct, gc=False):
    status: TokenStatus = msgspec.field(default_factory=TokenStatus)


class _AccessReview(msgspec.Struct, gc=False):
    status: AccessStatus = msgspec.field(default_factory=AccessStatus)


@dataclass(slots=True)
class _Kind:
    group: str
    plural: str
    name: str
    version: str = field(default=_VERSIONS[0])
    """The one that answered last."""


class Reviewer:
    """Asks one API server. Both questions raise AccessFault when there is no verdict."""

    def __init__(self, connection: ApiConnection) -> None:
        self._connection = connection
        self._turns = asyncio.Semaphore(MOST_AT_ONCE)
        self._tokens = _Kind("authentication.k8s.io", "tokenreviews", "TokenReview")
        self._access = _Kind("authorization.k8s.io", "subjectaccessreviews", "SubjectAccessReview")
        self._complaint = ""

    async def token(self, token: str) -> TokenStatus:
        """Whose token it is, if anybody's."""
        return (await self._review(self._tokens, {"token": token}, _TokenReview)).status

    async def access(self, spec: dict[str, Any]) -> AccessStatus:
        """Whether a user may do something; `spec` is that of a SubjectAccessReview in `v1`."""
        return (await self._review(self._access, spec, _AccessReview)).status

    async def _review(self, kind: _Kind, spec: dict[str, Any], answer: type[R]) -> R:
        try:
            async with asyncio.timeout(DEADLINE_S), self._turns:
                body = await self._answered(kind, spec)
            decoded = msgspec.json.decode(body, type=answer)
        except TimeoutError:
            fault = AccessFault(
                f"no {kind.name} within {DEADLINE_S:g} s: API server {self._connection.url} does not answer, "
                f"or {MOST_AT_ONCE} other reviews are waiting for it"
            )
        except msgspec.DecodeError as error:
            fault = AccessFault(f"the {kind.name} of API server {self._connection.url} cannot be read: {error}")
        except KubernetesError as error:
            fault = AccessFault(f"no {kind.name}: {error}")
        else:
            self._complaint = ""
            return decoded
        if str(fault) != self._complaint:
            self._complaint = str(fault)
            log.warning("requests are refused: %s", fault)
        raise fault

    async def _answered(self, kind: _Kind, spec: dict[str, Any]) -> bytes:
        """The body of the first good answer, over versions and two tries."""
        status, body = 404, b""
        for version in (kind.version, _VERSIONS[1 - _VERSIONS.index(kind.version)]):
            status, body = await self._twice(kind, version, spec)
            if status != 404:
                kind.version = version
                break
        if status not in {200, 201}:
            raise faults.refusal(self._connection.endpoint, "create", kind.plural, status, body, group=kind.group)
        return body

    async def _twice(self, kind: _Kind, version: str, spec: dict[str, Any]) -> tuple[int, bytes]:
        """Status and body; asked again once where that may help: after a broken connection, a 401, a 429, a 5xx."""
        try:
            status, body = await self._post(kind, version, spec)
        except faults.ApiServerError as error:
            if error.lasting:
                await self._connection.refresh()
        else:
            if status < 500 and status not in {401, 429}:
                return status, body
            if status == 401:
                await self._connection.refresh()
        await asyncio.sleep(_RETRY_PAUSE_S)
        return await self._post(kind, version, spec)

    async def _post(self, kind: _Kind, version: str, spec: dict[str, Any]) -> tuple[int, bytes]:
        written = {"group" if name == "groups" and version == "v1beta1" else name: v for name, v in spec.items()}
        document = {"kind": kind.name, "apiVersion": f"{kind.group}/{version}", "spec": written}
        path = f"/apis/{kind.group}/{version}/{kind.plural}"
        try:
            response = await self._connection.post(path, document, _DEADLINE)
            try:
                return response.status, await response.content.read(_MOST_BYTES)
            finally:
                response.release()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise faults.unreachable(self._connection.endpoint, error) from error
