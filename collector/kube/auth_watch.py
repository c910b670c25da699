"""The config map whose CAs count, read once or followed: `kube-system/extension-apiserver-authentication`.

The role that API servers make for readers of this one object allows `get`, `list` and `watch` by its name.
"""

import random
from collections.abc import AsyncGenerator
from typing import Final

import aiohttp
import msgspec

from collector.kube import faults
from collector.kube.connection import ApiConnection
from collector.kube.lines import LineSplitter

NAME: Final = "extension-apiserver-authentication"
COLLECTION: Final = "/api/v1/namespaces/kube-system/configmaps"
PATH: Final = f"{COLLECTION}/{NAME}"

WATCH_S: Final = (300, 600)
"""A watch asks to be ended after a random time between these."""
_GRACE_S: Final = 30.0
_CONNECT_S: Final = 10.0
_DEADLINE: Final = aiohttp.ClientTimeout(total=10.0)
_MOST_BYTES: Final = 4 << 20


class _Metadata(msgspec.Struct, rename="camel", gc=False):
    resource_version: str = ""


class ConfigMap(msgspec.Struct, gc=False):
    """What matters of a config map."""

    metadata: _Metadata = msgspec.field(default_factory=_Metadata)
    data: dict[str, str] | None = None

    @property
    def version(self) -> str:
        """Where a watch goes on from."""
        return self.metadata.resource_version


class _Event(msgspec.Struct, gc=False):
    type: str
    object: msgspec.Raw


async def read(connection: ApiConnection) -> ConfigMap:
    """The config map as it is now. Raises KubernetesError."""
    endpoint = connection.endpoint
    try:
        response = await connection.get(PATH, [], _DEADLINE)
        if response.status == 401:
            response.release()
            await connection.refresh()
            response = await connection.get(PATH, [], _DEADLINE)
        try:
            body = await response.content.read(_MOST_BYTES)
        finally:
            response.release()
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise faults.unreachable(endpoint, error) from error
    if response.status != 200:
        raise faults.refusal(endpoint, "get", "configmaps", response.status, body)
    return _decoded(connection, body)


async def changes(connection: ApiConnection, version: str) -> AsyncGenerator[ConfigMap, None]:
    """The config map after each change since `version`, until the server ends the watch or the object is gone.

    Raises KubernetesError where the watch is refused or breaks.
    """
    endpoint, seconds = connection.endpoint, random.randint(*WATCH_S)
    query = [
        ("watch", "true"),
        ("fieldSelector", f"metadata.name={NAME}"),
        ("resourceVersion", version),
        ("timeoutSeconds", str(seconds)),
    ]
    splitter = LineSplitter(_MOST_BYTES)
    try:
        deadline = aiohttp.ClientTimeout(total=seconds + _GRACE_S, sock_connect=_CONNECT_S)
        response = await connection.get(COLLECTION, query, deadline)
        try:
            if response.status != 200:
                body = await response.content.read(_MOST_BYTES)
                raise faults.refusal(endpoint, "watch", "configmaps", response.status, body)
            async for chunk in response.content.iter_any():
                for line in splitter.feed(chunk):
                    event = _event(connection, line)
                    if event.type not in {"ADDED", "MODIFIED"}:
                        return  # deleted, or too old a version: to be read anew
                    yield _decoded(connection, event.object)
        finally:
            response.close()  # to leave a watch early must not wait for its end
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise faults.unreachable(endpoint, error) from error


def _decoded(connection: ApiConnection, body: bytes | msgspec.Raw) -> ConfigMap:
    try:
        return msgspec.json.decode(body, type=ConfigMap)
    except msgspec.DecodeError as error:
        raise faults.unreadable(connection.endpoint, f"config map {NAME}", bytes(body), error) from error


def _event(connection: ApiConnection, line: bytes) -> _Event:
    try:
        return msgspec.json.decode(line, type=_Event)
    except msgspec.DecodeError as error:
        raise faults.unreadable(connection.endpoint, f"the watch of config map {NAME}", line, error) from error
