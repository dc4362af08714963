"""The policy table: who may use how much. As its YAML file, the admins' route and the database have it.

Unknown fields are refused, so that a typing error is an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Final, Self, cast, get_args

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, StrictInt, model_validator

from app.domain.limits import Limit, Per, What
from app.domain.model_spec import MODEL_ID
from app.domain.money import plain
from app.domain.usage import NANO

MOST = 10**12
MOST_SPEND = 10**9
SMALLEST = Decimal(1) / NANO
MAX_ROWS = 32
MAX_PLANS = 64
MAX_MODELS = 1000
PLAN_NAME: Final = r"^[a-z0-9][a-z0-9_-]{0,63}$"
EACH: Final = "each"
"""In place of a model's name: every model, counted on its own."""

WHO: Final = ("anonymous", "guest", "user", "api_key", "project", "organization")
"""The parts of the table that are lists of limits."""

COUNTED: tuple[What, ...] = get_args(What)
Count = Annotated[StrictInt, Field(ge=1, le=MOST)]
Spend = Annotated[
    Decimal,
    Field(gt=0, le=MOST_SPEND, decimal_places=9, allow_inf_nan=False),
    PlainSerializer(plain, return_type=str, when_used="json"),
]
ModelName = Annotated[str, Field(pattern=MODEL_ID, max_length=128)]
"""An id or alias, of a model that need not be there; it is the name of a field in the database."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LimitRow(_Section):
    """One limit: exactly one amount, and the time that it is for."""

    requests: Count | None = Field(default=None, description="Of any kind.")
    inference_requests: Count | None = Field(default=None, description="To models.")
    input_tokens: Count | None = None
    output_tokens: Count | None = None
    tokens: Count | None = Field(default=None, description="Of prompts and answers together.")
    spend: Spend | None = Field(default=None, description="By the models' prices, in the currency of the settings.")
    concurrent_requests: Count | None = Field(default=None, description="To models, under way at the same time.")
    per: Per | None = Field(default=None, description="Any stretch of that length; a month is the calendar's, in UTC.")
    burst: Count | None = Field(default=None, description="So many at once; more come in evenly over the time.")
    model: ModelName | None = Field(default=None, description="Requests to this model alone; `each`: to every one.")

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        amounts = [what for what in COUNTED if getattr(self, what) is not None]
        if len(amounts) != 1:
            said = "names " + " and ".join(amounts) if amounts else "names none"
            raise ValueError(f"a limit is of exactly one of {', '.join(COUNTED)}; this one {said}")
        what = amounts[0]
        if what == "concurrent_requests":
            if self.per is not None or self.burst is not None:
                raise ValueError("concurrent_requests are counted while they are under way: no per, no burst")
        elif self.per is None:
            raise ValueError(f"{what} per what? Add per: second, minute, hour, day or month")
        if what == "requests" and self.model is not None:
            raise ValueError("requests are of any kind, to models or not: with a model, name inference_requests")
        if self.burst is not None and (self.per == "month" or what == "spend" or self.burst > getattr(self, what)):
            raise ValueError("a burst is at most the limit itself, and not for months or spend")
        return self

    @property
    def what(self) -> What:
        """What it is of."""
        return next(what for what in COUNTED if getattr(self, what) is not None)

    @property
    def limit(self) -> Limit:
        """The limit."""
        amount = getattr(self, self.what)
        count = int(amount * NANO) if self.what == "spend" else int(amount)
        return Limit(self.what, count, self.per, self.burst)

    @property
    def kind(self) -> tuple[What, Per | None, str | None]:
        """What a row of the same kind takes the place of."""
        return self.what, self.per, self.model


Rows = Annotated[tuple[LimitRow, ...], Field(max_length=MAX_ROWS)]


class Plan(_Section):
    """What some are given instead."""

    user: Rows | None = Field(default=None, description="In place of the table's; left out: the table's.")
    api_key: Rows | None = Field(default=None, description="In place of the table's; left out: the table's.")
    weight: float = Field(
        default=1, gt=0, le=1000, allow_inf_nan=False, description="Share of a busy model, next to others' shares."
    )
    priority: int = Field(
        default=0, ge=-100, le=100, description="Whoever has more comes first where requests wait, always."
    )


class LimitTable(_Section):
    """The whole table; what is left out has no limits."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"user": [{"inference_requests": 60, "per": "minute"}]}]})

    anonymous: Rows = Field(default=(), description="Callers without credentials, by address.")
    guest: Rows = Field(default=(), description="People who came in without an account.")
    user: Rows = Field(default=(), description="Everybody else, with all their keys together.")
    api_key: Rows = Field(default=(), description="Every API key, besides its user's.")
    project: Rows = Field(default=(), description="All keys of a project together.")
    organization: Rows = Field(default=(), description="All callers together.")
    models: Annotated[dict[ModelName, Rows], Field(max_length=MAX_MODELS)] = Field(
        default_factory=dict[ModelName, Rows], description="All callers of a model together, by id."
    )
    plans: Annotated[dict[Annotated[str, Field(pattern=PLAN_NAME)], Plan], Field(max_length=MAX_PLANS)] = Field(
        default_factory=dict[str, Plan], description="By name; admins give them to users."
    )

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        for place, rows in self._places():
            kinds = [row.kind for row in rows]
            for kind in kinds:
                if kinds.count(kind) > 1:
                    raise ValueError(f"{place}: two limits of {' per '.join(filter(None, kind[:2]))}: leave one")
            if place.startswith("models.") and any(row.model is not None for row in rows):
                raise ValueError(f"{place}: these are of one model already: no model in them")
            if place.startswith("models.") and any(row.what == "requests" for row in rows):
                raise ValueError(f"{place}: name inference_requests")
        return self

    def _places(self) -> list[tuple[str, tuple[LimitRow, ...]]]:
        found = [(name, cast(tuple[LimitRow, ...], getattr(self, name))) for name in WHO]
        found += [(f"models.{name}", rows) for name, rows in self.models.items()]
        for name, plan in self.plans.items():
            found += [(f"plans.{name}.user", plan.user or ()), (f"plans.{name}.api_key", plan.api_key or ())]
        return found

    @property
    def named_models(self) -> set[str]:
        """Every model that some limit is for."""
        named = {row.model for _, rows in self._places() for row in rows if row.model is not None}
        return (named | set(self.models)) - {EACH}

    def to_dict(self) -> dict[str, Any]:
        """The table as plain values, without what was left out."""
        return self.model_dump(mode="json", exclude_none=True)


