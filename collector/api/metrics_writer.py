"""Metrics objects as text: a document laid out once with holes, which columns and the listers' objects fill."""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Final, TypeAlias

from collector.api import jsontext
from collector.api.gotime import format_time
from collector.api.jsontext import Layout, escaped
from collector.api.metrics_objects import (
    HOLE,
    PODS,
    RAW,
    RESOURCES,
    Resource,
    Version,
    container_document,
    metadata_document,
    node_document,
    pod_document,
)
from collector.api.metrics_shown import Shown
from collector.api.metrics_usage import Column, Usage
from collector.api.route import Document
from collector.core.sample import ABSENT
from collector.gotext import duration
from collector.kube.objects import Pod
from collector.kube.quantity import binary_text, decimal_suffix, decimal_text

SECOND: Final = 10**9

ALONE: Final = 0
ITEM: Final = 2
"""How deep an object lies in its answer: alone, or as an item of a list."""

Labels: TypeAlias = Mapping[str, str]


class Sheet:
    """Lays out documents and parts of documents; without a layout, on one line."""

    def __init__(self, layout: Layout | None) -> None:
        self._layout = layout
        self.end = "" if layout else "\n"
        """What follows the whole document."""

    def text(self, document: Document, depth: int = 0) -> str:
        """`document` as it stands at this depth."""
        return jsontext.pretty(document, self._layout, depth) if self._layout else jsontext.compact(document)

    def hollow(self, document: Document, depth: int) -> str:
        """The same for the `%` operator, which fills the holes."""
        return self.text(document, depth).replace("%", "%%").replace(f'"{RAW}"', "%s").replace(HOLE, "%s")

    def frame(self, depth: int) -> tuple[str, str, str]:
        """What stands before, between and behind the elements of an array that closes at this depth."""
        inner, outer = (self._layout.newline(d) if self._layout else "" for d in (depth + 1, depth))
        return f"[{inner}", f",{inner}", f"{outer}]"


class Writer:
    """Writes the objects of one answer, of one kind and in one version.

    `created` is what their metadata say of their creation, `object_version` of their version; empty: nothing.
    """

    def __init__(
        self, version: Version, resource: Resource, sheet: Sheet, created: int, object_version: str = ""
    ) -> None:
        self.version = version
        self.resource = resource
        self.sheet = sheet
        self.created = created
        self.stamps = {
            **({"resourceVersion": object_version} if object_version else {}),
            "creationTimestamp": moment(created),
        }
        """The metadata that all objects of the answer have."""
        self._label_texts: dict[tuple[int, int], tuple[Labels, str]] = {}
        self._known_forms: dict[tuple[int, int], tuple[str, str]] = {}

    def objects(self, shown: Shown, depth: int) -> list[str]:
        """The texts of all that is shown."""
        return self._pods(shown, depth) if self.resource is PODS else self._nodes(shown, depth)

    def heads(self, shown: Shown, depth: int) -> Iterator[tuple[int, tuple[str, ...]]]:
        """For each object, whether labels are shown, and what fills the holes of its metadata, at this depth."""
        links, labelled, empty = self.version.self_links, self.version.sampled, ()
        for each in shown.objects:
            name = jsontext.string(each.name)[1:-1]  # of each there is one: not worth remembering
            names: tuple[str, ...] = (name,)
            if isinstance(each, Pod):
                namespace = escaped(each.namespace)
                names = (name, namespace, namespace, name) if links else (name, namespace)
            elif links:
                names = (name, name)
            labels = (self.label_text(each.labels, depth),) if labelled and each.labels else empty
            yield len(labels), names + labels

    def metadata(self, labelled: bool) -> Document:
        """The metadata of an object without labels, or with some."""
        return metadata_document(self.version, self.resource, self.stamps, labelled)

    def label_text(self, labels: Labels, depth: int) -> str:
        """The text of an object's labels. Replicas share theirs."""
        found = self._label_texts.get((id(labels), depth))
        if found is None:  # with the labels themselves, so that no others get their number
            found = labels, self.sheet.text(dict(sorted(labels.items())), depth + 2)
            self._label_texts[id(labels), depth] = found
        return found[1]

    def _nodes(self, shown: Shown, depth: int) -> list[str]:
        shapes, values = amounts(shown.usage)
        forms = [self._forms(depth, shape) for shape in range(len(RESOURCES))]
        heads, times = self.heads(shown, depth), moments(shown.usage)
        return [
            forms[shape][labelled] % (*head, *when, *row)
            for (labelled, head), shape, when, row in zip(heads, shapes, times, values, strict=True)
        ]

    def _pods(self, shown: Shown, depth: int) -> list[str]:
        shapes, values = amounts(shown.usage)
        inner = [self.sheet.hollow(container_document(resources), depth + 2) for resources in RESOURCES]
        written = [
            inner[shape] % (escaped(name), *row) for shape, name, row in zip(shapes, shown.names, values, strict=True)
        ]
        forms = self._forms(depth, 0)
        opening, separator, closing = self.sheet.frame(depth + 1)
        told = shown.oldest() if self.version.sampled else shown.starts
        times = moments(shown.usage.at(told))
        texts, end = [], 0
        for (labelled, head), following, when in zip(self.heads(shown, depth), shown.ends.tolist(), times, strict=True):
            start, end = end, following
            array = f"{opening}{separator.join(written[start:end])}{closing}"
            texts.append(forms[labelled] % (*head, *when, array))
        return texts

    def _forms(self, depth: int, shape: int) -> tuple[str, str]:
        """How an object without labels and one with labels is written."""
        found = self._known_forms.get((depth, shape))
        if found is None:
            plain, labelled = (self._form(depth, shape, shown) for shown in (False, True))
            found = self._known_forms[depth, shape] = plain, labelled
        return found

    def _form(self, depth: int, shape: int, labelled: bool) -> str:
        metadata, alone = self.metadata(labelled), depth != ITEM
        if self.resource is PODS:
            return self.sheet.hollow(pod_document(self.version, metadata, alone), depth)
        return self.sheet.hollow(node_document(self.version, metadata, alone, RESOURCES[shape]), depth)


