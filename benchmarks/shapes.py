"""The clusters that are measured, by name."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Shape:
    """A cluster: nodes x pods x containers."""

    nodes: int
    pods: int
    containers: int
    cycles: int
    """Cycles measured, after two to warm up."""

    @property
    def entities(self) -> int:
        """Nodes, pods and containers."""
        return self.nodes * (1 + self.pods * (1 + self.containers))


SHAPES = {
    "100-nodes": Shape(100, 30, 2, 8),
    "1000-nodes": Shape(1_000, 30, 2, 5),
    "5000-nodes": Shape(5_000, 30, 2, 3),
}
