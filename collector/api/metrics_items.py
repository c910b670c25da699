"""The items of a list as bytes: of pods in C where `_objects.c` was built (docs/decisions/0018), else in Python.

Both write the same bytes. `Writer` says what is meant; here the forms that it fills are cut at their holes, once in an
answer, and the extension puts names and numbers between the pieces.
"""

import re
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from collector.api.jsontext import escaped
from collector.api.metrics_objects import HOLE, PODS, RAW, RESOURCES, Resource, container_document, pod_document
from collector.api.metrics_reader import AT_ONCE
from collector.api.metrics_shown import Rows, Shown
from collector.api.metrics_writer import ITEM, Labels, Writer, moment, window_text
from collector.api.route import Document

try:
    from collector.api import _objects as extension
except ImportError:  # no compiler when it was installed
    AVAILABLE = False
else:
    AVAILABLE = True

PODS_AT_ONCE: Final = 1_024 if AVAILABLE else AT_ONCE
"""Pods of a list read and written between two looks at the event loop: 3 milliseconds, 4 with compression."""

_HOLES: Final = re.compile(f'"{RAW}"|{HOLE}')


def at_once(resource: Resource) -> int:
    """How many objects of a list to give to `items` at a time."""
    return PODS_AT_ONCE if resource is PODS else AT_ONCE


def items(writer: Writer) -> Callable[[Shown], bytes]:
    """What writes the items of a list, with what stands between them, some at a time."""
    if AVAILABLE and writer.resource is PODS:
        return PodItems(writer).write
    return lambda shown: items_plainly(writer, shown)


def items_plainly(writer: Writer, shown: Shown) -> bytes:
    """What `items` writes, without the extension."""
    return writer.sheet.frame(1)[1].join(writer.objects(shown, ITEM)).encode()


class PodItems:
    """Writes pods by the extension."""

    def __init__(self, writer: Writer) -> None:
        version, self._writer = writer.version, writer
        names = b"nssn" if version.self_links else b"ns"  # name, namespace
        self._holes = names + b"twc", names + b"ltwc"  # labels, time, window, containers
        plain, labelled = (
            self._pieces(pod_document(version, writer.metadata(shown), alone=False), ITEM) for shown in (False, True)
        )
        self._forms = plain, labelled
        self._inner = tuple(self._pieces(container_document(resources), ITEM + 2) for resources in RESOURCES)
        opening, separator, closing = (part.encode() for part in writer.sheet.frame(ITEM + 1))
        self._frame = opening, separator, closing
        self._between = writer.sheet.frame(1)[1].encode()

    def write(self, shown: Shown) -> bytes:
        """The pods, with what stands between two."""
        sampled = self._writer.version.sampled
        return extension.write_pods(
            shown.objects,
            shown.names,
            columns_of(shown, shown.oldest() if sampled else shown.starts),
            shown.usage.cpu_power,
            self._forms,
            self._holes,
            self._inner,
            self._frame,
            self._between,
            self._label_text if sampled else None,
            escaped,
            moment,
            window_text,
        )

    def _label_text(self, labels: Labels) -> str:
        return self._writer.label_text(labels, ITEM)

    def _pieces(self, document: Document, depth: int) -> tuple[bytes, ...]:
        return tuple(piece.encode() for piece in _HOLES.split(self._writer.sheet.text(document, depth)))


def columns_of(shown: Shown, told: Rows) -> tuple[NDArray[np.int64] | None, ...]:
    """What the extension reads; `told` is, for each pod, the row whose time is told."""
    usage = shown.usage
    known = (shown.ends, told, usage.cpu, usage.memory, usage.times, usage.windows)
    optional = (None if column is None else _plain(column) for column in (usage.ephemeral, usage.swap))
    return *map(_plain, known), *optional


def _plain(column: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.ascontiguousarray(column, np.int64)
