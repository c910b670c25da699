"""How the objects of an answer are shown: as themselves, or as rows of a table, as `kubectl get` asks for.

The columns are metrics-server's: Name, the sum of each resource, Window. What it does not have (ephemeral storage and
swap) comes behind, of less priority: `kubectl get -o wide` shows it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from collector.api.jsontext import escaped
from collector.api.metrics_items import at_once, items
from collector.api.metrics_objects import HOLE, RAW, Resource, Version, list_document
from collector.api.metrics_protobuf import PROTOBUF
from collector.api.metrics_reader import AT_ONCE
from collector.api.metrics_shown import Shown
from collector.api.metrics_usage import Column, Usage
from collector.api.metrics_writer import ALONE, ITEM, Writer, amounts, moments
from collector.api.route import Document, Request
from collector.api.status import accepted, bad_request, is_json, not_acceptable
from collector.core.sample import ABSENT
from collector.gotext import quoted

META: Final = "meta.k8s.io"
IN_ROW: Final = 3
"""How deep an object lies in a row of a table."""
UNKNOWN: Final = "<none>"
"""In a cell."""

NONE, METADATA, OBJECT = "None", "Metadata", "Object"

COLUMNS: Final[tuple[tuple[str, str, str, int], ...]] = (
    ("Name", "name", "Name of the resource", 0),
    ("cpu", "quantity", "CPU usage, in cores", 0),
    ("memory", "quantity", "Working set, in bytes", 0),
    ("Window", "duration", "Time that the CPU usage is an average of", 0),
    ("ephemeral-storage", "quantity", "Ephemeral storage in use, in bytes", 1),
    ("swap", "quantity", "Swap in use, in bytes", 1),
)
"""Name, format, description, priority."""


class Form(Protocol):
    """A way to show objects."""

    def document(self, version: Version, resource: Resource, metadata: Mapping[str, Document]) -> Document:
        """A list. Raw: its elements."""

    def at_once(self, resource: Resource) -> int:
        """How many objects of a list to write between two looks at the event loop."""

    def elements(self, writer: Writer) -> Callable[[Shown], bytes]:
        """What writes the elements of a list, with what stands between them, some at a time."""

    def alone(self, writer: Writer, shown: Shown, *, first: bool = True) -> list[str]:
        """Each object by itself, as an answer or in an event; `first`: none came before in this answer."""


class Objects:
    """Objects as themselves."""

    def document(self, version: Version, resource: Resource, metadata: Mapping[str, Document]) -> Document:
        """The list of the kind."""
        return list_document(version, resource, metadata)

    def at_once(self, resource: Resource) -> int:
        """As many as are quickly written."""
        return at_once(resource)

    def elements(self, writer: Writer) -> Callable[[Shown], bytes]:
        """Items."""
        return items(writer)

    def alone(self, writer: Writer, shown: Shown, *, first: bool = True) -> list[str]:
        """The objects."""
        del first
        return writer.objects(shown, ALONE)


@dataclass(frozen=True, slots=True)
class Table:
    """Objects as rows."""

    api_version: str
    """`meta.k8s.io/v1` or `meta.k8s.io/v1beta1`."""
    include: str = METADATA
    """What of the object stands in its row: NONE, METADATA or OBJECT."""

    def document(self, _version: Version, _resource: Resource, metadata: Mapping[str, Document]) -> Document:
        """The table with its columns."""
        return {**self._head(metadata), "columnDefinitions": _column_definitions(), "rows": RAW}

    def at_once(self, _resource: Resource) -> int:
        """A row is Python's work."""
        return AT_ONCE

    def elements(self, writer: Writer) -> Callable[[Shown], bytes]:
        """Rows."""
        separator = writer.sheet.frame(1)[1]
        return lambda shown: separator.join(self._rows(writer, shown)).encode()

    def alone(self, writer: Writer, shown: Shown, *, first: bool = True) -> list[str]:
        """Tables of one row; only the first has columns."""
        version = writer.stamps.get("resourceVersion")
        head = self._head({"resourceVersion": version} if version else {})
        opening, _, closing = writer.sheet.frame(1)
        forms = [
            writer.sheet.hollow({**head, "columnDefinitions": definitions, "rows": RAW}, ALONE)
            for definitions in ((_column_definitions(), []) if first else ([],))
        ]
        rows = self._rows(writer, shown)
        return [forms[min(at, len(forms) - 1)] % f"{opening}{row}{closing}" for at, row in enumerate(rows)]

    def odd(self, document: Document, metadata: Mapping[str, Document], name: str, *, first: bool) -> Document:
        """A table of one object of which nothing is measured; without a name it has no row."""
        partial: Document = {
            "kind": "PartialObjectMetadata",
            "apiVersion": self.api_version,
            "metadata": metadata,
        }
        objects: dict[str, Document] = {NONE: None, METADATA: partial, OBJECT: document}
        told = objects[self.include]
        rows: list[Document] = [{"cells": [name, *[UNKNOWN] * (len(COLUMNS) - 1)], "object": told}] if name else []
        head = self._head({"resourceVersion": metadata["resourceVersion"]})
        return {**head, "columnDefinitions": _column_definitions() if first else [], "rows": rows}

    def _head(self, metadata: Mapping[str, Document]) -> dict[str, Document]:
        return {"kind": "Table", "apiVersion": self.api_version, "metadata": metadata}

    def _rows(self, writer: Writer, shown: Shown) -> list[str]:
        form = writer.sheet.hollow({"cells": [HOLE] * len(COLUMNS), "object": RAW}, ITEM)
        return [form % (*cells, told) for cells, told in zip(_cells(shown), self._objects(writer, shown), strict=True)]

    def _objects(self, writer: Writer, shown: Shown) -> list[str]:
        if self.include == NONE:
            return ["null"] * len(shown)
        if self.include == OBJECT:
            return writer.objects(shown, IN_ROW)
        head = {"kind": "PartialObjectMetadata", "apiVersion": self.api_version}
        forms = [
            writer.sheet.hollow({**head, "metadata": writer.metadata(labelled)}, IN_ROW) for labelled in (False, True)
        ]
        return [forms[labelled] % filling for labelled, filling in writer.heads(shown, IN_ROW)]


