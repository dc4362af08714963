"""Tenants who share a server: each with a key of their own, each with a client of their own, all at once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from scripts.bench.affinity import RoutedServer
from scripts.bench.client import Job, Result
from scripts.bench.servers import HOST, BenchError
from scripts.bench.session import Session
from scripts.bench.workload import CHAT, Load

TIMEOUT_S = 300.0


class SharedServer(RoutedServer):
    """Manta, and keys to it."""

    def key_for(self, name: str) -> dict[str, str]:
        """What somebody new has to send; limits do not hold them up."""
        user = self._ask("POST", "users", {"name": name})["id"]
        self._ask("PATCH", f"users/{user}", {"limits": "none"})
        key = self._ask("POST", "api-keys", {"owner": user, "name": name, "limits": "none"})["key"]
        return {"authorization": f"Bearer {key}"}

    def _ask(self, method: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        url = f"http://{HOST}:{self.port}/v1/admin/{path}"
        answer = httpx.request(method, url, headers=self.headers, json=body, timeout=30, trust_env=False)
        if answer.status_code != 200:
            raise BenchError(f"{method} {path} was answered {answer.status_code}: {answer.text[:300]}")
        return answer.json()


def chat(model: str, question: str, tokens: int) -> str:
    """The body of one streamed chat of so many tokens."""
    return json.dumps(
        {
            "model": model,
            "messages": [{"role": "user", "content": question}],
            "max_tokens": tokens,
            "temperature": 0,
            "ignore_eos": True,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    )


def job(port: int, headers: dict[str, str], turns: list[list[str]], every_s: float | None = None) -> Job:
    """What one tenant asks: the bodies of each of their callers, one after the other."""
    return Job(HOST, port, CHAT, headers, [], 0, 0, TIMEOUT_S, every_s, turns)


def at_once(session: Session, server: SharedServer, jobs: Mapping[str, Job]) -> dict[str, Result]:
    """Let all tenants ask, each by a process of its own."""
    with ThreadPoolExecutor(len(jobs)) as threads:
        under_way = {
            name: threads.submit(session.drive, server, Load("streams", len(each.asked()), each))
            for name, each in jobs.items()
        }
        return {name: each.result() for name, each in under_way.items()}
