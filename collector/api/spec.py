"""What the OpenAPI document says of a route beyond what its path tells. Data only; `openapi` writes the document.

A group of routes declares its schemas and parameters once and names them in its rows:

    NODES = Spec(Schema("NodeList", {"type": "object", "properties": {"items": {"type": "array", "items": NODE}}}))
    Route("GET", "/apis/.../nodes", nodes, Style.PRETTY, "nodes", NODES)

A Schema may stand wherever a schema may: in the document it becomes a reference, and what it names a component.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

JSON = "application/json"
TEXT = "text/plain"


@dataclass(frozen=True, slots=True, eq=False)
class Schema:
    """A named JSON schema (draft 2020-12)."""

    name: str
    schema: Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Parameter:
    """A parameter of the query."""

    name: str
    about: str
    schema: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Spec:
    """What one route takes and answers. An empty field means: as the path tells, or nothing."""

    answer: Schema | Mapping[str, Any] | None = None
    """The schema of a good JSON answer."""
    query: tuple[Parameter, ...] = ()
    errors: tuple[int, ...] = ()
    """Statuses of refusals and failures that are this route's own; each comes as text."""
    about: str = ""
    """What it answers, one sentence; empty: the first line of the handler's docstring."""
    content: tuple[str, ...] = ()
    """The content types of a good answer of a PLAIN route."""
    status: int = 200
    """The status of a good answer."""


BY_PATH = Spec()
"""Nothing beyond what the path tells."""
