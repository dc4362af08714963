"""What a long list costs: pages and searches of 100 000 conversations, and of 100 000 items in one, beside 1 000.

The gateway answers over HTTP, with the embedded database behind it; asked is by the owner of the few and the owner of
the many in turn. In the long ones every page has to be answered within a small factor of its time in the short ones:
the first, the last, one behind a cursor in the middle, those of a time, and searches for a word that is everywhere and
one that is nearly nowhere. Writes the table to .manta/bench/conversations.md; ends with 1 if the factor is more.
"""

from __future__ import annotations

import argparse
import asyncio
import shlex
import sys
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from pydantic import SecretStr

from app.domain.api_key import ApiKey
from app.domain.key_record import KeyRecord
from app.domain.user import User
from app.main import create_app
from app.services import Services, build_services
from app.services.bootstrap import with_secrets
from app.services.catalog import Catalog, StaticCatalog
from app.services.inprocess import InProcessBackend
from app.settings import ROOT, Settings
from app.storage.users import now_ms
from scripts.bench import tables
from scripts.bench.conversation_fill import BEGAN_MS, COMMON, EVERY_MS, RARE, Filled, fill
from scripts.bench.database import database_or
from scripts.bench.machine import machine, versions
from scripts.bench.options import count
from scripts.bench.outputs import place, publish, verdict
from scripts.bench.servers import HOST, free_port
from scripts.bench.session import interruptible
from scripts.bench.stats import Spread, ratio

TARGET = 3.0
DATABASE = "conversations_bench"
SECRET = "a secret for the time of a benchmark"
MS = 1000.0
LISTS = "/v1/conversations"


@dataclass(frozen=True, slots=True)
class Side:
    """The few, or the many: what there is, and whom to ask as."""

    filled: Filled
    lists: Mapping[str, str]
    items: Mapping[str, str]


def main() -> int:
    """Run the benchmark; 0 if every page of the many was within the target."""
    chosen = options()
    return interruptible(lambda: _run(chosen))


def _run(chosen: argparse.Namespace) -> int:
    about = machine()
    with database_or(chosen.mongodb) as (uri, folder):
        found = asyncio.run(measure(uri, folder, chosen))
    record = {"machine": about, "versions": versions(), "seconds": found}
    publish(place(chosen.output), markdown(found, chosen, about), record)
    return verdict(misses(found, chosen.target))


async def measure(uri: str, folder: Path, chosen: argparse.Namespace) -> dict[str, tuple[list[float], list[float]]]:
    """Seconds of each page, a round each: among the few, and among the many."""
    settings = Settings(
        state_dir=folder, secret_key=SecretStr(SECRET), mongodb_database=DATABASE, mongodb_timeout_s=chosen.timeout
    )
    services = build_services(with_secrets(settings), uri, StaticCatalog(Catalog.of([])), InProcessBackend({}))
    await services.stores.prepare()
    sides: list[Side] = []
    for size in (chosen.few, chosen.many):
        began = time.monotonic()
        sides.append(await _side(services, f"user_{size}", size))
        print(f"{size} conversations and {size} items stored in {time.monotonic() - began:.0f} s", flush=True)
    found: dict[str, tuple[list[float], list[float]]] = {}
    async with _serving(services) as client:
        pages = [asked(side) for side in sides]
        for number in range(chosen.rounds + 1):
            for name in pages[0]:
                took = [await _timed(client, each[name]) for each in (pages if number % 2 else pages[::-1])]
                few, many = took if number % 2 else took[::-1]
                # The first round warms up: callers are looked up, and indexes read.
                if number:
                    found.setdefault(name, ([], []))
                    found[name][0].append(few)
                    found[name][1].append(many)
    return found


@dataclass(frozen=True, slots=True)
class Asked:
    """A request. With a body it adds something."""

    path: str
    query: Mapping[str, Any]
    headers: Mapping[str, str]
    body: Mapping[str, Any] | None = None


