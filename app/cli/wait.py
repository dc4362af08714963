"""Waits for gateway and models, and shows how each is doing."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from app.cli.errors import CliError
from app.cli.screen import Board, Screen
from app.cli.service import ModelView, Service
from app.domain.model_spec import ModelSpec

POLL_S = 0.5
SETTLED = ("ready", "failed", "disabled")


def wait_until_ready(
    url: str, specs: Sequence[ModelSpec], deadline: float, screen: Screen, check_alive: Callable[[], None]
) -> list[ModelView]:
    """Wait until the gateway answers and every model is ready, asleep or failed.

    Args:
        deadline: On ``time.monotonic``'s clock.
        check_alive: Raises when there is nothing to wait for any more.

    Returns:
        The models that failed.

    Raises:
        CliError: The deadline passed.
    """
    may_sleep = {spec.id for spec in specs if spec.autoscaling.min_replicas == 0}
    files = {spec.id for spec in specs}
    with Service(url) as service, screen.board() as board:

        def step() -> list[ModelView] | None:
            check_alive()
            if not service.answers():
                board.update("gateway", "starting database, Ray and gateway")
                return None
            board.update("gateway", "ready", done=True)
            # All of them are known from the beginning; one that was removed at run time is not among them any more,
            # and one that was added may sleep for all that we know.
            models = service.models()
            if models is None:
                return None
            settled = {model.id: _is_settled(model, model.id in may_sleep or model.id not in files) for model in models}
            for model in models:
                _show(board, model, settled=settled[model.id])
            return models if all(settled.values()) else None

        while (models := step()) is None:
            if time.monotonic() > deadline:
                raise CliError("Not ready in time. A longer --timeout gives it more.")
            time.sleep(POLL_S)
    return [model for model in models if model.status == "failed"]


def _is_settled(model: ModelView, may_sleep: bool) -> bool:
    """Whether waiting longer would show nothing new: a model that may not sleep is cold only until it starts."""
    return model.status in SETTLED or (model.status == "cold" and may_sleep)


def _show(board: Board, model: ModelView, *, settled: bool) -> None:
    if settled:
        board.update(model.id, model.words, done=model.status != "failed")
    else:
        text = "waiting to be started" if model.status == "cold" else model.words
        board.update(model.id, text, model.progress)
