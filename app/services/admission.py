"""May they, now? Every request passes here; those to models a second time, when it is known what they ask for."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from app.domain.limit_headers import rate_limit_headers
from app.domain.limit_policy import Bounds
from app.domain.limits import Amounts, Standing
from app.domain.model_spec import ModelSpec
from app.domain.principal import Principal
from app.domain.usage import Price, Usage, UsageDraft
from app.errors import RateLimited, ServiceUnavailable
from app.services.backend import Share
from app.services.limits.limiter import Limiter
from app.services.limits.reservation import Reservation
from app.services.metering import MeteredRequest, amounts_of
from app.services.policies import Policies
from app.services.prompt_estimates import PromptEstimates
from app.services.usage.ledger import UsageLedger

ONE: Amounts = {"requests": 1, "inference_requests": 1}
RETRY_AFTER_S = 30.0
"""What callers are told while usage cannot be written down."""

State = dict[str, Any]
"""A request's: ``reservations`` and ``standings`` gather there, and ``rate_limits``, which become headers."""


@dataclass(frozen=True, slots=True)
class Work:
    """What a request asks of a model.

    Attributes:
        route: The engine's path.
        size: Of its body, in bytes.
        output_tokens: The most that its answers may have.
        stream: Whether they are to come as they are made.
    """

    route: str
    size: int
    output_tokens: int
    stream: bool


class Admission:
    """Takes what requests need of their limits, and gives back what they did not."""

    def __init__(self, policies: Policies, limiter: Limiter, ledger: UsageLedger) -> None:
        self.policies = policies
        self._limiter = limiter
        self._ledger = ledger
        self._estimates = PromptEstimates()

    async def admit(self, caller: Principal, state: State, *, inference: bool = False) -> None:
        """Let a request in, before it is read.

        Raises:
            RateLimited: The caller has had what is theirs for now.
        """
        await self._take(self.policies.current.of_request(caller, inference=inference), ONE, state)

    async def begin(self, caller: Principal, spec: ModelSpec, work: Work, state: State) -> MeteredRequest:
        """Let a request to a model in, now that it is known what it asks for.

        Raises:
            DatabaseUnavailable: It would be paid for, and whether it may be cannot be checked.
            RateLimited: The caller has had what is theirs for now; what ``admit`` took is given back.
            ServiceUnavailable: What it takes could not be written down.
        """
        price = spec.price.per_token()
        expected = Usage(self._estimates.of(spec.id, work.size), work.output_tokens)
        taken: list[Reservation] = state.get("reservations", [])
        try:
            if not self._ledger.has_room:
                raise ServiceUnavailable("Usage cannot be written down at the moment.", retry_after_s=RETRY_AFTER_S)
            bounds = self.policies.current.of_work(caller, spec)
            await self._take(bounds, amounts_of(expected, price.of(expected)), state)
        except BaseException as error:
            _give_back(state, taken, error.standings if isinstance(error, RateLimited) else ())
            raise
        draft = _draft(caller, spec, work, state["request_id"], price)
        reservations: list[Reservation] = state.get("reservations", [])
        return MeteredRequest(draft, reservations, self._ledger, self._estimates, size=work.size, expected=expected)

    def share(self, caller: Principal, spec: ModelSpec, work: Work) -> Share:
        """What a request's place in a queue goes by."""
        plan = self.policies.current.plan_of(caller)
        return Share(
            caller.tenant, plan.weight, plan.priority, self._estimates.of(spec.id, work.size), work.output_tokens
        )

    async def standings(self, caller: Principal) -> tuple[Standing, ...]:
        """How all stands that binds a caller.

        Raises:
            DatabaseUnavailable: The database did not answer.
        """
        return await self._limiter.standings(self.policies.current.of_caller(caller))

    async def _take(self, bounds: Bounds, amounts: Amounts, state: State) -> None:
        if not bounds:
            return
        try:
            reservation = await self._limiter.reserve(bounds, amounts)
        except RateLimited as denial:
            _show(state, denial.standings)
            raise
        state.setdefault("reservations", []).append(reservation)
        _show(state, reservation.standings)


def _draft(caller: Principal, spec: ModelSpec, work: Work, request_id: str, price: Price) -> UsageDraft:
    return UsageDraft(
        request_id=request_id,
        owner=caller.subject,
        kind=caller.kind,
        key_id=caller.key_id,
        project_id=caller.project_id,
        model=spec.id,
        route=work.route,
        stream=work.stream,
        started_at_ms=int(time.time() * 1000),
        price=price,
    )


def _give_back(state: State, taken: Iterable[Reservation], denied: Iterable[Standing]) -> None:
    """End what ``admit`` took; the answer's headers show it given back, beside what was denied."""
    whole: list[Standing] = []
    for reservation in taken:
        reservation.cancel()
        for each in reservation.standings:
            whole.append(each._replace(remaining=each.remaining + ONE.get(each.bound.limit.what, 0)))
    state["standings"] = whole
    _show(state, denied)


def _show(state: State, standings: Iterable[Standing]) -> None:
    gathered: list[Standing] = state.setdefault("standings", [])
    gathered.extend(standings)
    state["rate_limits"] = rate_limit_headers(gathered)
