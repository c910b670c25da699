"""Many answers of the light endpoint at once, text to columns, by the C extension `_resource`. Not for several threads.

From one answer of a kubelet to the next only numbers change. What the others mean, `decode_resource` finds out, by
reading an answer as it always did; then the form of that answer (a keyed hash of all but the numbers) and the place of
each of its numbers are remembered in its Layout. An answer of the form that its node's layout has is then read without
any Python object for its containers. One of another form, or that the extension refuses, is for `decode_resource`.

A form is remembered only where both ways have read the same out of one answer. Where the extension was not built, none
ever is (docs/decisions/0012).
"""

import secrets
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from collector.core.light import CPU, SAMPLED, START, TIME, LightGroup, LightSample
from collector.core.sample import ABSENT
from collector.sources.resource import CONTAINERS, ERRORS, NODE, Form, Layout

try:
    from collector.sources import _resource as extension
except ImportError:  # no compiler when it was installed
    AVAILABLE = False
else:
    AVAILABLE = True

_FAMILIES: Final = (*CONTAINERS, *NODE, *ERRORS)
_STARTS: Final = next(family for family, field in CONTAINERS.items() if field == START)
_OF_NODE: Final = np.zeros(1, np.int64)
"""START of a node."""

_reader: Any = None


def _made() -> Any:
    global _reader  # noqa: PLW0603  made once, and only where it is used
    if _reader is None:
        kinds = [_kind(name) for name in _FAMILIES]
        _reader = extension.Reader(tuple(zip(_FAMILIES, kinds, strict=True)), secrets.token_bytes(16))
    return _reader


def _kind(family: bytes) -> int:
    """Starts and errors nearly never change: they belong to the form."""
    field = CONTAINERS.get(family, NODE.get(family))
    if field is None or field == START:
        return extension.TEXT
    return extension.SECONDS if field == CPU else extension.WHOLE


def learn(body: bytes | memoryview, sample: LightSample) -> None:
    """Remember the form of `body`, of which `decode_resource` made `sample`, in the sample's layout."""
    layout = sample.layout
    if not AVAILABLE or not isinstance(layout, Layout):
        return
    looked = _made().look(body)
    if looked is None:
        return
    key, families, cells = looked
    places = _places(layout, families)
    if places is not None and np.array_equal(_placed([layout], places, np.frombuffer(cells, np.int64)), sample.values):
        layout.form = Form(key, places)


def decode_forms(
    nodes: Sequence[str], layouts: Sequence[object | None], bodies: Sequence[bytes | memoryview]
) -> tuple[LightGroup, list[bool]]:
    """Answers of several nodes as one group, each with the layout of the answer before, and which of them are in it."""
    reader = _made()
    known: list[Layout] = []
    places: list[NDArray[np.intp]] = []
    taken = []
    for layout, body in zip(layouts, bodies, strict=True):
        form = layout.form if isinstance(layout, Layout) else None
        taken.append(form is not None and reader.add(body, form.key))
        if taken[-1]:
            known.append(layout)
            places.append(form.places)
    cells = np.frombuffer(reader.take(), np.int64)
    if not known:
        return LightGroup([], [], [], np.empty((SAMPLED, 0), np.int64)), taken
    sizes = np.array([1 + layout.starts.size for layout in known])
    at = np.concatenate(places)
    at += np.repeat(SAMPLED * (np.cumsum(sizes) - sizes), [each.size for each in places])
    values = _placed(known, at, cells)
    return LightGroup([node for node, is_in in zip(nodes, taken, strict=True) if is_in], known, sizes, values), taken


def _placed(layouts: Sequence[Layout], places: NDArray[np.intp], cells: NDArray[np.int64]) -> NDArray[np.int64]:
    """(SAMPLED, n): the cells where they belong, for each layout the node and its containers."""
    starts = np.concatenate([each for layout in layouts for each in (_OF_NODE, layout.starts)])
    rows = np.full((starts.size, SAMPLED), ABSENT, np.int64)
    rows[:, TIME] = 0
    rows[:, START] = starts
    rows.reshape(-1)[places] = cells
    return np.ascontiguousarray(rows.T)


def _places(layout: Layout, families: Sequence[tuple[int, int]]) -> NDArray[np.intp] | None:
    """Where each cell belongs in (1 + containers, SAMPLED) values; None where one belongs nowhere."""
    named = tuple((_FAMILIES[number], samples) for number, samples in families if _FAMILIES[number] != _STARTS)
    order = [layout.places.get(name) for name, _ in named]
    if all(places is None for places in order):
        found = _regular(named)
    else:
        found = _irregular(named, order)
    return None if found.size and (found.min() < 0 or found.max() >= SAMPLED * (1 + layout.starts.size)) else found


@lru_cache(maxsize=256)
def _regular(families: tuple[tuple[bytes, int], ...]) -> NDArray[np.intp]:
    """Of families that have the containers of the CPU's in its order: one array for all nodes of that many."""
    return _irregular(families, [None] * len(families))


def _irregular(
    families: Sequence[tuple[bytes, int]], places: Sequence[NDArray[np.intp] | None]
) -> NDArray[np.intp]:
    found: list[NDArray[np.intp]] = [np.empty(0, np.intp)]
    for (name, samples), given in zip(families, places, strict=True):
        if name in ERRORS:
            continue
        field, row = (NODE[name], 0) if name in NODE else (CONTAINERS[name], 1)
        rows = row + (np.arange(samples) if given is None else given)
        if given is not None and (given.size != samples or (given < 0).any()):
            return np.array([-1], np.intp)
        at = rows * SAMPLED + field
        # The time of a CPU sample comes right behind it.
        found.append(np.column_stack([at, at - field + TIME]).reshape(-1) if field == CPU else at)
    return np.concatenate(found)
