"""The published description of the API, with what FastAPI cannot know: bodies that we parse ourselves, and keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from app.errors import ApiError

REF = "#/components/schemas/{model}"
ERROR_SCHEMA = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
            "example": ApiError("What was wrong, and what to do.").body()["error"],
        }
    },
}
TAGS = (
    "Chat",
    "Stored chats",
    "Responses",
    "Conversations",
    "Assistants",
    "Threads",
    "Runs",
    "Embeddings",
    "Anthropic",
    "Tokens",
    "Models",
    "Identity",
    "Limits",
    "Usage",
    "Admin",
    "Organization",
    "Operations",
)
"""The groups of the reference, in the order it shows them."""

SECURITY_SCHEMES = {
    "ApiKey": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key, such as the one in .manta/api-key, or an access token.",
    },
    "ApiKeyHeader": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


def request_body(model: type[BaseModel], *, required: bool = True) -> dict[str, Any]:
    """What an endpoint that parses its own body says of it: for ``openapi_extra``."""
    schema = {"$ref": REF.format(model=model.__name__)}
    return {"requestBody": {"required": required, "content": {"application/json": {"schema": schema}}}}


def describe(app: FastAPI, bodies: Sequence[type[BaseModel]]) -> None:
    """Make ``app`` publish its whole description, ``bodies`` being the models that ``request_body`` named."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _complete(generate(), bodies)
        return app.openapi_schema

    app.openapi = openapi


def _complete(document: dict[str, Any], bodies: Sequence[type[BaseModel]]) -> dict[str, Any]:
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    inputs: list[tuple[type[BaseModel], JsonSchemaMode]] = [(body, "validation") for body in bodies]
    _, definitions = models_json_schema(inputs, ref_template=REF)
    schemas.update(definitions.get("$defs", {}))
    schemas["Error"] = ERROR_SCHEMA
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for operation in operations:
        operation["responses"].pop("422", None)
        operation["responses"]["default"] = {
            "description": "Any failure",
            "content": {"application/json": {"schema": {"$ref": REF.format(model="Error")}}},
        }
    components["securitySchemes"] = SECURITY_SCHEMES
    document["tags"] = [{"name": name} for name in TAGS]
    # The empty entry: a key is not needed everywhere.
    document["security"] = [{}, *({name: []} for name in SECURITY_SCHEMES)]
    return document
