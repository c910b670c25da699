"""The kubelets' side, put together from flags and the source's URI: whom the collector asks, and whom it believes."""

import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

from collector.errors import UsageError
from collector.kube.connection import ApiConnection
from collector.kube.listers import NodeLister
from collector.options import SECOND, Options
from collector.sources.addresses import Addressing
from collector.sources.kubelet import KubeletClient, KubeletOptions
from collector.sources.nodestate import NodeStates
from collector.sources.pins import FILE_NAME, Pins
from collector.sources.settings import SourceSettings
from collector.sources.tls import Identity
from collector.sources.tokens import ClusterToken
from collector.turns import Turns

log = logging.getLogger(__name__)

MODES = ("verify", "pin", "insecure", "http")
"""How kubelets are identified; over plain http they are not, and no credentials are sent."""


class Kubelets:
    """`client` asks them, `states` knows how each of them is. The constructor reads no file. Raises UsageError."""

    def __init__(self, options: Options, settings: SourceSettings, turns: Turns | None = None) -> None:
        self.turns = turns or Turns()
        """How long what is done with their answers may keep the event loop."""
        self._options = options
        self._settings = settings
        identity = identity_of(options, settings)
        self.mode = identity if settings.kubelet_https else "http"
        """One of MODES."""
        self.addressing = Addressing(options.kubelet_preferred_address_types, options.kubelet_use_node_status_port)
        self.states = NodeStates(self.mode)
        self._identity: Identity = identity

    def client(
        self, connection: ApiConnection, token: ClusterToken, nodes: NodeLister, state: Path | None
    ) -> KubeletClient:
        """The client, not started. `state` is where what outlives the process may be kept, if anywhere."""
        if self.mode == "insecure":
            log.warning(
                "the kubelets' certificates are NOT verified (--kubelet-insecure-tls, --kubelet-identity=insecure or "
                "insecure=true): whoever stands in between reads the collector's token and invents what it likes"
            )
        return KubeletClient(self.client_options(connection, token, nodes, state), self.turns)

    def client_options(
        self,
        connection: ApiConnection,
        token: ClusterToken,
        nodes: NodeLister,
        state: Path | None,
        *,
        read_only: bool = False,
    ) -> KubeletOptions:
        """How the client asks; with `read_only` it keeps no pins beyond its own end."""
        options, settings = self._options, self._settings
        certificate, key = connection.client_certificate or (None, None)
        name = options.kubelet_verify_name
        return KubeletOptions(
            https=settings.kubelet_https,
            identity=self._identity,
            ca_files=ca_files(options, connection.ca_file),
            verify_name="node" if name == "node" else "address" if name == "address" else "any",
            pins=self._pins(nodes, state, read_only=read_only) if self.mode == "pin" else None,
            client_certificate=certificate,
            client_key=key,
            max_body_bytes=options.max_answer_bytes,
            time_limit_s=options.node_timeout / SECOND,
            token=token.current,
            reread_token=token.update,
            renew_token=token.renew,
            routed=self.states.routed,
        )

    def _pins(self, nodes: NodeLister, state: Path | None, *, read_only: bool) -> Pins:
        """Where the keys seen first are kept."""
        named = self._options.kubelet_pin_dir
        directory = state if named == "auto" else None if named == "off" else Path(named)
        path = directory / FILE_NAME if directory is not None else None
        log.info(
            "the key that a kubelet shows first counts from then on (--kubelet-identity=pin), kept in %s",
            path or "memory: each start of the collector believes whatever it is shown first (--kubelet-pin-dir)",
        )
        return Pins(
            path,
            anew=self._options.kubelet_repin,
            present=lambda: {node.uid or name for name, node in nodes.items.items()},
            read_only=read_only,
        )


def preparation(token: ClusterToken, client: KubeletClient) -> Callable[[], Awaitable[None]]:
    """What comes before each round: the token of now, the certificates of now."""

    async def prepare() -> None:
        await token.update()
        client.refresh()

    return prepare


def identity_of(options: Options, settings: SourceSettings) -> Identity:
    """What is accepted of a kubelet. A flag wins over the URI's `insecure=true`. Raises UsageError."""
    asked = options.kubelet_identity
    if options.kubelet_insecure_tls and asked == "pin":
        raise UsageError("--kubelet-insecure-tls means --kubelet-identity=insecure: leave it out beside pin")
    if asked == "pin":
        return "pin"
    # Heapster dropped the CA with insecure=true in a cluster, and what it had no CA for it did not verify.
    unverified = options.kubelet_insecure_tls or (settings.in_cluster and settings.insecure)
    return "insecure" if unverified or asked == "insecure" else "verify"


def ca_files(options: Options, own: str | None) -> tuple[str, ...]:
    """Who may sign the kubelets' certificates: those that are named alone, or `own`, the API server's, and others."""
    alone = options.kubelet_certificate_authority
    first = alone or ((own,) if own else ())
    return (*first, *options.kubelet_ca_file)
