"""A real OpenID provider, npm's ``oidc-provider``, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.seeds.programs import CLIENTS, NODE_MODULES
from tests.support.ports import free_port

CLIENT_ID, CLIENT_SECRET = "manta", "a secret: with + and %2B, as few have"
START_TIMEOUT_S = 60
MISSING = f"oidc-provider is not installed; run scripts/test, or: npm ci --prefix {CLIENTS} --ignore-scripts"


@dataclass(frozen=True)
class OidcProvider:
    """One that may be started.

    Attributes:
        port: Where it is on loopback.
        issuer: Its name. Not by the gateways' address, so that for browsers it is another site.
    """

    port: int
    issuer: str

    @classmethod
    def on_free_port(cls) -> OidcProvider:
        port = free_port()
        return cls(port, f"http://localhost:{port}")

    @property
    def settings(self) -> dict[str, Any]:
        """What makes people sign in there."""
        return {"oidc_issuer": self.issuer, "oidc_client_id": CLIENT_ID, "oidc_client_secret": CLIENT_SECRET}

    @contextmanager
    def running(
        self, redirect_uris: Sequence[str], *, auth: str = "client_secret_basic", **overrides: Any
    ) -> Iterator[None]:
        """Run it, for a client that people may be sent back to at these addresses.

        Args:
            auth: How the client says who it is at the token endpoint.
            overrides: Of the provider's configuration.
        """
        assert (NODE_MODULES / "oidc-provider").is_dir(), MISSING
        client = {
            "client_id": CLIENT_ID,
            "redirect_uris": list(redirect_uris),
            "token_endpoint_auth_method": auth,
            **({} if auth == "none" else {"client_secret": CLIENT_SECRET}),
        }
        told = {"issuer": self.issuer, "port": self.port, "client": client, "overrides": overrides}
        command = ["node", "oidc-provider.mjs", json.dumps(told)]
        pipe = subprocess.PIPE
        with subprocess.Popen(
            command, cwd=CLIENTS, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, text=True
        ) as process:
            stop = threading.Timer(START_TIMEOUT_S, process.kill)
            stop.start()
            try:
                self._wait(process)
                stop.cancel()
                yield
            finally:
                stop.cancel()
                # It ends with its standard input; leaving the block waits for it.
                process.kill()

    def _wait(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        said: list[str] = []
        for line in process.stdout:
            said.append(line)
            if line.strip() == "ready":
                return
        raise AssertionError(f"the provider did not start: {''.join(said)[-2000:]}")
