"""LightStore: the last two CPU samples of every container and node, from the light endpoint, as columns by entity row.

    field      unit   meaning
    CPU        ns     CPU time so far, at TIME
    MEMORY     bytes  working set, negative when not known
    SWAP       bytes  swap in use, negative when not known
    TIME       ns     when the kubelet took the sample; 0: there is none
    START      ns     start of this life; 0 when the kubelet does not say
    PREV_CPU   ns     CPU time at PREV_TIME
    PREV_TIME  ns     an earlier moment of the same life; 0: none is known yet
    ARRIVED    ns     when the answer came, by the collector's clock
    OWNER             the row of the node that said so
    GENERATION        of the row's owner: a row given to another entity starts anew

Answers are taken node by node as they come, so that a slow kubelet ages its own rows and no others. Which earlier
moment counts is metrics-server's rule: a container that started a moment ago has used nothing at its start; another one
is compared with the sample before, if that was taken in the same life. Beyond it, two samples with a step of the
kubelet's clock between them are not compared; and when our own is set back, what came has come just now.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from collector.core.entities import EntityTable
from collector.core.metrics import Kind
from collector.core.pages import untouched
from collector.core.slots import Pin

CPU, MEMORY, SWAP, TIME, START, PREV_CPU, PREV_TIME, ARRIVED, OWNER, GENERATION = range(10)
FIELDS: Final = 10
SAMPLED: Final = 5
"""The first fields: what a sample brings."""

FRESH_NS: Final = 10 * 10**9
"""A container is younger than this: what it used since its start says little about what it will use."""

STEP_NS: Final = 60 * 10**9
"""A sample so far in the future, when the one before was not, is of a kubelet whose clock was set forwards."""

NO_ROWS: Final[NDArray[np.intp]] = np.empty(0, np.intp)

Names = Sequence[tuple[str, str, str]]
"""(namespace, pod, container) of each container."""


@dataclass(slots=True)
class LightSample:
    """One answer of one node."""

    node: str
    layout: object
    """Which containers are in it, in which order: one object for as long as that stays the same."""
    names: Names | None
    """None: as in the sample that brought this layout. Of two of one name, the later counts."""
    values: NDArray[np.int64]
    """(SAMPLED, 1 + containers): the node's own values, then each container's; negative where not given, times 0."""
    faults: Sequence[str] = ()
    """What had to be left out of this answer, one sentence each."""


@dataclass(slots=True)
class LightGroup:
    """Answers of several nodes, each with the containers of its node's answer before."""

    nodes: Sequence[str]
    layouts: Sequence[object]
    """Of each node's answer before."""
    sizes: Sequence[int]
    """1 + containers of each."""
    values: NDArray[np.int64]
    """(SAMPLED, sum of sizes): that of each LightSample behind the other."""


@dataclass(slots=True)
class _Known:
    """What is kept of a node beside its columns."""

    layout: object
    rows: NDArray[np.intp]
    """The node's own, then one for each container of the layout."""
    asked: int
    arrived: int


