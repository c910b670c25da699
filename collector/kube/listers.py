"""The nodes, pods and namespaces of the cluster as of now, in memory, kept current by one task each.

Readers see whole states only: a list replaces everything at once, between two awaits. When the API server cannot be
reached the last known state stays readable; `statistics` tells how old it is.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Generic, TypeVar
from weakref import WeakSet

from msgspec import Struct

from collector.errors import StartError
from collector.kube.client import Collection, Pace
from collector.kube.connection import ApiConnection
from collector.kube.faults import ApiServerError
from collector.kube.objects import Namespace, Node, Pod
from collector.kube.reflector import Reflector
from collector.kube.resources import NAMESPACES, NODES, PODS, Resource

K = TypeVar("K")
T = TypeVar("T")


class ListerStatistics(Struct, frozen=True):
    """A lister at one moment."""

    objects: int
    lists: int
    """how often the whole collection was read"""
    changes: int
    """single changes that altered something"""
    errors: int
    """answers missing, refused or unreadable"""
    oddities: int
    """objects, fields and lines left out because they could not be read"""
    last_contact: float
    """seconds since 1970 of the last good answer; 0 when there was none"""
    last_error: str
    """empty when there was none since the last good answer"""


class Changes(Generic[K]):
    """One consumer's list of what it has not looked at yet; ends with its last reference."""

    def __init__(self, known: Mapping[K, object]) -> None:
        self._keys: set[K] = set(known)

    def take(self) -> set[K]:
        """The keys added, altered or deleted since the last call; the first call gives every key there is."""
        taken, self._keys = self._keys, set()
        return taken

    def mark(self, keys: set[K]) -> None:
        """Called by the lister only."""
        self._keys |= keys


class Lister(Generic[K, T]):
    """One collection, by key. Filled by a `Reflector`; everything else only reads."""

    def __init__(self, resource: Resource[K, T]) -> None:
        self._resource = resource
        self._objects: dict[K, T] = {}
        self._view: Mapping[K, T] = MappingProxyType(self._objects)
        self._subscribers: WeakSet[Changes[K]] = WeakSet()
        self._decided = asyncio.Event()
        self._last_error: Exception | None = None
        self._last_contact = 0.0
        self._lists = self._altered = self._errors = self._oddities = 0

    @property
    def plural(self) -> str:
        """The collection's name: `pods`."""
        return self._resource.plural

    @property
    def items(self) -> Mapping[K, T]:
        """Everything there is, read-only and live until the next list: do not keep it over an await."""
        return self._view

    @property
    def synced(self) -> bool:
        """Whether the collection has been read whole at least once."""
        return self._lists > 0

    @property
    def last_error(self) -> Exception | None:
        """Why there is no contact with the API server now; None while there is."""
        return self._last_error

    def get(self, key: K) -> T | None:
        """One object; None when there is none of that key."""
        return self._objects.get(key)

    def subscribe(self) -> Changes[K]:
        """Be told, from now on, which keys change."""
        changes = Changes(self._objects)
        self._subscribers.add(changes)
        return changes

    async def wait_synced(self, timeout: float) -> bool:  # noqa: ASYNC109 - callers give one start-up deadline in seconds
        """True once synced; False after `timeout` seconds, or earlier when the server refuses for a lasting reason."""
        try:
            async with asyncio.timeout(timeout):
                await self._decided.wait()
        except TimeoutError:
            return self.synced
        return self.synced

    def statistics(self) -> ListerStatistics:
        """A snapshot for health checks and self-metrics."""
        return ListerStatistics(
            objects=len(self._objects),
            lists=self._lists,
            changes=self._altered,
            errors=self._errors,
            oddities=self._oddities,
            last_contact=self._last_contact,
            last_error="" if self._last_error is None else str(self._last_error),
        )

    # The reflector's side: see `reflector.Store`.

    def reuse(self, fresh: list[T]) -> list[T]:
        """`fresh`, equal objects replaced by the stored ones: to list again costs no second copy."""
        key, get = self._resource.key, self._objects.get
        return [known if (known := get(key(each))) == each and known is not None else each for each in fresh]

    def replace(self, listed: list[T]) -> None:
        """Take `listed` as the whole collection; only keys whose value differs are told to subscribers."""
        before = self._objects
        after = {self._resource.key(fresh): fresh for fresh in listed}
        changed = {key for key, fresh in after.items() if before.get(key) is not fresh and before.get(key) != fresh}
        changed |= before.keys() - after.keys()
        self._objects = after
        self._view = MappingProxyType(after)
        self._lists += 1
        self._decided.set()
        self._tell(changed)

    def apply(self, changes: list[tuple[K, T | None]]) -> None:
        """Single changes; those that alter nothing are not told to subscribers."""
        changed: set[K] = set()
        for key, fresh in changes:
            known = self._objects.get(key)
            if fresh is None:
                if self._objects.pop(key, None) is not None:
                    changed.add(key)
            elif known is None or known != fresh:
                self._objects[key] = fresh
                changed.add(key)
        self._altered += len(changed)
        self._tell(changed)

    def reached(self, oddities: int) -> None:
        """The server has answered well."""
        self._last_error = None
        self._last_contact = time.time()
        self._oddities = oddities

    def failed(self, error: Exception) -> None:
        """The server has not answered well."""
        self._errors += 1
        self._last_error = error
        if isinstance(error, ApiServerError) and error.lasting:
            self._decided.set()

    def _tell(self, changed: set[K]) -> None:
        for subscriber in self._subscribers:
            subscriber.mark(changed)


