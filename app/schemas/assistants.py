"""Assistants, as OpenAI's SDKs and Jan's clients describe them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag

from app.domain.assistant import ANY_MODEL
from app.schemas.common import MAX_TOOLS, ModelName, ReasoningEffort, Share, Strict, example, kind_of
from app.schemas.metadata import StoredMetadata
from app.schemas.problem import wrong
from app.schemas.tools import ResponseFormat, Tool

MAX_INSTRUCTIONS = 256_000
MAX_AVATAR = 2048


def _nothing_in(value: Any) -> Any:
    """Nothing here reads files, so that to name one would promise what is not kept."""
    if value:
        raise wrong("must be empty: there are no files here that a model could read", unsupported=True)
    return value


NoFiles = Annotated[list[str], AfterValidator(_nothing_in)]
NoObjects = Annotated[list[dict[str, Any]], AfterValidator(_nothing_in)]
Temperature = Annotated[float, Field(ge=0, le=2)]
Instructions = Annotated[str, Field(max_length=MAX_INSTRUCTIONS)]
AssistantTools = Annotated[list[Tool], Field(max_length=MAX_TOOLS, fail_fast=True)]
Format = Annotated[
    Annotated[Literal["auto"], Tag("~string")] | Annotated[ResponseFormat, Tag("~object")],
    Discriminator(kind_of, custom_error_type="kind", custom_error_message="'auto' or an object with a `type`"),
]


class CodeInterpreterResources(Strict):
    """Files that code could read, if any ran here."""

    file_ids: NoFiles | None = None


class FileSearchResources(Strict):
    """Files that could be searched, if there were any here."""

    vector_store_ids: NoFiles | None = None
    vector_stores: NoObjects | None = None


class ToolResources(Strict):
    """What tools of OpenAI's own would work on: it may be there, and hold nothing."""

    code_interpreter: CodeInterpreterResources | None = None
    file_search: FileSearchResources | None = None


class AssistantFields(Strict):
    """What an assistant is made of."""

    name: Annotated[str, Field(max_length=256)] | None = None
    description: Annotated[str, Field(max_length=512)] | None = None
    instructions: Instructions | None = Field(default=None, description="What runs begin with, as their system prompt.")
    tools: AssistantTools | None = Field(default=None, description="Functions alone, at most 128.")
    tool_resources: ToolResources | None = Field(default=None, description="May hold nothing: there are no files here.")
    metadata: StoredMetadata | None = Field(default=None, description="16 pairs of strings.")
    temperature: Temperature | None = None
    top_p: Share | None = None
    response_format: Format | None = Field(default=None, description="`auto`, text, any JSON object, or a schema.")
    reasoning_effort: ReasoningEffort | None = Field(default=None, description="For models that reason.")
    avatar: Annotated[str, Field(max_length=MAX_AVATAR)] | None = Field(default=None, description="Jan's: a picture.")
    file_ids: NoFiles | None = Field(default=None, description="Jan's; must be empty.")


class CreateAssistantRequest(AssistantFields):
    """A new assistant."""

    model_config = example(
        {"name": "Tutor", "model": "smollm2-135m-instruct", "instructions": "Explain it to a child of ten."}
    )

    model: ModelName = Field(default=ANY_MODEL, description="Id or alias; left out or `*`, each run names its own.")


class ChangeAssistantRequest(AssistantFields):
    """What is to change of an assistant; null takes a value away."""

    model_config = example({"instructions": "Explain it to a professor."})

    model: ModelName | None = None