class LightStore:
    """Written on the event loop only. `resolution_ns` is the light cadence, `keep_ns` the age at which rows are gone.

    Rows are held as batches hold them: each round of questions has a pin, kept as long as answers of it may be shown.
    """

    def __init__(self, entities: EntityTable, *, resolution_ns: int, keep_ns: int) -> None:
        self.entities = entities
        self._resolution_ns = resolution_ns
        self._keep_ns = keep_ns
        self._columns: NDArray[np.int64] = np.zeros((FIELDS, 0), np.int64)
        self._nodes: dict[str, _Known] = {}
        self._pins: deque[tuple[int, Pin]] = deque()

    @property
    def nodes(self) -> int:
        """The nodes with an answer that is not too old."""
        return len(self._nodes)

    def begin(self, now: int) -> int:
        """A new round of questions; its number. What is too old is let go of."""
        if self._pins and now < self._pins[-1][0]:
            self._set_back(now)
        pin = self.entities.pins.next()
        self._pins.append((now, pin))
        oldest = now - self._keep_ns
        for name in [name for name, known in self._nodes.items() if known.arrived < oldest]:
            del self._nodes[name]
        # An answer that came after `oldest` marked its rows with the pin that was the newest then.
        while len(self._pins) > 1 and self._pins[1][0] < oldest:
            self._pins.popleft()
        return pin.sequence

    def _set_back(self, now: int) -> None:
        """The clock was: nothing came later than `now`, or it would be shown until the clock is there again."""
        self._pins = deque((min(at, now), pin) for at, pin in self._pins)
        for known in self._nodes.values():
            known.arrived = min(known.arrived, now)
        np.minimum(self._columns[ARRIVED], now, out=self._columns[ARRIVED])

    def layout(self, node: str) -> object | None:
        """The layout of the node's latest answer; None when there is none that is not too old."""
        known = self._nodes.get(node)
        return None if known is None else known.layout

    def take(self, samples: Sequence[LightSample], asked: int, now: int, group: LightGroup | None = None) -> None:
        """Put answers to round `asked` into the columns; one that comes after the answer to a later round is old."""
        rows: list[NDArray[np.intp]] = []
        values: list[NDArray[np.int64]] = []
        for sample in samples:
            own = self._rows(sample, asked, now)
            if own.size:
                rows.append(own)
                values.append(sample.values)
        if group is not None:
            of_nodes = [self._rows_known(*each, asked, now) for each in zip(group.nodes, group.layouts, strict=True)]
            of_use = np.repeat([each.size > 0 for each in of_nodes], group.sizes)
            rows += [each for each in of_nodes if each.size]
            values.append(group.values if of_use.all() else group.values[:, of_use])
        if rows:
            self._put(rows, np.concatenate(values, axis=1), now)

    def _put(self, rows_of_nodes: Sequence[NDArray[np.intp]], new: NDArray[np.int64], now: int) -> None:
        """`new`, (SAMPLED, n), into n rows, those of one node after the other. Field by field: NumPy is faster so."""
        assert self._pins, "begin comes first"
        rows = np.concatenate(rows_of_nodes)
        owners = np.repeat([each[0] for each in rows_of_nodes], [each.size for each in rows_of_nodes])
        live = rows >= 0
        if not live.all():
            rows, new, owners = rows[live], new[:, live], owners[live]
        self._grow()
        columns, generations = self._columns, self.entities.generation[rows]
        old = {field: columns[field][rows] for field in (CPU, TIME, PREV_CPU, PREV_TIME, ARRIVED, GENERATION)}
        old[TIME][old[GENERATION] != generations] = 0
        columns[PREV_CPU][rows], columns[PREV_TIME][rows] = self._earlier(new, old, now)
        for field in range(SAMPLED):
            columns[field][rows] = new[field]
        columns[ARRIVED][rows] = now
        columns[OWNER][rows] = owners
        columns[GENERATION][rows] = generations
        self.entities.mark_seen(rows, self._pins[-1][1].sequence)

    def read(self, rows: NDArray[np.intp], now: int) -> NDArray[np.int64]:
        """(FIELDS, n): the fields of `rows`, whatever was given; TIME is 0 where there is no sample, or an old one."""
        held = (rows >= 0) & (rows < self._columns.shape[1])
        at = np.where(held, rows, 0)
        if not self._columns.shape[1]:
            return np.zeros((FIELDS, rows.size), np.int64)
        found: NDArray[np.int64] = self._columns[:, at]
        current = held & (found[ARRIVED] >= now - self._keep_ns) & (found[GENERATION] == self.entities.generation[at])
        found[TIME, ~current] = 0
        return found

    def snapshot(self) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
        """The rows that have a sample, (n,), and their fields, (FIELDS, n), copied."""
        rows = np.flatnonzero(self._columns[TIME])
        rows = rows[self._columns[GENERATION, rows] == self.entities.generation[rows]]
        return rows, self._columns[:, rows]

    def resume(self, rows: NDArray[np.int32], fields: NDArray[np.int64]) -> None:
        """Go on with the samples of an earlier process, (FIELDS, n), which are as old as they say."""
        if fields.shape != (FIELDS, rows.size):
            raise ValueError(f"light samples have {FIELDS} fields, not {fields.shape}")
        pin = self.entities.pins.next()
        self._pins.append((int(fields[ARRIVED].max(initial=0)), pin))
        self._grow()
        self._columns[:, rows] = fields
        self._columns[GENERATION, rows] = self.entities.generation[rows]
        self.entities.mark_seen(rows, pin.sequence)

    def _earlier(
        self, new: NDArray[np.int64], old: Mapping[int, NDArray[np.int64]], now: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """CPU and time of the earlier moment that the new samples are compared with; time 0 where there is none."""
        time, start = new[TIME], new[START]
        same_life = (old[TIME] > 0) & (start < old[TIME]) & (new[CPU] >= old[CPU])
        ahead = time - now
        same_life &= (ahead <= STEP_NS) | (ahead - (old[TIME] - old[ARRIVED]) <= STEP_NS)
        # The kubelet may give one sample twice, and an older one than before when its clock is set back.
        newer = same_life & (time > old[TIME])
        kept = same_life & ~newer & (old[PREV_TIME] > 0) & (old[PREV_TIME] < time) & (old[PREV_CPU] <= new[CPU])
        age = time - start
        fresh = (start > 0) & (age >= FRESH_NS) & (age < self._resolution_ns)
        cpu = np.where(newer, old[CPU], np.where(kept, old[PREV_CPU], 0))
        moment = np.where(newer, old[TIME], np.where(kept, old[PREV_TIME], 0))
        cpu[fresh], moment[fresh] = 0, start[fresh]
        return cpu, moment

    def _rows_known(self, node: str, layout: object, asked: int, now: int) -> NDArray[np.intp]:
        """The rows of an answer whose layout is that of the node's answer before; none when it is of no use."""
        known = self._nodes.get(node)
        if known is None or known.layout is not layout or known.asked > asked:
            return NO_ROWS
        known.asked, known.arrived = asked, now
        return known.rows

    def _rows(self, sample: LightSample, asked: int, now: int) -> NDArray[np.intp]:
        """The rows of a sample's values, -1 for one that counts not; none at all when the sample is of no use."""
        known = self._nodes.get(sample.node)
        if known is not None and known.asked > asked:
            return NO_ROWS
        if sample.names is None or (known is not None and known.layout is sample.layout):
            # Without names and with another layout: another answer of the node came in between.
            return self._rows_known(sample.node, sample.layout, asked, now)
        rows = self._resolved(sample.node, sample.names)
        if known is not None and not np.array_equal(known.rows, rows):
            self._clear(np.setdiff1d(known.rows, rows), int(rows[0]))
        self._nodes[sample.node] = _Known(sample.layout, rows, asked, now)
        return rows

    def _resolved(self, node_name: str, names: Names) -> NDArray[np.intp]:
        entities = self.entities
        node = entities.node_row(node_name)
        rows = [node]
        pods: dict[tuple[str, str], int] = {}
        for namespace, pod, container in names:
            parent = pods.get((namespace, pod))
            if parent is None:
                parent = pods[namespace, pod] = entities.pod_row(namespace, pod, node)
            rows.append(entities.child_row(Kind.POD_CONTAINER, parent, container, node))
        found = np.array(rows, np.intp)
        if len(set(rows)) == len(rows):
            return found
        _, last = np.unique(found[::-1], return_index=True)
        counting = np.zeros(found.size, np.bool_)
        counting[found.size - 1 - last] = True
        found[~counting] = -1
        return found

    def _clear(self, rows: NDArray[np.intp], node: int) -> None:
        """Containers that the latest answer of their node no longer has; another node may have reported them since."""
        gone = rows[(rows >= 0) & (rows < self._columns.shape[1])]
        self._columns[TIME, gone[self._columns[OWNER, gone] == node]] = 0

    def _grow(self) -> None:
        """Room for every row of the entity table."""
        have, needed = self._columns.shape[1], self.entities.size
        if have < needed:
            columns = untouched((FIELDS, 1 << max(12, (needed - 1).bit_length())), np.int64)
            columns[:, :have] = self._columns
            self._columns = columns
