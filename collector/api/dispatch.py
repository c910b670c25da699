"""From a request to an answer: finding the route, and the refusals of behaviour reference 8.1. No network here."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from inspect import isawaitable

from collector.api import jsontext
from collector.api.manner import HEAPSTER, Manner
from collector.api.rights import Right
from collector.api.route import ANY, Answer, Context, Request, RequestError, Route, Style, Viewing, text_answer
from collector.api.target import clean_path, location, moved_text, parse_query, split_target

log = logging.getLogger(__name__)

UNMATCHED = "none"
"""In the HTTP metrics, the handler of requests that no route answers."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """An answer, and what answering it has to know."""

    answer: Answer
    handler: str
    api: bool
    """Whether it belongs to Heapster's API, which had its own way of compressing."""


@dataclass(slots=True)
class _Branch:
    """The routes whose paths begin alike."""

    literals: "dict[str, _Branch]" = field(default_factory=dict)
    parameter: "_Branch | None" = None
    routes: dict[str, Route] = field(default_factory=dict)
    """Method -> route of a path that ends here."""
    rest: dict[str, Route] = field(default_factory=dict)
    """Method -> route of a path whose last parameter takes all that remains."""


class Dispatcher:
    """Answers requests from a route table."""

    def __init__(
        self,
        context: Context,
        routes: Iterable[Route],
        api_roots: Sequence[str],
        manner: Manner = HEAPSTER,
        *,
        guarded: bool = False,
    ) -> None:
        """`guarded`: nothing is answered without a viewer that the route's right lets pass."""
        self._context = context
        self._manner = manner
        self._guarded = guarded
        self._api_roots = tuple(api_roots)
        self._tree = _Branch()
        self._plain: dict[str, dict[str, Route]] = {}
        for route in routes:
            if self._below_root(route.path):
                _plant(self._tree, route)
            elif route.style is Style.PLAIN:
                self._plain.setdefault(route.path, {})[route.method] = route
            else:
                raise ValueError(f"route {route.path} answers JSON and so must lie below one of {self._api_roots}")

    async def answer(
        self, method: str, target: str, headers: Mapping[str, str], viewer: Viewing | None = None
    ) -> Outcome:
        """The answer to one request; `target` is as it stood in the request line. Never raises."""
        path, query = split_target(target)
        if path is None:
            return Outcome(text_answer("400 Bad Request", 400, Connection="close"), UNMATCHED, api=False)
        clean = clean_path(path)
        if f"{clean}/" in self._api_roots:
            clean += "/"
        if clean != path:
            return Outcome(_moved(method, location(clean, query)), UNMATCHED, api=False)
        below = self._below_root(path)
        api = below and self._manner.own_compression
        routes, values = self._find(path, api=below)
        request = Request(method, path, {}, parse_query(query), headers, viewer)
        route = routes.get(method) or routes.get(ANY)
        refusal = await self._unseen(route, values, request) if self._guarded else None
        if refusal is not None:
            return Outcome(refusal, route.name if route is not None else UNMATCHED, api)
        if not routes:
            return Outcome(self._manner.not_found(request, api=below), UNMATCHED, api)
        if route is None:
            refusal = self._manner.wrong_method(request, ", ".join(sorted(routes)))
            return Outcome(refusal, next(iter(routes.values())).name, api)
        unacceptable = self._manner.unacceptable(request) if route.style is not Style.PLAIN else None
        if unacceptable is not None:
            return Outcome(unacceptable, route.name, api)
        request = replace(request, params=dict(zip(_names(route), values, strict=True)))
        return Outcome(await self._handled(route, request), route.name, api)

    async def _unseen(self, route: Route | None, values: tuple[str, ...], request: Request) -> Answer | None:
        """The refusal of a caller who may not see this, before anything is said about what there is."""
        if request.viewer is None:
            return self._manner.refused(request, RequestError("403: Forbidden", 403))
        right = route.right if route is not None else Right.EVERYTHING
        named = dict(zip(_names(route), values, strict=True)) if route is not None else {}
        try:
            await request.viewer.admit(right, named.get("namespace", ""))
        except RequestError as error:
            return self._manner.refused(request, error)
        return None

    def _below_root(self, path: str) -> bool:
        return any(path == root or path.startswith(f"{root.removesuffix('/')}/") for root in self._api_roots)

    def _find(self, path: str, *, api: bool) -> tuple[Mapping[str, Route], tuple[str, ...]]:
        """Method -> route, and the values of the path parameters."""
        if not api:
            return self._plain.get(path, {}), ()
        return _climb(self._tree, path.strip("/").split("/"), ())

    async def _handled(self, route: Route, request: Request) -> Answer:
        try:
            reply = route.handler(self._context, request)
            if isawaitable(reply):
                reply = await reply
        except RequestError as error:
            return self._manner.refused(request, error)
        except Exception:
            log.exception("answering %s %s failed", request.method, request.path)
            return self._manner.failed(request)
        if isinstance(reply, Answer):
            return reply
        return Answer(jsontext.lay_out(reply, route.style).encode())


def _plant(tree: _Branch, route: Route) -> None:
    branch = tree
    for segment in route.path.strip("/").split("/"):
        if segment.endswith(":*}"):
            branch.rest[route.method] = route
            return
        if segment.startswith("{"):
            branch.parameter = branch = branch.parameter or _Branch()
        else:
            branch = branch.literals.setdefault(segment, _Branch())
    branch.routes[route.method] = route


def _climb(
    branch: _Branch, segments: Sequence[str], values: tuple[str, ...]
) -> tuple[Mapping[str, Route], tuple[str, ...]]:
    """The routes that match the remaining `segments`: a literal goes before a parameter."""
    if not segments:
        return branch.routes, values
    first, remaining = segments[0], segments[1:]
    if first in branch.literals:
        found = _climb(branch.literals[first], remaining, values)
        if found[0]:
            return found
    if branch.parameter is not None:
        found = _climb(branch.parameter, remaining, (*values, first))
        if found[0]:
            return found
    return branch.rest, (*values, "/".join(segments))


def _names(route: Route) -> list[str]:
    """The names of a route's path parameters."""
    return [part[1:-1].removesuffix(":*") for part in route.path.split("/") if part.startswith("{")]


def _moved(method: str, reference: str) -> Answer:
    # A body for those who only wanted to read, as in Go.
    body = moved_text(reference).encode() if method in {"GET", "HEAD"} else b""
    return Answer(body, "text/html; charset=utf-8", 301, {"Location": reference})
