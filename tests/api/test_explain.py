"""Why is it missing: each cause brought about, named, dated, and with what would change it."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from jsonschema import validate

from collector.api import explain
from collector.api.causes import CAUSES, SHOWN
from collector.api.gotime import format_time
from collector.api.route import Context, Document, Request
from collector.core.batch import DataBatch
from collector.core.entities import EntityTable
from collector.core.light import LightSample, LightStore
from collector.core.metrics import INDEX, MetricTable
from collector.core.store import MetricStore
from collector.kube.objects import ContainerSpec, Node, Pod
from collector.selfmetrics import SelfMetrics

SECOND = 10**9
NOW = 1_790_000_000 * SECOND
KEEP = 60 * SECOND


class Cluster:
    """One node with one pod, and what everybody knows of them; each test takes something away."""

    def __init__(self, *, light: bool = True) -> None:
        self.now = NOW
        self.entities = EntityTable()
        self.light = LightStore(self.entities, resolution_ns=15 * SECOND, keep_ns=KEEP) if light else None
        self.kubelet: dict[str, Document] | None = {"node": "n", "state": "ok", "since": NOW / SECOND - 600}
        self.context = Context(
            MetricStore(clock=lambda: self.now / SECOND),
            SelfMetrics("test"),
            clock=lambda: self.now / SECOND,
            light=lambda: self.light,
            kubelet=lambda node: self.kubelet if node == "n" else None,
        )
        self.context.listers.nodes.replace([Node("n", ready=True)])
        self.pod()

    def pod(self, **changed: Any) -> None:
        """What the API server says of the pod."""
        known = {"uid": "u", "node_name": "n", "phase": "Running", "containers": (ContainerSpec("c"),)}
        known |= {"start_time_ns": NOW - 3600 * SECOND}
        self.context.listers.pods.replace([Pod("d", "p", **{**known, **changed})])

    def sample(self, *, cpu: int = 5, memory: int = 7, container: str | None = "c") -> None:
        """The kubelet's light answer of now; None: without any container."""
        assert self.light is not None
        names = [("d", "p", container)] if container else []
        values = np.array([[cpu] * 2, [memory] * 2, [-1] * 2, [self.now] * 2, [0] * 2], np.int64)
        number = self.light.begin(self.now)
        self.light.take([LightSample("n", object(), names, values[:, : 1 + len(names)])], number, self.now)

    def batch(self, *metrics: str, pod: bool = True) -> None:
        """A batch of now in which pod and container have these metrics."""
        node = self.entities.node_row("n")
        batch = DataBatch(self.entities, MetricTable(), self.now)
        rows = [node]
        if pod:
            (row,) = self.entities.pod_rows(["d"], ["p"], ["u"], node)
            rows += [row, *self.entities.container_rows([row], [1], ["c"], node)]
        batch.ensure_rows()
        batch.exists[rows] = True
        for name in metrics:
            batch.put(INDEX[name], np.array(rows), np.ones(len(rows), np.int64))
        batch.freeze()
        self.context.store.keep(batch)

    def asked(self, path: str = "namespaces/d/pods/p") -> dict[str, dict[str, Any]]:
        """What the collector says, by view."""
        parts = path.split("/")
        params = {"node": parts[1]} if len(parts) == 2 else {"namespace": parts[1], "pod": parts[3]}
        route = explain.ROUTES[len(parts) == 2]
        assert route.path.format(**params) == f"{explain.ROOT}/{path}"
        answer = route.handler(self.context, Request("GET", f"{explain.ROOT}/{path}", params, {}, {}))
        assert isinstance(answer, Mapping)
        assert route.spec.answer is not None
        validate(answer, route.spec.answer.schema)  # type: ignore[union-attr]
        views: dict[str, dict[str, Any]] = {each["view"]: each for each in answer["views"]}  # type: ignore[union-attr, index]
        for view in views.values():
            assert "{" not in view["explanation"] + view["remedy"]
            assert bool(view["remedy"]) == (not view["shown"])
        return views

    def top(self, path: str = "namespaces/d/pods/p") -> tuple[str, str | None]:
        found = self.asked(path)[explain.TOP]
        return found["cause"], found["since"]

    def model(self, path: str = "namespaces/d/pods/p") -> tuple[str, str | None]:
        found = self.asked(path)[explain.MODEL]
        return found["cause"], found["since"]


def at(ns: int) -> str:
    return format_time(ns)


def test_what_is_there_is_shown() -> None:
    cluster = Cluster()
    cluster.sample()
    cluster.now += 15 * SECOND
    cluster.sample(cpu=9)
    cluster.batch("cpu/usage_rate")
    for path in ("namespaces/d/pods/p", "nodes/n"):
        assert cluster.top(path) == (SHOWN, at(cluster.now))
        assert cluster.model(path) == (SHOWN, at(cluster.now))


def test_one_sample_waits_for_the_second() -> None:
    cluster = Cluster()
    cluster.sample()
    assert cluster.top() == ("one-sample", at(NOW))
    assert cluster.top("nodes/n") == ("one-sample", at(NOW))
    view = cluster.asked()[explain.TOP]
    assert "container c" in view["explanation"]
    assert "--light-resolution" in view["remedy"]


def test_a_container_without_memory() -> None:
    cluster = Cluster()
    cluster.sample()
    cluster.now += 15 * SECOND
    cluster.sample(cpu=9, memory=-1)
    assert cluster.top() == ("no-memory", at(cluster.now))


