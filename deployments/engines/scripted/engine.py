"""The scripted engine's life."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from pydantic import ValidationError

from app.domain.model_spec import ModelSpec
from app.errors import ServiceUnavailable
from app.services.asgi_call import ASGIApp
from deployments.engines.base import EngineDead, EngineLoad, Report
from deployments.engines.scripted.app import ScriptedApp
from deployments.engines.scripted.args import ScriptedArgs
from deployments.engines.scripted.books import Books
from deployments.engines.scripted.clock import Clock, LoopClock
from deployments.engines.scripted.faults import DEATH, Faults, exit_process
from deployments.engines.scripted.schedule import Scheduler
from deployments.engines.scripted.script import Script

START_STEPS = 20
"""How often a slow start reports."""


class ScriptedEngine:
    """See ``deployments.engines.base.Engine``, whose promises this class keeps.

    Args:
        spec: The model; its ``engine_args`` are ``ScriptedArgs``.
        clock: Where time comes from; the event loop's by default.
        die: Ends the replica's process. Where it returns instead (tests), the engine is dead from then on, and its
            connections break.

    Raises:
        EngineDead: ``engine_args`` are wrong; the message names the field.
    """

    def __init__(self, spec: ModelSpec, *, clock: Clock | None = None, die: Callable[[], None] = exit_process) -> None:
        try:
            self._args = ScriptedArgs.model_validate(spec.engine_args)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(["engine_args", *map(str, first["loc"])])
            raise EngineDead(f"Model {spec.id}: {field}: {first['msg']}.") from None
        self._clock = clock or LoopClock()
        self._exit = die
        self._down: str | None = "The scripted engine is not started."
        self._scheduler = Scheduler(self._args, self._clock)
        script, books = Script(self._args), Books(self._args.books)
        self._app = ScriptedApp(spec.id, script, self._scheduler, Faults(self._args), self._die, books)

    @property
    def max_model_len(self) -> int:
        """Longest sequence, in tokens."""
        return self._args.max_model_len

    async def start(self, report: Report) -> None:
        """Take ``start_s`` seconds, with progress.

        Raises:
            EngineDead: ``fail_start`` says so.
        """
        began = self._clock.now()
        for step in range(START_STEPS if self._args.start_s else 0):
            report("loading", step / START_STEPS, "Pretending to load weights.")
            sleeper = asyncio.get_running_loop().create_future()
            self._clock.wake(began + self._args.start_s * (step + 1) / START_STEPS, sleeper)
            await sleeper
        if self._args.fail_start is not None:
            raise EngineDead(self._args.fail_start)
        report("warming", 1.0, None)
        self._down = None

    def app(self) -> ASGIApp:
        """The engine's application."""
        return self._app

    async def check_health(self) -> None:
        """Return if the engine works; a stalled one does, by its own account.

        Raises:
            EngineDead: It is not started, stopped, or dead.
        """
        if self._down is not None:
            raise EngineDead(self._down)

    async def load(self) -> EngineLoad:
        """The engine's own counters, exact at this moment."""
        return self._scheduler.load()

    async def stop(self) -> None:
        """End every answer under way, with an error that tells the caller to try again."""
        self._down = "The scripted engine was stopped."
        self._scheduler.close(lambda: ServiceUnavailable("This replica is stopping. Try again."))
        self._clock.close()

    def _die(self) -> None:
        self._down = DEATH
        self._exit()
        self._scheduler.close(lambda: EngineDead(DEATH))
