"""Who may ask: one bearer token that may everything, one that is known and may nothing."""

FORBIDDEN_TOKEN = "sim-forbidden"  # noqa: S105 - a name for tests, it opens nothing
FORBIDDEN_USER = "system:serviceaccount:default:default"


def kubelet_refusal(authorization: str, token: str, subresource: str, verb: str = "get") -> tuple[int, bytes] | None:
    """Status and text a kubelet refuses with, or None; words of a recorded 1.36.2 kubelet."""
    given = authorization.removeprefix("Bearer ")
    if given == token:
        return None
    if given == FORBIDDEN_TOKEN:
        reason = f"user={FORBIDDEN_USER}, verb={verb}, resource=nodes, subresource(s)=[{subresource}]"
        return 403, f"Forbidden ({reason})".encode()
    return 401, b"Unauthorized"
