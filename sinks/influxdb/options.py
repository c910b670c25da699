"""What the URI of an InfluxDB sink says (behaviour reference, section 1.6; differences in docs/compatibility.md)."""

import re
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from collector.core.labels import BUILT_IN
from collector.durations import parse_duration_ns
from collector.errors import UsageError
from collector.history.credentials import basic_authorization
from sinks.base import SinkUri
from sinks.influxdb.encoder import CHUNK_POINTS
from sinks.influxdb.layout import SCHEMAS, Layout
from sinks.influxdb.tags import Tagging

SECOND = 1_000_000_000
MINIMUM_RETENTION_NS = 3_600 * SECOND
"""InfluxDB keeps nothing for less than an hour, or for ever."""

MOST_WRITES = 64
"""Heapster took any `concurrency`; a larger one counts as this."""

DEFAULT_CLUSTER_NAME = "default"

_SEPARATING = re.compile(r"[^A-Za-z0-9_./:-]+")
"""What no label's name or value holds."""

V2_OPTIONS = ("org", "bucket", "token", "token_file")
"""Any of these makes it the 2.x API, unless `api` says otherwise."""

LARGEST_WRITE = 1_000_000
"""Most points that `max_points` may ask for: far more than the bytes of a write hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InfluxdbOptions:
    """One InfluxDB sink, as configured."""

    url: str
    """Scheme, host, port and path, without a final slash and without credentials."""
    api: str
    """`v1`: /write with a database; `v2`: /api/v2/write with a bucket (1.8, 2.x, 3.x, VictoriaMetrics)."""
    tls: ssl.SSLContext | None = field(repr=False)
    """How to verify the server; None over plain HTTP."""
    user: str
    password: str = field(repr=False)
    password_file: Path | None
    """Holds the password in place of `password`; read again for every request."""
    database: str
    policy: str | None
    """Retention policy to write to; None: `default`, or the default one of a database that has no such policy."""
    retention_ns: int | None
    """How long the policy keeps points, 0 for ever; None: as it is."""
    org: str
    bucket: str
    token: str = field(repr=False)
    token_file: Path | None
    """Holds the token; read again for every write, for tokens that are renewed."""
    cluster_name: str
    layout: Layout
    """Measurements and fields."""
    tagging: Tagging
    """Tags."""
    series_budget: int
    """Series of a namespace in a day; 0 for as many as there are."""
    max_points: int
    """Points of one write; bytes bound it too."""
    concurrency: int
    """Writes under way at the same time within one export."""
    timeout_ns: int
    """Limit of one request, connecting included."""
    gzip: bool

    @classmethod
    def from_uri(cls, uri: SinkUri) -> Self:
        """Read and check every option. Raises UsageError."""
        tls = _tls(uri)
        schema = _schema(uri)
        address = uri.address or "localhost:8086"
        found = cls(
            url=f"{'http' if tls is None else 'https'}://{address}{uri.path.rstrip('/')}",
            api=uri.choice("api", ("v1", "v2"), "v2" if any(uri.has(name) for name in V2_OPTIONS) else "v1"),
            tls=tls,
            user=uri.text("user", uri.user or "root"),
            password=uri.text("pw", uri.password or "root"),
            password_file=uri.file("pw_file"),
            database=uri.text("db", "k8s"),
            policy=uri.text("rp") or None,
            retention_ns=_retention(uri),
            org=uri.text("org"),
            bucket=uri.text("bucket") or uri.text("db", "k8s"),
            token=uri.text("token") or _token_of_user(uri),
            token_file=uri.file("token_file"),
            cluster_name=uri.text("cluster_name", "" if schema == "lean" else DEFAULT_CLUSTER_NAME),
            layout=Layout(
                with_fields=schema != "heapster",
                disable_counters=uri.boolean("disable_counter_metrics"),
                visibility=uri.visibility,
            ),
            tagging=Tagging(
                lean=schema == "lean",
                with_pod_id=uri.boolean("store_pod_id"),
                labels=_labels(uri),
                separator=uri.label_separator,
            ),
            series_budget=uri.integer("series_budget", 0, minimum=0, maximum=10**9),
            max_points=uri.integer("max_points", CHUNK_POINTS, minimum=1, maximum=LARGEST_WRITE),
            concurrency=min(uri.integer("concurrency", 1, minimum=1, maximum=2**31 - 1), MOST_WRITES),
            timeout_ns=uri.duration_ns("timeout", 20 * SECOND, minimum=SECOND // 10),
            gzip=uri.boolean("gzip"),
        )
        if not found.database:
            raise uri.fault("db", "the name of a database")
        if ":" in found.user:
            raise UsageError(f"sink {uri.key}: the user name holds a colon, which basic authentication cannot carry")
        return found

    def authorization(self) -> str:
        """The header that names the user to the 1.x API. Raises OSError or ValueError: the file cannot be read."""
        return basic_authorization(self.user, self.password, self.password_file)


def _schema(uri: SinkUri) -> str:
    """One of SCHEMAS; `withfields` is Heapster's way to ask for `fields`."""
    with_fields = uri.boolean("withfields")
    schema = uri.choice("schema", SCHEMAS, "fields" if with_fields else "heapster")
    if with_fields and schema != "fields":
        raise uri.fault("schema", "fields where withfields is true; leave one of the two options out")
    return schema


