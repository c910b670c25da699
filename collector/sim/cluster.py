"""SimulatedCluster: an API server and its kubelets on loopback addresses, in this process and on this event loop."""

import ipaddress
import math
import resource
import ssl
import tempfile
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from collector.errors import StartError, UsageError
from collector.sim.apiserver import ApiServer
from collector.sim.certificates import NODES_PER_CERTIFICATE, Authority
from collector.sim.clock import ManualClock
from collector.sim.config import SimConfig
from collector.sim.faults import Fault, FaultKind, spread
from collector.sim.kubelets import Kubelets
from collector.sim.world import InventedWorld, World

_SPARE_FILES = 64


class SimulatedCluster:
    """A cluster that answers like a real one. Nothing listens before `start`; `stop` removes all it made.

    `kubeconfig`, `ca_file` and `token_file` are files in a temporary directory of its own; `api_url` and `kubelet_port` are known after
    `start`. Use as an async context manager, or call `start` and `stop`.
    """

    def __init__(self, config: SimConfig) -> None:
        self.config = config
        self.origin = math.floor(config.clock())
        self.world: World = InventedWorld(config, self.origin)
        self.api_url = ""
        self.kubelet_port = 0
        self._directory: tempfile.TemporaryDirectory[str] | None = None
        self._runner: web.AppRunner | None = None
        self._kubelets: Kubelets | None = None
        self._api: ApiServer | None = None
        hosts = ipaddress.IPv4Network(config.network)
        self.addresses = tuple(str(hosts[node + 1]) for node in range(len(self.world.node_names)))
        self._api_address = str(hosts[-2])

    async def __aenter__(self) -> "SimulatedCluster":
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
        """The CA's certificate, PEM."""
        return self._path("ca.crt")

    @property
    def token_file(self) -> Path:
        """The bearer token."""
        return self._path("token")

    @property
    def node_names(self) -> tuple[str, ...]:
        """Names of the nodes; node i listens on `addresses[i]`."""
        return self.world.node_names

    @property
    def api(self) -> ApiServer:
        """The API server, with its faults."""
        if self._api is None:
            raise StartError("the simulated cluster has not been started")
        return self._api

    async def start(self) -> None:
        """Listen. StartError when a port is taken or too few files may be open."""
        _raise_file_limit(len(self.addresses))
        self._directory = tempfile.TemporaryDirectory(prefix="simulated-cluster-")
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Close every connection, stop listening, remove the temporary directory; harmless when not started."""
        if self._api is not None:
            self._api.close()
        if self._runner is not None:
            await self._runner.cleanup()
        if self._kubelets is not None:
            await self._kubelets.stop()
        if self._directory is not None:
            self._directory.cleanup()
        self._api = self._runner = self._kubelets = self._directory = None

    async def set_fault(self, node: str | int, fault: Fault | FaultKind | str | None) -> None:
        """Give a node (name or number) a fault, or take it away with None. UsageError for an unknown name."""
        assert self._kubelets is not None, "set_fault is for a running cluster"
        if isinstance(fault, str):
            try:
                fault = Fault(FaultKind(fault), self.config.fault_seconds)
            except ValueError:
                known = ", ".join(FaultKind)
                raise UsageError(f"fault {fault!r}: unknown, choose one of {known}") from None
        await self._kubelets.set_fault(self._number(node), fault)

    def advance(self, seconds: float) -> float:
        """Move a manual clock; gives the new time."""
        if not isinstance(self.config.clock, ManualClock):
            raise UsageError("advance: the cluster's clock is not a ManualClock")
        return self.config.clock.advance(seconds)

    def truth(self, node: str | int, at: float | None = None) -> dict[str, Any]:
        """The decoded summary `node` would give at `at` (now by default), faults aside."""
        moment = self.config.clock() if at is None else at
        decoded: dict[str, Any] = msgspec.json.decode(self.world.summary_at(self._number(node), moment))
        return decoded

    async def _start(self) -> None:
        authority = Authority() if self.config.tls else None
        self._kubelets = Kubelets(
            self.config, self.world, self.addresses, self._contexts(authority), self.config.clock()
        )
        fractions = self.config.fractions()
        await self._kubelets.start(spread(fractions, len(self.addresses), self.config.seed, self.config.fault_seconds))
        self.kubelet_port = self._kubelets.port
        self._api = ApiServer(self.config, self.origin, self.world.collections(self.addresses, self.kubelet_port))
        self._runner = web.AppRunner(self._api.application(), access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        context = authority.context("kubernetes", ["kubernetes", "kubernetes.default", "localhost"], [self._api_address]) if authority else None
        site = web.TCPSite(self._runner, self._api_address, self.config.api_port, ssl_context=context)
        try:
            await site.start()
        except OSError as error:
            raise StartError(
                f"the API server on {self._api_address}:{self.config.api_port} cannot listen: {error.strerror}; "
                f"choose another --api-port (0 takes a free one)"
            ) from error
        port = self._runner.addresses[0][1]
        scheme = "https" if authority else "http"
        self.api_url = f"{scheme}://{self._api_address}:{port}"
        self._write_files(authority)

    def _contexts(self, authority: Authority | None) -> Any:
        contexts: dict[int, ssl.SSLContext] = {}

        def context(node: int) -> ssl.SSLContext | None:
            if authority is None:
                return None
            run = node // NODES_PER_CERTIFICATE
            if run not in contexts:
                part = slice(run * NODES_PER_CERTIFICATE, (run + 1) * NODES_PER_CERTIFICATE)
                contexts[run] = authority.context(
                    f"system:node:{self.node_names[node]}", self.node_names[part], self.addresses[part]
                )
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
        if self._directory is None:
            raise StartError("the simulated cluster has not been started")
        return Path(self._directory.name) / name


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
