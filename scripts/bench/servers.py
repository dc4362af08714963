"""The servers that are compared: started as their users start them, with the same engine behind them."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil
import yaml

from app.cli.processes import end, marked, members
from app.domain.model_spec import ModelSpec
from app.settings import ROOT
from deployments.engines.vllm_args import with_defaults

HOST = "127.0.0.1"
POLL_S = 0.25
WORD_S = 10.0
STOP_S = 30.0
LOG_LINES = 15

ENGINE_ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "TORCH_COMPILE_DISABLE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
}
"""What Manta's replica sets for its engine; the bare server gets it too."""

Say = Callable[[str], None]


class BenchError(Exception):
    """The benchmark cannot go on; the message says why."""


class Ended(BenchError):
    """A server ended before it answered."""


class Server(ABC):
    """One server under measurement.

    Args:
        spec: The model.
        folder: For what it writes while it runs; its own.
        log: Where its output goes.
    """

    name: str

    def __init__(self, spec: ModelSpec, folder: Path, log: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.start_s = 0.0
        self._spec = spec
        self._folder = folder
        self.log = log
        self._run_id = f"bench-{secrets.token_hex(6)}"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    @abstractmethod
    def command(self) -> list[str]:
        """What starts it."""

    @property
    def headers(self) -> dict[str, str]:
        """What a caller has to send."""
        return {}

    @abstractmethod
    def environment(self) -> dict[str, str]:
        """What it needs beside the environment that is there."""

    @abstractmethod
    def waits_for(self) -> str | None:
        """What keeps it from answering, or None.

        Raises:
            BenchError: It never will.
        """

    def start(self, timeout_s: float, say: Say) -> None:
        """Start it and return when it answers.

        Raises:
            Ended: It ended by itself.
            BenchError: It gave up, or takes longer than ``timeout_s``; with the last words of its log.
        """
        started = time.monotonic()
        ours = {name: value for name, value in os.environ.items() if not name.startswith(("MANTA_", "MONGODB_"))}
        with self.log.open("wb") as output:
            self._process = subprocess.Popen(
                self.command,
                cwd=ROOT,
                env=marked({**ours, **self.environment()}, self._run_id),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # Ctrl-C is for the benchmark, which then stops its servers in order.
                start_new_session=True,
            )
        next_word = WORD_S
        while (reason := self.waits_for()) is not None:
            waited = time.monotonic() - started
            if (status := self._process.poll()) is not None:
                raise Ended(f"{self.name} ended by itself (status {status}).\n{self._last_words()}")
            if waited > timeout_s:
                raise BenchError(f"{self.name} does not answer after {waited:.0f} s: {reason}.\n{self._last_words()}")
            if waited > next_word:
                say(f"{self.name}: {reason} ({waited:.0f} s)")
                next_word += WORD_S
            time.sleep(POLL_S)
        self.start_s = time.monotonic() - started

    def processes(self) -> list[psutil.Process]:
        """All that belongs to it, however far down."""
        return members(self._run_id)

    def pause(self) -> None:
        """Keep it from running at all, for a moment: it must not take from the others what it uses at rest."""
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                process.suspend()

    def resume(self) -> None:
        """Let it run on."""
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                process.resume()

    def stop(self) -> None:
        """Stop it, and whatever it leaves behind."""
        if self._process is None:
            return
        self.resume()
        self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        end(self.processes(), grace_s=5)
        self._process = None

    def _model_file(self) -> Path:
        path = self._folder / "model.yaml"
        path.write_text(yaml.safe_dump(self._spec.model_dump(mode="json"), sort_keys=False))
        return path

    def _get(self, path: str) -> httpx.Response | None:
        try:
            # A proxy that the environment names is for the outside world.
            return httpx.get(f"http://{HOST}:{self.port}{path}", headers=self.headers, timeout=5, trust_env=False)
        except httpx.HTTPError:
            return None

    def _last_words(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()
        return "\n".join([*lines[-LOG_LINES:], f"More in {self.log}"])


class BareServer(Server):
    """vLLM's own OpenAI server."""

    name = "vLLM"

    @property
    def command(self) -> list[str]:
        spec = self._spec
        arguments = {"model": spec.source, "served_model_name": spec.id, "host": HOST, "port": self.port}
        defaults = [*with_defaults({}, {}, cpu=False)]
        for group in (*defaults, spec.engine_args, {"disable_uvicorn_access_log": True}):
            arguments.update(group)
        return [sys.executable, "-m", "vllm.entrypoints.openai.api_server", *flags(arguments)]

    def environment(self) -> dict[str, str]:
        return {**ENGINE_ENVIRONMENT, **self._spec.resources.env}

    def waits_for(self) -> str | None:
        health = self._get("/health")
        return None if health is not None and health.status_code == 200 else "loading"


class ScriptedServer(Server):
    """The scripted engine alone."""

    name = "alone"

    @property
    def command(self) -> list[str]:
        return [sys.executable, "-m", "scripts.bench.scripted_server", str(self._folder / "model.yaml"), str(self.port)]

    def environment(self) -> dict[str, str]:
        self._model_file()
        return {}

    def waits_for(self) -> str | None:
        health = self._get("/health")
        return None if health is not None and health.status_code == 200 else "starting"


class MantaServer(Server):
    """All of Manta, in a Ray cluster of its own, with its key check on."""

    name = "Manta"
    data_path = "link"

    @property
    def command(self) -> list[str]:
        return [sys.executable, "-m", "deployments.local", "--host", HOST, "--port", str(self.port)]

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self._key_file.read_text().strip()}"} if self._key_file.exists() else {}

    def environment(self) -> dict[str, str]:
        return {
            "MANTA_STATE_DIR": str(self._state),
            "MANTA_WEIGHTS_DIR": str(ROOT / ".manta" / "weights"),
            "MANTA_MODELS": str(self._model_file()),
            "MANTA_ANONYMOUS_INFERENCE": "false",
            "MANTA_DATA_PATH": self.data_path,
            "MANTA_DEFAULT_MIN_REPLICAS": "1",
        }

    def waits_for(self) -> str | None:
        answer = self._get(f"/v1/models/{self._spec.id}")
        if answer is None:
            return "starting Ray and the gateway"
        if answer.status_code != 200:
            return f"the model is answered {answer.status_code}"
        model: dict[str, Any] = json.loads(answer.content)
        if model["status"] == "failed":
            raise BenchError(f"{self.name}'s model failed: {model.get('detail')}.\n{self._last_words()}")
        if model["status"] != "ready":
            return f"the model is {model.get('phase') or model['status']}"
        return None if self._key_file.exists() else "no API key yet"

    @property
    def _state(self) -> Path:
        return self._folder / "state"

    @property
    def _key_file(self) -> Path:
        return self._state / "api-key"


class HandleServer(MantaServer):
    """The same Manta, whose bytes take the way that Serve has for them."""

    name = "by handle"
    data_path = "handle"


def flags(arguments: dict[str, Any]) -> list[str]:
    """Engine arguments as vLLM's command line takes them."""
    found: list[str] = []
    for name, value in arguments.items():
        dashed = name.replace("_", "-")
        if isinstance(value, bool):
            found.append(f"--{dashed}" if value else f"--no-{dashed}")
        else:
            found += [f"--{dashed}", value if isinstance(value, str) else json.dumps(value)]
    return found


def free_port() -> int:
    """A port on loopback that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
