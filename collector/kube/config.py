"""Which API server, and with which credentials: in a cluster, by kubeconfig, or a bare address.

kubernetes_asyncio reads the files and runs exec plugins. Added here: token files are read again while running,
credentials of exec plugins are renewed when they expire, and every fault is a StartError that names the file and what
to turn.
"""

import asyncio
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml
from kubernetes_asyncio.client import Configuration
from kubernetes_asyncio.config import ConfigException
from kubernetes_asyncio.config.incluster_config import InClusterConfigLoader
from kubernetes_asyncio.config.kube_config import (
    ConfigNode,
    KubeConfigLoader,
    KubeConfigMerger,
)

from collector.errors import StartError
from collector.kube.connection import ApiConnection
from collector.kube.faults import ApiServerError
from collector.watchedfiles import FileFault, NamedFile, WatchedFiles

_log = logging.getLogger(__name__)

SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where Kubernetes mounts `token` and `ca.crt` into every pod."""

_PLUGIN_SECONDS: Final = 30.0
_WORDS: Final = 400


@dataclass(frozen=True, slots=True)
class ClusterAccess:
    """How to reach the API server; exactly what `connect` was asked for."""

    in_cluster: bool
    kubeconfig: str | None
    context: str | None
    server: str | None
    insecure: bool
    ca_file: str | None
    token_file: str | None
    use_service_account: bool
    service_account: Path
    environ: Mapping[str, str]

    @property
    def origin(self) -> str:
        """What names the server, in words."""
        if self.server:
            return "the address given on the command line"
        if self.in_cluster:
            return "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT of this pod"
        return f"kubeconfig {self.kubeconfig}" + (f", context {self.context}" if self.context else "")

    def ca_origin(self, configuration: Configuration) -> str:
        """What the server's certificate is checked against, in words."""
        if self.ca_file:
            return f"CA file {self.ca_file}"
        if self.in_cluster:
            return f"CA file {self.service_account / 'ca.crt'}"
        if configuration.ssl_ca_cert:
            return f"the CA of kubeconfig {self.kubeconfig} (file {configuration.ssl_ca_cert})"
        return "the CAs of the operating system"


async def connect(
    *,
    in_cluster: bool = False,
    kubeconfig: str | None = None,
    context: str | None = None,
    server: str | None = None,
    insecure: bool = False,
    ca_file: str | None = None,
    token_file: str | None = None,
    use_service_account: bool = False,
    service_account: Path = SERVICE_ACCOUNT,
    environ: Mapping[str, str] = os.environ,
) -> ApiConnection:
    """Read the configuration and make a connection from it; no request is sent yet.

    `in_cluster` wins over `kubeconfig` (one path, or several joined by `:`); with neither, `server` alone is asked
    without credentials. `server`, `insecure`, `ca_file` and `token_file` override what the configuration says;
    `use_service_account` puts the token mounted into this pod in place of the configuration's, if it can be read.
    Raises StartError.
    """
    access = ClusterAccess(
        in_cluster,
        kubeconfig,
        context,
        server,
        insecure,
        ca_file,
        token_file,
        use_service_account,
        service_account,
        environ,
    )

    async def load() -> Configuration:
        return await _load(access)

    configuration = await load()
    connection = ApiConnection(configuration, load, access.origin, access.ca_origin(configuration))
    try:
        connection.ssl_context()
    except OSError as error:
        raise StartError(
            f"cannot use the certificates for API server {connection.url} ({access.origin}): {error}; "
            f"checked: {access.ca_origin(configuration)}, client certificate {configuration.cert_file or 'none'}"
        ) from error
    return connection


async def _load(access: ClusterAccess) -> Configuration:
    """The library's configuration, with the overrides of `access` on top."""
    configuration = Configuration(host=access.server)
    configuration.disable_strict_ssl_verification = True
    if access.in_cluster:
        _load_in_cluster(access, configuration)
    elif access.kubeconfig:
        await _load_kubeconfig(access, configuration)
    elif not access.server:
        raise StartError(
            "no API server is named: run in a cluster with inClusterConfig=true, give auth=<kubeconfig> with "
            "inClusterConfig=false, or put the server's address into the source URI"
        )
    if access.server:
        configuration.host = access.server
    configuration.host = _checked_url(str(configuration.host), access)
    if access.ca_file:
        configuration.ssl_ca_cert = access.ca_file
    if access.insecure:
        configuration.verify_ssl = False
    if access.token_file:
        _use_token_file(configuration, Path(access.token_file))
    elif access.use_service_account:
        _use_mounted_token(configuration, access.service_account / "token")
    return configuration


def _load_in_cluster(access: ClusterAccess, configuration: Configuration) -> None:
    token_file, ca_file = access.service_account / "token", access.service_account / "ca.crt"
    loader = InClusterConfigLoader(str(token_file), str(ca_file), try_refresh_token=False, environ=dict(access.environ))
    try:
        loader.load_and_set(configuration)
    except (ConfigException, OSError, ValueError) as error:
        raise StartError(
            f"not in a cluster, or the service account is not mounted: {error} (KUBERNETES_SERVICE_HOST, "
            f"KUBERNETES_SERVICE_PORT, {token_file}, {ca_file}); outside of a cluster give inClusterConfig=false and "
            "auth=<kubeconfig>"
        ) from error
    _use_token_file(configuration, token_file)


