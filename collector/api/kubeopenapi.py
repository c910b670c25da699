"""OpenAPI as a kube-apiserver asks for it: version 2 in one document, version 3 in one for each version of the group.

kube-aggregator merges them into its own, from which `kubectl explain` reads. Version 3 is found by an index that names
the hash of each document: with it a client keeps a document for ever. What the documents say is in `kubeschema`.
"""

import json
from functools import cache
from typing import Final

from collector.api.discovery import entity_hash, tagged
from collector.api.kubeschema import document_v2, document_v3
from collector.api.metrics_objects import AGGREGATED, Version
from collector.api.route import Answer, Context, Document, Handler, Request, Route, Style
from collector.api.status import accepted, is_json, not_acceptable, object_answer

V2: Final = "/openapi/v2"
V3: Final = "/openapi/v3"

PATHS: Final = (V2, V3, *(f"{V3}{version.root}" for version in AGGREGATED))

FOR_EVER: Final = "public, immutable, max-age=31536000"
EACH_TIME: Final = "no-cache, private"


def check_plain_json(request: Request) -> None:
    """Refuse who takes these documents as protobuf only: kube-apiserver makes that of the JSON itself."""
    if request.headers.get("Accept") and not any(is_json(name) for name, _ in accepted(request)):
        raise not_acceptable()


def version_2(_context: Context, request: Request) -> Answer:
    """The group in OpenAPI 2."""
    check_plain_json(request)
    return tagged(request, _v2(), Vary="Accept")


def index(_context: Context, request: Request) -> Answer:
    """Where the documents of OpenAPI 3 are."""
    check_plain_json(request)
    listed: dict[str, Document] = {
        version.root.removeprefix("/"): {"serverRelativeURL": f"{V3}{version.root}?hash={_hash(version)}"}
        for version in AGGREGATED
    }
    return object_answer(request, {"paths": listed}, Cache_Control=EACH_TIME)


def version_3(version: Version) -> Handler:
    """The handler that answers one version of the group in OpenAPI 3."""

    def document(_context: Context, request: Request) -> Answer:
        """One version of the group in OpenAPI 3; with its hash in the query for ever, with another a way to it."""
        check_plain_json(request)
        asked, current = request.argument("hash"), _hash(version)
        if asked and asked != current:
            target = f"{V3}{version.root}?hash={current}"
            return Answer(b"", status=301, headers={"Location": target, "Cache-Control": EACH_TIME})
        return tagged(request, _v3(version), Vary="Accept", Cache_Control=FOR_EVER if asked else EACH_TIME)

    return document


@cache
def _v2() -> bytes:
    return json.dumps(document_v2(), separators=(",", ":")).encode()


@cache
def _v3(version: Version) -> bytes:
    return json.dumps(document_v3(version), separators=(",", ":")).encode()


@cache
def _hash(version: Version) -> str:
    return entity_hash(_v3(version))


ROUTES: tuple[Route, ...] = (
    Route("GET", V2, version_2, Style.PLAIN, "openapiV2"),
    Route("GET", V3, index, Style.PLAIN, "openapiV3"),
    *(
        Route("GET", f"{V3}{version.root}", version_3(version), Style.PLAIN, "openapiV3Document")
        for version in AGGREGATED
    ),
)
