"""From the wire to what is kept: nulls become empty values, quantities become integers, equal parts become one object.

A field that cannot be read is left out and noted; only an object without a name is refused as a whole.
"""

import logging
from collections.abc import Callable, Hashable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final, Generic, TypeVar

from collector.kube import quantity, wire
from collector.kube.objects import ContainerSpec, Namespace, Node, Pod, Resources

_log = logging.getLogger(__name__)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_POOL_LIMIT: Final = 16_384
_TOLD_LIMIT: Final = 256
_INT32_MAX: Final = 2**31 - 1
_EMPTY: Final[Mapping[str, str]] = {}

H = TypeVar("H", bound=Hashable)


class MalformedError(ValueError):
    """An object that cannot be kept at all: it has no name."""


class Oddities:
    """Counts what could not be read in the objects of one collection, and logs each finding once."""

    def __init__(self, plural: str) -> None:
        self.count = 0
        self._plural = plural
        self._told: set[tuple[str, str]] = set()

    def note(self, name: str, finding: str) -> None:
        """Count `finding` about the object `name`; log it unless it has been, or too many have been."""
        self.count += 1
        if (name, finding) in self._told or len(self._told) >= _TOLD_LIMIT:
            return
        self._told.add((name, finding))
        _log.warning("%s: %s: %s", self._plural, name, finding)
        if len(self._told) == _TOLD_LIMIT:
            _log.warning("%s: further unreadable objects are only counted", self._plural)


class _Pool(Generic[H]):
    """Makes equal values one object. When full it forgets: sharing suffers for a while, memory stays bounded."""

    def __init__(self) -> None:
        self._known: dict[H, H] = {}

    def one(self, fresh: H) -> H:
        known = self._known.get(fresh)
        if known is not None:
            return known
        if len(self._known) >= _POOL_LIMIT:
            self._known.clear()
        self._known[fresh] = fresh
        return fresh


