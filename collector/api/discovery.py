"""Discovery of the second server: which groups, versions and resources there are, in every form that is asked for.

`GET /apis` with `as=APIGroupDiscoveryList` answers all of it at once, as kube-aggregator of today asks; others ask path
by path. It answers from the first moment: while it does not, every kubectl of the cluster prints errors.
"""

import hashlib
from typing import Final

from collector.api import jsontext
from collector.api.metrics_objects import AGGREGATED, GROUP, NODES, PODS, Version
from collector.api.route import Answer, Context, Document, Handler, Request
from collector.api.status import accepted, check_accept, is_json, object_answer

DISCOVERY: Final = "apidiscovery.k8s.io"


def verbs(version: Version) -> list[Document]:
    """What can be done with the resources of a version."""
    return ["get", "list", "watch"] if version.sampled else ["get", "list"]


def group_list(_context: Context, request: Request) -> Answer:
    """The one API group there is, with the address it was asked at; or all that it has, when asked so."""
    together = _together(request)
    if together:
        return _aggregated(request, together)
    check_accept(request)
    address = {"clientCIDR": "0.0.0.0/0", "serverAddress": request.headers.get("Host", "")}
    found = {**_group(), "serverAddressByClientCIDRs": [address]}
    # Without apiVersion, as it was with Kubernetes 1.1 and stayed.
    return object_answer(request, {"kind": "APIGroupList", "groups": [found]}, Vary="Accept")


def group(_context: Context, request: Request) -> Answer:
    """The versions of the group, and which one to prefer."""
    document = {"kind": "APIGroup", "apiVersion": "v1", **_group(), "serverAddressByClientCIDRs": None}
    return object_answer(request, document)


def resource_list(version: Version) -> Handler:
    """The handler that lists the resources of a version."""

    def resources(_context: Context, request: Request) -> Answer:
        """The resources of this version: nodes and pods."""
        listed: list[Document] = [
            {
                "name": resource.plural,
                "singularName": "",  # kubectl then takes the kind in lower case: nodemetrics, podmetrics
                "namespaced": resource.namespaced,
                "kind": resource.kind,
                "verbs": verbs(version),
            }
            for resource in (NODES, PODS)
        ]
        head = {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version.api_version}
        return object_answer(request, {**head, "resources": listed})

    return resources


def _group() -> dict[str, Document]:
    versions: list[Document] = [{"groupVersion": each.api_version, "version": each.name} for each in AGGREGATED]
    return {"name": GROUP, "versions": versions, "preferredVersion": versions[0]}


def _together(request: Request) -> str:
    """The version of the aggregated form, when the client prefers that; empty: it does not."""
    for name, parameters in accepted(request):
        if not is_json(name):
            continue
        if "as" not in parameters:
            return ""
        asked = parameters["as"], parameters.get("g"), parameters.get("v")
        if asked[:2] == ("APIGroupDiscoveryList", DISCOVERY) and asked[2] in {"v2", "v2beta1"}:
            return asked[2] or ""
    return ""


def _aggregated(request: Request, form: str) -> Answer:
    versions: list[Document] = [
        {
            "version": version.name,
            "resources": [
                {
                    "resource": resource.plural,
                    "responseKind": {"group": "", "version": "", "kind": resource.kind},
                    "scope": "Namespaced" if resource.namespaced else "Cluster",
                    "singularResource": "",
                    "verbs": verbs(version),
                }
                for resource in (NODES, PODS)
            ],
            "freshness": "Current",
        }
        for version in AGGREGATED
    ]
    item: Document = {"metadata": {"name": GROUP, "creationTimestamp": None}, "versions": versions}
    document: dict[str, Document] = {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": f"{DISCOVERY}/{form}",
        "metadata": {},
        "items": [item],
    }
    body = f"{jsontext.compact(document)}\n".encode()
    content = f"application/json;g={DISCOVERY};v={form};as=APIGroupDiscoveryList"
    return tagged(request, body, content, Vary="Accept")


def tagged(request: Request, body: bytes, content_type: str = "application/json", **headers: str) -> Answer:
    """`body` with its entity tag; 304 when the client has it."""
    tag = f'"{entity_hash(body)}"'
    told = {"ETag": tag, **{name.replace("_", "-"): value for name, value in headers.items()}}
    known = [each.strip().removeprefix("W/") for each in request.headers.get("If-None-Match", "").split(",")]
    if tag in known or "*" in known:
        return Answer(b"", content_type, 304, told)
    return Answer(body, content_type, headers=told)


def entity_hash(body: bytes) -> str:
    """What tells this body from others."""
    return hashlib.sha512(body).hexdigest().upper()
