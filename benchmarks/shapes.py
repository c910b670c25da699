"""What is measured, as data: the clusters by name, and how often."""

from dataclasses import dataclass

SINKS = {
    "influxdb": "influxdb:{influx}",
    "influxdb-fields": "influxdb:{influx}?withfields=true",
    "history": "history:{directory}",
}
"""Name -> sink URI of a measurement with a sink. `{influx}` takes lines and throws them away."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A cluster: nodes x pods x containers, what is peculiar about it, and the cycles measured in one run."""

    nodes: int
    pods: int = 30
    containers: int = 2
    cycles: int = 5
    """Cycles measured, after WARM_UP."""
    namespaces: int = 0
    """Namespaces of the services; 0: what the simulated cluster finds natural."""
    deployments: int = 0
    churn: float = 0.0
    """Fraction of the pods replaced from one cycle to the next."""
    down: float = 0.0
    """Fraction of the nodes that refuse connections."""
    sink: str = ""
    """Of SINKS; none: the store alone."""

    @property
    def entities(self) -> int:
        """Nodes, pods and containers."""
        return self.nodes * (1 + self.pods * (1 + self.containers))

    @property
    def pause_s(self) -> float:
        """From one cycle to the next: long enough for the churn, which is at most all pods a minute."""
        return max(1.1, 60 * self.churn)

    def arguments(self) -> list[str]:
        """For `python -m collector.sim`."""
        given: dict[str, float] = {
            "nodes": self.nodes,
            "pods": self.pods,
            "containers": self.containers,
            "housekeeping": 1,
            "churn": min(1.0, self.churn * 60 / self.pause_s),
            "down": self.down,
        }
        # Only where asked for: a simulated cluster of an older revision does not know them.
        given |= {"namespaces": self.namespaces} if self.namespaces else {}
        given |= {"deployments": self.deployments} if self.deployments else {}
        return [f"--{name}={value}" for name, value in given.items()]


SMOKE = "smoke"
"""The smallest one: it is there for the tests."""

SHAPES = {
    SMOKE: Shape(3, pods=5, cycles=2),
    "100-nodes": Shape(100, cycles=8),
    "1000-nodes": Shape(1_000),
    "5000-nodes": Shape(5_000, cycles=14),  # with the warm-up a quarter of an hour: all history the store keeps
    "one-namespace": Shape(1_000, namespaces=1, cycles=3),
    "one-deployment": Shape(1_000, namespaces=1, deployments=1, cycles=3),
    "10-containers": Shape(300, containers=10),
    "churn-10": Shape(500, churn=0.1),
    "dead-5": Shape(1_000, down=0.05),
    "100-nodes-influxdb": Shape(100, sink="influxdb"),
    "1000-nodes-influxdb": Shape(1_000, sink="influxdb", cycles=3),
    "1000-nodes-influxdb-fields": Shape(1_000, sink="influxdb-fields", cycles=3),
    "1000-nodes-history": Shape(1_000, sink="history", cycles=3),
    "5000-nodes-influxdb": Shape(5_000, sink="influxdb", cycles=2),
    "5000-nodes-influxdb-fields": Shape(5_000, sink="influxdb-fields", cycles=2),
}

QUICK = ("100-nodes", "1000-nodes", "100-nodes-influxdb", "churn-10", "dead-5")
"""What `make bench` measures; `make bench-full` measures every shape.

A measurement of another kind (another endpoint, a spool before a sink) is a row of SHAPES, with what it needs in
`Shape` and in `stage.staged`."""

LATENCY = {
    SMOKE: Shape(3, pods=5, cycles=2),
    "1000-nodes": Shape(1_000, namespaces=8, cycles=8),
    "5000-nodes": Shape(5_000, namespaces=40, cycles=4),
}
"""Clusters in which answers are timed while cycles run: a namespace has about 3,000 pods."""

STAGES = {
    SMOKE: Shape(3, pods=5, cycles=2),
    "1000-nodes": Shape(1_000, cycles=4),
    "1000-nodes-influxdb-fields": Shape(1_000, sink="influxdb-fields", cycles=3),
    "5000-nodes": Shape(5_000, cycles=4),
}
"""Clusters whose cycles are taken apart; `cycles` of them are watched, and as many are not."""

EXPOSITION = {SMOKE: Shape(3, pods=5), "5000-nodes": Shape(5_000)}
"""Clusters whose Prometheus text is written beside prometheus-client's; only with --full."""

LIGHT = {
    SMOKE: Shape(3, pods=5, cycles=2),
    "1000-nodes": Shape(1_000, cycles=8),
    "5000-nodes": Shape(5_000, cycles=5),
}
"""Clusters whose light endpoint is read, `cycles` rounds measured."""
