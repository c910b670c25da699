"""Player: a scenario, played against the pipeline through the kubelets' and the API server's own wire formats."""

from collections.abc import Callable
from pathlib import Path

import msgspec

from collector.core.batch import MetricSet
from collector.core.visibility import Visibility
from collector.kube import wire
from collector.kube.build import Builder, Oddities
from collector.processors.labels import LabelCopier
from collector.sources.summary import decode_summary
from tests.processors import answers
from tests.processors.expectations import unmet
from tests.processors.rig import Rig
from tests.processors.scenario import Scenario, Statement, entity, name_of, pairs, time_of_day

CAPTURES = Path(__file__).parents[1] / "captures"


def play(scenario: Scenario) -> list[str]:
    """The failed expectations of one scenario, as `file:line: ..., wanted ..., got ...`."""
    player = Player()
    for statement in scenario.statements:
        player.play(statement)
    return player.failures


class Player:
    """Plays the statements of one scenario."""

    def __init__(self) -> None:
        self.failures: list[str] = []
        self._rig = Rig()
        self._kubelets = answers.Kubelets(0)
        self._pods: dict[str, answers.JSON] = {}
        self._builders = {kind: Builder(Oddities(kind)) for kind in ("node", "pod", "namespace")}
        self._sets: dict[str, MetricSet] = {}
        self._visibility = Visibility()

    def play(self, statement: Statement) -> None:
        """Play one statement and its block; raises ScenarioError for what cannot be understood."""
        line = statement.line
        word, _, rest = line.text.partition(" ")
        try:
            match word:
                case "options":
                    self._options(pairs(rest))
                case "load":
                    self._kubelets = answers.Kubelets(time_of_day(rest))
                case "tick":
                    self._tick(time_of_day(rest))
                case "expect" | "absent":
                    self.failures += unmet(line, rest.split(), self._sets, word)
        except ValueError as error:
            raise line.error(str(error)) from error
        for inner in statement.block:
            try:
                (self._load if word == "load" else self._change)(inner.text)
            except ValueError as error:
                raise inner.error(str(error)) from error

    def _options(self, given: list[tuple[str, str]]) -> None:
        stored: list[tuple[str, str]] = []
        ignored: set[str] = set()
        separator, annotation = ",", ""
        for name, value in given:
            match name:
                case "store-label":
                    new, _, old = value.partition("=")
                    stored.append((old or new, new))
                case "ignore-label":
                    ignored.add(value)
                case "label-separator":
                    separator = value
                case "host-id-annotation":
                    annotation = value
                case "extended-metrics" if value in {"true", "false"}:
                    self._visibility = Visibility(value == "true")
                case _:
                    raise ValueError(f"unknown option {name}")
        self._rig = Rig(LabelCopier(tuple(stored), frozenset(ignored), separator), annotation)

    def _tick(self, timestamp: int) -> None:
        samples = [decode_summary(body, self._kubelets.read_at) for body in self._kubelets.bodies()]
        self._sets = self._rig.tick(samples, timestamp).metric_sets(self._visibility)

    def _load(self, text: str) -> None:
        """One line of a `load` block."""
        kind, subject, rest = entity(text, {"node", "system", "pod", "container", "capture"})
        values, _, times_given = f" {rest} ".partition(" @ ")
        metrics, times = dict(pairs(values)), _times(pairs(times_given))
        match kind, subject:
            case "capture", [path]:
                self._kubelets.captured.append((CAPTURES / path).read_bytes())
            case "pod", [path, "on", node]:
                uid = metrics.pop("uid", f"uid-of-{path}")
                self._kubelets.pod(path, node, uid, metrics, times)
            case "pod", _:
                raise ValueError("write `pod NAMESPACE/NAME on NODE: ...`")
            case "node", _:
                self._kubelets.node(name_of(kind, subject), metrics, times)
            case "system", _:
                self._kubelets.system(name_of(kind, subject), metrics, times)
            case _:
                self._kubelets.container(name_of(kind, subject), metrics, times)

    def _change(self, text: str) -> None:
        """One line of a `cluster` block, as one watch event."""
        rig, builders = self._rig, self._builders
        kind, subject, rest = entity(text, {"node", "pod", "container", "namespace", "gone"})
        properties = dict(pairs(rest))
        if kind == "gone":
            self._delete(subject)
            return
        name = name_of(kind, subject)
        match kind:
            case "node":
                node = msgspec.convert(answers.node_object(name, properties), wire.NodeObject)
                rig.nodes.apply([(name, builders["node"].node(node))])
            case "namespace":
                namespace = msgspec.convert(answers.namespace_object(name, properties), wire.NamespaceObject)
                rig.namespaces.apply([(name, builders["namespace"].namespace(namespace))])
            case "pod":
                self._pods[name] = answers.pod_object(name, properties)
                self._apply_pod(name)
            case _:
                path, _, container = name.rpartition("/")
                if path not in self._pods:
                    raise ValueError(f"container {name} comes before its pod {path}")
                answers.add_container(self._pods[path], container, properties)
                self._apply_pod(path)

    def _apply_pod(self, path: str) -> None:
        pod = msgspec.convert(self._pods[path], wire.PodObject)
        self._rig.pods.apply([(_pod_key(path), self._builders["pod"].pod(pod))])

    def _delete(self, subject: list[str]) -> None:
        """`gone pod default/web-1`."""
        rig = self._rig
        delete: dict[str, Callable[[str], None]] = {
            "node": lambda name: rig.nodes.apply([(name, None)]),
            "namespace": lambda name: rig.namespaces.apply([(name, None)]),
            "pod": lambda path: rig.pods.apply([(_pod_key(path), None)]),
        }
        match subject:
            case [kind, name] if kind in delete:
                delete[kind](name)
            case _:
                raise ValueError(f"write `gone KIND NAME`, where KIND is {', '.join(sorted(delete))}")


def _times(given: list[tuple[str, str]]) -> dict[str, int | None]:
    """What stands behind `@`: clock -> ns, None for `none`; `time` is all clocks at once."""
    found: dict[str, int | None] = {}
    for name, text in given:
        time = None if text == "none" else time_of_day(text)
        if name == "time":
            found = {**dict.fromkeys(answers.CLOCKS, time), **found}
        elif name in {"start", *answers.CLOCKS}:
            found[name] = time
        else:
            raise ValueError(f"unknown clock {name!r}; known are start, time, {', '.join(answers.CLOCKS)}")
    return found


def _pod_key(path: str) -> tuple[str, str]:
    namespace, _, name = path.partition("/")
    return namespace, name
