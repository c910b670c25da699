"""Which nodes and pods a metrics list is of: namespace, label selector, field selector; sorted, in bites.

The cluster's 150,000 pods are looked at without holding up the event loop: see `names`.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass

from collector.api.names import BITE, between_cuts
from collector.api.route import Context
from collector.kube import fieldselector, selector
from collector.kube.fieldselector import FieldSelector
from collector.kube.objects import Node, Pod
from collector.kube.selector import LabelSelector


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a list was asked to be of."""

    namespace: str | None = None
    """None: all namespaces."""
    labels: LabelSelector = selector.EVERYTHING
    fields: FieldSelector = fieldselector.EVERYTHING

    def nodes(self, context: Context) -> list[Node]:
        """The selected nodes by name."""
        nodes = context.listers.nodes.items.values()
        by_labels = _label_test(self.labels)
        found = [node for node in nodes if by_labels(node.labels) and self.fields.matches({"metadata.name": node.name})]
        return sorted(found, key=lambda node: node.name)

    async def pods(self, context: Context) -> AsyncIterator[list[Pod]]:
        """The selected pods by namespace and name, some thousands at a time."""
        moment = list(self._candidates(context))  # what the lister holds changes while others have the event loop
        test = self._pod_test()
        runs: list[list[tuple[str, str, Pod]]] = []
        for start in range(0, len(moment), BITE):
            # No two have namespace and name in common, so that pods themselves are never compared.
            runs.append(sorted((pod.namespace, pod.name, pod) for pod in moment[start : start + BITE] if test(pod)))
            await asyncio.sleep(0)
        for piece in between_cuts(runs) if runs else ():
            piece.sort()
            yield [pod for _, _, pod in piece]
            await asyncio.sleep(0)

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

    def _pod_test(self) -> Callable[[Pod], bool]:
        by_labels, fields = _label_test(self.labels), self.fields

        def test(pod: Pod) -> bool:
            if not by_labels(pod.labels):
                return False
            return not fields or fields.matches({"metadata.name": pod.name, "metadata.namespace": pod.namespace})

        return test


def _label_test(wanted: LabelSelector) -> Callable[[Mapping[str, str]], bool]:
    """`wanted.matches`; replicas share their labels, so each set is looked at once."""
    if not wanted:
        return lambda _labels: True
    known: dict[int, bool] = {}

    def test(labels: Mapping[str, str]) -> bool:
        found = known.get(id(labels))
        if found is None:
            found = known[id(labels)] = wanted.matches(labels)
        return found

    return test