def test_a_container_that_its_kubelet_does_not_report() -> None:
    cluster = Cluster()
    cluster.sample(container=None)
    cluster.batch("cpu/usage_rate", pod=False)
    assert cluster.top() == ("not-reported", None)
    assert cluster.model() == ("not-reported", at(NOW))
    assert "node n answers" in cluster.asked()[explain.TOP]["explanation"]


def test_a_sample_that_has_grown_old() -> None:
    cluster = Cluster()
    cluster.sample()
    cluster.now += 15 * SECOND
    cluster.sample(cpu=9)
    arrived = cluster.now
    cluster.now += KEEP + SECOND
    assert cluster.top() == ("too-old", at(arrived))


@pytest.mark.parametrize(
    ("changed", "cause", "since"),
    [
        ({"node_name": ""}, "not-scheduled", None),
        ({"phase": "Succeeded"}, "finished", None),
        ({"phase": "Failed"}, "finished", None),
        ({"phase": "Pending", "not_running": frozenset("c")}, "not-started", at(NOW - 3600 * SECOND)),
        ({"not_running": frozenset("c")}, "nothing-runs", at(NOW - 3600 * SECOND)),
        ({"node_name": "elsewhere"}, "its-node-is-gone", None),
    ],
)
def test_what_the_api_server_says(changed: dict[str, Any], cause: str, since: str | None) -> None:
    cluster = Cluster()
    cluster.batch(pod=False)
    cluster.pod(**changed)
    assert cluster.top() == (cause, since)
    assert cluster.model() == (cause, since)


@pytest.mark.parametrize(
    ("state", "cause"),
    [
        ("new", "node-not-asked-yet"),
        ("not_ready", "node-not-ready"),
        ("virtual", "node-virtual"),
        ("no_address", "node-without-address"),
    ],
)
def test_a_node_that_is_not_asked(state: str, cause: str) -> None:
    cluster = Cluster()
    cluster.batch(pod=False)
    cluster.kubelet = {"node": "n", "state": state, "since": NOW / SECOND - 60}
    assert cluster.top() == cluster.model() == cluster.top("nodes/n") == (cause, at(NOW - 60 * SECOND))
    cluster.kubelet = None
    assert cluster.top() == ("node-not-asked-yet", None)


@pytest.mark.parametrize(
    "reason",
    [
        *("refused", "unreachable", "timeout", "late", "tls", "pin", "unauthorized"),
        *("forbidden", "not_found", "too_large", "decode", "protocol"),
    ],
)
def test_a_kubelet_that_does_not_answer(reason: str) -> None:
    cluster = Cluster()
    trouble = {"state": "failing", "reason": reason, "trouble": f"node n: {reason}", "since": NOW / SECOND - 90}
    cluster.kubelet = {"node": "n", **trouble}
    cause = "kubelet-other" if reason == "protocol" else f"kubelet-{reason}"
    assert cluster.top() == cluster.top("nodes/n") == cluster.model() == (cause, at(NOW - 90 * SECOND))
    assert cluster.asked()[explain.TOP]["explanation"] == f"node n: {reason}."


def test_what_nobody_knows() -> None:
    cluster = Cluster()
    cluster.batch("cpu/usage_rate")
    cluster.context.listers.pods.replace([])
    assert cluster.top() == ("no-such-pod", at(NOW))
    assert cluster.model() == (SHOWN, at(NOW))  # until the next batch
    cluster.now += 60 * SECOND
    cluster.batch("cpu/usage_rate", pod=False)
    assert cluster.model() == ("no-such-pod", at(NOW))
    assert cluster.top("nodes/other") == cluster.model("nodes/other") == ("no-such-node", None)
    cluster.context.listers.pods.failed(RuntimeError("connection refused"))
    assert "connection refused" in cluster.asked()[explain.MODEL]["explanation"]


def test_before_the_api_server_has_said_anything() -> None:
    cluster = Cluster()
    cluster.context.listers.pods._lists = 0
    cluster.context.listers.pods._objects.clear()
    assert cluster.top() == cluster.model() == ("not-listed-yet", None)


def test_without_the_light_cadence_the_batch_decides() -> None:
    cluster = Cluster(light=False)
    assert cluster.top() == cluster.model() == cluster.top("nodes/n") == ("no-round-yet", None)
    cluster.batch("cpu/usage")
    assert cluster.top() == ("one-sample", at(NOW))
    cluster.now += 60 * SECOND
    cluster.batch("cpu/usage", "cpu/usage_rate")
    assert cluster.top() == ("no-memory", at(cluster.now))
    cluster.batch("cpu/usage", "cpu/usage_rate", "memory/working_set")
    assert cluster.top() == cluster.model() == (SHOWN, at(cluster.now))


def test_where_no_batch_is_kept() -> None:
    cluster = Cluster(light=False)
    cluster.context = Context(
        cluster.context.store,
        cluster.context.metrics,
        listers=cluster.context.listers,
        last_batch=lambda: None,
        kubelet=lambda _: cluster.kubelet,
    )
    assert cluster.top() == cluster.model() == ("not-kept", None)


def test_every_cause_is_brought_about_here_and_has_a_remedy() -> None:
    with open(__file__, encoding="utf-8") as text:  # noqa: PTH123
        told = text.read()
    kubelets = {cause for cause in CAUSES if cause.startswith("kubelet-")}
    assert not {cause for cause in CAUSES.keys() - kubelets - {SHOWN} if f'"{cause}"' not in told}
    assert all(cause.remedy for name, cause in CAUSES.items() if name != SHOWN)
