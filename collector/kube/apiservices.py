"""APIService objects and the CAs in them: what the aggregation layer verifies us with, kept true by us.

`CaPublisher` looks at the two APIServices of `metrics.k8s.io`. Where one leads to our service, its `caBundle` gets our
CAs; those of other replicas stay (they are known by their name, `collector.authority`), those that have expired go.
An APIService that leads elsewhere, or whose bundle another controller writes, is never touched. Two replicas that
write at once do not undo each other: a patch names the version it was made for, and is made anew when that is past.
"""

import asyncio
import base64
import binascii
import contextlib
import datetime as dt
import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from collector.authority import Service, is_authority_of
from collector.errors import KubernetesError
from collector.kube import faults
from collector.kube.connection import ApiConnection
from collector.kube.objectrequest import Verb, ask_for_object

log = logging.getLogger(__name__)

GROUP: Final = "apiregistration.k8s.io"
NAMES: Final = ("v1beta1.metrics.k8s.io", "v1.metrics.k8s.io")

CHECK_S: Final = 120.0
"""Between two looks while all is well: somebody may have applied the manifest again."""
RETRY_S: Final = (1.0, 60.0)
"""The pause after a failure: doubled from the first of these up to the second."""
MOST: Final = 64
"""CAs in a bundle. Ours are always among them; of other replicas' the newest."""
_TRIES: Final = 5
"""Patches in a row that may meet another writer."""

_OTHERS: Final = ("cert-manager.io/inject-", "service.beta.openshift.io/inject-cabundle")
"""How annotations begin by which another controller is asked to write the bundle."""


class State(Enum):
    """How it stands with one APIService."""

    CURRENT = "current"
    """It leads to us, and its bundle holds our CAs."""
    ABSENT = "absent"
    OTHER_SERVICE = "other-service"
    OTHER_WRITER = "other-writer"
    REFUSED = "refused"
    FAILED = "failed"


class _Metadata(msgspec.Struct, rename="camel", gc=False):
    resource_version: str = ""
    annotations: dict[str, str] | None = None


class _ServiceReference(msgspec.Struct, gc=False):
    name: str = ""
    namespace: str = ""


class _Spec(msgspec.Struct, gc=False):
    service: _ServiceReference | None = None
    bundle: str = msgspec.field(default="", name="caBundle")
    unverified: bool = msgspec.field(default=False, name="insecureSkipTLSVerify")


class ApiService(msgspec.Struct, gc=False):
    """What matters of an APIService."""

    metadata: _Metadata = msgspec.field(default_factory=_Metadata)
    spec: _Spec = msgspec.field(default_factory=_Spec)


@dataclass(frozen=True, slots=True)
class Finding:
    """What there is to do about one APIService: nothing, or to write `patch`."""

    state: State
    told: str = ""
    """For the log, where it is worth a word."""
    patch: dict[str, Any] | None = None


def judge(found: ApiService, service: Service, own: Sequence[x509.Certificate], now: dt.datetime) -> Finding:
    """Whether an APIService is ours to change, and how."""
    target = found.spec.service
    if target is None or (target.name, target.namespace) != (service.name, service.namespace):
        where = f"service {target.namespace}/{target.name}" if target else "the API server itself"
        ours = f"{service.namespace}/{service.name}"
        return Finding(
            State.OTHER_SERVICE,
            f"it leads to {where}, not to {ours} (--service-namespace, --service-name): it is left as it is",
        )
    writers = [name for name in found.metadata.annotations or {} if name.startswith(_OTHERS)]
    if writers:
        return Finding(State.OTHER_WRITER, f"its caBundle is written by whoever reads its annotation {writers[0]}")
    present = _certificates(found.spec.bundle)
    wanted = merged(present, own, service.mark, now)
    if set(present) == set(wanted) and not found.spec.unverified:
        return Finding(State.CURRENT)
    text = b"".join(certificate.public_bytes(Encoding.PEM) for certificate in wanted)
    spec: dict[str, Any] = {"caBundle": base64.b64encode(text).decode()}
    if found.spec.unverified:
        spec["insecureSkipTLSVerify"] = None  # from now on we are verified; the API server takes no bundle beside it
    metadata = {"resourceVersion": found.metadata.resource_version}
    return Finding(State.CURRENT, patch={"metadata": metadata, "spec": spec})


def merged(
    present: Sequence[x509.Certificate], own: Sequence[x509.Certificate], mark: str, now: dt.datetime
) -> list[x509.Certificate]:
    """Our CAs and, of those present, the ones of other replicas that are still good; in an order that all agree on."""
    others = {each for each in present if is_authority_of(mark, each) and each.not_valid_after_utc > now} - set(own)
    newest = sorted(others, key=_age, reverse=True)[: max(0, MOST - len(own))]
    return sorted({*own, *newest}, key=_age)


