"""The API server, who we are to it, and which nodes there are."""

import asyncio
import base64
import binascii
import contextlib
import os
import time
from email.utils import parsedate_to_datetime
from typing import Final, NamedTuple

import aiohttp
import msgspec

from collector.doctor.finding import Finding, State, fine, wrong
from collector.doctor.patient import Dated, Patient
from collector.errors import KubernetesError, StartError
from collector.kube import faults
from collector.kube.client import Collection, Pace
from collector.kube.config import connect
from collector.kube.connection import ApiConnection
from collector.kube.listers import NodeLister
from collector.kube.objectrequest import ask_for_object
from collector.kube.objects import Node
from collector.kube.resources import NODES
from collector.sources.addresses import candidates
from collector.sources.roster import Roster

API_SERVER: Final = "the API server"
DEADLINE_S: Final = 10.0
_DEADLINE: Final = aiohttp.ClientTimeout(total=DEADLINE_S)
_MOST_BYTES: Final = 1 << 20
_AUTHENTICATION: Final = "authentication.k8s.io"
_VERSIONS: Final = ("v1", "v1beta1", "v1alpha1")
"""Of SelfSubjectReview: from Kubernetes 1.28, 1.27 and 1.26 on."""
_ANONYMOUS: Final = "system:anonymous"


class _Version(msgspec.Struct, rename="camel"):
    git_version: str


class _User(msgspec.Struct):
    username: str = ""
    groups: list[str] | None = None


class _ReviewStatus(msgspec.Struct, rename="camel"):
    user_info: _User = msgspec.field(default_factory=_User)


class _Review(msgspec.Struct):
    status: _ReviewStatus = msgspec.field(default_factory=_ReviewStatus)


class _Reply(NamedTuple):
    status: int
    body: bytes


async def api_server(patient: Patient) -> list[Finding]:
    """Whether it answers, and which version it is of."""
    settings = patient.settings
    try:
        connection = await connect(
            in_cluster=settings.in_cluster,
            kubeconfig=settings.kubeconfig or None,
            server=settings.server or None,
            insecure=settings.insecure,
            use_service_account=settings.use_service_account,
        )
    except StartError as error:
        return [wrong("api-configuration", trouble=error)]
    patient.closing.push_async_callback(connection.close)
    endpoint = connection.endpoint
    began = time.perf_counter()
    try:
        reply = await _dated(patient, connection, "/version")
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        return [_not_reached(endpoint, error)]
    version = _version(reply)
    if version is None and reply.status != 401:
        return [wrong("api-other", url=endpoint.url, status=reply.status, origin=endpoint.origin)]
    patient.connection = connection
    patient.facts.add("api-server")
    took = 1000 * (time.perf_counter() - began)
    shown = version or "its version is not told to strangers"
    return [fine(f"{endpoint.url} answers in {took:.0f} ms: {shown}; its address comes from {endpoint.origin}")]


async def _dated(patient: Patient, connection: ApiConnection, path: str) -> _Reply:
    """One GET, and the date of its answer."""
    sent = time.time()
    response = await connection.get(path, [], _DEADLINE)
    received = time.time()
    try:
        said = response.headers.get("Date", "")
        if said:
            with contextlib.suppress(ValueError):  # a proxy's own idea of a date
                patient.dates[API_SERVER] = Dated(parsedate_to_datetime(said).timestamp(), sent, received)
        return _Reply(response.status, await response.content.read(_MOST_BYTES))
    finally:
        response.release()


def _not_reached(endpoint: faults.Endpoint, error: Exception) -> Finding:
    known = {"url": endpoint.url, "origin": endpoint.origin, "ca_origin": endpoint.ca_origin}
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        reason = getattr(error.certificate_error, "verify_message", "") or error.certificate_error
        return wrong("api-certificate", trouble=reason, known=known)
    if isinstance(error, TimeoutError):
        return wrong("api-timeout", limit=f"{DEADLINE_S:g} s", known=known)
    if isinstance(error, aiohttp.ClientConnectorError) and not isinstance(error, aiohttp.ClientSSLError):
        number = error.os_error.errno or 0
        reason = os.strerror(number) if number > 0 else error.os_error.strerror or str(error.os_error)
        return wrong("api-refused", trouble=reason, known=known)
    return wrong("api-broken", trouble=str(error) or type(error).__name__, known=known)


def _version(reply: _Reply) -> str | None:
    try:
        return msgspec.json.decode(reply.body, type=_Version).git_version if reply.status == 200 else None
    except msgspec.DecodeError:
        return None


