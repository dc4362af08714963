"""Waits for gateway and models, and shows how each is doing."""

from __future__ import annotations

import time
from collections.abc import Callable

from app.cli.errors import CliError
from app.cli.screen import Board, Screen
from app.cli.service import ModelView, Service

POLL_S = 0.5
SETTLED = ("ready", "cold", "failed", "disabled")


def wait_until_ready(url: str, deadline: float, screen: Screen, check_alive: Callable[[], None]) -> list[ModelView]:
    """Wait until the gateway answers and every model is ready, asleep or failed.

    Args:
        deadline: On ``time.monotonic``'s clock.
        check_alive: Raises when there is nothing to wait for any more.

    Returns:
        The models that failed.

    Raises:
        CliError: The deadline passed.
    """
    with Service(url) as service, screen.board() as board:

        def step() -> list[ModelView] | None:
            check_alive()
            if not service.answers():
                board.update("gateway", "starting database, Ray and gateway")
                return None
            board.update("gateway", "ready", done=True)
            # Not only the files': models may have been added at run time, and removed.
            models = service.models()
            for model in models or ():
                _show(board, model)
            settled = models is not None and all(model.status in SETTLED for model in models)
            return models if settled else None

        while (models := step()) is None:
            if time.monotonic() > deadline:
                raise CliError("Not ready in time. A longer --timeout gives it more.")
            time.sleep(POLL_S)
    return [model for model in models if model.status == "failed"]


def _show(board: Board, model: ModelView) -> None:
    if model.status in SETTLED:
        board.update(model.id, model.words, done=model.status != "failed")
    else:
        board.update(model.id, model.words, model.progress)