async def _load_kubeconfig(access: ClusterAccess, configuration: Configuration) -> None:
    paths = access.kubeconfig or ""
    try:
        config = KubeConfigMerger(paths).config
        if config is None:
            raise StartError(f"kubeconfig {paths} does not exist; give its path with auth=<kubeconfig>")
        user = _user_section(config, access.context)
        # Never persisted: a collector does not write into the file of a person, and its own is usually read-only.
        loader = KubeConfigLoader(config, active_context=access.context, config_base_path=None)
        async with asyncio.timeout(_PLUGIN_SECONDS):
            await loader.load_and_set(configuration)
    except TimeoutError as error:
        raise StartError(
            f"kubeconfig {paths}: the credential plugin gave no answer within {_PLUGIN_SECONDS:g} s"
        ) from error
    except (ConfigException, yaml.YAMLError, OSError, ValueError, TypeError, AttributeError, LookupError) as error:
        # The library meets a file of an unexpected shape with whatever its code happens to raise.
        turn = f" (context {access.context})" if access.context else ""
        raise StartError(f"kubeconfig {paths}{turn} cannot be used: {_words(error)}") from error
    if "exec" in user:
        configuration.refresh_api_key_hook = _ExecRenewal(loader)
    elif "tokenFile" in user:
        # As in client-go the file wins over a token written beside it, and a relative path starts at the kubeconfig.
        _use_token_file(configuration, Path(user.path or "").parent / str(user["tokenFile"]))


def _user_section(config: ConfigNode, context: str | None) -> ConfigNode:
    """The user section of the chosen context; an empty one is put into `config` where the context names no user.

    The library fails on an https server without a user section, which kubectl takes as an anonymous user.
    """
    contexts: Any = config["contexts"]
    users: Any = config["users"]
    chosen = contexts.get_with_name(context or config["current-context"])["context"]
    name = chosen.safe_get("user")
    if not name:
        name = chosen.value["user"] = "anonymous, named by no context"
        users.value.append(ConfigNode(name, {"name": name, "user": {}}))
    entry = users.get_with_name(name)
    if not entry.value.get("user"):
        entry.value["user"] = {}
    section: ConfigNode = entry["user"]
    return section


def _words(error: Exception) -> str:
    """What a library or plugin says, on one line; of a plugin's traceback the end, which says most."""
    words = " ".join(str(error).split()) or type(error).__name__
    return words if len(words) <= _WORDS else f"...{words[-_WORDS:]}"


def _checked_url(url: str, access: ClusterAccess) -> str:
    scheme, separator, rest = url.partition("://")
    if scheme not in {"http", "https"} or not separator or not rest.strip("/"):
        raise StartError(f"API server address {url!r} ({access.origin}) is not of the form https://host[:port]")
    return url.rstrip("/")


def _use_token_file(configuration: Configuration, path: Path) -> None:
    """Take the bearer token from `path`, now and again later."""
    file = NamedFile("token file", str(path))
    token = WatchedFiles([file], lambda contents: _bearer(contents[0], file))
    token.load()

    async def refresh(configuration: Configuration) -> None:
        """Called by the library before each request. While the file cannot be read, the last token stays."""
        configuration.api_key["BearerToken"] = token.current()

    configuration.api_key["BearerToken"] = token.current()
    configuration.refresh_api_key_hook = refresh


def _use_mounted_token(configuration: Configuration, path: Path) -> None:
    """The same, where the file can be read; other credentials stay where it cannot, as they did in Heapster."""
    try:
        _use_token_file(configuration, path)
    except StartError as error:
        _log.warning("useServiceAccount=true has no effect: %s", error)


def _bearer(content: bytes, file: NamedFile) -> str:
    """The header value for the token in a file. Raises FileFault, which says nothing of the content."""
    try:
        token = content.decode().strip()  # a line end would be refused inside a header
    except UnicodeDecodeError:
        raise FileFault(f"{file} is no text") from None
    if len(token.split()) != 1:
        raise FileFault(f"{file} is {'not one word' if token else 'empty'}")
    return f"Bearer {token}"


class _ExecRenewal:
    """The library's refresh hook for exec plugins: runs the plugin again once its credential has expired."""

    def __init__(self, loader: KubeConfigLoader) -> None:
        self._loader = loader
        self._running = asyncio.Lock()

    async def __call__(self, configuration: Configuration) -> None:
        """Called by the library before each request; a credential without an expiry stays until it is refused."""
        if not hasattr(self._loader, "exec_plugin_expiry"):
            return
        try:
            async with self._running, asyncio.timeout(_PLUGIN_SECONDS):
                await self._loader.load_from_exec_plugin()
        except (ConfigException, OSError, ValueError, LookupError) as error:
            raise ApiServerError(f"the credential plugin of the kubeconfig failed: {_words(error)}") from error
        configuration.api_key["BearerToken"] = self._loader.token
