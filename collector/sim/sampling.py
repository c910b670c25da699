"""The nodes of a plan in groups: each is sampled once a tick for all that is asked of its nodes then."""

import numpy as np

from collector.sim.hashing import I64
from collector.sim.plan import Plan
from collector.sim.sample_columns import Bools, LightSamples, Samples
from collector.sim.samples import Sampler

GROUP_NODES = 128
"""Nodes whose numbers become text together: fewer, and NumPy's calls cost more than its work; more, and the caches are
too small (measured: 112 microseconds an answer with 64, 95 with 128, 104 with 256)."""


class SampledGroup:
    """The `nodes` of one group, and what they report since the tick they were asked for last."""

    def __init__(self, plan: Plan, nodes: slice) -> None:
        self.plan = plan
        self.nodes = nodes
        self.count = len(range(*nodes.indices(plan.config.nodes)))
        self._sampler = Sampler(plan, nodes)
        self._samples: Samples | None = None
        self._light: LightSamples | None = None
        self._latest: Samples | LightSamples | None = None
        self._lacking: Bools = np.zeros(self.count, dtype=np.bool_)
        self._ends: I64 = np.empty(0, dtype=np.int64)
        self._first_end: list[int] = []

    def at(self, second: int) -> Samples:
        """The samples at the tick `second`."""
        if self._samples is None or self._samples.second != second:
            self._samples = self._sampler.sample(second)
        self._look_at(self._samples)
        return self._samples

    def light_at(self, second: int) -> LightSamples:
        """Of the samples at the tick `second` what the light endpoint shows."""
        if self._light is None or self._light.second != second:
            self._light = self._sampler.light(second)
        self._look_at(self._light)
        return self._light

    def whole(self, row: int, second: int) -> bool:
        """Whether all pods and containers of this row have samples, and no pod has ended at `second` of the tick."""
        return second < self._first_end[row] and not self._lacking[row]

    def hidden(self, row: int, second: int) -> tuple[Bools, Bools]:
        """Of this row, the containers without samples (P, C), and the pods without or at their end by then (P,)."""
        assert self._latest is not None, "there are samples before anything is hidden"
        gone = (self._ends[row] <= second) | ~self._latest.pods.present[row]
        return ~self._latest.containers.present[row], gone

    def _look_at(self, samples: Samples | LightSamples) -> None:
        """Find out what is missing in them."""
        if samples is self._latest:
            return
        self._latest = samples
        containers, pods = samples.containers.present, samples.pods.present
        self._lacking = np.logical_not(containers.all(axis=(1, 2)) & pods.all(axis=1))
        self._ends = samples.lives.birth + self.plan.slots.lifetime[self.nodes]
        self._first_end = self._ends.min(axis=1).tolist()


class Sampling:
    """Groups of a plan's nodes, made when first asked for."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._groups: dict[int, SampledGroup] = {}

    def tick(self, second: int) -> int:
        """The tick before `second`, both since the origin."""
        interval = self.plan.config.housekeeping
        return second // interval * interval

    def group(self, number: int) -> SampledGroup:
        """The group of the nodes from `number * GROUP_NODES` on."""
        group = self._groups.get(number)
        if group is None:
            last = min((number + 1) * GROUP_NODES, self.plan.config.nodes)
            nodes = slice(number * GROUP_NODES, last)
            group = self._groups[number] = SampledGroup(self.plan, nodes)
        return group

    def samples(self, node: int, now: float) -> tuple[int, Samples]:
        """The row of `node` and the samples of its group at the tick before `now`."""
        number, row = divmod(node, GROUP_NODES)
        return row, self.group(number).at(self.tick(int(now - self.plan.origin)))
