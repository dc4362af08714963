"""The scripted engine alone, under uvicorn: what a paced stream costs with nothing before it.

python -m scripts.bench.scripted_server <model.yaml> <port>
"""

from __future__ import annotations

import asyncio
import sys

import uvicorn

from app.services.asgi_call import Receive, Scope, Send
from app.services.model_files import load_models
from deployments.engines.scripted import ScriptedEngine
from scripts.bench.servers import HOST


async def main() -> None:
    """Serve until ended."""
    path, port = sys.argv[1:3]
    (spec,) = load_models(path)
    engine = ScriptedEngine(spec)
    await engine.start(_nobody)
    app = engine.app()

    async def healthy(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == "/health":
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b""})
        else:
            await app(scope, receive, send)

    config = uvicorn.Config(healthy, HOST, int(port), log_level="warning", access_log=False, lifespan="off")
    await uvicorn.Server(config).serve()


def _nobody(phase: str, progress: float | None, detail: str | None) -> None:
    """Hears how far the start is."""


if __name__ == "__main__":
    asyncio.run(main())
