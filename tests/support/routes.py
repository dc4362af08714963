"""The route table, read from the application: what there is to call, and what each route asks of its caller."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import SecretStr
from starlette.routing import BaseRoute

from app.main import create_app
from app.routers.dependencies import REQUIREMENTS, Requirement, exempt, public
from app.services import build_services
from app.services.catalog import Catalog, StaticCatalog
from app.services.inprocess import InProcessBackend
from app.settings import Settings
from tests.support.brief import Brief

PARAMETER = re.compile(r"\{(\w+)(?::\w+)?\}")


@dataclass(frozen=True, slots=True)
class Entry(Brief):
    """One method of one route.

    Attributes:
        requirement: What it asks of its caller; None for nothing.
    """

    method: str
    path: str
    requirement: Requirement | None

    @property
    def parameters(self) -> list[str]:
        """The names in its path."""
        return PARAMETER.findall(self.path)

    def filled(self, values: Mapping[str, str]) -> str:
        """Its path with values for the names, made up where there is none."""
        return PARAMETER.sub(lambda match: values.get(match[1], f"made-up-{match[1]}"), self.path)

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def unconnected_app() -> FastAPI:
    """The application as it stands before anybody called: to be looked at."""
    settings = Settings(
        state_dir=Path("nowhere"), secret_key=SecretStr("x" * 32), jwt_keys=[SecretStr("x" * 32)], profile="production"
    )
    catalog = StaticCatalog(Catalog.of([]))
    return create_app(build_services(settings, "mongodb://127.0.0.1:1/", catalog, InProcessBackend({})))


def declared(route: APIRoute) -> set[Callable[..., Any]]:
    """What a route asks of its caller: all that it says of it, wherever it says it."""
    found = {dependant.call for dependant in _dependants(route.dependant)}
    return {call for call in found if call in (public, exempt) or call in REQUIREMENTS}  # type: ignore[misc]


def undeclared(app: FastAPI) -> list[str]:
    """Routes that ask for nothing, not even for being public, or for more than one thing."""
    return [route.path for route in app.routes if isinstance(route, APIRoute) and len(declared(route)) != 1]


def others(app: FastAPI) -> Sequence[BaseRoute]:
    """What can be called and is no endpoint of ours."""
    return [route for route in app.routes if not isinstance(route, APIRoute)]


def table(app: FastAPI, prefix: str) -> list[Entry]:
    """Every method of every endpoint below a prefix, each once; what ``undeclared`` names is left out."""
    entries: dict[tuple[str, str], Entry] = {}
    for route in app.routes:
        if not isinstance(route, APIRoute) or not route.path.startswith(prefix) or len(declared(route)) != 1:
            continue
        (call,) = declared(route)
        for method in sorted(route.methods):
            # The first is the one that answers.
            entries.setdefault((method, route.path), Entry(method, route.path, REQUIREMENTS.get(call)))
    return list(entries.values())


def _dependants(dependant: Dependant) -> Iterator[Dependant]:
    yield dependant
    for below in dependant.dependencies:
        yield from _dependants(below)
