from __future__ import annotations

import re
from typing import Any

import httpx
import pytest
import pytest_asyncio
from fastapi.openapi.models import OpenAPI
from jsonschema import Draft202012Validator
from pydantic import BaseModel

from app.domain.model_spec import ModelSpec
from app.main import BODIES
from tests.support.gateway import Gateway


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def document(gateway: Gateway) -> dict[str, Any]:
    """The API's description."""
    response = await gateway.anonymous.get("/openapi.json")
    assert response.status_code == 200, response.text
    return response.json()


def operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {f"{verb} {path}": body for path, item in document["paths"].items() for verb, body in item.items()}


@pytest.mark.parametrize("path", ["/", "/docs", "/docs/", "/api/swagger/index.html"])
async def test_the_reference_is_shown_without_credentials(gateway: Gateway, path: str):
    response = await gateway.anonymous.get(path)
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/html")
    assert "/openapi.json" in response.text


async def test_the_reference_works_without_the_internet(gateway: Gateway):
    page = (await gateway.anonymous.get("/docs")).text
    assert "http://" not in page
    assert "https://" not in page
    assets = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len(assets) >= 3
    for asset in assets:
        response = await gateway.anonymous.get(asset)
        assert response.status_code == 200, asset
        assert response.content, asset


@pytest.mark.parametrize("path", ["nothing.js", "../main.py", "%2e%2e/%2e%2e/app/main.py", "%00", "x" * 3000, ""])
async def test_no_other_files_are_served(gateway: Gateway, path: str):
    response = await gateway.anonymous.get(httpx.URL(gateway.url).copy_with(raw_path=f"/docs/assets/{path}".encode()))
    assert response.status_code == 404, response.text
    assert response.json()["error"]["type"] == "not_found_error"


def test_the_description_is_openapi_3_1(document: dict[str, Any]):
    assert document["openapi"].startswith("3.1")
    OpenAPI.model_validate(document)


def test_every_schema_is_a_schema(document: dict[str, Any]):
    for name, schema in document["components"]["schemas"].items():
        Draft202012Validator.check_schema(schema)
        assert "x-manta" not in str(schema), name


def test_every_reference_leads_somewhere(document: dict[str, Any]):
    found: set[str] = set(re.findall(r"'\$ref': '([^']+)'", str(document)))
    assert found
    for reference in found:
        place: Any = document
        for step in reference.removeprefix("#/").split("/"):
            place = place[step]


def test_every_operation_has_a_name_of_its_own(document: dict[str, Any]):
    ids = [operation["operationId"] for operation in operations(document).values()]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize(
    "path",
    [
        "/chat/completions",
        "/completions",
        "/embeddings",
        "/messages",
        "/messages/count_tokens",
        "/tokenize",
        "/detokenize",
        "/rerank",
        "/score",
    ],
)
def test_inference_is_described_with_its_body_and_an_example_to_try(document: dict[str, Any], path: str):
    operation = document["paths"][f"/v1{path}"]["post"]
    body = operation["requestBody"]["content"]["application/json"]
    name = body["schema"]["$ref"].rpartition("/")[2]
    schema = document["components"]["schemas"][name]
    assert "model" in schema["properties"]
    examples = schema.get("examples") or [body.get("example")]
    assert examples[0], f"{name} has no example: Try it out would send nonsense"
    resolved = {**schema, "components": document["components"]}
    Draft202012Validator(resolved).validate(examples[0])


def test_every_operation_tells_how_failures_look(document: dict[str, Any]):
    for name, operation in operations(document).items():
        schema = operation["responses"]["default"]["content"]["application/json"]["schema"]
        assert schema == {"$ref": "#/components/schemas/Error"}, name
        assert "422" not in operation["responses"], name


def test_a_key_can_be_given_in_both_headers(document: dict[str, Any]):
    schemes = document["components"]["securitySchemes"].values()
    assert {(scheme["type"], scheme.get("scheme") or scheme.get("name")) for scheme in schemes} == {
        ("http", "bearer"),
        ("apiKey", "X-API-Key"),
    }
    named = {name for entry in document["security"] for name in entry}
    assert named == set(document["components"]["securitySchemes"])


def test_each_resource_is_shown_once(document: dict[str, Any]):
    assert not [path for path in document["paths"] if path.startswith("/api/")]
    assert "/models" not in document["paths"]
    assert "/v1/models" in document["paths"]


def test_each_group_has_its_place(document: dict[str, Any]):
    operations = [operation for item in document["paths"].values() for operation in item.values()]
    assert {tag for operation in operations for tag in operation["tags"]} == {tag["name"] for tag in document["tags"]}


async def test_the_examples_work_as_they_are_shown(gateway: Gateway, document: dict[str, Any]):
    for path, item in document["paths"].items():
        if not {"Chat", "Embeddings", "Anthropic", "Tokens"} & set(item.get("post", {}).get("tags", ())):
            continue
        name = item["post"]["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        example = document["components"]["schemas"][name]["examples"][0]
        kind = "org/embedder" if path in ("/v1/embeddings", "/v1/rerank", "/v1/score") else "scripted-chat"
        response = await gateway.client.post(path, json={**example, "model": kind})
        assert response.status_code == 200, (path, response.text)


@pytest.mark.parametrize("body", [body for body in BODIES if body is not ModelSpec], ids=lambda body: body.__name__)
def test_every_body_has_an_example_that_is_one(body: type[BaseModel]):
    (example,) = body.model_json_schema()["examples"]
    assert body.model_validate(example)
