"""What a vLLM engine says of its own work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from deployments.engines.base import EngineLoad


@dataclass(slots=True)
class Counters:
    """The engine's newest numbers.

    Attributes:
        scheduled: By engine core, the sequences running and waiting.
        generated: Tokens that came out of it since the start, wanted or not.
    """

    scheduled: dict[int, tuple[int, int]] = field(default_factory=dict[int, tuple[int, int]])
    generated: int = 0

    def load(self) -> EngineLoad:
        """As the engine seam has it."""
        running = sum(running for running, _ in self.scheduled.values())
        return EngineLoad(running, sum(waiting for _, waiting in self.scheduled.values()), self.generated)

    def stat_logger(self) -> Callable[..., Any]:
        """For vLLM's ``stat_loggers``: makes the logger of one engine core."""
        return lambda _config, engine_index=0: _SchedulerCounter(self, engine_index)

    def alone(self, llm: Any) -> None:
        """Leave out what else vLLM counts, for every token and step: statistics that nobody reads here.

        Args:
            llm: An ``AsyncLLM`` that was given ``stat_logger``, and that had no request yet.
        """
        llm.log_stats = False
        llm.output_processor.log_stats = False
        loggers = llm.logger_manager.stat_loggers
        loggers[:] = [each for each in loggers if _is_ours(each)]

    def count_tokens(self, llm: Any) -> None:
        """Count what comes out of an ``AsyncLLM``.

        vLLM's own statistics leave out what comes for a request that was given up; these must show it.
        """
        original = llm.output_processor.process_outputs

        def process_outputs(outputs: Any, *args: Any, **kwargs: Any) -> Any:
            self.generated += sum(len(output.new_token_ids) for output in outputs)
            return original(outputs, *args, **kwargs)

        llm.output_processor.process_outputs = process_outputs


class _SchedulerCounter:
    """Has the methods of vLLM's ``StatLoggerBase``."""

    def __init__(self, counters: Counters, engine_index: int) -> None:
        self._counters = counters
        self._engine_index = engine_index

    def record(self, scheduler_stats: Any, *args: Any, **kwargs: Any) -> None:
        if scheduler_stats is not None:
            waiting = scheduler_stats.num_waiting_reqs + scheduler_stats.num_skipped_waiting_reqs
            self._counters.scheduled[self._engine_index] = (scheduler_stats.num_running_reqs, waiting)

    def log_engine_initialized(self) -> None:
        self._counters.scheduled[self._engine_index] = (0, 0)

    def log(self) -> None:
        pass

    def record_sleep_state(self, is_awake: int, level: int) -> None:
        pass


def _is_ours(logger: Any) -> bool:
    per_engine = getattr(logger, "per_engine_stat_loggers", {})
    return any(isinstance(each, _SchedulerCounter) for each in per_engine.values())
