"""Versions of what the metrics API shows: a number for each tick, what was shown then, and who waits for the next.

A number is the time of its tick in milliseconds, so that it means the same to another replica and after a restart. What
is kept of past revisions is bounded; who asks for changes since an older one must list anew (410). The objects of a
revision have a version of their own, `Revision.object_version`: just after the revision before. A watch that was cut in
the middle of a tick's changes is taken up from there, and loses none.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias
from weakref import WeakValueDictionary

from collector.api.metrics_shown import Scene
from collector.kube.objects import Node, Pod

KEPT_NS: Final = 5 * 60 * 10**9
"""A revision is remembered for so long at most, as an API server remembers its own."""

KEPT_BYTES: Final = 96 << 20
"""And only as long as all that is remembered takes no more than this: a minute of 300,000 containers."""

REFERENCE_BYTES: Final = 8

SKEW_MS: Final = 60_000
"""Another replica's clock may be ahead by so much; a version further in the future is none."""

Part: TypeAlias = tuple[str, str | None]
"""Plural of the kind, and the namespace; None for all."""


@dataclass(slots=True, eq=False)
class Revision:
    """One tick."""

    number: int
    before: int
    """The number of the revision before."""
    moment: int
    """ns since the epoch."""
    nodes: Sequence[Node] = ()
    pods: Sequence[Pod] = ()
    """All there were."""
    scenes: dict[Part, Scene] = field(default_factory=dict)
    """What was shown, where somebody asked for it."""

    @property
    def object_version(self) -> int:
        """`metadata.resourceVersion` of what is shown at this revision."""
        return self.before + 1

    @property
    def size_bytes(self) -> int:
        """About what it keeps in memory."""
        listed = REFERENCE_BYTES * (len(self.nodes) + len(self.pods))
        return listed + sum(scene.size_bytes for scene in self.scenes.values())


class ExpiredError(Exception):
    """The revision asked for is no longer remembered; the message is the API server's."""


class Revisions:
    """The latest ones. Used on the event loop only."""

    def __init__(self) -> None:
        self._kept: deque[Revision] = deque()
        self._waiting: set[asyncio.Future[None]] = set()
        self._locks: WeakValueDictionary[Part, asyncio.Lock] = WeakValueDictionary()
        self.watches = 0
        """How many watches there are."""

    def current(self, now: int) -> Revision:
        """The latest revision; the first is made here."""
        if not self._kept:
            number = now // 10**6
            self._kept.append(Revision(number, number - 2, now))
        return self._kept[-1]

    def advance(self, now: int, nodes: Sequence[Node], pods: Sequence[Pod]) -> None:
        """A tick: new points have come. `nodes` and `pods` are all there are."""
        last = self.current(now)
        number = max(now // 10**6, last.number + 2)  # between two of them lies the version of the objects
        self._kept.append(Revision(number, last.number, now, nodes, pods))
        self._trim(now)
        waiting, self._waiting = self._waiting, set()
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def after(self, number: int, now: int, timeout_s: float) -> Revision | None:
        """The latest revision as soon as it is later than `number`; None when that takes longer than `timeout_s`."""
        found = self.current(now)
        if found.number > number:
            return found
        future = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        try:
            async with asyncio.timeout(timeout_s):
                await future
        except TimeoutError:
            return None
        finally:
            self._waiting.discard(future)
        return self._kept[-1]

    def find(self, version: int, now: int) -> tuple[Revision, bool]:
        """The revision that was current at `version`, and whether that is a version of ours.

        It is not when another replica gave it. Raises ExpiredError when it is no longer remembered.
        """
        self.current(now)
        for revision in reversed(self._kept):
            if revision.number <= version:
                return revision, version - revision.number in {0, 1}
        raise ExpiredError(f"too old resource version: {version} ({self._kept[0].number})")

    def lock(self, part: Part) -> asyncio.Lock:
        """Held by who makes a scene of this part."""
        return self._locks.setdefault(part, asyncio.Lock())

    def keep(self, revision: Revision, part: Part, scene: Scene) -> None:
        """Remember what was shown."""
        revision.scenes[part] = scene
        self._trim(revision.moment)

    def _trim(self, now: int) -> None:
        size = sum(revision.size_bytes for revision in self._kept)
        while len(self._kept) > 1 and (self._kept[0].moment < now - KEPT_NS or size > KEPT_BYTES):
            size -= self._kept.popleft().size_bytes
