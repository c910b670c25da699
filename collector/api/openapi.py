"""The OpenAPI document: written from the route table, and served at `/openapi.json`.

What a path cannot tell stands in the route's Spec or, for what routes share, in `components`. OpenAPI 3.1.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any

from collector import __version__
from collector.api.components import PATH_PARAMETERS, spec_of
from collector.api.route import ANY, Answer, Context, Handler, Request, Route, Style
from collector.api.spec import JSON, TEXT, Parameter, Schema, Spec

PATH = "/openapi.json"

OPENAPI = "3.1.0"
DESCRIPTION = (
    "Heapster's HTTP API. A slash at the end of a path below /api or /apis may be left out or put in. Errors are plain"
    " text. Unknown entities and metrics of the model API are no errors: they have no points."
)

REFUSALS: Mapping[int, str] = {
    301: "The path is not clean: an empty segment, . or .. stands in it.",
    400: "The request is malformed, or a parameter has a value it cannot have; the text says which.",
    404: "There is nothing at this path.",
    405: "The method is not one that this path answers.",
    406: "The Accept header admits no JSON.",
    409: "Another such request is under way.",
    500: "It cannot be answered now; the text says why.",
    503: "What it asks is not reachable now; the text says why.",
}
"""What the statuses mean that are no success."""

_SEGMENT = {"type": "string", "minLength": 1, "pattern": "^[^/]+$"}
_REMAINDER = {"type": "string", "minLength": 1}


def with_document(routes: Iterable[Route]) -> tuple[Route, ...]:
    """`routes`, and the route that serves the document of them all."""
    served = [*routes]
    spec = Spec({"type": "object"}, about="This document.")
    served.append(Route("GET", PATH, _server(served), Style.PLAIN, "openapi", spec))
    return tuple(served)


def _server(routes: list[Route]) -> Handler:
    @cache
    def text() -> bytes:
        return document_text(routes).encode()

    def handler(_context: Context, _request: Request) -> Answer:
        return Answer(text())

    return handler


def document_text(routes: Iterable[Route]) -> str:
    """The document as text, one value a line."""
    return json.dumps(document(routes), indent=1) + "\n"


def document(routes: Iterable[Route]) -> dict[str, Any]:
    """The document of `routes`. Raises ValueError when two different schemas have one name."""
    writer = _Writer()
    table = sorted(routes, key=lambda route: (route.path, route.method))
    # Told apart within their group only: an id must not depend on which other groups are offered.
    names = Counter(_name(route) for route in table)
    paths: dict[str, Any] = {}
    for route in table:
        method = "get" if route.method == ANY else route.method.lower()
        name = _name(route) if names[_name(route)] == 1 else f"{_name(route)}:{'.'.join(_words(route.path))}"
        paths.setdefault(_template(route.path), {})[method] = writer.operation(route, name)
    return {
        "openapi": OPENAPI,
        "info": {"title": "Heapster", "version": __version__, "description": DESCRIPTION},
        "paths": paths,
        "components": {
            "schemas": dict(sorted(writer.schemas.items())),
            "parameters": dict(sorted(writer.parameters.items())),
            "responses": dict(sorted(writer.responses.items())),
        },
    }


class _Writer:
    """Writes operations, and collects the components that they name."""

    def __init__(self) -> None:
        self.schemas: dict[str, Any] = {}
        self.parameters: dict[str, Any] = {}
        self.responses: dict[str, Any] = {}
        self._named: dict[str, Schema | Parameter] = {}

    def operation(self, route: Route, name: str) -> dict[str, Any]:
        """One operation."""
        spec = spec_of(route)
        inside = list(_path_parameters(route.path))
        found: dict[str, Any] = {"operationId": name, "summary": spec.about or name, "tags": [_group(route.path)]}
        parameters = [self._path_parameter(*parameter) for parameter in inside]
        parameters += [self._query_parameter(parameter) for parameter in spec.query]
        if parameters:
            found["parameters"] = parameters
        if route.method == ANY:
            found["description"] = "Any other method is answered like this one."
        statuses = {
            *spec.errors,
            *((301, 400, 404) if inside else ()),
            *((406,) if route.style is not Style.PLAIN else ()),
        }
        answers = {status: self._refusal(status) for status in statuses - {spec.status}}
        answers[spec.status] = {"description": spec.about or "The answer.", "content": self._content(route, spec)}
        found["responses"] = {str(status): answers[status] for status in sorted(answers)}
        return found

    def _content(self, route: Route, spec: Spec) -> dict[str, Any]:
        if route.style is not Style.PLAIN or spec.answer is not None:
            return {JSON: {"schema": self._resolved(spec.answer) if spec.answer is not None else {}}}
        return {
            content: {"schema": {"type": "string"}} if content.startswith("text/") else {}
            for content in spec.content or (TEXT,)
        }

    def _path_parameter(self, name: str, remainder: bool) -> dict[str, str]:
        self.parameters[name] = {
            "name": name,
            "in": "path",
            "required": True,
            "description": PATH_PARAMETERS.get(name, f"The {name}."),
            "schema": _REMAINDER if remainder else _SEGMENT,
        }
        return {"$ref": f"#/components/parameters/{name}"}

    def _query_parameter(self, parameter: Parameter) -> dict[str, str]:
        name = f"query.{parameter.name}"
        self._claim(name, parameter)
        self.parameters[name] = {
            "name": parameter.name,
            "in": "query",
            "description": parameter.about,
            "schema": self._resolved(parameter.schema),
        }
        return {"$ref": f"#/components/parameters/{name}"}

    def _refusal(self, status: int) -> dict[str, Any]:
        content = "text/html" if status == 301 else TEXT
        self.responses[str(status)] = {
            "description": REFUSALS[status],
            "content": {content: {"schema": {"type": "string"}}},
        }
        return {"$ref": f"#/components/responses/{status}"}

    def _resolved(self, schema: Any) -> Any:
        """`schema` with references in place of the Schemas in it."""
        if isinstance(schema, Schema):
            self._claim(schema.name, schema)
            if schema.name not in self.schemas:
                self.schemas[schema.name] = {}  # a schema may name itself
                self.schemas[schema.name] = self._resolved(schema.schema)
            return {"$ref": f"#/components/schemas/{schema.name}"}
        if isinstance(schema, Mapping):
            return {key: self._resolved(value) for key, value in schema.items()}
        if isinstance(schema, list | tuple):
            return [self._resolved(item) for item in schema]
        return schema

    def _claim(self, name: str, owner: Schema | Parameter) -> None:
        if self._named.setdefault(name, owner) is not owner:
            raise ValueError(f"two different components of the OpenAPI document are named {name}: rename one")


def _path_parameters(path: str) -> Iterator[tuple[str, bool]]:
    """Each parameter of a path, and whether it takes all that remains."""
    for name, remainder in re.findall(r"\{([^}:]*)(:\*)?\}", path):
        yield name, bool(remainder)


def _template(path: str) -> str:
    return path.replace(":*}", "}")


def _words(path: str) -> list[str]:
    return re.findall(r"[A-Za-z0-9{}-]+", path)


def _group(path: str) -> str:
    """The part of the API: what stands behind `/api/v1`, or the first word."""
    words = _words(path)
    return words[2] if path.startswith("/api/v1/") else words[0]


def _name(route: Route) -> str:
    return f"{_group(route.path)}.{route.name}"
