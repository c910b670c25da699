"""`/api/v1/explain`: why is this pod, or this node, missing? A named cause a view, since when, what would change it.

The views are `metrics.k8s.io` (`kubectl top`, autoscalers) and `model` (Heapster's API). The answer is worked out from
what the same views are written from, when it is asked for; nothing is kept for it.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from collector.api.causes import CAUSES, LEFT_OUT, SHOWN
from collector.api.gotime import format_time
from collector.api.metrics_usage import CPU_RATE, WORKING_SET, light_usage
from collector.api.rights import Right
from collector.api.route import Context, Document, Request, Route, Style
from collector.api.spec import Schema, Spec
from collector.core.batch import DataBatch
from collector.core.entities import NULL
from collector.core.light import ARRIVED, MEMORY, PREV_TIME, TIME, LightStore
from collector.core.metrics import INDEX
from collector.kube.listers import Lister
from collector.kube.objects import Pod

ROOT = "/api/v1/explain"
TOP, MODEL = "metrics.k8s.io", "model"

_USAGE: Final = (INDEX["cpu/usage"], CPU_RATE, INDEX["memory/usage"], WORKING_SET)

_ENDED: Final = frozenset(("Succeeded", "Failed"))


@dataclass(frozen=True, slots=True)
class Verdict:
    """A cause and what fills its texts; `since` is ns since the epoch, 0 when nobody knows."""

    cause: str
    since: int = 0
    known: Mapping[str, str] | None = None

    def document(self, view: str, subject: Mapping[str, str]) -> dict[str, Document]:
        """As one view's part of the answer."""
        known = {"trouble": "", "cadence": "light-resolution" if view == TOP else "metric-resolution", **subject}
        known |= self.known or {}
        cause = CAUSES[self.cause]
        return {
            "view": view,
            "shown": self.cause == SHOWN,
            "cause": self.cause,
            "since": format_time(self.since) if self.since else None,
            "explanation": cause.words.format_map(known),
            "remedy": cause.remedy.format_map(known),
        }


def explain_pod(context: Context, request: Request) -> Document:
    """Why a pod is missing: one named cause for each view, since when, and what would change it."""
    namespace, name = request.params["namespace"], request.params["pod"]
    pod = context.listers.pods.get((namespace, name))
    node = pod.node_name if pod is not None else ""
    subject = {"what": "pods", "namespace": namespace, "node": node, "subject": "this pod"}
    verdicts = {TOP: _Top(context).pod(namespace, name, pod), MODEL: _Model(context).pod(namespace, name, pod)}
    return {
        "kind": "Pod",
        "namespace": namespace,
        "name": name,
        "node": node or None,
        "views": [verdict.document(view, subject) for view, verdict in verdicts.items()],
    }


def explain_node(context: Context, request: Request) -> Document:
    """Why a node is missing: one named cause for each view, since when, and what would change it."""
    name = request.params["node"]
    subject = {"what": "nodes", "node": name, "subject": "this node"}
    verdicts = {TOP: _Top(context).node(name), MODEL: _Model(context).node(name)}
    return {
        "kind": "Node",
        "name": name,
        "views": [verdict.document(view, subject) for view, verdict in verdicts.items()],
        "kubelet": context.kubelet(name),
    }