def _age(certificate: x509.Certificate) -> tuple[dt.datetime, int]:
    return certificate.not_valid_before_utc, certificate.serial_number


def _certificates(bundle: str) -> list[x509.Certificate]:
    """The certificates of a `caBundle`; what cannot be read is replaced."""
    with contextlib.suppress(ValueError, binascii.Error):
        return x509.load_pem_x509_certificates(base64.b64decode(bundle))
    return []


class CaPublisher:
    """Keeps the APIServices' bundles true: `publish` once, `run` for as long as it is wanted.

    `bundle` gives our CAs of the moment; `trusted` is told of them once everybody who verifies us has them, which is
    also the case where no APIService leads to us. `told` hears of every state.
    """

    def __init__(
        self,
        connection: ApiConnection,
        service: Service,
        bundle: Callable[[], Sequence[x509.Certificate]],
        *,
        trusted: Callable[[Sequence[x509.Certificate]], None],
        told: Callable[[str, str], None],
    ) -> None:
        self._connection = connection
        self._service = service
        self._bundle = bundle
        self._trusted = trusted
        self._told = told
        self._said: dict[str, str] = {}
        self.states: dict[str, State] = {}
        """Name -> state, once it was looked at."""

    async def publish(self) -> bool:
        """Look at every APIService and change what has to be changed; whether all is well. Faults are logged once."""
        own = tuple(self._bundle())
        findings = [await self._settle(name, own) for name in NAMES]
        well = all(finding.state not in {State.REFUSED, State.FAILED} for finding in findings)
        if well:
            self._trusted(own)
        return well

    async def run(self, changed: asyncio.Event, first: "asyncio.Task[bool]") -> None:
        """Once `first` is over, look every few minutes, at once when `changed` is set, and sooner after a failure."""
        pause, well = RETRY_S[0], await first
        while True:
            wait = CHECK_S if well else pause
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait * random.uniform(0.8, 1.2)):
                    await changed.wait()
            changed.clear()
            well = await self.publish()
            pause = RETRY_S[0] if well else min(2 * pause, RETRY_S[1])

    async def _settle(self, name: str, own: Sequence[x509.Certificate]) -> Finding:
        try:
            finding = await self._one(name, own)
        except faults.ApiServerError as error:
            state = State.REFUSED if error.lasting else State.FAILED
            finding = Finding(state, f"its caBundle is not kept by us: {error}")
        except KubernetesError as error:
            finding = Finding(State.FAILED, f"its caBundle is not kept by us: {error}")
        except Exception as error:
            log.exception("APIService %s cannot be judged", name)  # whatever stands in it must not end the server
            finding = Finding(State.FAILED, f"its caBundle is not kept by us: {error!r}")
        self.states[name] = finding.state
        self._told(name, finding.state.value)
        said = f"{finding.state.value}: {finding.told}"
        if self._said.get(name) != said:
            known = name in self._said
            self._said[name] = said
            self._log(name, finding, known=known)
        return finding

    def _log(self, name: str, finding: Finding, *, known: bool) -> None:
        if finding.state is State.CURRENT:
            log.info("APIService %s: its caBundle holds our CA", name)
        elif finding.state in {State.REFUSED, State.FAILED}:
            log.warning("APIService %s: %s", name, finding.told)
        elif finding.told or known:
            log.info("APIService %s: %s", name, finding.told or "it is gone")

    async def _one(self, name: str, own: Sequence[x509.Certificate]) -> Finding:
        """Raises KubernetesError."""
        path = f"/apis/{GROUP}/v1/apiservices/{name}"
        for _ in range(_TRIES):
            status, body = await self._asked("get", path, None)
            if status == 404:
                return Finding(State.ABSENT)
            found = self._decoded(name, body)
            finding = judge(found, self._service, own, dt.datetime.now(dt.UTC))
            if finding.patch is None:
                return finding
            status, _ = await self._asked("patch", path, finding.patch)
            if status == 404:
                return Finding(State.ABSENT)
            if status != 409:
                log.info("APIService %s: our CA was written into its caBundle", name)
                return finding
        raise KubernetesError(f"others changed it {_TRIES} times in a row")

    def _decoded(self, name: str, body: bytes) -> ApiService:
        try:
            return msgspec.json.decode(body, type=ApiService)
        except msgspec.DecodeError as error:
            raise faults.unreadable(self._connection.endpoint, f"APIService {name}", body, error) from error

    async def _asked(self, verb: Verb, path: str, patch: dict[str, Any] | None) -> tuple[int, bytes]:
        return await ask_for_object(
            self._connection, verb, path, patch, plural="apiservices", group=GROUP, expected=(404, 409)
        )
