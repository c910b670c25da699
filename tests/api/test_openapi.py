"""The OpenAPI document: valid, whole, served, and the same as in docs/."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from api.golden import captures, recorded
from jsonschema import Draft202012Validator

from collector.api import ROUTES, offered
from collector.api.components import spec_of
from collector.api.openapi import PATH, document, with_document
from collector.api.route import Route, Style, text_answer
from collector.api.spec import Parameter, Schema, Spec

DOCUMENT = document(ROUTES)
DOCS = Path(__file__).parents[2] / "docs"


def resolved(reference: dict[str, Any]) -> Any:
    found: Any = DOCUMENT
    for name in reference.get("$ref", "").split("/")[1:]:
        found = found[name]
    return found if "$ref" in reference else reference


def operations() -> list[tuple[str, str, dict[str, Any]]]:
    return [(path, method, found) for path, item in DOCUMENT["paths"].items() for method, found in item.items()]


def test_it_is_valid():
    schemathesis.openapi.from_dict(DOCUMENT).validate()
    for schema in DOCUMENT["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


def test_every_route_is_in_it():
    written = {(path, method) for path, method, _ in operations()}
    expected = {
        (route.path.replace(":*", ""), "get" if route.method == "*" else route.method.lower()) for route in ROUTES
    }
    assert written == expected
    assert len({found["operationId"] for _, _, found in operations()}) == len(ROUTES)


def test_every_reference_leads_somewhere_and_every_path_parameter_is_described():
    for reference in re.findall(r'"\$ref": "([^"]+)"', json.dumps(DOCUMENT)):
        assert resolved({"$ref": reference})
    for path, _, found in operations():
        parameters = [resolved(parameter) for parameter in found.get("parameters", [])]
        assert re.findall(r"\{(.*?)\}", path) == [p["name"] for p in parameters if p["in"] == "path"]


def test_every_route_says_what_it_answers_and_json_has_a_schema():
    for route in ROUTES:
        spec = spec_of(route)
        assert spec.about, route.path
        assert route.style is Style.PLAIN or spec.answer is not None, route.path


async def test_it_is_served_for_what_is_offered_and_kept_whole_in_the_docs(served, session):
    async with session.get(served.url(PATH)) as response:
        assert response.headers["Content-Type"] == "application/json"
        offer = await response.json()
    assert offer == document(offered(served.replay.context)[0])
    assert {path: item for path, item in DOCUMENT["paths"].items() if "/historical/" not in path} == offer["paths"]
    assert json.loads((DOCS / "openapi.json").read_text()) == DOCUMENT


@pytest.mark.parametrize("source", ["summary", "kubelet"])
def test_recorded_answers_of_the_original_fit_it(source):
    """Every recorded good JSON answer of a path in the document satisfies that path's schema."""
    by_path = []
    for path, method, found in operations():
        content = found["responses"].get("200", {}).get("content", {}).get("application/json")
        if method == "get" and content is not None:
            validator = Draft202012Validator({**content["schema"], "components": DOCUMENT["components"]})
            pattern = re.sub(r"\\\{(\w+)\\\}", lambda m: "(.+)" if m[1] == "metric" else "([^/]+)", re.escape(path))
            by_path.append((re.compile(f"{pattern}/?"), validator))
    fitted = 0
    for question in recorded(source, captures(source)[0]):
        if question.method != "GET" or question.answer["status"] != 200 or "body" not in question.answer:
            continue
        for pattern, validator in by_path:
            if pattern.fullmatch(question.target.partition("?")[0]):
                validator.validate(question.answer["body"])
                fitted += 1
                break
    assert fitted > 1000


def _route(path: str, spec: Spec) -> Route:
    return Route("GET", path, lambda _context, _request: text_answer(""), Style.PRETTY, "made up", spec)


def test_a_route_without_words_is_described_by_its_path():
    [(path, item)] = document([_route("/api/v1/model/things/{thing}/metrics/{metric:*}", Spec())])["paths"].items()
    found = item["get"]
    assert path == "/api/v1/model/things/{thing}/metrics/{metric}"
    assert found["summary"] == "Series of one metric."
    assert found["responses"]["200"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Series"}
    assert set(found["responses"]) == {"200", "301", "400", "404", "406"}


def test_schemas_within_schemas_become_components():
    tree = Schema("Tree", {"type": "object", "properties": {"leaf": Schema("Leaf", {"type": "string"})}})
    made = document([_route("/api/v1/x/{a}", Spec(tree, (Parameter("q", "A query.", {"type": "string"}),)))])
    assert made["components"]["schemas"] == {
        "Leaf": {"type": "string"},
        "Tree": {"type": "object", "properties": {"leaf": {"$ref": "#/components/schemas/Leaf"}}},
    }
    assert made["components"]["parameters"]["query.q"]["in"] == "query"


def test_two_schemas_of_one_name_are_a_mistake():
    routes = [_route(f"/api/v1/x/{n}", Spec(Schema("Twin", {"const": n}))) for n in (1, 2)]
    with pytest.raises(ValueError, match="Twin"):
        document(routes)


def test_the_document_describes_itself():
    [route] = with_document([])
    assert list(document([route])["paths"]) == [PATH]