class NodeLister(Lister[str, Node]):
    """Nodes by name."""

    def __init__(self) -> None:
        super().__init__(NODES)


class PodLister(Lister[tuple[str, str], Pod]):
    """Pods by (namespace, name)."""

    def __init__(self) -> None:
        super().__init__(PODS)


class NamespaceLister(Lister[str, Namespace]):
    """Namespaces by name."""

    def __init__(self) -> None:
        super().__init__(NAMESPACES)


@dataclass(frozen=True, slots=True)
class Listers:
    """The three collections, empty until a KubeState fills them: what readers need to know of it."""

    nodes: NodeLister = field(default_factory=NodeLister)
    pods: PodLister = field(default_factory=PodLister)
    namespaces: NamespaceLister = field(default_factory=NamespaceLister)


class KubeState:
    """The three listers and the tasks that fill them. The connection stays its owner's to close."""

    def __init__(self, connection: ApiConnection, pace: Pace | None = None, listers: Listers | None = None) -> None:
        listers = listers or Listers()
        self.nodes, self.pods, self.namespaces = listers.nodes, listers.pods, listers.namespaces
        self._connection = connection
        self._pace = pace or Pace()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Start the three tasks; returns before anything is known: see `wait_synced`."""
        self._follow(NODES, self.nodes)
        self._follow(PODS, self.pods)
        self._follow(NAMESPACES, self.namespaces)

    async def wait_synced(self, timeout: float) -> None:  # noqa: ASYNC109 - callers give one start-up deadline in seconds
        """Return when all three are read whole.

        Raises StartError after `timeout` seconds, or at once when the server refuses for a lasting reason (certificate,
        token, role).
        """
        listers = (self.nodes, self.pods, self.namespaces)
        waits = [asyncio.ensure_future(lister.wait_synced(timeout)) for lister in listers]
        try:
            for wait in asyncio.as_completed(waits):
                if not await wait:
                    break
            else:
                return
        finally:
            for pending in waits:
                pending.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
        raise StartError(self._reason(timeout))

    async def stop(self) -> None:
        """End the tasks and wait for them; what is stored stays readable."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _follow(self, resource: Resource[K, T], lister: Lister[K, T]) -> None:
        source = Collection(self._connection, resource, self._pace)
        reflector = Reflector(resource.plural, source, lister, self._pace)
        self._tasks.append(asyncio.create_task(reflector.run(), name=f"kube-{resource.plural}"))

    def _reason(self, timeout: float) -> str:
        missing = [lister for lister in (self.nodes, self.pods, self.namespaces) if not lister.synced]
        causes = dict.fromkeys(str(lister.last_error) for lister in missing if lister.last_error is not None)
        names = ", ".join(lister.plural for lister in missing)
        cause = "; ".join(causes) or f"API server {self._connection.url} has not answered within {timeout:g} s"
        return f"cannot read {names}: {cause}"