async def identity(patient: Patient) -> list[Finding]:
    """Who the API server takes us for."""
    connection, endpoint = patient.api, patient.api.endpoint
    try:
        status, body = await _self_review(connection)
    except KubernetesError as error:
        return [wrong("identity-unknown", trouble=error)]
    if status == 401:
        cause = "identity-refused-pod" if patient.settings.in_cluster else "identity-refused"
        return [wrong(cause, origin=endpoint.origin)]
    patient.facts.add("identity")
    if status in {403, 404}:
        patient.user = await _claimed(connection) or "this user"
        words = f"{patient.user}, by its own token" if patient.user != "this user" else "accepted"
        return [fine(f"{words} (this API server does not tell users who they are)")]
    try:
        user = msgspec.json.decode(body, type=_Review).status.user_info
    except msgspec.DecodeError as error:
        return [wrong("identity-unknown", state=State.WARNING, trouble=error)]
    patient.user = user.username
    if user.username == _ANONYMOUS:
        patient.facts.discard("identity")
        return [wrong("identity-anonymous", user=user.username, origin=endpoint.origin)]
    groups = ", ".join(user.groups or ())
    return [fine(f"{user.username}{f' (groups {groups})' if groups else ''}")]


async def _self_review(connection: ApiConnection) -> tuple[int, bytes]:
    """Status and body of the first version that is served. Raises KubernetesError."""
    status, body = 404, b""
    for version in _VERSIONS:
        document = {"kind": "SelfSubjectReview", "apiVersion": f"{_AUTHENTICATION}/{version}"}
        status, body = await ask_for_object(
            connection,
            "create",
            f"/apis/{_AUTHENTICATION}/{version}/selfsubjectreviews",
            document,
            plural="selfsubjectreviews",
            group=_AUTHENTICATION,
            expected=(401, 403, 404),
        )
        if status != 404:
            break
    if status in {403, 404}:  # before 1.26, or not for us: a path that wants any user
        status, body = await _plain(connection, status, body)
    return status, body


async def _plain(connection: ApiConnection, status: int, body: bytes) -> tuple[int, bytes]:
    reached, _ = await ask_for_object(connection, "get", "/api", plural="api", group="", expected=(401, 403, 404))
    return (401, b"") if reached == 401 else (status, body)


async def _claimed(connection: ApiConnection) -> str:
    """The subject of a token that is a JWT, unverified: for words only."""
    try:
        parts = (await connection.authorization()).get("Authorization", "").removeprefix("Bearer ").split(".")
        if len(parts) != 3:
            return ""
        claims = msgspec.json.decode(
            base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)), type=dict[str, object]
        )
    except (KubernetesError, msgspec.DecodeError, binascii.Error, ValueError):
        return ""
    return str(claims.get("sub", ""))


async def nodes(patient: Patient) -> list[Finding]:
    """Which nodes there are, and which of them are asked."""
    lister = NodeLister()
    try:
        async with asyncio.timeout(patient.options.kube_start_timeout / 1e9):
            found: list[Node] = []
            async for page in Collection(patient.api, NODES, Pace()).pages(Pace().page_limit):
                found += page.objects
    except KubernetesError as error:
        return [wrong("nodes-unreadable", trouble=error)]
    except TimeoutError:
        return [wrong("nodes-unreadable", trouble="the list of nodes did not come within --kube-start-timeout")]
    if not found:
        return [wrong("no-nodes", origin=patient.api.endpoint.origin)]
    lister.replace(found)
    patient.nodes = lister
    states, addressing = patient.kubelets.states, patient.kubelets.addressing
    roster = Roster(lister, patient.settings.kubelet_port, addressing, states)
    asked = {node.name for node, _ in roster.targets()}
    if asked:
        patient.facts.add("nodes")
    return [_of_node(patient, node, asked=node.name in asked) for node in sorted(found, key=lambda each: each.name)]


def _of_node(patient: Patient, node: Node, *, asked: bool) -> Finding:
    if asked:
        addresses = candidates(node, patient.kubelets.addressing.types)
        return fine(f"asked at {', '.join(addresses)}", node.name)
    state = patient.kubelets.states.get(node.name)
    reason = state.state if state is not None else "no_address"
    if reason == "virtual":
        return fine("it is virtual and states no kubelet: it is not asked", node.name)
    if reason == "not_ready":
        return wrong("node-not-ready", node.name, state=State.WARNING, node=node.name)
    return wrong("node-without-address", node.name, node=node.name)
