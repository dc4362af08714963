"""Says where the service is and how to call it, in lines to paste."""

from __future__ import annotations

import json
import shlex
from collections.abc import Container, Sequence
from pathlib import Path

from app.cli.screen import Screen
from app.domain.model_spec import ModelSpec


def announce(url: str, state_dir: Path, chat_model: str | None, took: str, screen: Screen) -> None:
    """The last words of a start.

    Args:
        chat_model: Whom the example asks; None leaves the example out.
    """
    key = state_dir / "api-key"
    screen.say()
    screen.good(f"Manta is ready after {took}.")
    screen.say(f"Base URL       {url}/v1")
    screen.say(f"API reference  {url}/docs")
    if key.exists():
        screen.say(f"API key        {key.read_text().strip()}")
        screen.say()
        screen.say(f"export OPENAI_BASE_URL={url}/v1")
        screen.say(f"export OPENAI_API_KEY=$(cat {shlex.quote(_short(key))})")
    if chat_model:
        screen.say()
        screen.say(_curl(url, key, chat_model))
    screen.say()


def chat_model(specs: Sequence[ModelSpec], broken: Container[str]) -> str | None:
    """A model to show off with: the first that chats and is not broken."""
    return next((spec.id for spec in specs if "chat" in spec.capabilities and spec.id not in broken), None)


def _curl(url: str, key: Path, model: str) -> str:
    message = {"role": "user", "content": "What is the capital of France?"}
    body = json.dumps({"model": model, "stream": True, "temperature": 0, "messages": [message]})
    login = f'-H "Authorization: Bearer $(cat {shlex.quote(_short(key))})" ' if key.exists() else ""
    return f"curl -N {url}/v1/chat/completions {login}-H 'Content-Type: application/json' -d {shlex.quote(body)}"


def _short(path: Path) -> str:
    """As the user would write it from here."""
    path = path.resolve()
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
