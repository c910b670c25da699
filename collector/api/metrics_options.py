"""What a list or a watch was asked for: Kubernetes' list options, checked as an API server checks them.

Source of rules and words: apimachinery's `ListOptions` and its validation, as of Kubernetes 1.32.
"""

import base64
import json
from dataclasses import dataclass
from typing import Final

from collector.api.metrics_select import Wanted
from collector.api.revisions import SKEW_MS
from collector.api.route import Context, Request
from collector.api.status import bad_request, invalid_options, too_large_version
from collector.gotext import quoted
from collector.kube import fieldselector, selector

_FALSE: Final = frozenset({"false", "0"})

NOT_OLDER_THAN: Final = "NotOlderThan"
EXACT: Final = "Exact"

TOKEN_VERSION: Final = "meta.k8s.io/v1"  # noqa: S105 - no secret

NO_TOKEN: Final = "continue key is not valid: it is none that this server gave out"  # noqa: S105 - no secret

INCONSISTENT: Final = -1
"""The version in a token that goes on with whatever is shown now."""


@dataclass(frozen=True, slots=True)
class Token:
    """Where a list goes on: behind which object, at which revision."""

    version: int
    namespace: str
    name: str

    def text(self) -> str:
        """As it stands in `metadata.continue`."""
        document = {"v": TOKEN_VERSION, "rv": self.version, "start": f"{self.namespace}/{self.name}"}
        return base64.urlsafe_b64encode(json.dumps(document, separators=(",", ":")).encode()).decode().rstrip("=")


def read_token(text: str) -> Token:
    """The token that `text` writes. Raises StatusError, 400."""
    try:
        document = json.loads(base64.b64decode(text + "=" * (-len(text) % 4), altchars="-_", validate=True))
        form, version, start = document["v"], document["rv"], document["start"]
        namespace, slash, name = start.partition("/")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise bad_request(NO_TOKEN) from None
    if form != TOKEN_VERSION or type(version) is not int or version < INCONSISTENT or not slash or not name:
        raise bad_request(NO_TOKEN)
    return Token(version, namespace, name)


@dataclass(frozen=True, slots=True)
class Options:
    """The options of one request."""

    wanted: Wanted
    watch: bool = False
    limit: int = 0
    """0: no limit."""
    token: Token | None = None
    version: int = 0
    """0: any, the newest is given."""
    exact: bool = False
    timeout_s: int = 0
    """0: as the server likes."""
    bookmarks: bool = False
    initial_events: bool = False
    """Whether a watch begins with all there is."""
    marked: bool = False
    """Whether a bookmark tells where the initial events end."""


def list_options(context: Context, request: Request) -> Options:
    """What `request` asks for. Raises StatusError."""
    limit, timeout = (_number(request, name) for name in ("limit", "timeoutSeconds"))
    try:
        labels = selector.parse(request.argument("labelSelector"))
        fields = fieldselector.parse(request.argument("fieldSelector"))
    except selector.SelectorError as error:
        raise bad_request(str(error)) from None
    watch = _switch(request, "watch")
    _check_match(request, watch=watch)
    version = _version(context, request.argument("resourceVersion"))
    after = request.argument("continue")
    if after and version and not watch:
        raise bad_request("specifying resource version is not allowed when using continue")
    bookmarks, initial = _switch(request, "allowWatchBookmarks"), _switch(request, "sendInitialEvents")
    return Options(
        Wanted(request.params.get("namespace"), labels, fields),
        watch=watch,
        limit=max(0, limit),
        token=read_token(after) if after and not watch else None,
        version=version,
        exact=request.argument("resourceVersionMatch") == EXACT,
        timeout_s=max(0, timeout),
        bookmarks=bookmarks,
        initial_events=initial if "sendInitialEvents" in request.query else not version,
        marked=initial and bookmarks,
    )


def _check_match(request: Request, *, watch: bool) -> None:
    """Whether `resourceVersionMatch` and `sendInitialEvents` go together with the rest."""
    match, version = request.argument("resourceVersionMatch"), request.argument("resourceVersion")
    faults: list[tuple[str, str]] = []
    if not watch and "sendInitialEvents" in request.query:
        faults.append(("sendInitialEvents", "sendInitialEvents is forbidden for list"))
    if watch and "sendInitialEvents" in request.query:
        if match != NOT_OLDER_THAN:
            name = "resourceVersionMatch"
            faults.append((name, "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"))
    elif match:
        if watch:
            faults.append(("resourceVersionMatch", "resourceVersionMatch is forbidden for watch"))
        elif not version:
            name = "resourceVersionMatch"
            faults.append((name, "resourceVersionMatch is forbidden unless resourceVersion is provided"))
        elif request.argument("continue"):
            name = "resourceVersionMatch"
            faults.append((name, "resourceVersionMatch is forbidden when continue is provided"))
        elif match not in {NOT_OLDER_THAN, EXACT}:
            faults.append(("resourceVersionMatch", f"{quoted(match)} is neither Exact nor NotOlderThan"))
        elif match == EXACT and version == "0":
            name = "resourceVersionMatch"
            faults.append((name, 'resourceVersionMatch "Exact" is forbidden for resourceVersion "0"'))
    if faults:
        raise invalid_options(faults)


def _version(context: Context, text: str) -> int:
    if not text:
        return 0
    if not (text.isascii() and text.isdigit()) or int(text) >= 1 << 64:
        why = "invalid syntax" if not (text.isascii() and text.isdigit()) else "value out of range"
        raise bad_request(f"invalid resource version: strconv.ParseUint: parsing {quoted(text)}: {why}")
    version, now = int(text), context.now()
    if version > now // 10**6 + SKEW_MS:
        raise too_large_version(version, context.revisions.current(now).number)
    return version


def _number(request: Request, name: str) -> int:
    text = request.argument(name)
    if text and not selector.is_int64(text):
        raise bad_request(f"strconv.ParseInt: parsing {quoted(text)}: invalid syntax")
    return int(text) if text else 0


def _switch(request: Request, name: str) -> bool:
    """A boolean of the query as Kubernetes reads it: everything but `false` and `0` is true."""
    return name in request.query and request.argument(name).lower() not in _FALSE