OWN: Mapping[str, tuple[What, Per | None]] = {
    "requests_per_minute": ("inference_requests", "minute"),
    "requests_per_hour": ("requests", "hour"),
    "requests_per_day": ("requests", "day"),
    "tokens_per_minute": ("tokens", "minute"),
    "tokens_per_day": ("tokens", "day"),
    "concurrent_requests": ("concurrent_requests", None),
    "monthly_tokens": ("tokens", "month"),
    "monthly_spend": ("spend", "month"),
}
"""Limits of one key or user, by the names that the API has for them."""


def own_rows(limits: Mapping[str, int | float] | tuple[tuple[str, int | float], ...]) -> tuple[LimitRow, ...]:
    """Rows of what one key or user is held to; names that are not known (any more) are left out."""
    rows: list[LimitRow] = []
    for name, amount in dict(limits).items():
        if name in OWN:
            what, per = OWN[name]
            value = _spend(amount) if what == "spend" else int(amount)
            rows.append(LimitRow.model_validate({what: value, "per": per}))
    return tuple(rows)


def _spend(amount: float) -> Decimal:
    """In whole billionths, at least one: what a sum of binary fractions is off by is no reason to let nobody in."""
    return max(SMALLEST, Decimal(str(amount)).quantize(SMALLEST))
