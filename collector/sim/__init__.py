"""A simulated Kubernetes cluster on loopback addresses, for the demo, tests and benchmarks."""

from collector.sim.clock import ManualClock
from collector.sim.cluster import SimulatedCluster
from collector.sim.config import SimConfig
from collector.sim.faults import Fault, FaultKind
from collector.sim.process import SimProcess

__all__ = ["Fault", "FaultKind", "ManualClock", "SimConfig", "SimProcess", "SimulatedCluster"]
