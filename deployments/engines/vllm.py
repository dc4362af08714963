"""The vLLM engine: ``AsyncLLM`` and vLLM's own OpenAI application in this process, behind ``EngineApp``.

This module and ``vllm_processes`` alone import vLLM, and only when an engine starts: the import takes ten seconds. What
Manta changes in vLLM stands in these two, in ``vllm_adapt`` and in ``vllm_frames``; their tests are the contract that a
new vLLM has to pass:

- the processes it starts die with this one, tell why they failed and wait asleep (``vllm_processes``);
- answers carry the caller's name for the model, and a stream that breaks tells the ``Call`` (``adapt``);
- chunks have OpenAI's shape when they are made, so that nobody has to touch them later (``_conformant_chunks``).
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
from argparse import Namespace
from contextlib import suppress
from dataclasses import fields
from multiprocessing.connection import Connection
from types import SimpleNamespace
from typing import Any

import msgspec
import psutil

from app.domain.model_spec import ModelSpec
from app.services.asgi_call import ASGIApp, AsgiCall
from deployments.engines.base import EngineDead, EngineLoad, Report
from deployments.engines.vllm_adapt import adapt, hints, strip, unless_null, with_fingerprint
from deployments.engines.vllm_app import EngineApp
from deployments.engines.vllm_args import (
    check_values,
    split,
    with_configs,
    with_defaults,
    with_wall,
)
from deployments.engines.vllm_counters import Counters
from deployments.engines.vllm_environment import forbid_compilation, prepare_environment
from deployments.engines.vllm_failures import explain, explain_death
from deployments.engines.vllm_frames import write_plain_streams
from deployments.engines.vllm_parent import alive, descendants, see_off
from deployments.engines.vllm_processes import watched_children
from deployments.engines.vllm_usage import Sequences
from deployments.engines.vllm_weights import check_weights
from deployments.prewarm.process import engine_processes

logger = logging.getLogger("manta")

SHUTDOWN_S = 1.0
GIVE_UP_S = 4.0


class VllmEngine:
    """One model in vLLM. See ``Engine`` for what its methods promise.

    Args:
        spec: The model.
        weights: Local path of its weights, or the hub id that vLLM shall fetch.
    """

    def __init__(self, spec: ModelSpec, weights: str) -> None:
        self._spec = spec
        self._weights = weights
        self._counters = Counters()
        self._llm: Any = None
        self._app: EngineApp | None = None
        self._workers: list[psutil.Process] = []
        self._max_model_len = 0
        self._launch: asyncio.Future[tuple[Any, Namespace]] | None = None
        self._stopped = False
        self._words: Connection | None = None
        self._cause: str | None = None

    @property
    def max_model_len(self) -> int:
        """Longest sequence, prompt and answer together, in tokens; 0 before the start."""
        return self._max_model_len

    async def start(self, report: Report) -> None:
        """Load the model and answer one request with it.

        Raises:
            EngineDead: It cannot start; the message says why and what to do.
        """
        check_weights(self._spec, self._weights)
        prepare_environment(self._weights)
        report("loading", None, "Starting vLLM and loading the weights.")
        # In a thread: it imports for ten seconds and then waits for its processes; health checks must go on.
        self._launch = asyncio.ensure_future(asyncio.to_thread(self._launch_llm))
        try:
            self._llm, args = await asyncio.shield(self._launch)
            report("warming", None, "Answering a first request.")
            await self._open(args)
        except EngineDead:
            await self.stop()
            raise
        except Exception as error:
            logger.exception("the engine of %s did not start", self._spec.id)
            reason = explain(self._spec, error, self._last_words())
            await self.stop()
            raise EngineDead(reason) from None
        except asyncio.CancelledError:
            await self.stop()
            raise

    def app(self) -> ASGIApp:
        """The engine's application, once started."""
        assert self._app is not None, "start() comes first"
        return self._app

    async def check_health(self) -> None:
        """Return if the engine works.

        Raises:
            EngineDead: It does not.
        """
        if dead := self._died():
            raise dead

    async def load(self) -> EngineLoad:
        """The engine's own counters."""
        return self._counters.load(self._llm.get_num_queued_tokens() if self._llm is not None else 0)

    async def stop(self) -> None:
        """End the engine and its child processes, also while it starts."""
        self._stopped = True
        await self._end_launch()
        llm, self._llm, self._app = self._llm, None, None
        if llm is not None:
            await _shut_down(llm)
            # A worker that has lost its engine core ends by itself, but may take a moment.
            await asyncio.to_thread(see_off, self._workers, SHUTDOWN_S)
        if self._words is not None:
            self._words.close()
            self._words = None

    def _launch_llm(self) -> tuple[Any, Namespace]:
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.entrypoints.launchers.cli_args import FrontendArgs, validate_parsed_serve_args
        from vllm.platforms import current_platform
        from vllm.tool_parsers import ToolParserManager
        from vllm.usage.usage_lib import UsageContext
        from vllm.v1.engine.async_llm import AsyncLLM

        types = hints(AsyncEngineArgs) | hints(FrontendArgs)
        check_values(self._spec, types)
        names = ([each.name for each in fields(AsyncEngineArgs)], [each.name for each in fields(FrontendArgs)])
        cpu = current_platform.is_cpu()
        engine, frontend = with_defaults(*split(self._spec, *names), cpu=cpu)
        if cpu and engine["enforce_eager"]:
            forbid_compilation()
        engine = with_configs(with_wall(self._spec, engine), types)
        engine_args = AsyncEngineArgs(model=self._weights, served_model_name=[self._spec.id], **engine)
        frontend_args = FrontendArgs(**frontend)
        args = Namespace(**(vars(frontend_args) | vars(engine_args)))
        validate_parsed_serve_args(args)
        if args.tool_parser_plugin:
            ToolParserManager.import_tool_parser(args.tool_parser_plugin)
        _check_tool_parser(args.tool_call_parser)
        # The context chooses defaults for batch sizes: a server's, not a library's.
        context = UsageContext.OPENAI_API_SERVER
        config = engine_args.create_engine_config(usage_context=context)
        self._words, words = multiprocessing.Pipe(duplex=False)
        with words, watched_children(words):
            if self._stopped:
                raise EngineDead(f"The engine of {self._spec.id} was stopped while it started.")
            llm = AsyncLLM.from_vllm_config(
                config,
                usage_context=context,
                stat_loggers=[self._counters.stat_logger()],
                disable_log_stats=args.disable_log_stats,
            )
        return llm, args

    async def _open(self, args: Namespace) -> None:
        from vllm.entrypoints.launchers.api_server.app_state import init_app_state
        from vllm.entrypoints.launchers.app import build_app
        from vllm.parser.abstract_parser import DelegatingParser

        llm = self._llm
        cores = getattr(llm.engine_core.resources.engine_manager, "processes", ())  # none where Ray has started them
        self._workers = [*descendants(core.pid for core in cores), *alive(engine_processes())]
        self._max_model_len = llm.model_config.max_model_len
        self._counters.count_tokens(llm)
        if args.disable_log_stats:
            self._counters.alone(llm)
        tasks = await llm.get_supported_tasks()
        inner = build_app(args, tasks, llm.model_config)
        logger.disabled = False  # building it may configure logging, which switches off loggers that were there
        await init_app_state(llm, inner.state, args, tasks)
        inner.state.server = SimpleNamespace()  # its error handler tells a server to exit; there is none
        served = strip(inner)
        _conformant_chunks()
        fingerprint = adapt(inner.state)
        write_plain_streams(inner.state, DelegatingParser.parse_delta)
        self._app = EngineApp(inner, served, self._died, fingerprint, self._give_up)
        await self._answer_once(served)

    async def _answer_once(self, served: set[str]) -> None:
        first: dict[str, dict[str, Any]] = {
            "/v1/completions": {"prompt": "a", "max_tokens": 1},
            "/v1/embeddings": {"input": "a"},
            "/score": {"queries": "a", "documents": "b"},
        }
        path = next((path for path in first if path in served), None)
        if path is None:
            return
        call = AsgiCall(self.app(), path, msgspec.json.encode({"model": self._spec.id, **first[path]}), [])
        await call.start()
        body = b"".join([chunk async for chunk in call])
        if call.status != 200:
            raise RuntimeError(f"it loaded, but does not answer: {body.decode(errors='replace')}")

    async def _give_up(self, sequences: Sequences) -> None:
        llm, overtime = self._llm, self._counters.overtime
        if llm is None:
            return
        try:
            # A stream that was cut off while it was sending leaves its generators, and they the request, to the
            # garbage collector.
            if not llm.errored and (left := sequences.among(llm.output_processor.request_states)):
                await llm.abort(left, internal=True)
            if not llm.errored and sequences.among(overtime):
                # What it answers comes behind all that it has made before it heard of the end.
                async with asyncio.timeout(GIVE_UP_S):
                    await llm.is_paused()
        except Exception as error:
            logger.warning("an engine did not say when it gave up a request: %s", error or type(error).__name__)
        finally:
            sequences.overtime |= {each: overtime.pop(each) for each in sequences.among(overtime)}

    def _died(self) -> EngineDead | None:
        if self._llm is None:
            return EngineDead(f"The engine of {self._spec.id} is not running.")
        if not self._llm.errored:
            return None
        return EngineDead(explain_death(self._spec, self._last_words()))

    def _last_words(self) -> str | None:
        # The first process to fail tells the cause; those above it only that something below them failed.
        if self._cause is None and self._words is not None:
            with suppress(EOFError, OSError):
                self._cause = self._words.recv() if self._words.poll() else None
        return self._cause

    async def _end_launch(self) -> None:
        while self._launch is not None and not self._launch.done():
            for child in multiprocessing.active_children():
                if child.name.startswith("EngineCore"):
                    child.kill()
            await asyncio.wait([self._launch], timeout=0.1)
        multiprocessing.active_children()  # takes leave of those that have ended
        if self._launch is not None and not self._launch.cancelled() and self._launch.exception() is None:
            self._llm = self._llm or self._launch.result()[0]
        self._launch = None


