"""All gateways of a test run have the same routes, and it takes half a second to make them: they are made once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from unittest.mock import patch

from fastapi import APIRouter, FastAPI
from starlette.routing import BaseRoute


class RoutesOnce:
    """Remembers what including a router gave."""

    def __init__(self) -> None:
        self._made: dict[tuple[int, str, bool], Sequence[BaseRoute]] = {}

    @contextmanager
    def kept(self) -> Iterator[None]:
        """While it lasts, an application that includes a router gets the routes that an earlier one got."""
        make = FastAPI.include_router

        def include(app: FastAPI, router: APIRouter, *, prefix: str = "", include_in_schema: bool = True) -> None:
            # Routers are made at import and stay: their ids are theirs alone.
            key = (id(router), prefix, include_in_schema)
            if key in self._made:
                app.router.routes.extend(self._made[key])
                return
            known = len(app.router.routes)
            make(app, router, prefix=prefix, include_in_schema=include_in_schema)
            self._made[key] = app.router.routes[known:]

        with patch.object(FastAPI, "include_router", include):
            yield


routes_once = RoutesOnce()
