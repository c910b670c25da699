"""Which nodes and pods a metrics list is of: namespace, label selector, field selector; sorted, in bites.

The cluster's 150,000 pods are looked at without holding up the event loop: see `names`.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Final

from collector.api.metrics_shown import Measured, fields_of
from collector.api.names import BITE, between_cuts
from collector.api.route import Context
from collector.kube import fieldselector, selector
from collector.kube.fieldselector import FieldSelector
from collector.kube.objects import Node, Pod
from collector.kube.selector import LabelSelector

DEALT_AT_ONCE: Final = 4 * BITE
"""Pods dealt to their namespaces between two looks at the event loop."""

SORTED_AT_ONCE: Final = 2 * BITE
"""Pods of one namespace that are sorted in one go: a millisecond or two."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a list was asked to be of."""

    namespace: str | None = None
    """None: all namespaces."""
    labels: LabelSelector = selector.EVERYTHING
    fields: FieldSelector = fieldselector.EVERYTHING

    @property
    def everything(self) -> bool:
        """Whether no selector leaves anything out."""
        return not self.labels and not self.fields

    def nodes(self, context: Context) -> list[Node]:
        """The selected nodes by name."""
        test = self.test()
        return sorted(filter(test, context.listers.nodes.items.values()), key=lambda node: node.name)

    async def pods(self, context: Context) -> AsyncIterator[list[Pod]]:
        """The selected pods by namespace and name, some thousands at a time.

        Who takes them gives way in between. Turns of the loop may be long: the list of one namespace takes few.
        """
        moment = list(self._candidates(context))  # what the lister holds changes while others have the event loop
        test = self.test()
        spaces: dict[str, list[Pod]] = {}
        for start in range(0, len(moment), DEALT_AT_ONCE):
            if start:
                await asyncio.sleep(0)
            bite = moment[start : start + DEALT_AT_ONCE]
            for pod in bite if self.everything else filter(test, bite):
                spaces.setdefault(pod.namespace, []).append(pod)
        some: list[Pod] = []
        for namespace in sorted(spaces):
            async for part in _by_name(spaces[namespace]):
                some += part
                if len(some) >= BITE:
                    yield some
                    some = []
        if some:
            yield some

    def _candidates(self, context: Context) -> Iterable[Pod]:
        """The pods to look at. Of one namespace, those that the collector has seen: the others have no usage."""
        pods, light, batch = context.listers.pods, context.light(), context.store.latest()
        if self.namespace is None:
            return pods.items.values()
        entities = light.entities if light is not None else batch.entities if batch is not None else None
        if entities is None:
            return ()
        names = entities.children(entities.find_namespace(self.namespace))
        return filter(None, (pods.get((self.namespace, name)) for name in names))

    def test(self) -> Callable[[Measured], bool]:
        """Whether the selectors select an object; the namespace is not looked at."""
        by_labels, fields = _label_test(self.labels), self.fields
        if not fields:
            return lambda measured: by_labels(measured.labels)
        return lambda measured: by_labels(measured.labels) and fields.matches(fields_of(measured))


async def _by_name(pods: list[Pod]) -> AsyncIterator[list[Pod]]:
    """The pods of one namespace in order."""
    if len(pods) <= SORTED_AT_ONCE:
        pods.sort(key=attrgetter("name"))
        yield pods
        return
    runs: list[list[tuple[str, Pod]]] = []
    for start in range(0, len(pods), BITE):
        # No two have their names in common, so that pods themselves are never compared.
        runs.append(sorted((pod.name, pod) for pod in pods[start : start + BITE]))
        await asyncio.sleep(0)
    for piece in between_cuts(runs):
        piece.sort()
        yield [pod for _, pod in piece]
        await asyncio.sleep(0)


def _label_test(wanted: LabelSelector) -> Callable[[Mapping[str, str]], bool]:
    """`wanted.matches`; replicas share their labels, so each set is looked at once."""
    if not wanted:
        return lambda _labels: True
    known: dict[int, tuple[Mapping[str, str], bool]] = {}

    def test(labels: Mapping[str, str]) -> bool:
        found = known.get(id(labels))
        if found is None:  # with the labels themselves, so that no others get their number
            found = known[id(labels)] = labels, wanted.matches(labels)
        return found[1]

    return test
