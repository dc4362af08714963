"""What stands in the content of an item: text, pictures, refusals, and what an answer's text carries with it."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from app.schemas.common import NonEmpty, Strict, kind_of, tagged_by
from app.schemas.problem import TAG, wrong

MAX_PARTS = 2048
MAX_LOGPROBS = 65_536

Body = dict[str, Any]
Reference = Annotated[str, Field(min_length=1, max_length=256)]


class InputTextPart(Strict):
    """A piece of text."""

    type: Literal["input_text", "text"]
    text: str
    prompt_cache_breakpoint: Body | None = Field(default=None, description="Accepted and ignored.")

    def shown(self) -> Body:
        """As the API shows it."""
        return {"type": "input_text", "text": self.text}


class InputImagePart(Strict):
    """A picture, by its address or by the id of a file. It is kept; models that read text alone do not get it."""

    type: Literal["input_image"]
    image_url: NonEmpty | None = None
    file_id: Reference | None = None
    detail: Literal["low", "high", "auto", "original"] | None = None
    prompt_cache_breakpoint: Body | None = Field(default=None, description="Accepted and ignored.")

    @model_validator(mode="after")
    def _names_a_picture(self) -> Self:
        if self.image_url is None and self.file_id is None:
            raise wrong("is required in an input_image without file_id", field="image_url")
        return self

    def shown(self) -> Body:
        """As the API shows it."""
        return {
            "type": "input_image",
            "detail": self.detail or "auto",
            "image_url": self.image_url,
            "file_id": self.file_id,
        }


class FileCitation(Strict):
    """An annotation: a file that was cited."""

    type: Literal["file_citation"]
    file_id: str
    index: int
    filename: str


class UrlCitation(Strict):
    """An annotation: a page that was cited."""

    type: Literal["url_citation"]
    url: str
    start_index: int
    end_index: int
    title: str


class ContainerFileCitation(Strict):
    """An annotation: a file of a container that was cited."""

    type: Literal["container_file_citation"]
    container_id: str
    file_id: str
    start_index: int
    end_index: int
    filename: str


class FilePath(Strict):
    """An annotation: where a file is."""

    type: Literal["file_path"]
    file_id: str
    index: int


Annotation = Annotated[
    Annotated[FileCitation, Tag("~file_citation")]
    | Annotated[UrlCitation, Tag("~url_citation")]
    | Annotated[ContainerFileCitation, Tag("~container_file_citation")]
    | Annotated[FilePath, Tag("~file_path")],
    Discriminator(
        tagged_by("type"),
        custom_error_type="choice",
        custom_error_message="type: 'file_citation', 'url_citation', 'container_file_citation' or 'file_path'",
    ),
]
TokenBytes = Annotated[list[Annotated[int, Field(ge=0, le=255)]], Field(max_length=4096, fail_fast=True)]


class TopLogprob(Strict):
    """A token that might have come."""

    token: str
    logprob: float
    bytes: TokenBytes | None = None

    def shown(self) -> Body:
        """As the API shows it."""
        return {"token": self.token, "logprob": self.logprob, "bytes": self.bytes or []}


class Logprob(TopLogprob):
    """A token, and those that might have come in its place."""

    top_logprobs: Annotated[list[TopLogprob], Field(max_length=20, fail_fast=True)] | None = None

    def shown(self) -> Body:
        """As the API shows it."""
        return super().shown() | {"top_logprobs": [other.shown() for other in self.top_logprobs or ()]}


class OutputTextPart(Strict):
    """A piece of an answer's text, as answers of this API carry it."""

    type: Literal["output_text", "input_text", "text"]
    text: str
    annotations: Annotated[list[Annotation], Field(max_length=MAX_PARTS, fail_fast=True)] | None = None
    logprobs: Annotated[list[Logprob], Field(max_length=MAX_LOGPROBS, fail_fast=True)] | None = None
    parsed: Any = Field(default=None, description="Accepted and ignored: what an SDK made of the text.")
    prompt_cache_breakpoint: Body | None = Field(default=None, description="Accepted and ignored.")

    def shown(self) -> Body:
        """As the API shows it."""
        return {
            "type": "output_text",
            "text": self.text,
            "annotations": [annotation.model_dump() for annotation in self.annotations or ()],
            "logprobs": [logprob.shown() for logprob in self.logprobs or ()],
        }


class OutputRefusalPart(Strict):
    """A refusal that the model gave."""

    type: Literal["refusal"]
    refusal: str

    def shown(self) -> Body:
        """As the API shows it."""
        return {"type": "refusal", "refusal": self.refusal}


class SummaryPart(Strict):
    """A summary of reasoning."""

    supported: ClassVar[str | None] = "summary_text"

    type: Literal["summary_text"]
    text: str


class ReasoningPart(Strict):
    """Reasoning in full."""

    supported: ClassVar[str | None] = "reasoning_text"

    type: Literal["reasoning_text"]
    text: str


def _input_kind(value: Any) -> str | None:
    tag = _tag(value)
    return TAG + "input_text" if tag == TAG + "text" else tag


def _output_kind(value: Any) -> str | None:
    tag = _tag(value)
    return TAG + "output_text" if tag in (TAG + "text", TAG + "input_text") else tag


_tag = tagged_by("type")
_STRING_OR_PARTS = "a string or an array of content parts"

InputPart = Annotated[
    Annotated[InputTextPart, Tag("~input_text")] | Annotated[InputImagePart, Tag("~input_image")],
    Discriminator(
        _input_kind,
        custom_error_type="unsupported_choice",
        custom_error_message="type: 'input_text' or 'input_image'",
    ),
]
OutputPart = Annotated[
    Annotated[OutputTextPart, Tag("~output_text")] | Annotated[OutputRefusalPart, Tag("~refusal")],
    Discriminator(
        _output_kind, custom_error_type="unsupported_choice", custom_error_message="type: 'output_text' or 'refusal'"
    ),
]
InputContent = Annotated[
    Annotated[str, Tag("~string")]
    | Annotated[list[InputPart], Field(min_length=1, max_length=MAX_PARTS, fail_fast=True), Tag("~array")],
    Discriminator(kind_of, custom_error_type="kind", custom_error_message=_STRING_OR_PARTS),
]
OutputContent = Annotated[
    Annotated[str, Tag("~string")]
    | Annotated[list[OutputPart], Field(max_length=MAX_PARTS, fail_fast=True), Tag("~array")],
    Discriminator(kind_of, custom_error_type="kind", custom_error_message=_STRING_OR_PARTS),
]
"""May be empty: an answer that was broken off before its first word is a message all the same."""
