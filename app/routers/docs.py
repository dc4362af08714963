"""The API reference in the browser. Its assets come from a package, so it works offline."""

from __future__ import annotations

from pathlib import Path

import fastapi_offline
from fastapi import APIRouter
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles

from app.routers.dependencies import EXEMPT

ASSETS_PATH = "/docs/assets"

router = APIRouter(include_in_schema=False, dependencies=[EXEMPT])


def assets() -> StaticFiles:
    """Swagger UI's own files, to be mounted at ``ASSETS_PATH``."""
    return StaticFiles(directory=Path(fastapi_offline.__file__).parent / "static")


@router.get("/", response_class=HTMLResponse)
@router.get("/docs", response_class=HTMLResponse)
@router.get("/api/swagger/index.html", response_class=HTMLResponse)
async def reference() -> HTMLResponse:
    """Show the API reference."""
    return get_swagger_ui_html(
        openapi_url="/openapi.json",
        title="Manta API reference",
        swagger_js_url=f"{ASSETS_PATH}/swagger-ui-bundle.js",
        swagger_css_url=f"{ASSETS_PATH}/swagger-ui.css",
        swagger_favicon_url=f"{ASSETS_PATH}/favicon.png",
        swagger_ui_parameters={
            "persistAuthorization": True,
            "tryItOutEnabled": True,
            "displayRequestDuration": True,
            # Folded away: a long list that few come for.
            "defaultModelsExpandDepth": 0,
        },
    )
