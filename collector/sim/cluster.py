"""SimulatedCluster: an API server and its kubelets on loopback addresses, in this process and on this event loop."""

import ipaddress
import math
import resource
import tempfile
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Self

import msgspec
from aiohttp import web
from OpenSSL import SSL

from collector.errors import StartError, UsageError
from collector.sim.apiserver import ApiServer
from collector.sim.certificates import NODES_PER_CERTIFICATE, Authority
from collector.sim.clock import ManualClock
from collector.sim.config import SimConfig
from collector.sim.faults import Fault, FaultKind, spread
from collector.sim.kubelets import Kubelets
from collector.sim.replay import ReplayedWorld
from collector.sim.world import InventedWorld, World

_SPARE_FILES = 64
_API_NAMES = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost")


class SimulatedCluster:
    """A cluster that answers like a real one. Nothing listens before `start`; `stop` removes all it made.

    `kubeconfig`, `ca_file` and `token_file` are files in a temporary directory of its own; these, `api_url` and
    `kubelet_port` are known after `start`. Use as an async context manager, or call `start` and `stop`. Node i has
    the address `addresses[i]`. UsageError from the constructor when captures cannot be read.
    """

    def __init__(self, config: SimConfig) -> None:
        self.config = config
        self.origin = math.floor(config.clock())
        self.world: World = (
            InventedWorld(config, self.origin)
            if config.captures is None
            else ReplayedWorld(config.captures, self.origin)
        )
        self.node_names = self.world.node_names
        network = ipaddress.IPv4Network(config.network)
        if network.num_addresses < len(self.node_names) + 4:
            raise UsageError(
                f"--network {config.network}: {network.num_addresses} addresses for {len(self.node_names)} nodes"
            )
        self.addresses = tuple(str(network[node + 1]) for node in range(len(self.node_names)))
        self.api_url = ""
        self.kubelet_port = 0
        self._api_address = str(network[-2])
        self._directory: Path | None = None
        self._kubelets: Kubelets | None = None
        self._api: ApiServer | None = None
        self._running = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.stop()

    @property
    def kubeconfig(self) -> Path:
        """A kubeconfig that points at the API server."""
        return self._path("kubeconfig.yaml")

    @property
    def ca_file(self) -> Path:
        """The CA's certificate, PEM; not written without TLS."""
        return self._path("ca.crt")

    @property
    def token_file(self) -> Path:
        """The bearer token."""
        return self._path("token")

    @property
    def api(self) -> ApiServer:
        """The API server, to set its faults."""
        assert self._api is not None, "the simulated cluster is not running"
        return self._api

    async def start(self) -> None:
        """Listen. StartError when a port is taken or too few files may be open."""
        _raise_file_limit(len(self.addresses))
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Close every connection, stop listening, remove the temporary directory; harmless when not running."""
        await self._running.aclose()
        self._api = self._kubelets = self._directory = None

    async def set_fault(self, node: str | int, fault: Fault | FaultKind | str | None) -> None:
        """Give a node (name or number) a fault, or take it away with None. UsageError for an unknown name or fault."""
        assert self._kubelets is not None, "the simulated cluster is not running"
        if isinstance(fault, str):
            try:
                fault = Fault(FaultKind(fault), self.config.fault_seconds)
            except ValueError:
                raise UsageError(f"fault {fault!r}: unknown, choose one of {', '.join(FaultKind)}") from None
        await self._kubelets.set_fault(self._number(node), fault)

    def rotate_token(self, token: str) -> None:
        """From now on `token` is the only one that both servers know; it stands in `token_file`."""
        assert self._kubelets is not None, "the simulated cluster is not running"
        beside = self.token_file.with_suffix(".new")
        beside.write_text(token)
        beside.replace(self.token_file)
        self.api.set_token(token)
        self._kubelets.token = token

    def set_clock(self, node: str | int, ahead: int) -> None:
        """Let the Date of a node's answers be so many seconds ahead of the others'."""
        assert self._kubelets is not None, "the simulated cluster is not running"
        self._kubelets.ahead[self._number(node)] = ahead

    def set_kubelet_token(self, token: str) -> None:
        """Let the kubelets alone know another token than the API server."""
        assert self._kubelets is not None, "the simulated cluster is not running"
        self._kubelets.token = token

    def forbid(self, *subresources: str) -> None:
        """Let kubelets refuse these subresources (`stats`, `metrics`) to everybody they know."""
        assert self._kubelets is not None, "the simulated cluster is not running"
        self._kubelets.forbidden = set(subresources)

    def advance(self, seconds: float) -> float:
        """Move a manual clock; gives the new time. UsageError with any other clock."""
        if not isinstance(self.config.clock, ManualClock):
            raise UsageError("advance: the cluster's clock is not a ManualClock")
        return self.config.clock.advance(seconds)

    def truth(self, node: str | int, at: float | None = None) -> dict[str, Any]:
        """The decoded summary `node` would give at `at` (seconds since 1970, default now), faults aside."""
        moment = self.config.clock() if at is None else at
        decoded: dict[str, Any] = msgspec.json.decode(self.world.summary_at(self._number(node), moment))
        return decoded

    async def _start(self) -> None:
        config = self.config
        self._directory = Path(self._running.enter_context(tempfile.TemporaryDirectory(prefix="simulated-cluster-")))
        authority = Authority() if config.tls else None
        kubelets = Kubelets(config, self.world, self.addresses, self._contexts(authority), config.clock())
        self._running.push_async_callback(kubelets.stop)
        faults = spread(config.fractions(), len(self.addresses), config.seed, config.fault_seconds)
        await kubelets.start(faults)
        self._kubelets, self.kubelet_port = kubelets, kubelets.port
        await self._start_api(authority)
        self._write_files(authority)

    async def _start_api(self, authority: Authority | None) -> None:
        collections = self.world.collections(self.addresses, self.kubelet_port)
        self._api = ApiServer(self.config, self.origin, collections)
        runner = web.AppRunner(self._api.application(), access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        self._running.push_async_callback(runner.cleanup)
        self._running.callback(self._api.watches.close)
        context = authority.context("kubernetes", _API_NAMES, [self._api_address]) if authority else None
        port = self.config.api_port
        try:
            await web.TCPSite(runner, self._api_address, port, ssl_context=context).start()
        except OSError as error:
            raise StartError(
                f"the API server cannot listen on {self._api_address}:{port}: {error.strerror}; "
                f"choose another --api-port (0 takes a free one) or --network"
            ) from error
        scheme = "https" if authority else "http"
        self.api_url = f"{scheme}://{self._api_address}:{runner.addresses[0][1]}"

    def _contexts(self, authority: Authority | None) -> Callable[[int], SSL.Context | None]:
        """For each node its TLS context, shared by a run of nodes."""
        contexts: dict[int, SSL.Context] = {}

        def context(node: int) -> SSL.Context | None:
            if authority is None:
                return None
            run = node // NODES_PER_CERTIFICATE
            if run not in contexts:
                nodes = slice(run * NODES_PER_CERTIFICATE, (run + 1) * NODES_PER_CERTIFICATE)
                common_name = f"system:node-group:{run}"
                contexts[run] = authority.kubelet_context(common_name, self.node_names[nodes], self.addresses[nodes])
            return contexts[run]

        return context

    def _write_files(self, authority: Authority | None) -> None:
        cluster: dict[str, Any] = {"server": self.api_url}
        if authority is not None:
            self.ca_file.write_bytes(authority.pem)
            cluster["certificate-authority"] = str(self.ca_file)
        self.token_file.write_text(self.config.token)
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "simulated",
            "clusters": [{"name": "simulated", "cluster": cluster}],
            "users": [{"name": "simulated", "user": {"token": self.config.token}}],
            "contexts": [{"name": "simulated", "context": {"cluster": "simulated", "user": "simulated"}}],
        }
        self.kubeconfig.write_bytes(msgspec.json.encode(content))  # JSON is YAML

    def _number(self, node: str | int) -> int:
        if isinstance(node, int):
            return node
        try:
            return self.node_names.index(node)
        except ValueError:
            raise UsageError(f"node {node!r}: not in the simulated cluster") from None

    def _path(self, name: str) -> Path:
        assert self._directory is not None, "the simulated cluster is not running"
        return self._directory / name


def _raise_file_limit(nodes: int) -> None:
    """Allow a listening socket and a connection for each node. StartError when the hard limit is too low."""
    needed = 2 * nodes + _SPARE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and needed > hard:
        raise StartError(
            f"--nodes {nodes}: needs {needed} open files, this system allows {hard}; "
            f"raise the limit (ulimit -Hn) or lower --nodes"
        )
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
