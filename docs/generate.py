"""Writes the pages that are tables of the code: flags, metrics, sinks. `--check` says whether they are up to date."""

import sys
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path

from collector.api import ROUTES
from collector.api.components import spec_of
from collector.api.families import families
from collector.api.gate import is_viewed
from collector.api.openapi import document_text
from collector.api.route import Route
from collector.api.second import AGGREGATED_ROUTES
from collector.core.metrics import GROUPS, METRICS, Kind, MetricDescriptor, dynamic_descriptor
from collector.options import Options, flag_name, shown_default
from collector.selfmetrics import HEAPSTER_SUMMARIES, LAST_SCRAPE, OWN_METRICS, OWN_SUMMARIES, OwnSummary
from sinks import SINKS

DOCS = Path(__file__).parent
NOTE = "<!-- Written by `make docs` from the code; edit the code. -->\n\n"


def flags() -> str:
    """docs/flags.md, from Options."""
    lines = [
        "# Flags\n",
        NOTE.strip() + "\n",
        "`_` and `-` are one in a flag's name. Durations are written `300ms`, `10s`, `1h30m`.\n",
    ]
    for group, title in (
        ("main", "## The collector"),
        ("api", "## The second server, with `--api-server`"),
        ("old", "## Accepted for old manifests"),
    ):
        lines += [f"{title}\n", "| flag | default | effect |", "|---|---|---|"]
        lines += [
            f"| `{'-' if len(option.name) == 1 else '--'}{flag_name(option.name)}` | `{shown_default(option.name)}` | {option.metadata['help']} |"
            for option in fields(Options)
            if option.metadata["group"] == group
        ]
        lines.append("")
    return "\n".join(lines)