async def in_frame(
    sheet: Sheet, document: Document, elements: AsyncIterator[bytes], empty: str = "[]"
) -> AsyncIterator[bytes]:
    """`document` with `elements`, some at a time, in place of the raw value that stands one level below it."""
    head, tail = sheet.text(document).split(f'"{RAW}"')
    opening, separator, closing = sheet.frame(1)
    before, none = (head + opening).encode(), True
    async for some in elements:
        if some:
            yield before + some
            before, none = separator.encode(), False
    if none:
        closing = head + empty
    yield f"{closing}{tail}{sheet.end}".encode()


def amounts(usage: Usage) -> tuple[list[int], list[tuple[str, ...]]]:
    """For each row, which of RESOURCES are known, and their canonical quantities."""
    power = usage.cpu_power
    small = decimal_suffix(power)
    cpu = [f"{amount}{small}" if amount % 1000 else decimal_text(amount, power) for amount in usage.cpu.tolist()]
    memory = _bytes(usage.memory)
    if usage.ephemeral is None and usage.swap is None:
        return [0] * len(cpu), list(zip(cpu, memory, strict=True))
    none = [ABSENT] * len(cpu)
    ephemeral = none if usage.ephemeral is None else usage.ephemeral.tolist()
    swap = none if usage.swap is None else usage.swap.tolist()
    shapes = [(stored >= 0) + 2 * (swapped >= 0) for stored, swapped in zip(ephemeral, swap, strict=True)]
    columns = zip(shapes, cpu, _texts(ephemeral), memory, _texts(swap), strict=True)
    return shapes, [(c, *((e,) if shape & 1 else ()), m, *((s,) if shape & 2 else ())) for shape, c, e, m, s in columns]


def _bytes(column: Column) -> list[str]:
    return _texts(column.tolist())


def _texts(column: Sequence[int]) -> list[str]:
    return [f"{amount}" if amount % 1024 and amount >= 1024 else binary_text(amount) for amount in column]


def moments(usage: Usage) -> list[tuple[str, str]]:
    """Of each row, the sample's time and the window behind it."""
    pairs = zip(usage.times.tolist(), usage.windows.tolist(), strict=True)
    return [(moment(time), window_text(window)) for time, window in pairs]


def moment(ns: int) -> str:
    """Whole seconds, as Kubernetes' API writes times."""
    return _moment(ns // SECOND)


@lru_cache(maxsize=4096)
def _moment(seconds: int) -> str:
    return format_time(seconds * SECOND)


window_text = lru_cache(maxsize=4096)(duration)
