"""The source URI: which API server, and how its nodes are asked (behaviour reference, section 1.5)."""

import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from collector.errors import UsageError
from collector.uris import ComponentUri

log = logging.getLogger(__name__)

SOURCES = ("kubernetes.summary_api", "kubernetes", "kubernetes.cadvisor")
"""The keys of source URIs; what they read is said in `endpoints`."""

READ_ONLY_PORT = 10255
SECURE_PORT = 10250


class SourceUri(ComponentUri):
    """One source URI, taken apart."""

    component = "source"


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSettings:
    """One source URI, read."""

    key: str
    server: str
    """API server given in the URI, `scheme://host:port`; empty for the one the configuration names."""
    in_cluster: bool
    insecure: bool
    """Do not verify the API server, nor, in a cluster, the kubelets: then no CA is known."""
    kubeconfig: str
    use_service_account: bool
    kubelet_port: int
    kubelet_https: bool
    host_id_annotation: str
    cadvisor: bool = False
    """Read cAdvisor's text as well, for what the source lacks."""
    cgroups: re.Pattern[str] | None = None
    """cAdvisor only: the cgroups that become system containers, by their whole name; None for all."""

    def keep_cgroup(self, name: str) -> bool:
        """Whether the cgroup `name` (`system.slice/docker.service`) becomes a system container."""
        return self.cgroups is None or self.cgroups.fullmatch(name) is not None

    @classmethod
    def parse(cls, text: str, environ: Mapping[str, str] = os.environ) -> Self:
        """Read a source URI. Raises UsageError naming the option, its value and what is allowed."""
        uri = SourceUri.parse(text, environ)
        if uri.key.partition(".")[0] != "kubernetes":
            raise UsageError(
                f"no Kubernetes source: {uri.key!r} is not of kubernetes; choose one of {', '.join(SOURCES)}"
            )
        if uri.key not in SOURCES:
            raise UsageError(f"source {uri.key!r} is not known; choose one of {', '.join(SOURCES)}")
        https = uri.boolean("kubeletHttps")
        settings = cls(
            key=uri.key,
            server=f"{uri.scheme or 'https'}://{uri.address}" if uri.host else "",
            in_cluster=uri.boolean("inClusterConfig", default=True),
            insecure=uri.boolean("insecure"),
            kubeconfig=uri.text("auth"),
            use_service_account=uri.boolean("useServiceAccount"),
            # Heapster's default is the read-only port for https too, where nothing ever spoke it.
            kubelet_port=uri.integer(
                "kubeletPort", SECURE_PORT if https else READ_ONLY_PORT, minimum=1, maximum=65_535
            ),
            kubelet_https=https,
            # Heapster's cAdvisor source did not know this option.
            host_id_annotation="" if uri.key == "kubernetes" else uri.text("host_id_annotation"),
            cadvisor=uri.boolean("cadvisor"),
            cgroups=_pattern(uri, "cgroups"),
        )
        if not settings.in_cluster and not settings.kubeconfig and not settings.server:
            raise UsageError(
                f"source {uri.key}: no API server: with inClusterConfig=false give auth=KUBECONFIG or a host in the URI"
            )
        if uri.has("apiVersion"):
            log.info("source %s: apiVersion is accepted, without effect: the API is always asked for v1", uri.key)
        if unknown := uri.unknown():
            log.warning(
                "source %s: no effect of %s; its options are %s",
                uri.key,
                ", ".join(map(repr, unknown)),
                ", ".join(uri.known),
            )
        return settings


def _pattern(uri: SourceUri, name: str) -> re.Pattern[str] | None:
    try:
        return re.compile(uri.text(name)) if uri.has(name) else None
    except re.error as error:
        raise uri.fault(name, f"a regular expression ({error})") from error