def asked(side: Side) -> dict[str, Asked]:
    """What is asked for, by name."""
    ids, items = side.filled.ids, side.filled.items
    middle_s = (BEGAN_MS + len(ids) // 2 * EVERY_MS) // 1000
    path = f"{LISTS}/{side.filled.long}"
    lists: dict[str, Mapping[str, Any]] = {
        "conversations: first page": {},
        "last page": {"order": "asc"},
        "page in the middle": {"after": ids[len(ids) // 2]},
        "last page, behind a cursor": {"after": ids[20]},
        "by last change": {"order_by": "updated_at"},
        "created before": {"created_before": middle_s},
        "created after, the oldest first": {"created_after": middle_s, "order": "asc"},
        "updated between": {"updated_after": middle_s - 50, "updated_before": middle_s},
        "search: a common word": {"search": COMMON},
        "search: a common word, the oldest first": {"search": COMMON, "order": "asc"},
        "search: a rare word": {"search": RARE},
        "search: both": {"search": f"{COMMON} {RARE}"},
        "search: a word that is not there": {"search": "nowhere"},
    }
    within: dict[str, tuple[str, Mapping[str, Any]]] = {
        "items: first page": (f"{path}/items", {}),
        "items: last page": (f"{path}/items", {"order": "asc"}),
        "items: page in the middle": (f"{path}/items", {"after": items[len(items) // 2]}),
        "items: before the middle": (f"{path}/items", {"before": items[len(items) // 2], "limit": 100}),
        "the conversation with its newest items": (path, {}),
    }
    said = {"items": [{"role": "user", "content": f"{COMMON} word1 word2"}]}
    return {
        **{name: Asked(LISTS, query, side.lists) for name, query in lists.items()},
        **{name: Asked(where, query, side.items) for name, (where, query) in within.items()},
        "a new conversation": Asked(LISTS, {}, side.lists, said),
        "a new item": Asked(f"{path}/items", {}, side.items, said),
        "a new title": Asked(f"{LISTS}/{ids[0]}", {}, side.lists, {"title": "Talk of the oldest"}),
    }


async def _timed(client: httpx.AsyncClient, it: Asked) -> float:
    method = "GET" if it.body is None else "POST"
    began = time.perf_counter()
    answer = await client.request(method, it.path, params=it.query, headers=it.headers, json=it.body)
    took = time.perf_counter() - began
    assert answer.status_code == 200, answer.text
    return took


async def _side(services: Services, owner: str, size: int) -> Side:
    filled = await fill(services, owner, size)
    return Side(filled, await _shown(services, owner), await _shown(services, f"{owner}_long"))


async def _shown(services: Services, owner: str) -> dict[str, str]:
    await services.stores.users.insert(User(owner, "user", "Somebody", now_ms(), limits="none"))
    secret = services.settings.secret()
    key = ApiKey.mint(secret)
    record = KeyRecord(f"key_{key.id}", owner, "bench", key.redacted, ("read", "write"), now_ms(), limits="none")
    await services.stores.keys.insert(record, key.digest(secret))
    return {"authorization": f"Bearer {key.value}"}


@asynccontextmanager
async def _serving(services: Services) -> AsyncGenerator[httpx.AsyncClient]:
    port = free_port()
    config = uvicorn.Config(create_app(services), host=HOST, port=port, log_config=None, access_log=False)
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    try:
        while not server.started:  # noqa: ASYNC110 - uvicorn says it in no other way
            await asyncio.sleep(0.05)
        async with httpx.AsyncClient(base_url=f"http://{HOST}:{port}", timeout=60, trust_env=False) as client:
            yield client
    finally:
        server.should_exit = True
        await task


def misses(found: Mapping[str, tuple[Sequence[float], Sequence[float]]], target: float) -> list[str]:
    """What grows more than it should, in words."""
    ratios = {name: ratio(many, few).median for name, (few, many) in found.items()}
    return [
        f"{name}: {each:.1f} times, over the target of {target:g}" for name, each in ratios.items() if each > target
    ]


def markdown(
    found: Mapping[str, tuple[Sequence[float], Sequence[float]]], chosen: argparse.Namespace, about: Mapping[str, str]
) -> str:
    """For people."""
    setting = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["scripts/bench/conversations", *sys.argv[1:]]),
        "rounds": str(chosen.rounds),
        "target": f"{chosen.target:g} times the time among {chosen.few}",
    }
    rows = [
        [name, *(tables.spread_cell(Spread.of(each), 1, MS) for each in (few, many)), f"{ratio(many, few).median:.2f}"]
        for name, (few, many) in found.items()
    ]
    parts = [
        "# Long lists of conversations and items",
        tables.pairs({**setting, **about, **versions()}),
        "Milliseconds of a request over HTTP, client and gateway in one process: medians of rounds (in brackets, the "
        "lowest and the highest), and the ratio of the medians.",
        tables.table(["page", f"of {chosen.few}", f"of {chosen.many}", "ratio"], rows),
    ]
    return "\n\n".join(parts)


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="scripts/bench/conversations", description=__doc__)
    add = parser.add_argument
    add("--few", type=count, default=1_000, help="what they are compared with")
    add("--many", type=count, default=100_000, help="conversations of one owner, and items of one conversation")
    add("--rounds", type=count, default=15)
    add("--target", type=float, default=TARGET, help="how many times as long the many may take; default: 3")
    add("--timeout", type=float, default=60.0, help="seconds of one database operation at the most")
    add("--mongodb", help="connection string of a database to use; default: the embedded one, in a folder of its own")
    add("--output", type=Path, default=ROOT / ".manta" / "bench" / "conversations.md")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