async def _shut_down(llm: Any) -> None:
    resources = llm.engine_core.resources
    tasks = [llm.output_handler, resources.output_queue_task]
    if llm.output_handler is not None and not llm.get_num_unfinished_requests():
        llm.output_handler.cancel()  # with nobody to tell of its end, it would tell the log
    await asyncio.to_thread(llm.shutdown, SHUTDOWN_S)
    if pending := [task for task in tasks if task is not None and not task.done()]:
        await asyncio.wait(pending, timeout=SHUTDOWN_S)
    # vLLM closes its sockets and leaves what held them.
    await asyncio.to_thread(resources.ctx.destroy, 0)
    # Its finaliser calls this again, perhaps when the interpreter is half gone.
    llm.shutdown = _already_shut_down


def _already_shut_down() -> None:
    pass


def _check_tool_parser(name: str | None) -> None:
    from vllm.tool_parsers import ToolParserManager

    if name and name not in (known := ToolParserManager.list_registered()):
        raise ValueError(f"tool_call_parser {name} is unknown; there are {', '.join(sorted(known))}")


def _conformant_chunks() -> None:
    """Have vLLM make its chunks from classes that leave out its own empty fields."""
    from vllm.entrypoints.anthropic import protocol as anthropic
    from vllm.entrypoints.anthropic import serving as anthropic_serving
    from vllm.entrypoints.openai.chat_completion import protocol as chat
    from vllm.entrypoints.openai.chat_completion import serving as chat_serving
    from vllm.entrypoints.openai.completion import protocol as completion
    from vllm.entrypoints.openai.completion import serving as completion_serving

    class ChatChoice(chat.ChatCompletionResponseStreamChoice):
        stop_reason: int | str | None = unless_null()
        token_ids: list[int] | None = unless_null()

    class ChatChunk(chat.ChatCompletionStreamResponse):
        choices: list[ChatChoice]  # pyright: ignore[reportIncompatibleVariableOverride]
        prompt_token_ids: list[int] | None = unless_null()
        prompt_text: str | None = unless_null()
        metrics: Any = unless_null()

        def __init__(self, **data: Any) -> None:
            super().__init__(**with_fingerprint(data))

    class CompletionChoice(completion.CompletionResponseStreamChoice):
        stop_reason: int | str | None = unless_null()
        prompt_token_ids: list[int] | None = unless_null()
        token_ids: list[int] | None = unless_null()

    class CompletionChunk(completion.CompletionStreamResponse):
        choices: list[CompletionChoice]  # pyright: ignore[reportIncompatibleVariableOverride]
        metrics: Any = unless_null()

        def __init__(self, **data: Any) -> None:
            super().__init__(**with_fingerprint(data))

    class AnthropicUsage(anthropic.AnthropicUsage):
        def __init__(self, **data: Any) -> None:
            super().__init__(**({"cache_creation_input_tokens": 0, "cache_read_input_tokens": 0} | data))

    class AnthropicMessage(anthropic.AnthropicMessagesResponse):
        def __init__(self, **data: Any) -> None:
            super().__init__(**(data | {"id": "msg_" + data["id"].removeprefix("chatcmpl-")}))

    for module, name, replacement in (
        (chat_serving, "ChatCompletionResponseStreamChoice", ChatChoice),
        (chat_serving, "ChatCompletionStreamResponse", ChatChunk),
        (completion_serving, "CompletionResponseStreamChoice", CompletionChoice),
        (completion_serving, "CompletionStreamResponse", CompletionChunk),
        (anthropic_serving, "AnthropicUsage", AnthropicUsage),
        (anthropic_serving, "AnthropicMessagesResponse", AnthropicMessage),
    ):
        if not hasattr(module, name):
            raise RuntimeError(f"this vLLM has no {name} where it makes its chunks")
        setattr(module, name, replacement)
