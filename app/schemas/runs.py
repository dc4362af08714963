"""Runs: an assistant's turn in a thread."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, Tag, model_validator

from app.schemas.assistants import Format, Instructions, Temperature, ToolResources
from app.schemas.common import (
    INT32_MAX,
    MAX_TOOLS,
    ModelName,
    ReasoningEffort,
    Share,
    Strict,
    example,
)
from app.schemas.metadata import StoredMetadata
from app.schemas.problem import wrong
from app.schemas.threads import CreateThreadRequest, NewMessages
from app.schemas.tools import CHOICE_BY_KIND, AnyChoice, NamedTool, Tool

MAX_RUN_TOOLS = 20
MAX_OUTPUT = 512 * 1024
"""Characters of what a tool answered."""

LEAST_TOKENS = 256

Id = Annotated[str, Field(min_length=1, max_length=128)]
Bound = Annotated[int, Field(ge=LEAST_TOKENS, le=INT32_MAX)]
Choice = Annotated[AnyChoice | Annotated[NamedTool, Tag("~object")], CHOICE_BY_KIND]


class Truncation(Strict):
    """How much of a long thread a run reads."""

    type: Literal["auto", "last_messages"]
    last_messages: Annotated[int, Field(ge=1, le=INT32_MAX)] | None = None

    @model_validator(mode="after")
    def _counts(self) -> Self:
        if self.type == "last_messages" and self.last_messages is None:
            raise wrong("is required with the type 'last_messages'", field="last_messages")
        return self


class RunFields(Strict):
    """What runs are told, wherever they are made. What is left out is the assistant's."""

    assistant_id: Id
    model: ModelName | None = Field(default=None, description="Left out: the assistant's.")
    instructions: Instructions | None = Field(default=None, description="In place of the assistant's.")
    tools: Annotated[list[Tool], Field(max_length=MAX_RUN_TOOLS, fail_fast=True)] | None = Field(
        default=None, description="In place of the assistant's; functions alone, at most 20."
    )
    metadata: StoredMetadata | None = Field(default=None, description="16 pairs of strings.")
    temperature: Temperature | None = None
    top_p: Share | None = None
    max_prompt_tokens: Bound | None = Field(default=None, description="Older turns are left out beyond it.")
    max_completion_tokens: Bound | None = Field(default=None, description="Of all its answers together.")
    truncation_strategy: Truncation | None = None
    tool_choice: Choice | None = None
    parallel_tool_calls: bool | None = None
    response_format: Format | None = None
    reasoning_effort: ReasoningEffort | None = None
    stream: bool | None = Field(default=None, description="Answer in server-sent events as things happen.")


class CreateRunRequest(RunFields):
    """A new run in a thread."""

    model_config = example({"assistant_id": "asst_123"})

    additional_instructions: Instructions | None = Field(default=None, description="After the instructions.")
    additional_messages: NewMessages | None = Field(default=None, description="Added to the thread before it begins.")


class CreateThreadAndRunRequest(RunFields):
    """A new thread, and a run in it."""

    model_config = example(
        {
            "assistant_id": "asst_123",
            "thread": {"messages": [{"role": "user", "content": "What is the capital of France?"}]},
        }
    )

    thread: CreateThreadRequest | None = None
    tool_resources: ToolResources | None = None


class ChangeRunRequest(Strict):
    """What is to change of a run."""

    model_config = example({"metadata": {"ticket": "42"}})

    metadata: StoredMetadata | None = None


class ToolOutput(Strict):
    """What a function answered."""

    tool_call_id: Id
    output: Annotated[str, Field(max_length=MAX_OUTPUT)] = ""


class SubmitToolOutputsRequest(Strict):
    """What all the functions answered that a run waits for."""

    model_config = example({"tool_outputs": [{"tool_call_id": "call_1", "output": "22 degrees"}]})

    tool_outputs: Annotated[list[ToolOutput], Field(min_length=1, max_length=MAX_TOOLS, fail_fast=True)]
    stream: bool | None = None
