"""Sampling parameters beyond OpenAI's that callers may use, as far as the setting ``request_extras`` allows them.

vLLM's other parameters change templates, load data, pin tokens or share state between requests; they are refused.
"""

from __future__ import annotations

from pydantic import Field

from app.schemas.common import INT32_MAX, Share, Strict


class VendorExtras(Strict):
    """vLLM's sampling parameters that harm nobody else."""

    top_k: int | None = Field(
        default=None, ge=-1, le=INT32_MAX, description="Vendor extra: sample from so many tokens; -1 or 0 means all."
    )
    min_p: Share | None = Field(
        default=None, description="Vendor extra: least probability of a token, relative to the likeliest."
    )
    repetition_penalty: float | None = Field(
        default=None, ge=0.1, le=10, description="Vendor extra: above 1 discourages what the text already holds."
    )
    ignore_eos: bool | None = Field(default=None, description="Vendor extra: go on to max_tokens, for load tests.")
    min_tokens: int | None = Field(default=None, ge=0, le=INT32_MAX, description="Vendor extra: no end before this.")
    skip_special_tokens: bool | None = Field(default=None, description="Vendor extra: leave them out of the text.")
    include_stop_str_in_output: bool | None = Field(
        default=None, description="Vendor extra: keep the stop string that ended the answer."
    )


VENDOR_EXTRAS = frozenset(VendorExtras.model_fields)
