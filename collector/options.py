"""Every flag of `heapster`: name, type, default, bounds and help, as one table; parsing and validation follow from it.

The flags and their defaults are Heapster's (behaviour reference, sections 1.2 to 1.4), and so is the way they are
written, which `collector.flags` reads.
"""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from collector.durations import format_duration
from collector.errors import CommandLineError, UsageError
from collector.flags import scan, value_of

SECOND = 1_000_000_000
MINIMUM_RESOLUTION = 5 * SECOND


_NO_EFFECT = "accepted for old manifests, does nothing"


def _flag(
    default: Any,
    text: str,
    *,
    kind: str,
    minimum: int | None = None,
    choices: tuple[str, ...] = (),
    group: str = "main",
) -> Any:
    """A flag. `kind` is one of those of `collector.flags`; `minimum` is inclusive."""
    metadata = {"help": text or _NO_EFFECT, "kind": kind, "minimum": minimum, "choices": choices, "group": group}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The command line, parsed and validated; from then on only read. Durations are in nanoseconds."""

    source: tuple[str, ...] = _flag(
        (), "where metrics come from; exactly one, such as kubernetes.summary_api:?kubeletHttps=true", kind="source"
    )
    sink: tuple[str, ...] = _flag(
        (),
        "where metrics go; may be repeated, see docs/sinks.md; none: the embedded history, in $STATE_DIRECTORY or "
        "/var/lib/heapster where there is one that can be written to",
        kind="sink",
    )
    metric_resolution: int = _flag(
        60 * SECOND,
        "length of one window: how often metrics are collected",
        kind="duration",
        minimum=MINIMUM_RESOLUTION,
    )
    scrape_offset: int = _flag(
        5 * SECOND, "how long after the end of a window the nodes are asked", kind="duration", minimum=0
    )
    scrape_timeout: int = _flag(
        20 * SECOND,
        "how long all nodes together may take to answer; later answers are dropped",
        kind="duration",
        minimum=1,
    )
    scrape_jitter: int = _flag(
        4 * SECOND,
        "longest time over which the asking of all nodes is spread, 8 ms a node and at most half of --scrape-timeout; "
        "each node keeps its place",
        kind="duration",
        minimum=0,
    )
    node_timeout: int = _flag(10 * SECOND, "how long one node may take to answer", kind="duration", minimum=1)
    scrape_concurrency: int = _flag(128, "how many nodes are asked at the same time", kind="int", minimum=1)
    max_answer_bytes: int = _flag(
        64 << 20, "largest answer of one node; a larger one is refused", kind="int", minimum=1024
    )
    max_answer_entities: int = _flag(
        1 << 14,
        "most pods, containers, system containers, and volumes or devices, of each, in one node's answer; an answer "
        "with more is refused",
        kind="int",
        minimum=1,
    )
    memory_budget: str = _flag(
        "auto",
        "memory this process may use, such as 2Gi, before it gives things up: parts of the past first, new batches "
        "last (docs/deploy.md); auto: 85 % of the cgroup's limit where there is one; off: no bound",
        kind="text",
    )
    sink_export_data_timeout: int = _flag(
        20 * SECOND, "how long a batch may wait for a busy sink before it is dropped for it", kind="duration", minimum=0
    )
    heapster_port: int = _flag(8082, "port of the REST API, /metrics and /healthz", kind="int", minimum=0)
    listen_ip: str = _flag("", "address to listen on; empty for all", kind="text")
    kubelet_ca_file: tuple[str, ...] = _flag(
        (), "CA bundle that signs the kubelets' serving certificates, beside the API server's CA", kind="list"
    )
    kubelet_certificate_authority: tuple[str, ...] = _flag(
        (),
        "CA files that sign the kubelets' serving certificates in place of the API server's CA; may be repeated, read "
        "again when they change",
        kind="list",
    )
    kubelet_identity: str = _flag(
        "verify",
        "what is accepted of a kubelet: verify, a certificate that a CA signed for it; pin, the key its node showed "
        "first; insecure, anything (never outside a test)",
        kind="text",
        choices=("verify", "pin", "insecure"),
    )
    kubelet_insecure_tls: bool = _flag(False, "the same as --kubelet-identity=insecure", kind="bool")
    kubelet_verify_name: str = _flag(
        "any",
        "what a kubelet's certificate must be for: the address that is dialled, the name of its node, or either",
        kind="text",
        choices=("any", "address", "node"),
    )
    kubelet_pin_dir: str = _flag(
        "auto",
        "with --kubelet-identity=pin, the directory of the file kubelet-pins; auto: as for --spool-dir; off: the pins "
        "last as long as the process",
        kind="text",
    )
    kubelet_repin: tuple[str, ...] = _flag(
        (), "nodes whose pins are forgotten at start, since their kubelets have new keys", kind="list"
    )
    kubelet_preferred_address_types: tuple[str, ...] = _flag(
        (),
        "types of node addresses in the order in which they are tried, of Hostname, InternalDNS, InternalIP, "
        "ExternalDNS, ExternalIP; empty as in Heapster: the last InternalIP, else an ExternalIP",
        kind="list",
    )
    kubelet_use_node_status_port: bool = _flag(
        False, "ask each kubelet at the port its Node object states (status.daemonEndpoints)", kind="bool"
    )
    kube_start_timeout: int = _flag(
        60 * SECOND, "how long the first list of nodes, pods and namespaces may take", kind="duration", minimum=1
    )
    label_separator: str = _flag(",", "joins the key:value pairs of the labels label", kind="text")
    ignore_label: tuple[str, ...] = _flag((), "Kubernetes labels left out of the joined labels label", kind="list")
    store_label: tuple[str, ...] = _flag(
        (), "Kubernetes labels that become labels of their own, as new=old or under their own name", kind="list"
    )
    stop_timeout: int = _flag(
        20 * SECOND,
        "how long sinks may take to deliver what they hold when the collector stops",
        kind="duration",
        minimum=0,
    )
    shutdown_delay_duration: int = _flag(
        0,
        "how long the collector goes on as before after a signal to stop, not ready any more but answering, so that "
        "no request is sent to it when it ends",
        kind="duration",
        minimum=0,
    )
    main_port: bool = _flag(
        True,
        "serve Heapster's API on --heapster-port, to everybody whom --tls-client-ca lets in; without it there is the "
        "second server alone (--api-server)",
        kind="bool",
    )
    leader_elect: bool = _flag(
        False,
        "of several replicas one writes to the sinks they share, the holder of a Lease; all of them scrape and answer",
        kind="bool",
    )
    leader_elect_resource_name: str = _flag("heapster", "name of the Lease", kind="text")
    leader_elect_resource_namespace: str = _flag(
        "", "its namespace; empty for $POD_NAMESPACE, or the one this pod runs in, or kube-system", kind="text"
    )
    leader_elect_lease_duration: int = _flag(
        15 * SECOND, "a Lease not renewed for so long may be taken by another replica", kind="duration", minimum=SECOND
    )
    leader_elect_renew_deadline: int = _flag(
        10 * SECOND,
        "a replica that cannot renew the Lease for so long stops writing; shorter than the lease's duration",
        kind="duration",
        minimum=SECOND,
    )
    leader_elect_retry_period: int = _flag(
        2 * SECOND,
        "between two attempts to take or renew the Lease; shorter than the deadline",
        kind="duration",
        minimum=SECOND // 10,
    )
    spool_dir: str = _flag(
        "auto",
        "where what a sink has not taken yet is kept on disk, a directory for each sink; auto: $STATE_DIRECTORY or "
        "/var/lib/heapster where there is one that can be written to, else off; off: a slow or absent sink misses "
        "batches, as in Heapster",
        kind="text",
    )
    spool_max_bytes: str = _flag(
        "auto",
        "budget of one sink's spool, such as 20Gi: within it the spool is as large as what --spool-max-age keeps takes "
        "at the current rate, and beyond it the oldest ticks go; auto: 20Gi, and no more than half of what the disk "
        "has free at the start",
        kind="text",
    )
    spool_max_age: int = _flag(
        24 * 3600 * SECOND, "ticks older than this go from the spool undelivered", kind="duration", minimum=SECOND
    )
    spool_fsync: str = _flag(
        "interval",
        "when ticks are forced to the disk: each, one by one, or at an interval of a second, without what is delivered "
        "at once; a loss of power costs no more than that and the tick being handed over",
        kind="text",
        choices=("interval", "each"),
    )
    warm_dir: str = _flag(
        "auto",
        "where the latest batches are kept on disk, for the next start to go on with; auto and off as --spool-dir",
        kind="text",
    )
    historical_source: str = _flag(
        "",
        "what answers /api/v1/historical: one of the sinks, its URI written as in --sink; empty for the embedded "
        "history when there is one",
        kind="text",
    )
    extended_metrics: bool = _flag(
        False,
        "show the metrics Heapster did not have in its REST API and write them to every sink, too",
        kind="bool",
    )
    disable_export: bool = _flag(False, "let /api/v1/metric-export answer an empty list", kind="bool")
    disable_metric_sink: bool = _flag(False, "keep no batch for the model API, which is not served then", kind="bool")
    tls_cert: str = _flag("", "certificate of the main port, PEM; read again when it changes", kind="text")
    tls_key: str = _flag("", "key of --tls-cert", kind="text")
    tls_client_ca: str = _flag(
        "", "CA that signs client certificates: all of the main port but /healthz then asks for one", kind="text"
    )
    allowed_users: str = _flag(
        "",
        "common names of client certificates that are let in, A,B; empty for all that --tls-client-ca signed",
        kind="text",
    )
    version: bool = _flag(False, "print the version and exit", kind="bool")
    v: int = _flag(
        0,
        "log level: 0 for states, 1 for each batch's size, 2 for each hand-off to a sink and all flags at start, "
        "4 for what sinks wrote, 5 for everything",
        kind="level",
    )
    api_server: bool = _flag(False, "serve the resource metrics API over HTTPS, too", kind="bool", group="api")
    secure_port: int = _flag(443, "port of the second server; 0 for none", kind="int", minimum=0, group="api")
    bind_address: str = _flag("0.0.0.0", "address the second server listens on", kind="ip", group="api")  # noqa: S104  # Heapster's
    light_resolution: int = _flag(
        15 * SECOND,
        "how often the kubelets' light endpoint is read for v1 and v1beta1 of the resource metrics API, with "
        "--api-server; 0 answers from the batches of --metric-resolution instead",
        kind="duration",
        minimum=0,
        group="api",
    )
    cert_dir: str = _flag(
        "apiserver.local.config/certificates",
        "directory of the certificate and the CA made when no other pair is given; where it cannot be written to they "
        "are kept in memory",
        kind="text",
        group="api",
    )
    service_name: str = _flag(
        "heapster",
        "the service that leads to the second server: its own certificate is for it",
        kind="text",
        group="api",
    )
    service_namespace: str = _flag(
        "",
        "the namespace of that service; empty for $POD_NAMESPACE, or the one this pod runs in, or kube-system",
        kind="text",
        group="api",
    )
    patch_apiservices: bool = _flag(
        True,
        "write the CA of the own certificate into the caBundle of the APIServices of metrics.k8s.io that lead to that "
        "service",
        kind="bool",
        group="api",
    )
    tls_cert_file: str = _flag("", "certificate of the second server, PEM", kind="text", group="api")
    tls_private_key_file: str = _flag("", "key of --tls-cert-file", kind="text", group="api")
    tls_ca_file: str = _flag(
        "", "CA bundle of the second server's own certificate; must be readable, no more", kind="text", group="api"
    )
    tls_sni_cert_key: tuple[str, ...] = _flag(
        (), "a pair for some host names: CERT,KEY or CERT,KEY:NAME,NAME", kind="texts", group="api"
    )
    client_ca_file: str = _flag("", "CA that signs the client certificates of users", kind="text", group="api")
    requestheader_client_ca_file: str = _flag(
        "",
        "CA that signs the front proxy's client certificate, whose user headers are believed",
        kind="text",
        group="api",
    )
    requestheader_allowed_names: tuple[str, ...] = _flag(
        (), "common names the front proxy's certificate may have; empty for any", kind="list", group="api"
    )
    requestheader_username_headers: tuple[str, ...] = _flag(
        ("x-remote-user",), "headers with the user's name", kind="list", group="api"
    )
    requestheader_group_headers: tuple[str, ...] = _flag(
        ("x-remote-group",), "headers with the user's groups", kind="list", group="api"
    )
    requestheader_extra_headers_prefix: tuple[str, ...] = _flag(
        ("x-remote-extra-",), "prefixes of headers with more about the user", kind="list", group="api"
    )
    authentication_kubeconfig: str = _flag(
        "", "kubeconfig of the API server that reviews tokens; empty for the source's", kind="text", group="api"
    )
    authentication_skip_lookup: bool = _flag(
        False, "do not read kube-system/extension-apiserver-authentication", kind="bool", group="api"
    )
    authentication_token_webhook_cache_ttl: int = _flag(
        10 * SECOND, "how long a token's review is believed", kind="duration", minimum=0, group="api"
    )
    authorization_kubeconfig: str = _flag(
        "", "kubeconfig of the API server that reviews access; empty for the source's", kind="text", group="api"
    )
    authorization_webhook_cache_authorized_ttl: int = _flag(
        10 * SECOND, "how long a permission is believed", kind="duration", minimum=0, group="api"
    )
    authorization_webhook_cache_unauthorized_ttl: int = _flag(
        10 * SECOND, "how long a refusal is believed", kind="duration", minimum=0, group="api"
    )
    api_max_watches: int = _flag(
        64,
        "watches of the resource metrics API at the same time; one more is answered 429",
        kind="int",
        minimum=0,
        group="api",
    )
    max_procs: int = _flag(0, "", kind="int", group="old")
    logtostderr: bool = _flag(True, "", kind="bool", group="old")
    alsologtostderr: bool = _flag(False, "", kind="bool", group="old")
    stderrthreshold: str = _flag("2", "", kind="severity", group="old")
    vmodule: str = _flag("", "", kind="modules", group="old")
    log_dir: str = _flag("", "", kind="text", group="old")
    log_backtrace_at: str = _flag("", "", kind="place", group="old")
    log_flush_frequency: int = _flag(5 * SECOND, "", kind="duration", group="old")
    profiling: bool = _flag(True, "", kind="bool", group="old")
    contention_profiling: bool = _flag(False, "", kind="bool", group="old")
    enable_swagger_ui: bool = _flag(False, "", kind="bool", group="old")

    def faults(self) -> list[str]:
        """What is wrong with these values, one sentence each, naming flag, value and bound."""
        found = []
        for option in fields(self):
            minimum, value = option.metadata["minimum"], getattr(self, option.name)
            if minimum is not None and value < minimum:
                shown, bound = (
                    (format_duration(value), format_duration(minimum))
                    if option.metadata["kind"] == "duration"
                    else (value, minimum)
                )
                found.append(f"--{flag_name(option.name)} is {shown}, below the least allowed, {bound}: raise it")
            if option.metadata["choices"] and value not in option.metadata["choices"]:
                found.append(
                    f"--{flag_name(option.name)} is {value!r}: choose {' or '.join(option.metadata['choices'])}"
                )
        if 0 < self.light_resolution < MINIMUM_RESOLUTION:
            found.append(
                f"--light-resolution is {format_duration(self.light_resolution)}, below the least allowed, "
                f"{format_duration(MINIMUM_RESOLUTION)}: raise it, or turn the light cadence off with 0"
            )
        if self.heapster_port > 65_535:
            found.append(f"--heapster-port is {self.heapster_port}, above 65535: choose a TCP port")
        if bool(self.tls_cert) != bool(self.tls_key):
            given, missing = ("--tls-cert", "--tls-key") if self.tls_cert else ("--tls-key", "--tls-cert")
            found.append(f"{given} is given without {missing}: HTTPS takes a certificate and its key")
        if self.tls_client_ca and not self.tls_cert:
            found.append("--tls-client-ca is given without --tls-cert: only HTTPS knows client certificates")
        if not self.leader_elect_retry_period < self.leader_elect_renew_deadline < self.leader_elect_lease_duration:
            found.append(
                f"--leader-elect-retry-period is {format_duration(self.leader_elect_retry_period)}, "
                f"--leader-elect-renew-deadline {format_duration(self.leader_elect_renew_deadline)} and "
                f"--leader-elect-lease-duration {format_duration(self.leader_elect_lease_duration)}: each must be "
                "longer than the one before it"
            )
        if not self.main_port and not self.api_server:
            found.append("--main-port=false leaves no server: give --api-server, or leave the main port on")
        if not self.source:
            found.append("no Kubernetes source: give exactly one --source, such as kubernetes.summary_api:")
        elif len(self.source) > 1:
            found.append(f"--source is given {len(self.source)} times: one source is supported, give exactly one")
        return found

    def validated(self) -> "Options":
        """These options. Raises UsageError naming every fault at once."""
        found = self.faults()
        if found:
            raise UsageError(*found)
        return self


def flag_name(field_name: str) -> str:
    """The flag of an option: `metric_resolution` -> `metric-resolution`."""
    return field_name.replace("_", "-")


def spelled(field_name: str) -> str:
    """The same with its dashes: `--metric-resolution`, `-v`."""
    return f"{'-' if len(field_name) == 1 else '--'}{flag_name(field_name)}"


_VALUE_WORDS = {
    "source": "URI",
    "sink": "URI",
    "duration": "DURATION",
    "int": "N",
    "level": "N",
    "list": "A,B",
    "ip": "IP",
}


def usage() -> str:
    """What `--help` says: every flag, its default and its meaning."""
    lines = [
        "Usage: heapster --source=URI [--sink=URI ...] [flags]",
        "       heapster demo [flags]",
        "       heapster doctor [flags of the collector] [--output table|json] [--series]",
        "",
        "Cluster metrics for Kubernetes. `heapster demo` shows them on a simulated cluster, `heapster doctor` says",
        "what keeps the collector from running with these flags.",
        "",
    ]
    for option in fields(Options):
        kind = option.metadata["kind"]
        value = "[=BOOL]" if kind == "bool" else f" {_VALUE_WORDS.get(kind, 'TEXT')}"
        lines.append(f"  {spelled(option.name)}{value}")
        about = f"{option.metadata['help']} (default: {shown_default(option.name)})"
        lines += textwrap.wrap(about, 112, initial_indent=" " * 8, subsequent_indent=" " * 8)
    return "\n".join(lines) + "\n"


def shown_default(name: str) -> str:
    """The default of an option as a person would type it; `none` for one that is empty."""
    return shown(next(option.default for option in fields(Options) if option.name == name), name) or "none"


def shown(value: Any, name: str) -> str:
    """A value of option `name` as a person would type it."""
    kind = next(option.metadata["kind"] for option in fields(Options) if option.name == name)
    if kind == "duration":
        return format_duration(value)
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(value) if isinstance(value, tuple) else str(value)


_KINDS = {flag_name(option.name): option.metadata["kind"] for option in fields(Options)}


def parse(arguments: Sequence[str]) -> Options:
    """The options of a command line, not yet validated.

    Raises CommandLineError for an unknown flag or a value that cannot be read, and, without a fault, for `--help`.
    """
    found = scan(arguments, _KINDS)
    values: dict[str, Any] = {}
    faults = list(found.faults)
    for option in fields(Options):
        texts = found.texts.get(flag_name(option.name))
        if texts is None:
            continue
        try:
            values[option.name] = value_of(option.metadata["kind"], texts)
        except (ValueError, UsageError) as error:
            faults.append(f"{spelled(option.name)}: {error}")
    if faults or found.help:
        raise CommandLineError(*faults)
    return Options(**values)


def given_in_vain(arguments: Sequence[str]) -> list[str]:
    """The flags among `arguments` that are there for old manifests and do nothing."""
    given = scan(arguments, _KINDS).texts
    return [
        spelled(option.name)
        for option in fields(Options)
        if option.metadata["group"] == "old" and flag_name(option.name) in given
    ]
