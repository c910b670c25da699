"""One request about one object: read, created or changed; what goes wrong is told in words that name the way out."""

from collections.abc import Collection
from typing import Any, Final, Literal

import aiohttp

from collector.kube import faults
from collector.kube.connection import ApiConnection

Verb = Literal["get", "create", "patch"]

MOST_BYTES: Final = 4 << 20
_DEADLINE: Final = aiohttp.ClientTimeout(total=10.0)


async def ask_for_object(
    connection: ApiConnection,
    verb: Verb,
    path: str,
    document: dict[str, Any] | None = None,
    *,
    plural: str,
    group: str,
    expected: Collection[int],
    deadline: aiohttp.ClientTimeout = _DEADLINE,
) -> tuple[int, bytes]:
    """Status (200, 201 or one of `expected`) and body; credentials that are not accepted are read again once.

    `document` is the object to create, or a JSON merge patch. Raises KubernetesError.
    """
    try:
        status, body = await _sent(connection, verb, path, document, deadline)
        if status == 401:
            await connection.refresh()
            status, body = await _sent(connection, verb, path, document, deadline)
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise faults.unreachable(connection.endpoint, error) from error
    if status not in {200, 201, *expected}:
        raise faults.refusal(connection.endpoint, verb, plural, status, body, group=group)
    return status, body


async def _sent(
    connection: ApiConnection, verb: Verb, path: str, document: dict[str, Any] | None, deadline: aiohttp.ClientTimeout
) -> tuple[int, bytes]:
    if verb == "get":
        response = await connection.get(path, [], deadline)
    elif verb == "create":
        response = await connection.post(path, document or {}, deadline)
    else:
        response = await connection.patch(path, document or {}, deadline)
    try:
        return response.status, await response.content.read(MOST_BYTES)
    finally:
        response.release()