class Builder:
    """Builds the kept objects of one collection; not shared between collections."""

    def __init__(self, oddities: Oddities) -> None:
        self._oddities = oddities
        self._subject = ""
        self._texts: _Pool[str] = _Pool()
        self._specs: dict[Hashable, ContainerSpec] = {}
        self._spec_lists: _Pool[tuple[ContainerSpec, ...]] = _Pool()
        self._counts: _Pool[tuple[tuple[str, int], ...]] = _Pool()
        self._names: _Pool[frozenset[str]] = _Pool()
        self._labels: dict[tuple[tuple[str, str | None], ...], Mapping[str, str]] = {}

    def pod(self, wired: wire.PodObject) -> Pod:
        """A pod; raises MalformedError without a name or namespace."""
        meta, spec, status = wired.metadata or _NO_POD_META, wired.spec or _NO_POD_SPEC, wired.status or _NO_POD_STATUS
        if not meta.name or not meta.namespace:
            raise MalformedError("has no name" if not meta.name else "has no namespace")
        self._subject = f"{meta.namespace}/{meta.name}"
        text = self._texts.one
        containers = self._containers(spec.containers or ())
        sidecars: tuple[ContainerSpec, ...] = ()
        statuses = list(status.container_statuses or ())
        if spec.init_containers:
            sidecars = self._containers(c for c in spec.init_containers if c and c.restart_policy == "Always")
            names = {sidecar.name for sidecar in sidecars}
            statuses += [s for s in status.init_container_statuses or () if s and s.name in names]
        return Pod(
            namespace=text(meta.namespace),
            name=meta.name,
            uid=meta.uid or "",
            node_name=text(spec.node_name or ""),
            phase=text(status.phase or ""),
            start_time_ns=self._nanoseconds(status.start_time),
            labels=self._shared_labels(meta.labels),
            containers=containers,
            sidecars=sidecars,
            restart_counts=self._counts.one(
                tuple((text(s.name), min(s.restart_count or 0, _INT32_MAX)) for s in statuses if s and s.name)
            ),
            not_running=self._names.one(frozenset(text(s.name) for s in statuses if s and s.name and _idle(s.state))),
            config_hash=(meta.annotations and meta.annotations.config_hash) or "",
            host_network=bool(spec.host_network),
        )

    def node(self, wired: wire.NodeObject) -> Node:
        """A node; raises MalformedError without a name."""
        meta, spec, status = (
            wired.metadata or _NO_NODE_META,
            wired.spec or _NO_NODE_SPEC,
            wired.status or _NO_NODE_STATUS,
        )
        if not meta.name:
            raise MalformedError("has no name")
        self._subject = meta.name
        endpoint = status.daemon_endpoints and status.daemon_endpoints.kubelet_endpoint
        return Node(
            name=meta.name,
            uid=meta.uid or "",
            addresses=tuple((a.type, a.address or "") for a in status.addresses or () if a and a.type),
            ready=_readiness(status.conditions or ()),
            unschedulable=bool(spec.unschedulable),
            external_id=spec.external_id or "",
            labels=self._shared_labels(meta.labels),
            annotations={k: v or "" for k, v in (meta.annotations or {}).items()},
            capacity=self._resources(status.capacity),
            allocatable=self._resources(status.allocatable),
            kubelet_port=(endpoint and endpoint.port) or 0,
            kubelet_version=(status.node_info and status.node_info.kubelet_version) or "",
            virtual=(meta.labels or {}).get("type") == "virtual-kubelet"
            or any(taint.key == _VIRTUAL_TAINT for taint in spec.taints or () if taint),
        )

    def namespace(self, wired: wire.NamespaceObject) -> Namespace:
        """A namespace; raises MalformedError without a name."""
        meta = wired.metadata or _NO_META
        if not meta.name:
            raise MalformedError("has no name")
        return Namespace(name=meta.name, uid=meta.uid or "", labels=self._shared_labels(meta.labels))

    def _containers(self, wired: Iterable[wire.Container | None]) -> tuple[ContainerSpec, ...]:
        return self._spec_lists.one(tuple(self._container(c) for c in wired if c and c.name))

    def _container(self, wired: wire.Container) -> ContainerSpec:
        """One container; the quantities of a spec seen before, as all replicas have, are not read again."""
        resources = wired.resources or _NO_RESOURCES
        requests, limits = resources.requests or _NONE, resources.limits or _NONE
        key = (wired.name, wired.image, tuple(requests.items()), tuple(limits.items()))
        known = self._specs.get(key)
        if known is None:
            if len(self._specs) >= _POOL_LIMIT:
                self._specs.clear()
            known = self._specs[key] = self._read_container(wired, requests, limits)
        return known

    def _read_container(
        self, wired: wire.Container, requests: wire.Quantities, limits: wire.Quantities
    ) -> ContainerSpec:
        """Resources as Heapster 5.2 reads them: requests of any kind, limits of the three known ones."""
        return ContainerSpec(
            name=wired.name or "",
            image=wired.image or "",
            cpu_request=self._amount(requests, "cpu", quantity.milli) or 0,
            cpu_limit=self._amount(limits, "cpu", quantity.milli) or 0,
            memory_request=self._amount(requests, "memory", quantity.value) or 0,
            memory_limit=self._amount(limits, "memory", quantity.value) or 0,
            ephemeral_request=self._amount(requests, "ephemeral-storage", quantity.value) or 0,
            ephemeral_limit=self._amount(limits, "ephemeral-storage", quantity.value) or 0,
            extended=self._others(requests),
        )

    def _resources(self, quantities: wire.Quantities | None) -> Resources:
        stated = quantities or {}
        return Resources(
            cpu=self._amount(stated, "cpu", quantity.milli),
            memory=self._amount(stated, "memory", quantity.value),
            ephemeral_storage=self._amount(stated, "ephemeral-storage", quantity.value),
            other=self._others(stated),
        )

    def _others(self, quantities: wire.Quantities) -> tuple[tuple[str, int], ...]:
        """Everything but the three resources with fields of their own, in whole units, sorted by name."""
        if quantities.keys() <= _OWN_FIELDS:
            return ()
        amounts = ((name, self._amount(quantities, name, quantity.value)) for name in sorted(quantities))
        return tuple((name, amount) for name, amount in amounts if amount is not None and name not in _OWN_FIELDS)

    def _amount(self, quantities: wire.Quantities, name: str, parse: Callable[[str], int]) -> int | None:
        """The quantity of one resource; None when it is absent, null or unreadable."""
        stated = quantities.get(name)
        if stated is None:
            return None
        try:
            return parse(stated if isinstance(stated, str) else str(stated))
        except quantity.QuantityError as error:
            self._oddities.note(self._subject, f"{name} is left out: {error}")
            return None

    def _shared_labels(self, labels: dict[str, str | None] | None) -> Mapping[str, str]:
        """`labels` without nulls; equal ones, as all pods of one ReplicaSet have, are one dictionary."""
        if not labels:
            return _EMPTY
        key = tuple(labels.items())
        known = self._labels.get(key)
        if known is None:
            if len(self._labels) >= _POOL_LIMIT:
                self._labels.clear()
            known = {self._texts.one(k): self._texts.one(v or "") for k, v in key}
            self._labels[key] = known
        return known

    def _nanoseconds(self, text: str | None) -> int:
        """RFC 3339 to nanoseconds since 1970; 0 for an absent or unreadable time and one outside of 1970 to 2262."""
        if not text:
            return 0
        try:
            nanoseconds: int = (datetime.fromisoformat(text) - _EPOCH) // _MICROSECOND * 1000
        except (ValueError, TypeError):  # TypeError: a time without a zone
            self._oddities.note(self._subject, f"start time is left out: {text!r} is no RFC 3339 time")
            return 0
        return nanoseconds if 0 <= nanoseconds <= quantity.INT64_MAX else 0


def _idle(state: wire.ContainerState | None) -> bool:
    """Whether a container waits or has ended; without any word on it, it counts as running."""
    return state is not None and (state.waiting is not None or state.terminated is not None)


def _readiness(conditions: Iterable[wire.Condition | None]) -> bool | None:
    """False when any Ready condition is not True; None when there is no Ready condition."""
    stated = [c.status == "True" for c in conditions if c and c.type == "Ready"]
    return all(stated) if stated else None


_VIRTUAL_TAINT: Final = "virtual-kubelet.io/provider"
_OWN_FIELDS: Final = frozenset({"cpu", "memory", "ephemeral-storage"})
_NONE: Final[wire.Quantities] = {}
_NO_META: Final = wire.ObjectMeta()
_NO_POD_META: Final = wire.PodMeta()
_NO_POD_SPEC: Final = wire.PodSpec()
_NO_POD_STATUS: Final = wire.PodStatus()
_NO_NODE_META: Final = wire.NodeMeta()
_NO_NODE_SPEC: Final = wire.NodeSpec()
_NO_NODE_STATUS: Final = wire.NodeStatus()
_NO_RESOURCES: Final = wire.ResourceRequirements()