def _labels(uri: SinkUri) -> frozenset[str] | None:
    """The labels that are tags of their own; None: as the schema has it."""
    if not uri.has("labels"):
        return None
    found = frozenset(name.strip() for name in uri.text("labels").split(",")) - {""}
    if taken := sorted(found & BUILT_IN):
        raise uri.fault(
            "labels", f"Kubernetes labels: {', '.join(taken)} is a tag anyway, or no label of a pod or node"
        )
    if found and not _SEPARATING.fullmatch(uri.label_separator):
        raise UsageError(
            f"sink {uri.key}: the option labels needs joined labels that can be told apart: choose a --label-separator "
            f"without letters, digits and any of `-_./:`, such as the default; it is {uri.label_separator!r}"
        )
    return found


def _token_of_user(uri: SinkUri) -> str:
    """InfluxDB 1.8 takes `user:password` for a token; empty when no user is named."""
    user = uri.text("user", uri.user)
    return f"{user}:{uri.text('pw', uri.password)}" if user else ""


def _tls(uri: SinkUri) -> ssl.SSLContext | None:
    """HTTPS when the scheme or `secure` asks for it; `cacert` adds a CA, `insecuressl` verifies nothing."""
    if uri.scheme not in {"", "http", "https"}:
        raise UsageError(f"sink {uri.key}: scheme {uri.scheme!r} is not known; write http:// or https://")
    secure, insecure, ca = uri.boolean("secure"), uri.boolean("insecuressl"), uri.file("cacert")
    if not secure and uri.scheme != "https":
        return None
    try:
        context = ssl.create_default_context(cafile=None if ca is None else str(ca))
    except ssl.SSLError as error:
        raise uri.fault("cacert", "a file of PEM certificates") from error
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _retention(uri: SinkUri) -> int | None:
    """InfluxQL's durations: Go's, days, weeks, and `INF`; 0 is for ever too."""
    if not uri.has("retention"):
        return None
    text = uri.text("retention")
    if text.upper() == "INF":
        return 0
    try:
        kept = parse_duration_ns(re.sub(r"(\d+)w", lambda weeks: f"{7 * int(weeks[1])}d", text, flags=re.ASCII))
    except ValueError:
        kept = -1
    if kept != 0 and kept < MINIMUM_RETENTION_NS:
        raise uri.fault("retention", "0 or INF (for ever), or a duration of at least 1h such as 24h, 30d or 8w")
    return kept
