"""What the OpenAPI documents of the resource metrics API say: schemas of its objects, paths, parameters.

One description serves OpenAPI 2 and 3: `_Dialect` knows where they differ. Schemas have the names that they have in
Kubernetes' own documents, so that a merge finds them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from collector import __version__
from collector.api.metrics_objects import AGGREGATED, GROUP, NODES, PODS, Resource, Version
from collector.api.metrics_protobuf import PROTOBUF

META: Final = "io.k8s.apimachinery.pkg.apis.meta.v1"
QUANTITY: Final = "io.k8s.apimachinery.pkg.api.resource.Quantity"

LIST_OPTIONS: Final = (
    ("allowWatchBookmarks", "boolean", "Whether a watch is sent events of type BOOKMARK, one each tick."),
    ("continue", "string", "Where a list goes on: `metadata.continue` of the page before."),
    ("fieldSelector", "string", "Restricts the list by metadata.name and metadata.namespace."),
    ("labelSelector", "string", "Restricts the list by labels."),
    ("limit", "integer", "The most items of one answer; the rest is behind `metadata.continue`."),
    ("resourceVersion", "string", "What the client knows already: `metadata.resourceVersion` of a list."),
    ("resourceVersionMatch", "string", "How resourceVersion applies to a list: Exact or NotOlderThan."),
    ("sendInitialEvents", "boolean", "Whether a watch begins with all there is."),
    ("timeoutSeconds", "integer", "After how long a watch ends."),
    ("watch", "boolean", "Whether to be told of changes, as a stream of events."),
)


@dataclass(frozen=True, slots=True)
class _Dialect:
    """Where the two versions differ."""

    references: str
    version_2: bool = False

    def reference(self, name: str) -> dict[str, Any]:
        """A schema by name."""
        return {"$ref": f"{self.references}{name}"}

    def parameter(self, name: str, place: str, kind: str, about: str) -> dict[str, Any]:
        """A parameter of the path or of the query."""
        head: dict[str, Any] = {"name": name, "in": place, "description": about}
        if place == "path":
            head["required"] = True
        typed = {"type": kind, "uniqueItems": True}
        return {**head, **typed} if self.version_2 else {**head, "schema": typed}

    def answer(self, schema: str, media: Sequence[str]) -> dict[str, Any]:
        """What a response of any of these media types holds."""
        reference = self.reference(schema)
        if self.version_2:
            return {"200": {"description": "OK", "schema": reference}}
        return {"200": {"description": "OK", "content": {each: {"schema": reference} for each in media}}}


V2: Final = _Dialect("#/definitions/", version_2=True)
V3: Final = _Dialect("#/components/schemas/")


def document_v2() -> dict[str, Any]:
    """The group in OpenAPI 2."""
    paths: dict[str, Any] = {}
    schemas = _meta_schemas(V2)
    for version in AGGREGATED:
        paths |= _paths(V2, version)
        schemas |= _schemas(V2, version)
    return {"swagger": "2.0", "info": _info(), "paths": paths, "definitions": dict(sorted(schemas.items()))}


def document_v3(version: Version) -> dict[str, Any]:
    """One version of the group in OpenAPI 3."""
    schemas = _meta_schemas(V3) | _schemas(V3, version)
    components = {"schemas": dict(sorted(schemas.items()))}
    return {"openapi": "3.0.0", "info": _info(), "paths": _paths(V3, version), "components": components}


def _info() -> dict[str, str]:
    return {"title": "Heapster", "version": __version__}


def _name(version: Version, kind: str) -> str:
    return f"io.k8s.metrics.pkg.apis.metrics.{version.name}.{kind}"


def _kind(version: Version, kind: str) -> dict[str, str]:
    return {"group": GROUP, "kind": kind, "version": version.name}


def _schemas(dialect: _Dialect, version: Version) -> dict[str, Any]:
    """The objects of a version, and their lists."""
    usage = {
        "type": "object",
        "description": "The amount of each resource that was in use: cpu, memory, and where they are known "
        "ephemeral-storage and swap.",
        "additionalProperties": dialect.reference(QUANTITY),
    }
    container = _object(
        "Usage of one container.",
        {"name": {"type": "string", "description": "Name of the container, as in its pod."}, "usage": usage},
        required=("name", "usage"),
    )
    measured = {
        "timestamp": dialect.reference(f"{META}.Time"),
        "window": dialect.reference(f"{META}.Duration"),
    }
    containers = {
        "type": "array",
        "description": "Usage of each container, taken over the same window.",
        "items": dialect.reference(_name(version, "ContainerMetrics")),
    }
    found = {_name(version, "ContainerMetrics"): container}
    for resource, about, own in (
        (NODES, "Usage of one node.", {"usage": usage}),
        (PODS, "Usage of the containers of one pod.", {"containers": containers}),
    ):
        found[_name(version, resource.kind)] = _object(
            about,
            {**_type_meta(), "metadata": dialect.reference(f"{META}.ObjectMeta"), **measured, **own},
            required=("timestamp", "window", *own),
            kind=_kind(version, resource.kind),
        )
        items = {
            "type": "array",
            "description": f"The {resource.plural}.",
            "items": dialect.reference(_name(version, resource.kind)),
        }
        found[_name(version, f"{resource.kind}List")] = _object(
            f"A list of {resource.kind}.",
            {**_type_meta(), "metadata": dialect.reference(f"{META}.ListMeta"), "items": items},
            required=("items",),
            kind=_kind(version, f"{resource.kind}List"),
        )
    return found


def _meta_schemas(dialect: _Dialect) -> dict[str, Any]:
    """What all groups have; of metadata, the fields that ours use."""
    text = {"type": "string"}
    created = {**dialect.reference(f"{META}.Time")}
    names = {
        "name": {**text, "description": "Name of the node or of the pod."},
        "namespace": {**text, "description": "Namespace of the pod."},
        "resourceVersion": {**text, "description": "Version of this object: it changes with each new point."},
        "creationTimestamp": created,
        "labels": {
            "type": "object",
            "description": "Labels of the node or of the pod.",
            "additionalProperties": text,
        },
    }
    listed = {
        "resourceVersion": {**text, "description": "Version that a watch of the changes begins with."},
        "continue": {**text, "description": "Where the list goes on; empty at its end."},
        "remainingItemCount": {"type": "integer", "format": "int64", "description": "Items that are still to come."},
    }
    moment = "Time of the newest sample of a node, and of the oldest one among the containers of a pod."
    return {
        QUANTITY: {**text, "description": "An amount: digits and a unit, such as 250m, 12345n or 64Mi."},
        f"{META}.Time": {**text, "format": "date-time", "description": moment},
        f"{META}.Duration": {**text, "description": "Time that the CPU usage is an average of, such as 15s."},
        f"{META}.ObjectMeta": _object("Name, namespace and labels of what was measured.", names),
        f"{META}.ListMeta": _object("Version of the list, and where it goes on.", listed),
    }


def _object(
    about: str, properties: Mapping[str, Any], *, required: tuple[str, ...] = (), kind: dict[str, str] | None = None
) -> dict[str, Any]:
    document: dict[str, Any] = {"description": about, "type": "object"}
    if required:
        document["required"] = list(required)
    document["properties"] = dict(properties)
    if kind is not None:
        document["x-kubernetes-group-version-kind"] = [kind]
    return document


def _type_meta() -> dict[str, Any]:
    return {
        "apiVersion": {"type": "string", "description": "Group and version of this representation."},
        "kind": {"type": "string", "description": "What this object is."},
    }


def _paths(dialect: _Dialect, version: Version) -> dict[str, Any]:
    """Each path of a version."""
    namespace = dialect.parameter("namespace", "path", "string", "Namespace of the pods.")
    found: dict[str, Any] = {}
    for path, resource, scope, above in (
        ("nodes", NODES, "", []),
        ("namespaces/{namespace}/pods", PODS, "Namespaced", [namespace]),
        ("pods", PODS, "ForAllNamespaces", []),
    ):
        found[f"{version.root}/{path}"] = _path(dialect, version, resource, (scope, "list"), above)
        if scope != "ForAllNamespaces":
            name = dialect.parameter("name", "path", "string", f"Name of the {resource.plural.removesuffix('s')}.")
            one = _path(dialect, version, resource, (scope, "get"), [name, *above])
            found[f"{version.root}/{path}/{{name}}"] = one
    return found


def _path(
    dialect: _Dialect, version: Version, resource: Resource, what: tuple[str, str], above: list[Any]
) -> dict[str, Any]:
    """One path: (scope, action) `what`, with the parameters `above` it in the path."""
    scope, action = what
    before, behind = (scope, "") if scope == "Namespaced" else ("", scope)
    word = "list" if action == "list" else "read"
    packed = action == "list" and resource is PODS and version.sampled
    media = ("application/json", PROTOBUF) if packed else ("application/json",)
    of_version = version.name[0].upper() + version.name[1:]
    operation: dict[str, Any] = {
        "operationId": f"{word}Metrics{of_version}{before}{resource.kind}{behind}",
        "description": f"{'Usage of the' if action == 'list' else 'Usage of one of the'} {resource.plural}.",
        "tags": [f"metrics_{version.name}"],
        "responses": dialect.answer(
            _name(version, f"{resource.kind}List" if action == "list" else resource.kind), media
        ),
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": _kind(version, resource.kind),
    }
    if dialect.version_2:
        operation |= {"consumes": ["*/*"], "produces": list(media), "schemes": ["https"]}
    parameters = list(above)
    if action == "list" and version.sampled:
        parameters += [dialect.parameter(name, "query", kind, about) for name, kind, about in LIST_OPTIONS]
    return {"get": operation, **({"parameters": parameters} if parameters else {})}
