"""What all request models are made of: the strict base, the discriminators of unions, the types of shared fields."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, model_validator

from app.schemas.json_body import INT64_MAX, INT64_MIN, is_array, is_object
from app.schemas.problem import TAG, shown, unknown_field, wrong

MAX_MESSAGES = 2048
MAX_TOOLS = 128
MAX_CHOICES = 8
MAX_STOPS = 4
MAX_TOP_LOGPROBS = 20
MAX_METADATA_PAIRS = 16
MAX_LOGIT_BIASES = 1024
MAX_INPUTS = 2048
"""Texts per embeddings, rerank or score request."""
INT32_MAX = 2**31 - 1
"""Token ids and counts beyond this overflow inside engines and tokenizers."""


class Strict(BaseModel):
    """An object of which every field is known and nothing is coerced.

    Attributes:
        supported: For objects that carry a ``type``: the only one that we can do.
        known: The fields by their wire names.
    """

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, serialize_by_alias=True)

    supported: ClassVar[str | None] = None
    known: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Collect the names once per class."""
        super().__pydantic_init_subclass__(**kwargs)
        cls.known = frozenset(field.alias or name for name, field in cls.model_fields.items())

    # pydantic's own ``forbid`` reports every unknown field: seconds of work for a body made of nothing else.
    @model_validator(mode="before")
    @classmethod
    def _stop_at_first_unknown(cls, value: Any) -> Any:
        if not is_object(value):
            return value
        kind = value.get("type")
        if cls.supported and isinstance(kind, str) and kind != cls.supported:
            sentence = f"must be {cls.supported!r}: {shown(kind)} is not supported here"
            raise wrong(sentence, field="type", unsupported=True)
        if not cls.known.issuperset(value):
            raise unknown_field(next(name for name in value if name not in cls.known), cls.known)
        return value


def example(body: dict[str, Any]) -> ConfigDict:
    """The part of a model's configuration that shows a body in the API reference."""
    return ConfigDict(json_schema_extra={"examples": [body]})


def tagged_by(key: str) -> Callable[[Any], str | None]:
    """A discriminator that reads a field, such as ``type``."""

    def tag(value: Any) -> str | None:
        name = value.get(key) if is_object(value) else None
        return TAG + name if isinstance(name, str) else None

    return tag


def kind_of(value: Any) -> str | None:
    """A discriminator for unions of a string, an array and an object."""
    if isinstance(value, str):
        return "~string"
    if is_array(value):
        return "~array"
    return "~object" if is_object(value) else None


def kind_of_input(value: Any) -> str | None:
    """A discriminator for text or token ids, one or many: the first item tells which."""
    if isinstance(value, str):
        return "~string"
    if not is_array(value) or not value:
        return None
    if isinstance(value[0], int):
        return "~tokens"
    return "~token_lists" if is_array(value[0]) else "~strings"


def _metadata(value: Any) -> Any:
    if not is_object(value):
        return value
    if len(value) > MAX_METADATA_PAIRS:
        raise wrong(f"may have at most {MAX_METADATA_PAIRS} pairs, not {len(value)}")
    for key, text in value.items():
        if len(key) > 64:
            raise wrong("may have keys of at most 64 characters")
        if not isinstance(text, str) or len(text) > 512:
            raise wrong("must be a string of at most 512 characters", field=key)
    return value


def _logit_bias(value: Any) -> Any:
    if not is_object(value):
        return value
    if len(value) > MAX_LOGIT_BIASES:
        raise wrong(f"may have at most {MAX_LOGIT_BIASES} entries, not {len(value)}")
    for token, bias in value.items():
        if not re.fullmatch(r"[0-9]{1,7}", token):
            raise wrong(f"must have token ids as keys, not {shown(token)}")
        if isinstance(bias, bool) or not isinstance(bias, (int, float)) or not -100 <= bias <= 100:
            raise wrong("must be a number from -100 to 100", field=token)
    return value


ModelName = Annotated[str, Field(min_length=1, max_length=256)]
ToolName = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
TokenId = Annotated[int, Field(ge=0, le=INT32_MAX)]
TokenCount = Annotated[int, Field(ge=1, le=INT32_MAX)]
Tokens = Annotated[list[TokenId], Field(min_length=1, fail_fast=True)]
NonEmpty = Annotated[str, Field(min_length=1)]
Seed = Annotated[int, Field(ge=INT64_MIN, le=INT64_MAX)]
Penalty = Annotated[float, Field(ge=-2, le=2)]
Share = Annotated[float, Field(ge=0, le=1)]
Metadata = Annotated[dict[str, str], BeforeValidator(_metadata)]
LogitBias = Annotated[dict[str, float], BeforeValidator(_logit_bias)]
ReasoningEffort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
Stop = Annotated[
    Annotated[NonEmpty, Tag("~string")]
    | Annotated[list[NonEmpty], Field(max_length=MAX_STOPS, fail_fast=True), Tag("~array")],
    Discriminator(kind_of, custom_error_type="kind", custom_error_message="a string or an array of strings"),
]


class StreamOptions(Strict):
    """What a stream carries besides the answer."""

    include_usage: bool | None = Field(default=None, description="End the stream with a chunk that carries `usage`.")
    include_obfuscation: bool | None = Field(default=None, description="Accepted and ignored: nothing is padded.")
