"""Metrics objects as text: a document laid out once with holes, which columns and the listers' objects fill.

A pod is left out whole as soon as one of its containers lacks a value: an autoscaler must not take a part for the whole
(behaviour reference, K23). With the light cadence, a container that does not run lacks none.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import lru_cache
from typing import Final, TypeAlias

import numpy as np

from collector.api import jsontext
from collector.api.gotime import format_time
from collector.api.jsontext import Layout
from collector.api.metrics_objects import (
    HOLE,
    RAW,
    RESOURCES,
    Version,
    container_document,
    list_document,
    node_document,
    pod_document,
)
from collector.api.metrics_usage import Usage, heapster_usage, light_usage, sampled_usage
from collector.api.route import Context, Document
from collector.core.entities import NULL, EntityTable
from collector.core.sample import ABSENT
from collector.gotext import duration
from collector.kube.objects import Node, Pod
from collector.kube.quantity import binary_text, decimal_suffix, decimal_text

SECOND: Final = 10**9

AT_ONCE: Final = 1024
"""Objects written between two looks at the event loop: some milliseconds."""

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
    """Writes the objects of one answer in one version, from the latest batch, or the light cadence where it runs."""

    def __init__(self, context: Context, version: Version, sheet: Sheet) -> None:
        self._version = version
        self._sheet = sheet
        self._created = _moment(context.now())
        self._batch = context.store.latest()
        self._before = context.store.before(self._batch) if self._batch and version.sampled else None
        self._light = context.light() if version.sampled else None
        self._now = context.now()
        source = self._light or self._batch
        self._entities = source.entities if source is not None else None
        self._label_texts: dict[int, str] = {}

    def node(self, name: str, labels: Labels) -> bytes | None:
        """One node as a document; None when there is no usage of it."""
        return self._alone(self._node_texts([(name, labels)], ALONE))

    def pod(self, pod: Pod) -> bytes | None:
        """One pod as a document; None when there is no usage of one of its containers."""
        return self._alone(self._pod_texts([pod], ALONE))

    def nodes(self, nodes: Sequence[Node], link: str) -> AsyncIterator[bytes]:
        """The list of those of `nodes` that have usage, in pieces; `link` is the path it was asked for at."""

        async def texts() -> AsyncIterator[list[str]]:
            for start in range(0, len(nodes), AT_ONCE):
                yield self._node_texts([(node.name, node.labels) for node in nodes[start : start + AT_ONCE]], ITEM)
                await asyncio.sleep(0)

        return self._listed(list_document(self._version, "NodeMetrics", link), texts())

    def pods(self, pods: AsyncIterator[list[Pod]], link: str) -> AsyncIterator[bytes]:
        """The list of those of `pods` that have usage, in pieces."""

        async def texts() -> AsyncIterator[list[str]]:
            async for some in pods:
                for start in range(0, len(some), AT_ONCE):
                    yield self._pod_texts(some[start : start + AT_ONCE], ITEM)
                    await asyncio.sleep(0)

        return self._listed(list_document(self._version, "PodMetrics", link), texts())

    def _alone(self, texts: list[str]) -> bytes | None:
        return f"{texts[0]}{self._sheet.end}".encode() if texts else None

    async def _listed(self, document: Document, texts: AsyncIterator[list[str]]) -> AsyncIterator[bytes]:
        head, tail = self._sheet.text(document).split(f'"{RAW}"')
        opening, separator, closing = self._sheet.frame(1)
        before = head + opening
        async for some in texts:
            if some:
                yield (before + separator.join(some)).encode()
                before = separator
        if before != separator:  # nothing was written: Heapster's own API says null (K22)
            closing = head + ("[]" if self._version.name else "null")
        yield f"{closing}{tail}{self._sheet.end}".encode()

    def _node_texts(self, nodes: Sequence[tuple[str, Labels]], depth: int) -> list[str]:
        """The texts of those of `nodes` that have usage."""
        if self._entities is None:
            return []
        find = self._entities.find_node
        usage = self._usage([find(name) for name, _ in nodes])
        shapes, amounts = _amounts(usage)
        forms = [self._node_forms(resources, depth) for resources in RESOURCES]
        texts = []
        for at, (name, labels) in enumerate(nodes):
            if usage.complete[at]:
                shown = self._shown(labels, depth) if self._version.sampled else ()
                head = (escaped(name),) * (2 if self._version.self_links else 1)
                texts.append(forms[shapes[at]][len(shown)] % (*head, *shown, *_times(usage, at), *amounts[at]))
        return texts

    def _pod_texts(self, pods: Sequence[Pod], depth: int) -> list[str]:
        """The texts of those of `pods` whose containers all have usage."""
        if self._entities is None:
            return []
        names, rows, ends = self._containers(self._entities, pods)
        usage = self._usage(rows)
        shapes, amounts = _amounts(usage)
        inner = [self._sheet.hollow(container_document(resources), depth + 2) for resources in RESOURCES]
        written = [inner[shape] % (name, *row) for shape, name, row in zip(shapes, names, amounts, strict=True)]
        lacking = np.concatenate([[0], np.cumsum(np.logical_not(usage.complete))])[[0, *ends]]
        complete = (lacking[1:] == lacking[:-1]).tolist()
        forms = self._pod_forms(depth)
        opening, separator, closing = self._sheet.frame(depth + 1)
        texts, end = [], 0
        for pod, following, whole in zip(pods, ends, complete, strict=True):
            start, end = end, following
            at: Sequence[int] = range(start, end) if whole else self._those_that_run(pod, usage, start, end)
            if not at:
                continue
            name, namespace = jsontext.string(pod.name)[1:-1], escaped(pod.namespace)
            head = (name, namespace, namespace, name) if self._version.self_links else (name, namespace)
            shown = self._shown(pod.labels, depth) if self._version.sampled else ()
            oldest = min(at, key=usage.times.__getitem__) if self._version.sampled else start
            containers = written[start:end] if whole else [written[each] for each in at]
            array = f"{opening}{separator.join(containers)}{closing}"
            texts.append(forms[len(shown)] % (*head, *shown, *_times(usage, oldest), array))
        return texts

    def _those_that_run(self, pod: Pod, usage: Usage, start: int, end: int) -> list[int]:
        """Of a pod's containers, `start` to `end`, those with usage; none when one that runs has none."""
        if self._light is None or not pod.not_running:
            return []
        containers = self._version.containers(pod)
        lacking = [containers[at - start].name for at in range(start, end) if not usage.complete[at]]
        return [at for at in range(start, end) if usage.complete[at]] if pod.not_running.issuperset(lacking) else []

    def _containers(self, entities: EntityTable, pods: Sequence[Pod]) -> tuple[list[str], list[int], list[int]]:
        """The names and rows of the containers of all `pods`, and for each pod where its own end in these lists."""
        containers_of = self._version.containers
        names: list[str] = []
        rows: list[int] = []
        ends: list[int] = []
        for pod in pods:
            below = entities.children(entities.find_pod(pod.namespace, pod.name))
            for container in containers_of(pod):
                names.append(escaped(container.name))
                rows.append(below.get(container.name, NULL))
            ends.append(len(rows))
        return names, rows, ends

    def _usage(self, rows: Sequence[int]) -> Usage:
        at = np.array(rows, np.intp)
        if self._light is not None:
            return light_usage(self._light, self._batch, at, self._now)
        assert self._batch is not None, "without a batch nothing is read"
        return (
            sampled_usage(self._batch, self._before, at) if self._version.sampled else heapster_usage(self._batch, at)
        )

    def _node_forms(self, resources: Sequence[str], depth: int) -> tuple[str, str]:
        """How a node without labels and one with labels is written."""
        return self._forms(
            *(node_document(self._version, self._created, depth == ALONE, shown, resources) for shown in (False, True)),
            depth=depth,
        )

    def _pod_forms(self, depth: int) -> tuple[str, str]:
        """The same for a pod."""
        return self._forms(
            *(pod_document(self._version, self._created, depth == ALONE, shown) for shown in (False, True)), depth=depth
        )

    def _forms(self, plain: Document, labelled: Document, *, depth: int) -> tuple[str, str]:
        return self._sheet.hollow(plain, depth), self._sheet.hollow(labelled, depth)

    def _shown(self, labels: Labels, depth: int) -> tuple[str] | tuple[()]:
        """The text of an object's labels where it has some. Replicas share theirs."""
        if not labels:
            return ()
        text = self._label_texts.get(id(labels))
        if text is None:
            text = self._label_texts[id(labels)] = self._sheet.text(dict(sorted(labels.items())), depth + 2)
        return (text,)


