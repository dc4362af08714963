"""What was used, made up: events as requests leave them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any, Final

from app.domain.usage import UsageEvent
from app.domain.usage_report import BUCKET_MS
from tests.support.gateway import CHAT, Gateway

DAY_MS: Final = BUCKET_MS["day"]
NUMBERS = itertools.count()


def event(owner: str, at_ms: int, **fields: Any) -> UsageEvent:
    """A request that somebody made at a time; what is not said is what most of them have."""
    values: Mapping[str, Any] = {
        "request_id": f"req_{next(NUMBERS):08}",
        "kind": "api_key",
        "key_id": None,
        "project_id": None,
        "model": CHAT,
        "route": "/v1/chat/completions",
        "stream": False,
        "status": "completed",
        "http_status": 200,
        "ttft_ms": 10.5,
        "duration_ms": 100.25,
        "input_tokens": 0,
        "output_tokens": 0,
        "cached_tokens": 0,
        "reasoning_tokens": 0,
        "cost_nano": 0,
    }
    return UsageEvent(owner=owner, started_at_ms=at_ms, **{**values, **fields})


async def keep(gateway: Gateway, *events: UsageEvent) -> None:
    """Write events down."""
    await gateway.services.stores.usage_events.insert(events)