class _View(ABC):
    """One view. Subclasses know what it is written from: `_found` says whether an entity is in it, and if not, why."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._batch: DataBatch | None = context.store.latest()

    def pod(self, namespace: str, name: str, pod: Pod | None) -> Verdict:
        """Of a pod; None: the API server knows none of this name."""
        found = self._of_pod(namespace, name, pod)
        if found.cause == SHOWN:
            return found
        lister = self._context.listers.pods
        if pod is None:
            return _unknown(lister, "no-such-pod", self._last_seen(namespace, name))
        if not pod.node_name:
            return Verdict("not-scheduled")
        if pod.phase in _ENDED:
            return Verdict("finished", known={"phase": pod.phase})
        if pod.containers and all(container.name in pod.not_running for container in pod.containers):
            cause = "not-started" if pod.phase == "Pending" else "nothing-runs"
            return Verdict(cause, pod.start_time_ns, {"phase": pod.phase})
        if self._context.listers.nodes.get(pod.node_name) is None:
            return Verdict("its-node-is-gone", known={"node": pod.node_name})
        return self._of_kubelet(pod.node_name) or found

    def node(self, name: str) -> Verdict:
        """Of a node."""
        found = self._of_node(name)
        if found.cause == SHOWN:
            return found
        if self._context.listers.nodes.get(name) is None:
            return _unknown(self._context.listers.nodes, "no-such-node", 0)
        return self._of_kubelet(name) or found

    def _of_kubelet(self, node: str) -> Verdict | None:
        """What keeps the node's kubelet from answering, None when nothing does."""
        kubelet = self._context.kubelet(node)
        if kubelet is None:
            return Verdict("node-not-asked-yet", known={"node": node})
        since, state = _ns(kubelet["since"]), str(kubelet["state"])
        if state in LEFT_OUT:
            return Verdict(LEFT_OUT[state], since, {"node": node})
        if state != "failing":
            return None
        cause = f"kubelet-{kubelet['reason']}"
        words = {"node": node, "trouble": _sentence(str(kubelet["trouble"]))}
        return Verdict(cause if cause in CAUSES else "kubelet-other", since, words)

    def _last_seen(self, namespace: str, name: str) -> int:
        """The latest batch kept that holds the pod."""
        for batch in reversed(self._context.store.batches):
            row = batch.entities.find_pod(namespace, name)
            if 0 <= row < batch.rows and batch.exists[row]:
                return batch.timestamp
        return 0

    @abstractmethod
    def _of_pod(self, namespace: str, name: str, pod: Pod | None) -> Verdict:
        """Whether the pod is in the view, and if not, what of it is missing."""

    @abstractmethod
    def _of_node(self, name: str) -> Verdict:
        """The same of a node."""


class _Model(_View):
    """Heapster's API: the latest batch has usage of an entity, or not. What is requested is there in any case."""

    def _of_pod(self, namespace: str, name: str, pod: Pod | None) -> Verdict:  # noqa: ARG002  # a batch knows no Pod objects
        return self._of(self._batch.entities.find_pod(namespace, name) if self._batch is not None else NULL)

    def _of_node(self, name: str) -> Verdict:
        return self._of(self._batch.entities.find_node(name) if self._batch is not None else NULL)

    def _of(self, row: int) -> Verdict:
        if self._context.last_batch is not None:
            return Verdict("not-kept")
        if self._batch is None:
            return Verdict("no-round-yet")
        held = 0 <= row < self._batch.rows and bool(self._batch.present[list(_USAGE), row].any())
        return Verdict(SHOWN, self._batch.timestamp) if held else Verdict("not-reported", self._batch.timestamp)


