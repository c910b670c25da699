"""What went wrong between the collector and the API server, in words that name the way out.

Every function here builds an exception and raises nothing.
"""

import asyncio
import os
from dataclasses import dataclass
from typing import Final

import aiohttp
import msgspec

from collector.errors import ExpiredError, KubernetesError
from collector.kube import wire

_EXCERPT: Final = 200
_RETRY_AFTER_LIMIT: Final = 60.0


class ApiServerError(KubernetesError):
    """The API server could not be reached or refused.

    `lasting` tells that trying again helps only after somebody changed something (a certificate, a token, a role);
    `retry_after` is the pause in seconds the server asked for, 0 when it did not.
    """

    def __init__(self, message: str, *, lasting: bool = False, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.lasting = lasting
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where requests go and where that was read from: the words every message needs."""

    url: str
    """`https://10.0.0.1:443`"""
    origin: str
    """what named the server: `kubeconfig /etc/kube.yaml, context admin`"""
    ca_origin: str
    """what the server's certificate is checked against: `CA file /etc/ca.crt`"""


def unreachable(endpoint: Endpoint, error: Exception) -> ApiServerError:
    """No answer, or one that broke off."""
    server = f"API server {endpoint.url} ({endpoint.origin})"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        reason = getattr(error.certificate_error, "verify_message", "") or error.certificate_error
        return ApiServerError(
            f"{server}: its certificate is not accepted: {reason}; checked against {endpoint.ca_origin}. "
            "Name the CA that signed it, or turn verification off with insecure=true",
            lasting=True,
        )
    if isinstance(error, aiohttp.ClientConnectorError):
        cause = error.os_error
        # asyncio puts its own words into strerror, except for name resolution, whose numbers are negative.
        number = cause.errno or 0
        reason = os.strerror(number) if number > 0 else cause.strerror or str(cause)
        return ApiServerError(f"{server}: no connection: {reason}. Is it up, and is this its address?")
    if isinstance(error, asyncio.TimeoutError):
        return ApiServerError(f"{server}: no answer in time: {str(error) or type(error).__name__}")
    return ApiServerError(f"{server}: the connection broke: {str(error) or type(error).__name__}")


def refusal(
    endpoint: Endpoint, verb: str, plural: str, status: int, body: bytes, retry_after: str = "", *, group: str = ""
) -> KubernetesError:
    """An HTTP status other than 200 for `verb` (list, watch) on the collection `plural` of the API group `group`."""
    said = _status(body)
    told = (said.message if said else None) or body[:_EXCERPT].decode(errors="replace").strip() or "no reason given"
    where = f"API server {endpoint.url} refused to {verb} {plural} with status {status}"
    if status == 410 or (said and is_expired(said)):
        return ExpiredError(f"{where}: {told}")
    if status == 401:
        way_out = f"the credentials of {endpoint.origin} are not accepted: renew the token or client certificate there"
    elif status == 403:
        api = f"API group {group}" if group else "the core API group"
        way_out = f'its RBAC rules must allow verb "{verb}" on resource "{plural}" of {api} to this user'
    elif status == 404:
        way_out = f"is {endpoint.url} ({endpoint.origin}) a Kubernetes API server?"
    else:
        return ApiServerError(f"{where}: {told}", retry_after=_seconds(retry_after))
    return ApiServerError(f"{where}: {told}; {way_out}", lasting=True)


def watch_error(endpoint: Endpoint, plural: str, told: wire.Status) -> KubernetesError:
    """An ERROR event inside a watch that began well."""
    words = f"API server {endpoint.url} ended the watch of {plural}: {told.code} {told.reason}: {told.message}"
    return ExpiredError(words) if is_expired(told) else KubernetesError(words)


def unreadable(endpoint: Endpoint, what: str, body: bytes, error: Exception) -> KubernetesError:
    """An answer with status 200 that is not the document asked for."""
    excerpt = body[:_EXCERPT].decode(errors="replace")
    return KubernetesError(
        f"API server {endpoint.url}: {what} cannot be read: {error}; it begins with {excerpt!r}. "
        f"Is that a Kubernetes API server? Its address comes from {endpoint.origin}"
    )


def is_expired(status: wire.Status) -> bool:
    """Whether a Status says that the resource version or continue token is no longer kept."""
    return status.code == 410 or status.reason in {"Expired", "Gone"}


def _status(body: bytes) -> wire.Status | None:
    try:
        return msgspec.json.decode(body, type=wire.Status)
    except msgspec.DecodeError:
        return None


def _seconds(retry_after: str) -> float:
    """The Retry-After header in seconds; its date form, which the API server never sends, is ignored."""
    return min(float(retry_after), _RETRY_AFTER_LIMIT) if retry_after.isdecimal() else 0.0
