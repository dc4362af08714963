"""Threads and their messages, as OpenAI's SDKs and Jan's clients write them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from pydantic import AfterValidator, Discriminator, Field, Tag

from app.schemas.assistants import NoObjects, ToolResources
from app.schemas.common import Strict, example, kind_of, tagged_by
from app.schemas.metadata import StoredMetadata
from app.schemas.problem import wrong

MAX_CONTENT = 256_000
"""Characters of one message."""

MAX_MESSAGES = 128
"""Messages that come with a thread or a run; more are added one by one."""

MAX_PARTS = 128
MAX_TITLE = 256
MAX_ASSISTANTS = 16
MAX_ASSISTANTS_BYTES = 64 * 1024
MAX_URL = 2 * 1024 * 1024
"""Characters of an image's URL, which may hold the image."""

Detail = Literal["auto", "low", "high"]
Content = Annotated[str, Field(min_length=1, max_length=MAX_CONTENT)]


def _bounded(assistants: list[dict[str, Any]]) -> list[dict[str, Any]]:
    size = len(msgspec.json.encode(assistants))
    if size > MAX_ASSISTANTS_BYTES:
        raise wrong(f"has {size} bytes as JSON; at most {MAX_ASSISTANTS_BYTES} are allowed")
    return assistants


def _url(url: str) -> str:
    if not url.startswith(("https://", "http://", "data:image/")):
        raise wrong("must begin with https://, http:// or data:image/")
    return url


class ShownText(Strict):
    """A text as messages show it, for clients that send back what they got."""

    value: Content
    annotations: NoObjects | None = None


class TextPart(Strict):
    """A piece of text."""

    type: Literal["text"]
    text: Annotated[
        Annotated[Content, Tag("~string")] | Annotated[ShownText, Tag("~object")],
        Discriminator(kind_of, custom_error_type="kind", custom_error_message="a string or an object with a `value`"),
    ]

    @property
    def value(self) -> str:
        """What it says."""
        return self.text if isinstance(self.text, str) else self.text.value


class ImageUrl(Strict):
    """Where an image is."""

    url: Annotated[str, Field(max_length=MAX_URL), AfterValidator(_url)]
    detail: Detail = "auto"


class ImageUrlPart(Strict):
    """An image by its URL. It is kept; models that read text alone cannot be run on it."""

    type: Literal["image_url"]
    image_url: ImageUrl


class ImageFile(Strict):
    """The name of an image."""

    file_id: Annotated[str, Field(min_length=1, max_length=256)]
    detail: Detail = "auto"


class ImageFilePart(Strict):
    """An image by its id. It is kept; models that read text alone cannot be run on it."""

    type: Literal["image_file"]
    image_file: ImageFile


Part = Annotated[
    Annotated[TextPart, Tag("~text")]
    | Annotated[ImageUrlPart, Tag("~image_url")]
    | Annotated[ImageFilePart, Tag("~image_file")],
    Discriminator(
        tagged_by("type"),
        custom_error_type="choice",
        custom_error_message="type: 'text', 'image_url' or 'image_file'",
    ),
]


class CreateMessageRequest(Strict):
    """A new message at the end of a thread."""

    model_config = example({"role": "user", "content": "What is the capital of France?"})

    role: Literal["user", "assistant"]
    content: Annotated[
        Annotated[Content, Tag("~string")]
        | Annotated[list[Part], Field(min_length=1, max_length=MAX_PARTS, fail_fast=True), Tag("~array")],
        Discriminator(kind_of, custom_error_type="kind", custom_error_message="a string or an array of content parts"),
    ]
    attachments: NoObjects | None = Field(default=None, description="Must be empty: there are no files here.")
    metadata: StoredMetadata | None = Field(default=None, description="16 pairs of strings.")


NewMessages = Annotated[list[CreateMessageRequest], Field(max_length=MAX_MESSAGES, fail_fast=True)]


class ChangeMessageRequest(Strict):
    """What is to change of a message."""

    model_config = example({"metadata": {"starred": "yes"}})

    metadata: StoredMetadata | None = None


class ThreadFields(Strict):
    """What a thread is made of besides its messages."""

    metadata: StoredMetadata | None = Field(default=None, description="16 pairs of strings.")
    tool_resources: ToolResources | None = Field(default=None, description="May hold nothing: there are no files here.")
    title: Annotated[str, Field(max_length=MAX_TITLE)] | None = Field(
        default=None, description="Jan's; left out, it is made of the first exchange."
    )
    assistants: (
        Annotated[list[dict[str, Any]], Field(max_length=MAX_ASSISTANTS, fail_fast=True), AfterValidator(_bounded)]
        | None
    ) = Field(default=None, description="Jan's: kept and shown as they are.")


class CreateThreadRequest(ThreadFields):
    """A new thread."""

    model_config = example({"messages": [{"role": "user", "content": "What is the capital of France?"}]})

    messages: NewMessages | None = Field(default=None, description="What it begins with, at most 128 messages.")


class ChangeThreadRequest(ThreadFields):
    """What is to change of a thread; null takes a value away."""

    model_config = example({"title": "Capitals", "metadata": {"topic": "geography"}})
