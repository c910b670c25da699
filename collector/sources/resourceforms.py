"""Many answers of the light endpoint at once, text to columns, by the C extension `_resource`. Not for several threads.

From one answer of a kubelet to the next only numbers change. The rest is the answer's form, of which a keyed hash is
kept in the node's Layout together with the place of each number. An answer of the form that its node's layout has is
read without any Python object for its containers. `decode_new` reads one of another form, and finds out where its
numbers belong; what the extension refuses is for `decode_resource`, which is what both are held against in the tests.
Where the extension was not built, it reads them all (docs/decisions/0014).
"""

import secrets
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from collector.core.light import CPU, SAMPLED, START, TIME, LightGroup, LightSample
from collector.core.sample import ABSENT
from collector.sources.resource import CONTAINERS, ERRORS, NODE, Family, Form, Layout, fill, names_of

try:
    from collector.sources import _resource as extension
except ImportError:  # no compiler when it was installed
    AVAILABLE = False
else:
    AVAILABLE = True

_FAMILIES: Final = (*CONTAINERS, *NODE, *ERRORS)
_STARTS: Final = next(family for family, field in CONTAINERS.items() if field == START)
_CPU: Final = next(family for family, field in CONTAINERS.items() if field == CPU)
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


def decode_new(body: bytes | memoryview, node: str) -> LightSample | None:
    """The answer of `node`, of a form not known yet; None where it is for `decode_resource`."""
    looked = _made().look(body) if AVAILABLE else None
    if looked is None:
        return None
    key, families, cells, lines, labels, rests = looked
    found = [(_FAMILIES[number], samples) for number, samples in families]
    names = names_of(bytes(labels).split(b"\n")[:-1])
    if not found or found[0][0] != _CPU or names is None:
        return None
    numbers, texts = np.frombuffer(lines, np.int32), bytes(rests).split(b"\n")
    starts = np.zeros((SAMPLED, len(names)), np.int64)
    places: list[NDArray[np.int32]] = []
    at, text_at = 0, 0
    for name, samples in found:
        here, at = numbers[at : at + samples], at + samples
        if name in ERRORS or name == _STARTS:
            words, text_at = texts[text_at : text_at + samples], text_at + samples
            if name in ERRORS and words != [b"0"]:
                return None
            if name == _STARTS and (here < 0).any():
                return None
            if name == _STARTS and (b"_" in b"".join(words) or not fill(starts, START, Family(words, words), here)):
                return None
            continue
        if (here.size != 1 or here[0] >= 0) if name in NODE else (here < 0).any():
            return None
        cell = (here + 1) * SAMPLED + (NODE[name] if name in NODE else CONTAINERS[name])
        # The time of a CPU sample comes right behind it.
        places.append(np.column_stack([cell, cell - CPU + TIME]).reshape(-1) if _is_cpu(name) else cell)
    form = Form(key, np.concatenate(places).astype(np.int32))
    layout = Layout({}, {}, np.maximum(starts[START], 0), form)
    return LightSample(node, layout, names, _placed([layout], form.places, np.frombuffer(cells, np.int64)))


def _is_cpu(family: bytes) -> bool:
    return CONTAINERS.get(family, NODE.get(family)) == CPU


def decode_forms(
    nodes: Sequence[str], layouts: Sequence[object | None], bodies: Sequence[bytes | memoryview]
) -> tuple[LightGroup | None, list[bool]]:
    """Answers of several nodes as one group, each with the layout of the answer before, and which of them are in it.

    None in place of a group of none.
    """
    reader = _made()
    known: list[Layout] = []
    places: list[NDArray[np.int32]] = []
    taken = []
    for layout, body in zip(layouts, bodies, strict=True):
        is_in = False
        if isinstance(layout, Layout) and layout.form is not None and reader.add(body, layout.form.key):
            is_in = True
            known.append(layout)
            places.append(layout.form.places)
        taken.append(is_in)
    cells = np.frombuffer(reader.take(), np.int64)
    if not known:
        return None, taken
    sizes = [1 + layout.starts.size for layout in known]
    ends = np.cumsum(sizes)
    at = np.concatenate(places).astype(np.intp)
    at += np.repeat(SAMPLED * (ends - sizes), [each.size for each in places])
    values = _placed(known, at, cells)
    return LightGroup([node for node, is_in in zip(nodes, taken, strict=True) if is_in], known, sizes, values), taken


def _placed(
    layouts: Sequence[Layout], places: NDArray[np.intp] | NDArray[np.int32], cells: NDArray[np.int64]
) -> NDArray[np.int64]:
    """(SAMPLED, n): the cells where they belong, for each layout the node and its containers."""
    starts = np.concatenate([each for layout in layouts for each in (_OF_NODE, layout.starts)])
    rows = np.full((starts.size, SAMPLED), ABSENT, np.int64)
    rows[:, TIME] = 0
    rows[:, START] = starts
    rows.reshape(-1)[places] = cells
    return np.ascontiguousarray(rows.T)