def metrics() -> str:
    """docs/metrics.md, from METRICS and GROUPS."""
    lines = [
        "# Metrics\n",
        NOTE.strip() + "\n",
        "Names, units and levels are Heapster's. *From* is the field of the kubelet's summary, by kind where kinds differ;",
        "*rate* is the metric that two samples make; *summed into* are the kinds that get the sum over the kind below.",
        "In brackets: kinds for which Heapster had no sum. Prometheus text and the embedded history hold it; the API and the",
        "sinks that Heapster had hold it with `--extended-metrics`.\n",
        *_METRIC_HEAD,
        *(_metric_row(metric) for metric in METRICS if not metric.extended),
        "| `custom/<name>` | | float64 | | `userDefinedMetrics` of a container | | pod | whatever the application reports |",
        f"| `<resource>/request` | gauge | int64 | | requests in the pod's specification | | {_sums(dynamic_descriptor('x/request'))} | whole units requested |",
        "",
        "## Metrics that Heapster did not have\n",
        "Always in Prometheus text and in the embedded history; in the API and in the sinks that Heapster had with",
        "`--extended-metrics`. A kubelet that does not report one costs nothing.\n",
        *_METRIC_HEAD,
        *(_metric_row(metric) for metric in METRICS if metric.extended),
        "",
        "## Labelled metrics\n",
        "One value for each label set of an entity; never summed. Heapster did not have those marked *new*: see above.\n",
        "| metric | type | value | unit | from | rate | | meaning |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for group in GROUPS:
        for j, metric in enumerate(group.metrics):
            source = f"`{group.summary[j]}`" if j < len(group.summary) else ""
            lines.append(_row(metric, source, "*new*" if metric.extended else ""))
    return "\n".join(lines) + "\n"


_METRIC_HEAD = (
    "| metric | type | value | unit | from | rate | summed into | meaning |",
    "|---|---|---|---|---|---|---|---|",
)


def _sums(metric: MetricDescriptor) -> str:
    """The kinds a metric is summed into, in brackets those for which Heapster had no sum."""
    heapsters = [kind.label for kind in Kind if kind in metric.sums]
    return ", ".join(heapsters + [f"({kind.label})" for kind in Kind if kind in metric.extended_sums])


def _metric_row(metric: MetricDescriptor) -> str:
    paths: dict[str, list[str]] = {}
    for kind, path in metric.summary.items():
        paths.setdefault(path, []).append(kind.label)
    source = (
        f"`{next(iter(paths))}`"
        if len(paths) == 1
        else ", ".join(f"`{path}` ({', '.join(kinds)})" for path, kinds in paths.items())
    )
    return _row(metric, source, _sums(metric))


def _row(metric: MetricDescriptor, source: str, sums: str) -> str:
    cells = (f"`{metric.name}`", metric.type.value, str(metric.dtype), metric.unit, source)
    rate = f"`{metric.rate}`" if metric.rate else ""
    return f"| {' | '.join(cells)} | {rate} | {sums} | {metric.description} |"


def sinks() -> str:
    """docs/sinks.md, from SINKS and the sinks' own docstrings."""
    import importlib
    import inspect

    lines = [
        "# Sinks\n",
        NOTE.strip() + "\n",
        "`--sink=NAME:REST`, as often as wanted. `$VAR` in REST is taken from the environment.\n",
    ]
    for name, row in sorted(SINKS.items()):
        module, _, class_name = row.partition(":")
        found = importlib.import_module(module)
        lines += [f"## `{name}`\n", inspect.cleandoc(found.__doc__ or ""), ""]
        about = inspect.getdoc(getattr(found, class_name))
        if about:
            lines += [about, ""]
    return "\n".join(lines)


def routes() -> str:
    """docs/api.md, from ROUTES."""
    lines = [
        "# HTTP API\n",
        NOTE.strip() + "\n",
        "`{name}` is one segment of the path, `{name:*}` all that remain. Series routes take `start` and `end` (RFC 3339,",
        "both inclusive) and `labels=key:value,...` for labelled metrics. The same as an OpenAPI document: [openapi.json](openapi.json),",
        "served at `/openapi.json`.\n",
        "Below `/api/v1/historical`, which is there when a sink keeps a past (`--historical-source`, or a `history` sink), `start`",
        "is required, both ends are exclusive and cut to whole seconds. `{aggregations}` are `average`, `max`, `min`, `median`,",
        "`count`, `50-perc`, `95-perc`, `99-perc`, separated by commas; `bucket` is a whole number and `ms`, `s`, `m`, `h` or `d`,",
        "without it there is one bucket. A list names at most 1,000 pods; an answer holds at most 500,000 points.\n",
        "*Right* is what a caller needs for a route of Heapster's API on the second server ([security.md](security.md)); on the",
        "main port nobody is asked for one.\n",
        *_route_table(ROUTES, rights=True),
        "",
        "## The second server, with `--api-server`\n",
        "The group `metrics.k8s.io` as the aggregation layer asks for it. Lists take `labelSelector` and `fieldSelector`",
        "(`metadata.name`, `metadata.namespace`), and every route `?pretty=true`.\n",
        *_METRICS_API,
        *_route_table(AGGREGATED_ROUTES),
    ]
    return "\n".join(lines) + "\n"


def doctor() -> str:
    """docs/doctor.md, from CHECKS, REMEDIES and SCHEMA."""
    import json

    from collector.api.causes import CAUSES
    from collector.doctor.checks import CHECKS
    from collector.doctor.clocks import BROKEN_S, WARNING_S
    from collector.doctor.patient import FACTS
    from collector.doctor.remedies import OF_KUBELETS, REMEDIES
    from collector.doctor.view import SCHEMA

    lines = [
        "# `heapster doctor`\n",
        NOTE.strip() + "\n",
        "Says whether the collector could run with its flags, and what to change where it could not:\n",
        "```",
        "heapster doctor --source=kubernetes.summary_api:?kubeletHttps=true --sink=influxdb:http://monitoring-influxdb:8086",
        "kubectl -n kube-system exec deployment/heapster -- /heapster doctor",
        "```\n",
        "It takes the collector's own flags, so that the `args:` of a Deployment can stand behind it; without any it takes those of the",
        "collector that is process 1, which it is in its own container. No collector is started and nothing that lasts is written:",
        "InfluxDB 1.x is sent a write without a point and 2.x one that is a comment; no database is made; directories are tried with a",
        "file that has no name.\n",
        "Each check is `ok`, `warning` (it runs, with less than was asked for or than is wise), `broken` (something that was asked for does",
        "not work) or `skipped` (not asked for, or something before it is broken, which the words name). The exit status is 0 when nothing",
        "is broken, 1 when something is, 2 when the command line cannot be read. Secrets are masked. On a terminal it is a table, elsewhere",
        "aligned lines, in which nodes that share a trouble share a line; `--output json` has every finding of every node.\n",
        f"Clocks are compared by the `Date` of answers: from {WARNING_S:g} s on a difference is a warning, from {BROKEN_S:g} s on it is broken.",
        "Rights are asked for by SelfSubjectAccessReview, those that the flags take and no more.\n",
        "## Checks, in their order\n",
        "| check | what is looked at | skipped where |",
        "|---|---|---|",
        *(f"| `{check.name}` | {check.about} | {'; '.join(FACTS[fact] for fact in check.needs)} |" for check in CHECKS),
        "",
        "## What can be wrong, and what to do\n",
        "`{...}` is filled with what is known of the case; `{trouble}` is what the part of the collector says that met it.\n",
        "| cause | what is said | remedy |",
        "|---|---|---|",
        *(f"| `{name}` | {row.words} | {row.remedy} |" for name, row in REMEDIES.items()),
        *(f"| `{name}` | {CAUSES[name].words} | {CAUSES[name].remedy} |" for name in OF_KUBELETS),
        "",
        "## `--series`\n",
        "`heapster doctor --series` with the same flags says how many series and points each InfluxDB sink would write (without one: the",
        "default one), by namespace and measurement, before any is. A collector of its own scrapes the cluster twice, 16 s apart, for rates",
        "are between two scrapes; what the sink would send of the second is counted and sent nowhere. `--output json` has every namespace",
        "and measurement, and each of their pairs in `cells`.\n",
        "## `--output json`\n",
        "```json",
        json.dumps(SCHEMA, indent=2),
        "```",
    ]
    return "\n".join(lines) + "\n"


_METRICS_API = (
    "Lists and objects come as tables to who asks so (`Accept: application/json;as=Table;v=v1;g=meta.k8s.io`, also `v=v1beta1`;",
    "`includeObject=None|Metadata|Object`): metrics-server's columns, and with `-o wide` ephemeral storage and swap.\n",
    "Pages: `limit` and `continue`. All pages are of the moment of the first; `remainingItemCount` is given without selectors. A",
    "moment is remembered for five minutes, or for less where it takes much memory (96 MB for all); then a token is answered 410, with",
    "another one that goes on at the same place of what is shown then. A token that is none is 400. `v1alpha1` has no pages.\n",
    "Watches: `watch=true`, of `v1` and `v1beta1`. Without `resourceVersion`, or with `0`, all there is comes as ADDED first; from the",
    "version of a list, what changed since. Then with each light round (`--light-resolution`; each batch, where that is 0): MODIFIED for",
    "every new point, ADDED and DELETED for what is shown anew and no longer, also by a label that changes; BOOKMARK with",
    "`allowWatchBookmarks`; `sendInitialEvents` as in Kubernetes. A version that is not remembered is an ERROR event, 410. After a list",
    "with `limit`, or while others watch the same, changes are told exactly; else all that is shown is told once, and what was deleted.",
    "A watch that is cut within a tick is taken up again from the last object's version without loss. A slow client misses points in",
    "between and nothing else: no events are kept for it; one that does not read for a minute is cut off. At most `--api-max-watches` at",
    "a time, one more is 429. A watch ends after `timeoutSeconds`, else after half an hour to an hour; whether it is allowed is asked",
    "when it begins, as an API server does. It is never compressed.\n",
    "Of `/openapi/v2` and `/openapi/v3/...` there is JSON, from which an aggregator makes protobuf for its clients; whoever takes",
    "protobuf only is answered 406, here as everywhere.\n",
)


def _route_table(listed: Iterable[Route], *, rights: bool = False) -> list[str]:
    head = ("method", "path", "answer", "name in the HTTP metrics", *(["right"] if rights else ()))
    return [f"| {' | '.join(head)} |", "|" + "---|" * len(head), *_route_rows(listed, rights=rights)]


def _route_rows(listed: Iterable[Route], *, rights: bool = False) -> list[str]:
    return [
        f"| {'any' if route.method == '*' else route.method} | `{route.path}` | {spec_of(route).about} | `{route.name}` |"
        + (f" {route.right.value if is_viewed(route.path) else ''} |" if rights else "")
        for route in listed
    ]


def prometheus() -> str:
    """docs/prometheus.md, from the families of `/metrics/cluster` and the collector's own metrics."""
    lines = [
        "# Prometheus metrics\n",
        NOTE.strip() + "\n",
        "## `/metrics/cluster`: the cluster\n",
        "A family for each kind of entity, so that `sum()` counts nothing twice; `?kind=node,pod` asks for some kinds only.",
        "At thousands of nodes that is what to do: all kinds of 5,000 nodes are 1.7 GB of text. Samples carry no timestamps,",
        "so a node or pod that vanished is stale at once; their age is in `heapster_node_sample_timestamp_seconds`.\n",
        "| family | type | labels | meaning |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| `{family.sample_name}` | {'counter' if family.counter else 'gauge'} | {', '.join(f'`{label}`' for label in family.labels)} | {family.help} |"
        for family in families()
    ]
    lines += ["", "## `/metrics`: the collector itself\n", "| metric | type | labels | meaning |", "|---|---|---|---|"]
    lines += [
        f"| `{row.name}` | {row.type.name.lower()} | {', '.join(f'`{label}`' for label in row.labels)} | {row.help} |"
        for row in (*OWN_METRICS, LAST_SCRAPE)
    ]
    lines += map(_summary_row, OWN_SUMMARIES)
    lines += [
        "",
        "## `/metrics`: Heapster's names in no base unit\n",
        "The same observations, for old alerts and dashboards; `/metrics?names=base` leaves them out, and then",
        "`promtool check metrics` has no complaint. Quantiles (0.5, 0.9, 0.99) are exact ones of the last ten minutes, of the",
        "latest 120 observations at most.\n",
        "| metric | type | labels | meaning |",
        "|---|---|---|---|",
        *map(_summary_row, HEAPSTER_SUMMARIES),
    ]
    return "\n".join(lines) + "\n"


def _summary_row(row: OwnSummary) -> str:
    labels = f"`{row.label}`, `quantile`" if row.quantiles else f"`{row.label}`"
    return f"| `{row.name}` | summary | {labels} | {row.help} |"


PAGES = {
    "flags.md": flags,
    "metrics.md": metrics,
    "sinks.md": sinks,
    "api.md": routes,
    "prometheus.md": prometheus,
    "doctor.md": doctor,
    "openapi.json": lambda: document_text(ROUTES),
}


def main() -> int:
    """Write the pages, or with `--check` name those that are out of date."""
    stale = []
    for name, page in PAGES.items():
        path, text = DOCS / name, page().rstrip("\n") + "\n"
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        if "--check" in sys.argv:
            stale.append(name)
        else:
            path.write_text(text, encoding="utf-8")
    for name in stale:
        sys.stderr.write(f"docs/{name} is not what the code says: run make docs\n")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
