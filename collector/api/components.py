"""What routes share in the OpenAPI document: schemas, parameters, and what a path that ends in a certain way answers.

Heapster's groups name their routes alike, so most routes need no words of their own: `spec_of` finds them by path.
"""

import re
from typing import Any

from collector.api.route import Route
from collector.api.spec import BY_PATH, Parameter, Schema, Spec

TIME: dict[str, Any] = {"type": "string", "format": "date-time"}
_TEXTS: dict[str, Any] = {"type": "array", "items": {"type": "string"}}


def _object(required: str, **properties: Any) -> dict[str, Any]:
    """An object with these properties and no others; `required` names those always there."""
    found: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**found, "required": required.split()} if required else found


NAMES = Schema("Names", {**_TEXTS, "description": "Sorted."})
SERIES = Schema(
    "Series",
    _object(
        "metrics latestTimestamp",
        metrics={
            "type": "array",
            "items": _object(
                "timestamp value",
                timestamp=TIME,
                value={
                    "type": "integer",
                    "minimum": 0,
                    "description": "Unsigned, 64 bits: cut toward zero; a negative value -n stands as 2^64 - n.",
                },
            ),
        },
        latestTimestamp={**TIME, "description": "0001-01-01T00:00:00Z when there is no point."},
    ),
)
SERIES_LIST = Schema("SeriesList", _object("items", items={"type": "array", "items": SERIES}))
_NUMBER = Schema("AggregatedValue", _object("", intValue={"type": "integer"}, floatValue={"type": "number"}))
AGGREGATION = Schema(
    "Aggregation",
    _object(
        "buckets bucketSize",
        buckets={
            "type": "array",
            "items": _object(
                "timestamp",
                timestamp=TIME,
                count={"type": "integer", "minimum": 0},
                **dict.fromkeys(("average", "maximum", "minimum", "median"), _NUMBER),
                percentiles={"type": "object", "additionalProperties": _NUMBER},
            ),
        },
        bucketSize={"type": "integer", "description": "Nanoseconds; 0 when no bucket was asked for."},
    ),
)
AGGREGATION_LIST = Schema("AggregationList", _object("items", items={"type": "array", "items": AGGREGATION}))

_USAGE = Schema("Usage", _object("cpu memory", cpu={"type": "string"}, memory={"type": "string"}))
_META = {"name": {"type": "string"}, "namespace": {"type": "string"}, "creationTimestamp": TIME}
_OF_OBJECT = {"metadata": {"type": "object", "properties": _META}, "timestamp": TIME, "window": {"type": "string"}}
NODE_METRICS = Schema("NodeMetrics", {"type": "object", "properties": {**_OF_OBJECT, "usage": _USAGE}})
_CONTAINER = _object("name usage", name={"type": "string"}, usage=_USAGE)
POD_METRICS = Schema(
    "PodMetrics",
    {"type": "object", "properties": {**_OF_OBJECT, "containers": {"type": "array", "items": _CONTAINER}}},
)


def _listed(item: Schema) -> Schema:
    properties = {"metadata": {"type": "object"}, "items": {"type": ["array", "null"], "items": item}}
    return Schema(f"{item.name}List", {"type": "object", "required": ["items"], "properties": properties})


_MOMENT = {"anyOf": [TIME, {"const": ""}]}
START = Parameter("start", "The oldest moment, RFC 3339 with a zone; empty is as if it were not given.", _MOMENT)
END = Parameter("end", "The newest moment, RFC 3339 with a zone; now when it is empty or not given.", _MOMENT)
LABELS = Parameter(
    "labels",
    "All labels of a labelled value, as key:value,key:value.",
    {"type": "string", "pattern": "^([^:,]+:[^,]+(,[^:,]+:[^,]+)*)?$"},
)
BUCKET = Parameter(
    "bucket", "Width of the buckets, such as 90s or 2h.", {"type": "string", "pattern": "^[0-9]+(ms|s|m|h|d)$"}
)
SELECTOR = Parameter("labelSelector", "A Kubernetes label selector.", {"type": "string"})

_WINDOW = (START, END, LABELS)

PATH_PARAMETERS = {
    "node": "Name of a node.",
    "namespace": "Name of a namespace.",
    "pod": "Name of a pod.",
    "container": "Name of a container.",
    "pods": "Names of pods, with commas between them.",
    "metric": "Name of a metric; its slashes may stand as they are.",
}

_AGGREGATED = (*_WINDOW, BUCKET)
_MODEL = "/api/v1/(model|historical)"
_METRICS = "/apis/metrics[^/]*/v1alpha1"
_BY_PATH: tuple[tuple[str, Spec], ...] = (
    (
        f"{_MODEL}.*/[a-z-]+-list/{{}}/metrics-aggregated/{{}}/{{}}",
        Spec(AGGREGATION_LIST, _AGGREGATED, (400, 500), "Aggregations of one metric, for each pod named."),
    ),
    (
        f"{_MODEL}.*/metrics-aggregated/{{}}/{{}}",
        Spec(AGGREGATION, _AGGREGATED, (400, 500), "Aggregations of one metric."),
    ),
    ("/api/v1/historical.*-list/{}/metrics/{}", Spec(SERIES_LIST, _WINDOW, (400, 500), "A series for each pod named.")),
    ("/api/v1/historical.*/metrics/{}", Spec(SERIES, _WINDOW, (400, 500), "Series of one metric.")),
    ("/api/v1/historical.*/[a-z]+", Spec(NAMES, (), (500,), "Names.")),
    (f"{_MODEL}.*-list/{{}}/metrics/{{}}", Spec(SERIES_LIST, _WINDOW, (400,))),
    (f"{_MODEL}.*/metrics/{{}}", Spec(SERIES, _WINDOW, (400,), "Series of one metric.")),
    (f"{_MODEL}.*/metrics", Spec(NAMES, about="Names of the metrics there are.")),
    (f"{_MODEL}.*/pods", Spec(NAMES, about="Names of pods.")),
    (f"{_MODEL}.*/containers", Spec(NAMES, about="Names of containers.")),
    (f"{_MODEL}.*/freecontainers", Spec(NAMES, about="Names of system containers.")),
    (f"{_MODEL}.*/[a-z]+", Spec(NAMES)),
    (f"{_METRICS}/nodes", Spec(_listed(NODE_METRICS), (SELECTOR,), (400,), "Usage of every node.")),
    (f"{_METRICS}/nodes/{{}}", Spec(NODE_METRICS, errors=(404,), about="Usage of one node.")),
    (f"{_METRICS}.*/pods", Spec(_listed(POD_METRICS), (SELECTOR,), (400,), "Usage of pods.")),
    (f"{_METRICS}.*/pods/{{}}", Spec(POD_METRICS, errors=(404, 500), about="Usage of one pod.")),
)
"""Pattern of a path, `{}` for each of its parameters -> what such a route takes and answers. The first match counts."""


def spec_of(route: Route) -> Spec:
    """What is known of a route: its own words, and where it has none the path's."""
    path = re.sub("{[^}]*}", "{}", route.path)
    by_path = next((spec for pattern, spec in _BY_PATH if re.fullmatch(pattern, path)), BY_PATH)
    own = route.spec
    about = own.about or (route.handler.__doc__ or "").split("\n")[0] or by_path.about
    return Spec(
        own.answer or by_path.answer,
        own.query or by_path.query,
        own.errors or by_path.errors,
        about,
        own.content,
        own.status,
    )
