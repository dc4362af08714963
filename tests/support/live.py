"""The whole service, started once for all tests that look at it from outside: a pytest plugin with a fixture ``live``.

It is started as a user starts it, with a state folder of its own and the weights that the checkout has already, and
serves the default models beside the scripted ones in ``tests/support/models``.

    @pytest.mark.live
    def test_models(live):
        httpx.get(f"{live.url}/v1/models")
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.support.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
MODEL_FOLDERS = (ROOT / "configs" / "models", ROOT / "tests" / "support" / "models")
LIMITS = ROOT / "tests" / "support" / "limits.yaml"
START_S = 280
"""Below pytest's own timeout, so that a start that hangs still shows its log."""
STOP_S = 90
GONE_S = 10
POLL_S = 0.5
LOG_LINES = 60

CHAT = "smollm2-135m-instruct"
CHAT_ALIAS = "jan-v1-4b"
EMBEDDINGS = "all-minilm-l6-v2"
SCRIPTED = "scripted-chat"
SLOW = "scripted-slow"
SLEEPER = "scripted-sleeper"
BURSTS = "scripted-bursts"
MANY = "scripted-many"


@dataclass
class Live:
    """A running service.

    Attributes:
        url: ``http://127.0.0.1:<port>``, without a path.
        state_dir: Its database, logs and first key.
        models: Model files, or a folder of them.
        settled: Models whose start does not end in ``ready``, and in what it ends.
        settings: What its environment says beyond the defaults.
    """

    url: str
    state_dir: Path
    models: tuple[Path, ...]
    settled: dict[str, str] = field(default_factory=lambda: {SLEEPER: "cold", BURSTS: "cold"})
    settings: dict[str, str] = field(default_factory=dict[str, str])
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    _run: str = ""

    @property
    def openai_url(self) -> str:
        """What OpenAI's SDKs take as their base URL."""
        return f"{self.url}/v1"

    @property
    def host(self) -> str:
        """``127.0.0.1:<port>``."""
        return self.url.removeprefix("http://")

    @property
    def api_key(self) -> str:
        """The key that the first start made."""
        return (self.state_dir / "api-key").read_text().strip()

    @property
    def auth(self) -> dict[str, str]:
        """The header that shows the key."""
        return {"Authorization": f"Bearer {self.api_key}"}

    @property
    def ray_address(self) -> str:
        """Its cluster's."""
        return (self.state_dir / "ray-address").read_text()

    @property
    def pid(self) -> int:
        """The process that was started: its end is the service's end."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it and return when every model is ready, or asleep where it may be."""
        self.state_dir.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "app.cli", "serve", "--port", self.host.rpartition(":")[2]]
        command += ["--models", ",".join(map(str, self.models)), "--timeout", str(START_S)]
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                command, cwd=ROOT, env=self._environment(), stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        try:
            self._wait_until_ready()
        except BaseException:
            self._process.terminate()
            self._process.wait(STOP_S)
            raise

    def stop(self) -> None:
        """Stop it as Ctrl-C does; fail if it does not end well or leaves anything behind."""
        assert self._process is not None
        self._process.terminate()
        status = self._process.wait(STOP_S)
        left = self._left_over()
        for process in left:
            process.kill()
        assert not left, f"left over after the end: {left}\n{self.log()}"
        assert status == 0, f"the service ended with status {status}\n{self.log()}"

    def announced(self) -> str:
        """What it told the user who started it."""
        return self._output.read_text()

    def log(self, lines: int = LOG_LINES) -> str:
        """The end of what it said, and of its log."""
        logs = (self._output, self.state_dir / "logs" / "serve.log")
        return "\n".join(_tail(path, lines) for path in logs if path.exists())

    def model(self, name: str) -> dict[str, Any]:
        """What the service says of a model."""
        return httpx.get(f"{self.openai_url}/models/{name}").raise_for_status().json()

    @property
    def _output(self) -> Path:
        return self.state_dir / "output"

    def _environment(self) -> dict[str, str]:
        # Whatever the caller's shell sets, the service under test is the default one.
        ours = {name: value for name, value in os.environ.items() if not name.startswith(("MANTA_", "MONGODB_"))}
        weights = ROOT / ".manta" / "weights"
        # But its models are up from the beginning, unless they say that they sleep.
        up = {"MANTA_DEFAULT_MIN_REPLICAS": "1", "MANTA_LIMITS": str(LIMITS)}
        return ours | {"MANTA_STATE_DIR": str(self.state_dir), "MANTA_WEIGHTS_DIR": str(weights)} | up | self.settings

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_S
        while (waiting := self._waiting_for()) is not None:
            assert self._process is not None
            assert self._process.poll() is None, f"the service ended by itself\n{self.log()}"
            assert time.monotonic() < deadline, f"not ready in {START_S} s: {waiting}\n{self.log()}"
            time.sleep(POLL_S)
        self._run = json.loads((self.state_dir / "run.json").read_text())["id"]

    def _waiting_for(self) -> str | None:
        """What keeps it from being ready, or None."""
        try:
            response = httpx.get(f"{self.openai_url}/models")
        except httpx.TransportError:
            return "the gateway does not answer"
        if response.status_code != 200:
            return f"the list of models is answered {response.status_code}"
        states = {model["id"]: model["status"] for model in response.json()["data"]}
        if not states or not (self.state_dir / "api-key").exists():
            return "no models or no key yet"
        missing = {id_: status for id_, status in states.items() if status not in ("ready", self.settled.get(id_))}
        if missing:
            return f"models are {missing}"
        return None if "Base URL" in self.announced() else "it has not said yet where it is"

    def _left_over(self) -> list[psutil.Process]:
        """Processes of this run that are still there after a while: its own, found by the mark all of them inherit."""
        deadline = time.monotonic() + GONE_S
        while (left := self._members()) and time.monotonic() < deadline:
            time.sleep(POLL_S)
        return left

    def _members(self) -> list[psutil.Process]:
        marks = {"MANTA_RUN": self._run, "MANTA_STATE_DIR": str(self.state_dir)}
        return [process for process in psutil.process_iter() if _has_any(process, marks)]


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """The running service; one for the session."""
    models = tuple(sorted(path for folder in MODEL_FOLDERS for path in folder.glob("*.yaml")))
    service = Live(f"http://127.0.0.1:{free_port()}", tmp_path_factory.mktemp("live"), models)
    service.start()
    yield service
    service.stop()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """What the services under test said, beneath the report of a test that failed."""
    report = yield
    if report.failed:
        services = [value for value in getattr(item, "funcargs", {}).values() if isinstance(value, Live)]
        for service in services:
            report.sections.append((f"the end of the log of {service.url}", service.log()))
    return report


def _has_any(process: psutil.Process, marks: dict[str, str]) -> bool:
    try:
        environment = process.environ()
    except (psutil.Error, OSError):
        return False
    return any(value and environment.get(name) == value for name, value in marks.items())


def _tail(path: Path, lines: int) -> str:
    return f"--- {path.name}\n" + "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
