"""The published description of the API, with what FastAPI cannot know: bodies that we parse ourselves, and keys."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from app.errors import ApiError

BODY = "x-manta-body"
"""Where an operation keeps its body's model until the description is made."""

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
SECURITY_SCHEMES = {
    "ApiKey": {"type": "http", "scheme": "bearer", "description": "Your API key, such as the one in .manta/api-key."},
    "ApiKeyHeader": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


def request_body(model: type[BaseModel]) -> dict[str, Any]:
    """What an endpoint that parses its own body says of it: for ``openapi_extra``."""
    schema = {"$ref": REF.format(model=model.__name__)}
    return {
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
        BODY: model,
    }


def describe(app: FastAPI) -> None:
    """Make ``app`` publish its whole description."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _complete(generate())
        return app.openapi_schema

    app.openapi = openapi


def _complete(document: dict[str, Any]) -> dict[str, Any]:
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    bodies: set[type[BaseModel]] = {
        operation.pop("x-manta-body") for operation in operations if "x-manta-body" in operation
    }
    inputs = [(body, "validation") for body in sorted(bodies, key=lambda body: body.__name__)]
    _, definitions = models_json_schema(inputs, ref_template=REF)  # type: ignore[arg-type]
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
    # The empty entry: a key is not needed everywhere.
    document["security"] = [{}, *({name: []} for name in SECURITY_SCHEMES)]
    return document
