"""What a model's YAML may say under ``engine_args`` when its engine is ``scripted``."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

DEFAULT_TEXT = (
    "the manta is a ray and it soars over the reef all day with wide fins that beat like slow wings while small fish "
    "clean its skin and the tide moves warm water past the coral where light falls in long bars on pale sand until "
    "dusk comes and the whole sea turns from blue to grey then black and still the great quiet beast goes round"
)
"""Words of at most five letters: each of them is one token, with its space."""


class ScriptedArgs(BaseModel):
    """How fast a scripted engine is, what it says, and how it fails.

    Token counts of faults are per choice and start when the answer does; a fault that would come after the answer's
    last token does not happen. 0 tokens means before the first one, when nothing of the answer is out yet.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    # speed
    ttft_s: float = Field(default=0, ge=0, le=3600, description="Seconds from running to the first token.")
    tokens_per_s: float = Field(
        default=0, ge=0, le=1e6, description="Tokens per second of each sequence, after the first; 0: no pacing."
    )
    start_s: float = Field(default=0, ge=0, le=3600, description="Seconds that a start takes, with progress.")
    max_num_seqs: int = Field(default=1024, ge=1, description="Sequences that run at once; more of them wait.")

    # prompts
    prefill_tokens_per_s: float = Field(
        default=0, ge=0, le=1e9, description="Prompt tokens read per second, one prompt after the other; 0: no time."
    )
    kv_blocks: int = Field(
        default=0, ge=0, description="Blocks of prompts kept: what begins like one before is not read again; 0: none."
    )
    block_tokens: int = Field(default=16, ge=1, description="Tokens of such a block.")

    # answers
    max_model_len: int = Field(default=8192, ge=1, description="Longest prompt and answer together, in tokens.")
    default_tokens: int = Field(
        default=16, ge=1, description="Tokens of a text answer, unless the request bounds it to fewer."
    )
    text: str = Field(default=DEFAULT_TEXT, description="What answers are taken from, round and round.")
    embedding_dimensions: int = Field(default=384, ge=1, le=16384, description="Length of embedding vectors.")
    refuse_on: str | None = Field(default="[refuse]", description="Chats that hold this text get a refusal.")
    think_on: str | None = Field(default="[think]", description="Chats that hold this text are thought about first.")

    # checks
    books: Path | None = Field(
        default=None,
        description="A folder to write into which requests came and which tokens left, in spite of kill -9: "
        "what usage can be checked against. It costs two writes for all tokens that leave together.",
    )

    # faults
    fail_start: str | None = Field(default=None, description="Every start fails, for this reason.")
    die_after_tokens: int | None = Field(default=None, ge=0, description="The replica's process dies after so many.")
    die_before_first_token: bool = Field(default=False, description="The same as die_after_tokens: 0.")
    die_on: str | None = Field(default=None, description="Only prompts that hold this text kill; alone: at once.")
    die_once_file: Path | None = Field(
        default=None,
        description="Die only if this file does not exist, and create it: one death in all, over every restart.",
    )
    stall_after_tokens: int | None = Field(
        default=None, ge=0, description="Answers stop coming after so many tokens, while health stays good."
    )
    stall_on: str | None = Field(default=None, description="Only prompts that hold this text stall; alone: at once.")
    error_after_tokens: int | None = Field(default=None, ge=0, description="Answers end in an error after so many.")
    error_on: str | None = Field(default=None, description="Only prompts that hold this text fail; alone: at once.")

    @field_validator("text")
    @classmethod
    def _has_words(cls, text: str) -> str:
        if not text.split():
            raise ValueError("needs at least one word")
        return text

    @field_validator("refuse_on", "think_on", "die_on", "stall_on", "error_on")
    @classmethod
    def _not_empty(cls, marker: str | None) -> str | None:
        if marker == "":
            raise ValueError("is empty, so every prompt would hold it; leave it out to mean every request")
        return marker

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.die_before_first_token and self.die_after_tokens:
            raise ValueError("die_before_first_token and die_after_tokens contradict each other: keep one")
        dies = self.die_before_first_token or self.die_on is not None or self.die_after_tokens is not None
        if self.die_once_file is not None and not dies:
            raise ValueError("die_once_file does nothing without die_after_tokens, die_before_first_token or die_on")
        return self
