"""Status: what an API server answers instead of an object when it refuses (Kubernetes API, meta/v1)."""

from collections.abc import Mapping
from typing import Any

import msgspec


def status_object(code: int, reason: str, message: str, details: Mapping[str, str] | None = None) -> bytes:
    """A Status that tells of a failure, as JSON."""
    body: dict[str, Any] = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
    }
    if details:
        body["details"] = details
    return msgspec.json.encode({**body, "code": code}) + b"\n"