OBJECTS: Final = Objects()
PACKED: Final = Objects()
"""As protobuf, which is no text: see metrics_protobuf."""


def negotiated(request: Request, *, streamed: bool = False, packed: bool = False) -> Form:
    """The form that the client prefers among those that there are. Raises StatusError.

    `streamed`: changes are told; `packed`: there is protobuf, too.
    """
    if not request.headers.get("Accept"):
        return OBJECTS
    for name, parameters in accepted(request):
        if packed and name == PROTOBUF and not parameters:
            return PACKED
        if (
            not is_json(name)
            or parameters.get("stream", "watch") != "watch"
            or ("stream" in parameters and not streamed)
        ):
            continue
        if "as" not in parameters:
            if parameters.keys() & {"g", "v"}:
                continue
            return OBJECTS
        if (parameters["as"], parameters.get("g")) == ("Table", META) and parameters.get("v") in {"v1", "v1beta1"}:
            return Table(f"{META}/{parameters['v']}", _included(request))
    raise not_acceptable()


def _included(request: Request) -> str:
    text = request.argument("includeObject") or METADATA
    if text not in {NONE, METADATA, OBJECT}:
        raise bad_request(f"unrecognized includeObject value: {quoted(text)}")
    return text


def _column_definitions() -> list[Document]:
    return [
        {"name": name, "type": "string", "format": style, "description": about, "priority": priority}
        for name, style, about, priority in COLUMNS
    ]


def _cells(shown: Shown) -> list[tuple[str, ...]]:
    """One row for each object, in the order of COLUMNS; as text stands between quotes."""
    summed = _summed(shown)
    windows = [window for _, window in moments(shown.usage.at(shown.oldest()))]
    shapes, values = amounts(summed)
    cells: list[tuple[str, ...]] = []
    for each, shape, row, window in zip(shown.objects, shapes, values, windows, strict=True):
        ephemeral = row[1] if shape & 1 else UNKNOWN
        swap = row[-1] if shape & 2 else UNKNOWN
        cells.append((escaped(each.name), row[0], row[1 + (shape & 1)], window, ephemeral, swap))
    return cells


def _summed(shown: Shown) -> Usage:
    """Usage of each object as a whole."""
    usage, starts = shown.usage, shown.starts
    if not len(shown) or len(shown.names) == len(shown):
        return usage

    def of_known(column: Column | None) -> Column | None:
        if column is None:
            return None
        some = np.maximum.reduceat(column, starts) >= 0
        return np.where(some, np.add.reduceat(np.maximum(column, 0), starts), ABSENT)

    cpu, memory = np.add.reduceat(usage.cpu, starts), np.add.reduceat(usage.memory, starts)
    first = usage.at(starts)
    ephemeral, swap = of_known(usage.ephemeral), of_known(usage.swap)
    return Usage(first.complete, cpu, memory, first.times, first.windows, usage.cpu_power, ephemeral, swap)