class _Top(_View):
    """The resource metrics API: CPU usage takes two samples of one life, and memory beside them."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._light: LightStore | None = context.light()

    def _of_pod(self, namespace: str, name: str, pod: Pod | None) -> Verdict:
        if pod is None:  # it is the API server's pods that are shown
            return Verdict("no-such-pod")
        source = self._light if self._light is not None else self._batch
        if source is None:
            return self._nothing()
        below = source.entities.children(source.entities.find_pod(namespace, name))
        running = [each.name for each in pod.containers + pod.sidecars if each.name not in pod.not_running]
        if not running:
            return Verdict("nothing-runs")
        return self._worst([(each, below.get(each, NULL)) for each in running])

    def _of_node(self, name: str) -> Verdict:
        source = self._light if self._light is not None else self._batch
        return self._nothing() if source is None else self._worst([("", source.entities.find_node(name))])

    def _nothing(self) -> Verdict:
        return Verdict("not-kept" if self._context.last_batch is not None else "no-round-yet")

    def _worst(self, rows: Sequence[tuple[str, int]]) -> Verdict:
        """Of entities that must all have usage the verdict on the first that has none; each comes with its name."""
        at = np.array([row for _, row in rows], np.intp)
        now = self._context.now()
        verdicts = self._by_light(self._light, at, now) if self._light is not None else self._by_batch(at)
        for (name, _), verdict in zip(rows, verdicts, strict=True):
            if verdict.cause != SHOWN:
                return Verdict(verdict.cause, verdict.since, {"subject": f"container {name}"} if name else None)
        return verdicts[0]

    def _by_light(self, light: LightStore, at: Any, now: int) -> list[Verdict]:
        found, complete = light.read(at, now), light_usage(light, self._batch, at, now).complete
        verdicts = []
        for i, whole in enumerate(complete):
            arrived = int(found[ARRIVED, i]) if at[i] != NULL else 0
            if whole:
                verdicts.append(Verdict(SHOWN, int(found[TIME, i])))
            elif not found[TIME, i]:
                verdicts.append(Verdict("too-old" if arrived else "not-reported", arrived))
            elif found[MEMORY, i] < 0:
                verdicts.append(Verdict("no-memory", int(found[TIME, i])))
            else:
                assert not found[PREV_TIME, i] or found[PREV_TIME, i] >= found[TIME, i]
                verdicts.append(Verdict("one-sample", int(found[TIME, i])))
        return verdicts

    def _by_batch(self, at: Any) -> list[Verdict]:
        batch = self._batch
        assert batch is not None, "without a batch nothing is read"
        verdicts = []
        for row in at.tolist():
            if not 0 <= row < batch.rows or not batch.exists[row]:
                verdicts.append(Verdict("not-reported", batch.timestamp))
            elif not batch.present[CPU_RATE, row]:
                verdicts.append(Verdict("one-sample", batch.timestamp))
            elif not batch.present[WORKING_SET, row]:
                verdicts.append(Verdict("no-memory", batch.timestamp))
            else:
                verdicts.append(Verdict(SHOWN, batch.timestamp))
        return verdicts


def _unknown(lister: Lister[Any, Any], cause: str, since: int) -> Verdict:
    """There is no such object, as far as the lister knows."""
    trouble = lister.statistics().last_error
    known = {"trouble": f"; it has not been heard since, for {trouble}" if trouble else ""}
    return Verdict(cause if lister.synced else "not-listed-yet", since, known)


def _sentence(text: str) -> str:
    return text if text.endswith((".", "?", "!")) else f"{text}."


def _ns(seconds: object) -> int:
    return int(seconds * 1e9) if isinstance(seconds, float | int) else 0


_VIEW = {
    "type": "object",
    "properties": {
        "view": {"enum": [TOP, MODEL], "description": "`kubectl top` and autoscalers, or Heapster's API."},
        "shown": {"type": "boolean"},
        "cause": {"enum": list(CAUSES)},
        "since": {"type": ["string", "null"], "format": "date-time", "description": "Null when nobody knows."},
        "explanation": {"type": "string"},
        "remedy": {"type": "string", "description": "What would change it."},
    },
    "required": ["view", "shown", "cause", "since", "explanation", "remedy"],
    "additionalProperties": False,
}


def _spec(kind: str, **further: Any) -> Spec:
    properties = {"kind": {"const": kind}, "name": {"type": "string"}, "views": {"type": "array", "items": _VIEW}}
    properties |= further
    return Spec(
        Schema(
            f"{kind}Explained",
            {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False},
        )
    )


_POD = _spec("Pod", namespace={"type": "string"}, node={"type": ["string", "null"]})
_NODE = _spec("Node", kubelet={"type": ["object", "null"], "description": "As in `/api/v1/kubelets`."})

ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        f"{ROOT}/namespaces/{{namespace}}/pods/{{pod}}",
        explain_pod,
        Style.PRETTY,
        "explainPod",
        _POD,
        Right.NAMESPACE,
    ),
    Route("GET", f"{ROOT}/nodes/{{node}}", explain_node, Style.PRETTY, "explainNode", _NODE, Right.NODES),
)
