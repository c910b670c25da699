"""Who of several replicas writes: leader election over a Lease of `coordination.k8s.io/v1`.

The rules are those of Kubernetes' own components. A candidate takes a lease that nobody holds, or whose holder has not
renewed it for its duration, measured by the candidate's own clock from when it saw the last change: clocks of machines
are never compared. Every write names the version it was made for, so of two candidates one wins. The holder renews
every `retry_s`; one that has not managed to for `renew_s` no longer leads, which is sooner than anybody else may begin.
"""

import asyncio
import datetime as dt
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
import msgspec

from collector.errors import KubernetesError
from collector.kube import faults
from collector.kube.connection import ApiConnection
from collector.kube.objectrequest import Verb, ask_for_object

log = logging.getLogger(__name__)

GROUP: Final = "coordination.k8s.io"
JITTER: Final = 0.2
"""Candidates that woke together shall not stay together."""


@dataclass(frozen=True, slots=True)
class LeaseSettings:
    """Which lease, who we are, and the times, in seconds: `retry_s` < `renew_s` < `duration_s`."""

    namespace: str
    name: str
    identity: str
    duration_s: float = 15.0
    renew_s: float = 10.0
    retry_s: float = 2.0

    @property
    def path(self) -> str:
        """Of the Lease object."""
        return f"{self.collection}/{self.name}"

    @property
    def collection(self) -> str:
        """Of the leases of its namespace."""
        return f"/apis/{GROUP}/v1/namespaces/{self.namespace}/leases"


class _Metadata(msgspec.Struct, rename="camel"):
    resource_version: str = ""


class _Spec(msgspec.Struct, rename="camel"):
    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    acquire_time: str | None = None
    renew_time: str | None = None
    lease_transitions: int | None = None


class _Lease(msgspec.Struct):
    metadata: _Metadata = msgspec.field(default_factory=_Metadata)
    spec: _Spec = msgspec.field(default_factory=_Spec)


class Elector:
    """`run` it for as long as this replica stands for election; `changed` hears of every gain and loss.

    `clock` is Unix time, for what is written into the Lease; `monotonic` measures.
    """

    def __init__(
        self,
        connection: ApiConnection,
        settings: LeaseSettings,
        *,
        changed: Callable[[bool], None],
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connection = connection
        self._settings = settings
        self._changed = changed
        self._clock = clock
        self._monotonic = monotonic
        self._renewed_at = float("-inf")
        self._seen: _Lease | None = None
        self._seen_at = float("-inf")
        self._leads = False
        self._trouble = ""
        self._holder: str | None = None

    @property
    def leads(self) -> bool:
        """Whether this replica is to write now; never longer than `renew_s` after the last renewal."""
        return self._monotonic() - self._renewed_at < self._settings.renew_s

    async def run(self) -> None:
        """Stand for election until cancelled; then give the lease back, so that another can take it at once."""
        try:
            while True:
                await self._round()
                await asyncio.sleep(self._settings.retry_s * random.uniform(1, 1 + JITTER))
        finally:
            if self._leads:
                await self._release()

    async def _round(self) -> None:
        """One attempt to take or keep the lease. Never raises for what the API server says or does not say."""
        began = self._monotonic()
        try:
            # One that hangs for longer than the lease lasts would be believed too late.
            async with asyncio.timeout(self._settings.renew_s - self._settings.retry_s):
                if await self._attempt():
                    self._renewed_at = began
            self._tell("")
        except KubernetesError as error:
            self._tell(str(error))
        except TimeoutError:
            self._tell(f"no answer from {self._connection.url} in time")
        self._note(leads=self.leads)

    async def _attempt(self) -> bool:
        """Whether the lease is ours now. Raises KubernetesError."""
        status, body = await self._asked("get", self._settings.path, None, expected=(404,))
        if status == 404:
            created = {
                "apiVersion": f"{GROUP}/v1",
                "kind": "Lease",
                "metadata": {"name": self._settings.name, "namespace": self._settings.namespace},
                "spec": self._spec(transitions=0),
            }
            status, body = await self._asked("create", self._settings.collection, created, expected=(409,))
            if status == 409:
                return False
            self._see(self._decoded(body))
            return True
        found = self._decoded(body)
        if self._seen is None or found != self._seen:
            self._see(found)
        holder = found.spec.holder_identity
        if holder == self._settings.identity:
            return await self._write(found, {"renewTime": self._now()})
        lasts = found.spec.lease_duration_seconds or self._settings.duration_s
        if holder and self._monotonic() - self._seen_at < lasts:
            return False
        return await self._write(found, self._spec(transitions=(found.spec.lease_transitions or 0) + 1))

    async def _write(self, found: _Lease, spec: dict[str, Any]) -> bool:
        patch = {"metadata": {"resourceVersion": found.metadata.resource_version}, "spec": spec}
        status, body = await self._asked("patch", self._settings.path, patch, expected=(404, 409))
        if status in {404, 409}:
            return False
        self._see(self._decoded(body))
        return True

    async def _release(self) -> None:
        self._renewed_at = float("-inf")
        self._note(leads=False)
        found = self._seen
        if found is None or found.spec.holder_identity != self._settings.identity:
            return
        try:
            spec = {"holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": self._now()}
            await self._write(found, spec)
        except KubernetesError as error:
            log.warning("the lease %s was not given back and runs out by itself: %s", self._settings.name, error)

    def _spec(self, *, transitions: int) -> dict[str, Any]:
        now = self._now()
        return {
            "holderIdentity": self._settings.identity,
            "leaseDurationSeconds": round(self._settings.duration_s),
            "acquireTime": now,
            "renewTime": now,
            "leaseTransitions": transitions,
        }

    def _now(self) -> str:
        """Kubernetes' MicroTime."""
        return dt.datetime.fromtimestamp(self._clock(), dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def _see(self, lease: _Lease) -> None:
        self._seen, self._seen_at = lease, self._monotonic()

    def _decoded(self, body: bytes) -> _Lease:
        try:
            return msgspec.json.decode(body, type=_Lease)
        except msgspec.DecodeError as error:
            raise faults.unreadable(self._connection.endpoint, f"lease {self._settings.name}", body, error) from error

    async def _asked(
        self, verb: Verb, path: str, document: dict[str, Any] | None, *, expected: tuple[int, ...]
    ) -> tuple[int, bytes]:
        deadline = aiohttp.ClientTimeout(total=self._settings.renew_s)
        return await ask_for_object(
            self._connection, verb, path, document, plural="leases", group=GROUP, expected=expected, deadline=deadline
        )

    # States: one line a change.

    def _note(self, *, leads: bool) -> None:
        holder = self._seen.spec.holder_identity if self._seen is not None else None
        if leads != self._leads:
            self._leads = leads
            log.info("this replica %s", "leads: it writes to the sinks" if leads else "no longer leads")
            self._changed(leads)
        elif not leads and holder and holder != self._holder:
            log.info("%s leads; this replica stands by", holder)
        self._holder = holder

    def _tell(self, trouble: str) -> None:
        if trouble and trouble != self._trouble:
            log.warning("the lease %s/%s cannot be had: %s", self._settings.namespace, self._settings.name, trouble)
        elif self._trouble and not trouble:
            log.info("the lease %s/%s can be had again", self._settings.namespace, self._settings.name)
        self._trouble = trouble
