"""Usage events for tests, and their sums the slow, plain way."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

import msgspec

from app.domain.usage import NOTHING, Price, Usage, UsageDraft, UsageEvent, UsageStatus
from app.domain.usage_report import BUCKET_MS, SUMS, UsageQuery, UsageRow
from app.services.usage.rollup import UsageRollup
from app.storage.database import Database
from app.storage.stores import Stores

DAY_MS = BUCKET_MS["day"]
NOW_MS = 1_900_000_000_000 // DAY_MS * DAY_MS
"""The beginning of a day that is not over: nothing of it is too old to be kept."""

ALL_DAYS = UsageQuery(NOW_MS, NOW_MS + 3 * DAY_MS)

STATUSES: tuple[UsageStatus, ...] = ("completed", "completed", "client_left", "failed", "lost")


def draft(request_id: str = "req_1", **fields: Any) -> UsageDraft:
    plain = UsageDraft(
        request_id=request_id,
        owner="user_a",
        kind="user",
        key_id=None,
        project_id=None,
        model="org/m",
        route="/v1/chat/completions",
        stream=False,
        started_at_ms=NOW_MS,
        price=Price(3, 5, 1),
    )
    return msgspec.structs.replace(plain, **fields)


def event(request_id: str = "req_1", usage: Usage = NOTHING, status: UsageStatus = "completed", **fields: Any):
    return draft(request_id, **fields).event(usage, status, http_status=200, ttft_ms=1.5, duration_ms=20.25)


def random_events(count: int, seed: int, *, days: int = 3, prefix: str = "req") -> list[UsageEvent]:
    """Requests of some people, keys and models over some days; sums over them would not fit a float."""
    chance = random.Random(seed)
    events: list[UsageEvent] = []
    for number in range(count):
        read, written = chance.randrange(10_000), chance.randrange(10_000)
        usage = Usage(read, written, chance.randrange(read + 1), chance.randrange(written + 1))
        owner = chance.choice(["user_a", "user_b", "user_c", "ip:192.0.2.1"])
        made = draft(
            f"{prefix}_{number:05d}",
            owner=owner,
            kind="anonymous" if owner.startswith("ip:") else chance.choice(["user", "api_key"]),
            key_id=None if owner.startswith("ip:") else chance.choice([None, f"key_{owner}_1", f"key_{owner}_2"]),
            project_id=chance.choice([None, "proj_1", "proj_2"]),
            model=chance.choice(["org/m", "org/n", "ü"]),
            started_at_ms=NOW_MS + chance.randrange(days * DAY_MS),
            price=Price(chance.randrange(10**9), chance.randrange(10**9), chance.randrange(10**9)),
        )
        timed = chance.random() < 0.8
        events.append(
            made.event(
                usage,
                chance.choice(STATUSES),
                ttft_ms=chance.random() * 100 if timed else None,
                duration_ms=chance.random() * 1000 if timed else None,
            )
        )
    return events


async def insert(stores: Stores, events: list[UsageEvent], *, at_once: int = 100) -> None:
    for first in range(0, len(events), at_once):
        await stores.usage_events.insert(events[first : first + at_once])


async def settle(database: Database, stores: Stores) -> None:
    """Roll up what there is, also what those who died did not get to: it is looked at twice first."""
    rollup = UsageRollup(stores)
    for _ in range(3):
        await rollup.run_once()
    await end_lease(database)


async def end_lease(database: Database) -> None:
    """What time does."""
    await database.collection("usage_rollup").update_one({"_id": "rollup"}, {"$set": {"until_ms": 0}})


def naive_rows(events: Iterable[UsageEvent], query: UsageQuery) -> list[UsageRow]:
    """What a report has to say."""
    groups: dict[tuple[Any, ...], dict[str, int]] = {}
    for one in events:
        allowed = ((query.owners, one.owner), (query.projects, one.project_id), (query.keys, one.key_id))
        if not query.start_ms <= one.started_at_ms < query.end_ms:
            continue
        if any(wanted is not None and value not in wanted for wanted, value in (*allowed, (query.models, one.model))):
            continue
        length = BUCKET_MS[query.bucket] if query.bucket else None
        start = query.start_ms if length is None else one.started_at_ms // length * length
        dimensions = ("owner", "project_id", "key_id", "model")
        key = (start, *(getattr(one, name) if name in query.by else None for name in dimensions))
        sums = groups.setdefault(key, dict.fromkeys(SUMS, 0))
        sums["requests"] += 1
        sums["failed_requests"] += one.status in {"failed", "lost"}
        for name in SUMS[2:]:
            sums[name] += getattr(one, name)
    ordered = sorted(groups, key=lambda key: (key[0], *((part is not None, part or "") for part in key[1:])))
    return [UsageRow(*key, **groups[key]) for key in ordered]


async def day_sums(database: Database) -> dict[str, int]:
    """All day documents in one, the averages' parts too."""
    names = (*SUMS, "duration_us", "durations", "ttft_us", "ttfts")
    documents = await database.collection("usage_days").find({}).to_list(None)
    return {name: sum(document[name] for document in documents) for name in names}


def event_sums(events: Iterable[UsageEvent]) -> dict[str, int]:
    """What ``day_sums`` has to be."""
    all_of_them = list(events)
    (row,) = naive_rows(all_of_them, UsageQuery(0, 2**60, bucket=None))
    sums = {name: getattr(row, name) for name in SUMS}
    for name, count in (("duration", "durations"), ("ttft", "ttfts")):
        times = [time for one in all_of_them if (time := getattr(one, f"{name}_ms")) is not None]
        sums[f"{name}_us"] = sum(round(time * 1000) for time in times)
        sums[count] = len(times)
    return sums
