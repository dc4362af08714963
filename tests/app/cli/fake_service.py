"""A stand-in for ``deployments.local``: same arguments, same endpoints, started in a moment.

``FAKE`` in the environment says how it behaves: ``dies``, ``model-fails``, ``stubborn`` (deaf to SIGTERM), ``slow``
(never ready). It always has a child of its own in another session, as Ray's processes are.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

MODE = os.environ.get("FAKE", "")


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = {"status": "ok"} if self.path == "/health" else {"object": "list", "data": [model()]}
        payload = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, *_: object) -> None:
        pass


def model() -> dict[str, object]:
    status = {"model-fails": "failed", "slow": "starting"}.get(MODE, "ready")
    detail = "no such weights" if status == "failed" else None
    return {"id": "tiny", "status": status, "phase": "loading", "progress": 0.5, "detail": detail}


def main() -> None:
    if MODE == "dies":
        print("some noise", flush=True)
        print("error: no luck today", file=sys.stderr, flush=True)
        sys.exit(1)
    host, port = sys.argv[sys.argv.index("--host") + 1], int(sys.argv[sys.argv.index("--port") + 1])
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    state = Path(os.environ["MANTA_STATE_DIR"])
    (state / "api-key").write_text("sk-manta-test\n")
    server = ThreadingHTTPServer((host, port), Handler)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: None if MODE == "stubborn" else stop.set())
    threading.Thread(target=server.serve_forever, daemon=True).start()
    stop.wait()
    server.shutdown()


main()