@lru_cache(maxsize=16_384)
def escaped(text: str) -> str:
    """`text` as it stands between the quotes of a JSON string."""
    return jsontext.string(text)[1:-1]


def _amounts(usage: Usage) -> tuple[list[int], list[tuple[str, ...]]]:
    """For each row, which of RESOURCES are known, and their canonical quantities."""
    power = usage.cpu_power
    small = decimal_suffix(power)
    cpu = [f"{amount}{small}" if amount % 1000 else decimal_text(amount, power) for amount in usage.cpu]
    memory = _bytes(usage.memory)
    if usage.ephemeral is None and usage.swap is None:
        return [0] * len(cpu), list(zip(cpu, memory, strict=True))
    none = [ABSENT] * len(cpu)
    ephemeral, swap = usage.ephemeral or none, usage.swap or none
    shapes = [(stored >= 0) + 2 * (swapped >= 0) for stored, swapped in zip(ephemeral, swap, strict=True)]
    columns = zip(shapes, cpu, _bytes(ephemeral), memory, _bytes(swap), strict=True)
    return shapes, [(c, *((e,) if shape & 1 else ()), m, *((s,) if shape & 2 else ())) for shape, c, e, m, s in columns]


def _bytes(amounts: Sequence[int]) -> list[str]:
    return [f"{amount}" if amount % 1024 and amount >= 1024 else binary_text(amount) for amount in amounts]


def _times(usage: Usage, at: int) -> tuple[str, str]:
    """The sample's time and the window behind it."""
    return _moment(usage.times[at]), _window(usage.windows[at])


def _moment(ns: int) -> str:
    """Whole seconds, as Kubernetes' API writes times."""
    return format_time(ns // SECOND * SECOND)


_window = lru_cache(maxsize=4096)(duration)
