"""The three collections that are followed, and the decoding of their pages and watch lines: bytes in, kept objects out.

To follow another collection: a struct in `wire`, a value in `objects`, a method of `Builder`, one row here.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import msgspec

from collector.kube import faults, wire
from collector.kube.build import Builder, MalformedError, Oddities
from collector.kube.objects import Namespace, Node, Pod

K = TypeVar("K")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Resource(Generic[K, T]):
    """One collection of the core API group, in all namespaces."""

    plural: str
    """as in the URL and in RBAC rules"""
    wired: type[Any]
    """the object's struct in `wire`"""
    build: Callable[[Builder, Any], T]
    key: Callable[[T], K]

    @property
    def path(self) -> str:
        """Where the collection lives below the server's URL."""
        return f"/api/v1/{self.plural}"


def _pod_key(pod: Pod) -> tuple[str, str]:
    return pod.namespace, pod.name


def _node_key(node: Node) -> str:
    return node.name


def _namespace_key(namespace: Namespace) -> str:
    return namespace.name


PODS: Final = Resource("pods", wire.PodObject, Builder.pod, _pod_key)
NODES: Final = Resource("nodes", wire.NodeObject, Builder.node, _node_key)
NAMESPACES: Final = Resource("namespaces", wire.NamespaceObject, Builder.namespace, _namespace_key)


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list."""

    objects: list[T]
    resource_version: str
    continue_token: str
    """empty on the last page"""


@dataclass(frozen=True, slots=True)
class Batch(Generic[K, T]):
    """Some lines of a watch, in their order."""

    changes: list[tuple[K, T | None]]
    """None: deleted"""
    resource_version: str
    """of the last line that had one; empty when none had"""


class Decoder(Generic[K, T]):
    """Reads one collection. An unreadable object is noted in `oddities` and left out; its neighbours stay."""

    def __init__(self, resource: Resource[K, T], endpoint: Callable[[], faults.Endpoint]) -> None:
        self.resource = resource
        self.oddities = Oddities(resource.plural)
        self._endpoint = endpoint
        self._builder = Builder(self.oddities)
        self._page = msgspec.json.Decoder(wire.ObjectList[resource.wired])  # type: ignore[name-defined]
        self._raw_page = msgspec.json.Decoder(wire.RawList)
        self._one = msgspec.json.Decoder(resource.wired)
        self._any = msgspec.json.Decoder(wire.AnyObject)
        self._event = msgspec.json.Decoder(wire.WatchEvent)
        self._status = msgspec.json.Decoder(wire.Status)

    def page(self, body: bytes) -> Page[T]:
        """One page of a list. Raises KubernetesError when it is no list at all."""
        try:
            listed: Any = self._page.decode(body)
            wired: Iterable[Any] = listed.items or ()
        except msgspec.DecodeError:
            # One field of one object has the wrong type: find out which, one by one.
            listed = self._raw_list(body)
            wired = self._readable(listed.items or ())
        meta = listed.metadata or wire.ListMeta()
        return Page(
            objects=[kept for each in wired if each is not None and (kept := self._build(each)) is not None],
            resource_version=meta.resource_version or "",
            continue_token=meta.continue_token or "",
        )

    def lines(self, lines: Iterable[bytes]) -> Batch[K, T]:
        """Whole lines of a watch. Raises ExpiredError or KubernetesError at an ERROR event or a line that is none."""
        changes: list[tuple[K, T | None]] = []
        version = ""
        for line in lines:
            try:
                event = self._event.decode(line)
            except msgspec.DecodeError as error:
                what = f"a line of the watch of {self.resource.plural}"
                raise faults.unreadable(self._endpoint(), what, line, error) from error
            if event.type == "ERROR":
                raise faults.watch_error(self._endpoint(), self.resource.plural, self._read_status(event.object))
            wired = self._read(event.object)
            if wired is None or wired.metadata is None:
                continue
            version = wired.metadata.resource_version or version
            if event.type in _CHANGES and (kept := self._build(wired)) is not None:
                changes.append((self.resource.key(kept), None if event.type == "DELETED" else kept))
        return Batch(changes, version)

    def _raw_list(self, body: bytes) -> wire.RawList:
        try:
            return self._raw_page.decode(body)
        except msgspec.DecodeError as error:
            what = f"the list of {self.resource.plural}"
            raise faults.unreadable(self._endpoint(), what, body, error) from error

    def _readable(self, raw_items: Iterable[msgspec.Raw]) -> Iterable[Any]:
        for raw in raw_items:
            if bytes(raw) != b"null" and (wired := self._read(raw)) is not None:
                yield wired

    def _read(self, raw: msgspec.Raw) -> Any:
        """The wire struct of one object; None, noted, when it cannot be read."""
        try:
            return self._one.decode(raw)
        except msgspec.DecodeError as error:
            self.oddities.note(self._name(raw), f"left out: {error}")
            return None

    def _build(self, wired: Any) -> T | None:
        try:
            return self.resource.build(self._builder, wired)
        except MalformedError as error:
            name = (wired.metadata and (wired.metadata.name or wired.metadata.uid)) or "an object without a name"
            self.oddities.note(name, f"left out: {error}")
            return None

    def _name(self, raw: msgspec.Raw) -> str:
        try:
            meta = self._any.decode(raw).metadata
        except msgspec.DecodeError:
            meta = None
        if meta is None or not meta.name:
            return "an object without a readable name"
        return f"{meta.namespace}/{meta.name}" if meta.namespace else meta.name

    def _read_status(self, raw: msgspec.Raw) -> wire.Status:
        try:
            return self._status.decode(raw)
        except msgspec.DecodeError:
            return wire.Status(message="an ERROR event without a readable Status")


_CHANGES: Final = frozenset({"ADDED", "MODIFIED", "DELETED"})
