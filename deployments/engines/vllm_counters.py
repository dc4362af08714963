"""What a vLLM engine says of its own work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from deployments.engines.base import EngineLoad
from deployments.engines.vllm_app import CALL


class Scheduled(NamedTuple):
    """What an engine core's scheduler said last: sequences, and the share of its cache in use."""

    running: int = 0
    waiting: int = 0
    kv_usage: float = 0.0


@dataclass(slots=True)
class Counters:
    """The engine's newest numbers.

    Attributes:
        scheduled: By engine core.
        generated: Tokens that came out of it since the start, wanted or not.
        prompted: Tokens of the prompts that went into it.
        overtime: Tokens that came for a sequence since it was given up, by its id, until its call takes them.
    """

    scheduled: dict[int, Scheduled] = field(default_factory=dict[int, Scheduled])
    generated: int = 0
    prompted: int = 0
    overtime: dict[str, int] = field(default_factory=dict[str, int])

    def load(self, waiting_tokens: int = 0) -> EngineLoad:
        """As the engine seam has it.

        Args:
            waiting_tokens: What ``AsyncLLM.get_num_queued_tokens`` says.
        """
        cores = self.scheduled.values()
        return EngineLoad(
            running=sum(core.running for core in cores),
            waiting=sum(core.waiting for core in cores),
            generated_tokens=self.generated,
            prompt_tokens=self.prompted,
            waiting_tokens=waiting_tokens,
            kv_usage=max((core.kv_usage for core in cores), default=0.0),
        )

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
        """Count what goes into an ``AsyncLLM`` and what comes out, and tell each ``Call`` what is its as it comes.

        vLLM's own statistics leave out what comes for a request that was given up; these must show it.
        """
        processor = llm.output_processor
        states: dict[str, Any] = processor.request_states
        original, add, abort = processor.process_outputs, processor.add_request, processor.abort_requests

        def process_outputs(outputs: Any, *args: Any, **kwargs: Any) -> Any:
            for output in outputs:
                tokens = len(output.new_token_ids)
                self.generated += tokens
                # Before vLLM hands it on: what is sent of it is counted by then.
                if (tally := getattr(states.get(output.request_id), "tally", None)) is not None:
                    tally.so_far += tokens
            if self.overtime:
                self._work_over(outputs)
            return original(outputs, *args, **kwargs)

        def abort_requests(*args: Any, **kwargs: Any) -> list[str]:
            aborted = abort(*args, **kwargs)
            if CALL.get(None) is not None:  # who takes it back out
                self.overtime.update(dict.fromkeys(aborted, 0))
            return aborted

        def add_request(request: Any, *args: Any, **kwargs: Any) -> Any:
            added = add(request, *args, **kwargs)
            if (state := processor.request_states.get(request.request_id)) is not None:
                self.prompted += state.prompt_len
                if (call := CALL.get(None)) is not None:
                    call.sequences.add(state)
                    state.tally = call.tally
            return added

        processor.process_outputs = process_outputs
        processor.add_request = add_request
        processor.abort_requests = abort_requests

    def _work_over(self, outputs: Any) -> None:
        for output in outputs:
            if output.request_id in self.overtime:
                self.overtime[output.request_id] += len(output.new_token_ids)


class _SchedulerCounter:
    """Has the methods of vLLM's ``StatLoggerBase``."""

    def __init__(self, counters: Counters, engine_index: int) -> None:
        self._counters = counters
        self._engine_index = engine_index

    def record(self, scheduler_stats: Any, *args: Any, **kwargs: Any) -> None:
        if scheduler_stats is not None:
            waiting = scheduler_stats.num_waiting_reqs + scheduler_stats.num_skipped_waiting_reqs
            self._counters.scheduled[self._engine_index] = Scheduled(
                scheduler_stats.num_running_reqs, waiting, scheduler_stats.kv_cache_usage
            )

    def log_engine_initialized(self) -> None:
        self._counters.scheduled[self._engine_index] = Scheduled()

    def log(self) -> None:
        pass

    def record_sleep_state(self, is_awake: int, level: int) -> None:
        pass


def _is_ours(logger: Any) -> bool:
    per_engine = getattr(logger, "per_engine_stat_loggers", {})
    return any(isinstance(each, _SchedulerCounter) for each in per_engine.values())
