"""Who may call from a browser."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response

from app.errors import InvalidRequest


class CrossOriginMiddleware(CORSMiddleware):
    """Starlette's, but that a preflight is refused in our words."""

    def preflight_response(self, request_headers: Headers) -> Response:
        """Answer a browser's question."""
        response = super().preflight_response(request_headers)
        if response.status_code < 400:
            return response
        error = InvalidRequest(f"{bytes(response.body).decode()}. MANTA_CORS_ORIGINS says who may call from a browser.")
        headers = {name: value for name, value in response.headers.items() if not name.startswith("content-")}
        return Response(error.json(), error.status, headers, "application/json")
