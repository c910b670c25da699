"""A simulated Kubernetes cluster on loopback addresses, for the demo, tests and benchmarks.

In a test, on its event loop and on a clock that stands still until told:

    async with SimulatedCluster(SimConfig(nodes=3, clock=ManualClock())) as cluster:
        cluster.kubeconfig, cluster.api_url, cluster.addresses[0], cluster.kubelet_port
        cluster.advance(60)
        await cluster.set_fault(1, "down")
        cluster.truth(0)  # the decoded summary that node 0 gives now

As a process of its own: `async with SimProcess(["--nodes", "100"]) as cluster`, or `python -m collector.sim --help`.
"""

from collector.sim.clock import ManualClock
from collector.sim.cluster import SimulatedCluster
from collector.sim.config import SimConfig
from collector.sim.faults import Fault, FaultKind
from collector.sim.process import SimProcess

__all__ = ["Fault", "FaultKind", "ManualClock", "SimConfig", "SimProcess", "SimulatedCluster"]
