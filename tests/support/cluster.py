"""Ray clusters of a test's own, made as operators make them: with ``ray start`` and ``serve run``."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

from tests.support.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
UP_S = 120
SHELL_S = 240


@dataclass
class Cluster:
    """A Ray cluster, and how its users' shells are set up.

    Attributes:
        folder: Its models, its state, its token.
        settings: What every shell says first.
        address: The head node's.
    """

    folder: Path
    settings: Sequence[str] = ()
    address: str = "127.0.0.1"
    gcs: int = field(default_factory=free_port)
    dashboard: int = field(default_factory=free_port)
    http: int = field(default_factory=free_port)

    @property
    def models(self) -> Path:
        """The folder of model files."""
        return self.folder / "models"

    @property
    def ray_address(self) -> str:
        """What drivers connect to."""
        return f"{self.address}:{self.gcs}"

    @property
    def environment(self) -> dict[str, str]:
        """The shell's variables, before any of ``settings``."""
        ours = {name: value for name, value in os.environ.items() if not name.startswith(("MANTA_", "RAY_"))}
        return ours | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "RAY_ADDRESS": self.ray_address,
            "RAY_DASHBOARD_ADDRESS": f"http://127.0.0.1:{self.dashboard}",
            "MANTA_STATE_DIR": str(self.folder / "state"),
            "MANTA_MODELS": str(self.models),
            "PYTHONWARNINGS": "ignore",
            # Without it some of Ray's processes overwrite the environment by which the test finds them.
            "SPT_NOENV": "1",
        }

    @property
    def auth(self) -> dict[str, str]:
        """The header that shows the first key."""
        return {"Authorization": f"Bearer {(self.folder / 'state' / 'api-key').read_text().strip()}"}

    @property
    def openai_url(self) -> str:
        """What OpenAI's SDKs take as their base URL."""
        return f"http://127.0.0.1:{self.http}/v1"

    def shell(self, script: str) -> str:
        """Run a snippet as its reader would."""
        whole = "\n".join([*self.settings, script])
        done = subprocess.run(
            ["bash", "-euc", whole], cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=SHELL_S
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def get(self, path: str) -> httpx.Response:
        """Ask the service."""
        return httpx.get(f"http://127.0.0.1:{self.http}{path}", timeout=10)

    def chat(self, model: str) -> httpx.Response:
        """One chat completion, with the first key."""
        body = {"model": model, "messages": [{"role": "user", "content": "hello"}]}
        return httpx.post(f"{self.openai_url}/chat/completions", json=body, headers=self.auth, timeout=60)

    def wait_until_ready(self, *models: str) -> None:
        """Return when exactly these models are known and ready."""
        deadline = time.monotonic() + UP_S
        states: object = None
        while states != dict.fromkeys(models, "ready"):
            assert time.monotonic() < deadline, f"{models} did not come up: {states}"
            time.sleep(0.5)
            try:
                response = self.get("/v1/models")
            except httpx.TransportError:
                continue
            states = {model["id"]: model["status"] for model in response.json().get("data", [])}

    def processes(self, title: str = "") -> list[psutil.Process]:
        """This cluster's, whose title begins so."""
        mark = str(self.folder / "state")
        members = [process for process in psutil.process_iter() if _environ(process).get("MANTA_STATE_DIR") == mark]
        return [process for process in members if " ".join(process.cmdline()).startswith(title)]

    def stop(self) -> None:
        """End the processes of this cluster, and no others: `ray stop` would end every cluster of the machine."""
        members = self.processes()
        for process in members:
            try:
                process.send_signal(signal.SIGKILL)
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(members, timeout=30)


def _environ(process: psutil.Process) -> dict[str, str]:
    try:
        return process.environ()
    except psutil.Error:
        return {}
