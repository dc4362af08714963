"""What it costs to find out who is calling: processor microseconds and database calls a request.

The callers show a key, an access token (of each algorithm), nothing, or what was made up, and take turns. Warm: they
were here in the last seconds. Cold: nobody was, so that the credential is checked and looked up. The authenticator is
measured by itself, and then all that a route asks of a request (`requires("write")`, headers included). The database is
a process of its own, whose time is not counted; the driver's is. Writes the table to .manta/bench/auth.md; ends with 1
if a warm caller costs more than the target, or a single database call.
"""

from __future__ import annotations

import argparse
import asyncio
import shlex
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

from pydantic import SecretStr
from starlette.requests import Request

from app.domain.api_key import ApiKey
from app.domain.key_record import KeyRecord
from app.domain.user import User, new_user_id
from app.errors import ApiError
from app.routers.dependencies import requires
from app.services import Services, build_services
from app.services.access_tokens import AccessTokens, Algorithm
from app.services.bootstrap import with_secrets
from app.services.catalog import Catalog, StaticCatalog
from app.services.inprocess import InProcessBackend
from app.settings import ROOT, Settings
from app.storage.users import now_ms
from scripts.bench import tables
from scripts.bench.calls import listen
from scripts.bench.database import database_or
from scripts.bench.machine import machine, versions
from scripts.bench.options import count
from scripts.bench.outputs import place, publish, verdict
from scripts.bench.session import interruptible
from scripts.bench.stats import Spread, ratio
from scripts.bench.summary import US

TARGET_US = 40.0
DATABASE = "auth_bench"
SECRET = "a secret for the time of a benchmark"
REQUIREMENT = requires("write")
HEADERS = {
    "host": "llm.example.com",
    "accept": "application/json",
    "accept-encoding": "gzip, deflate",
    "connection": "keep-alive",
    "user-agent": "OpenAI/Python 2.44.0",
    "content-type": "application/json",
    "content-length": "212",
    "x-stainless-lang": "python",
    "x-stainless-package-version": "2.44.0",
    "x-stainless-os": "Linux",
    "x-stainless-arch": "x64",
    "x-stainless-runtime": "CPython",
    "x-stainless-async": "false",
    "x-stainless-retry-count": "0",
    "x-forwarded-for": "203.0.113.9",
}
"""What OpenAI's own client sends through HAProxy, but for the key."""

MEASURES = ("authenticator", "dependency", "cold")


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody.

    Attributes:
        credential: What they show; None for nothing.
        refused: Nobody gave it out: it is never warm.
    """

    name: str
    services: Services
    credential: str | None
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """What one caller cost in one round.

    Attributes:
        us: Processor microseconds a request, by measure.
        calls: Database calls a request, warm and cold.
    """

    caller: str
    us: Mapping[str, float]
    calls: Mapping[str, float]


def main() -> int:
    """Run the benchmark; 0 if every warm caller was within the target."""
    chosen = options()
    return interruptible(lambda: _run(chosen))


def _run(chosen: argparse.Namespace) -> int:
    about = machine()
    with database_or(chosen.mongodb) as (uri, folder):
        found = asyncio.run(measure(uri, folder, chosen))
    record = {"machine": about, "versions": versions(), "rounds": [asdict(each) for each in found]}
    publish(place(chosen.output), markdown(found, chosen, about), record)
    return verdict(misses(found, chosen.target))


async def measure(uri: str, folder: Path, chosen: argparse.Namespace) -> list[Found]:
    """All rounds."""
    # Before any client is made: only those that come later are listened to.
    listen()
    callers = await everybody(uri, folder)
    try:
        found: list[Found] = []
        for number in range(chosen.rounds):
            # In turn, then the other way round: what drifts with time meets all alike.
            for caller in callers if number % 2 == 0 else callers[::-1]:
                found.append(await _round(caller, chosen.requests, chosen.cold))
                told = ", ".join(f"{name} {us:.1f}" for name, us in found[-1].us.items())
                print(f"round {number + 1}  {caller.name:24} us a request: {told}", flush=True)
        return found
    finally:
        for services in {id(caller.services): caller.services for caller in callers}.values():
            await services.close()


async def everybody(uri: str, folder: Path) -> list[Caller]:
    """The callers, known to the database."""
    made = {algorithm: _services(uri, folder, algorithm) for algorithm in get_args(Algorithm)}
    services = next(iter(made.values()))
    await services.stores.prepare()
    user = User(new_user_id(), "user", "Somebody", now_ms())
    await services.stores.users.insert(user)
    key = ApiKey.mint(services.settings.secret())
    record = KeyRecord(f"key_{key.id}", user.id, "bench", key.redacted, ("read", "write"), now_ms())
    await services.stores.keys.insert(record, key.digest(services.settings.secret()))
    foreign = AccessTokens(["y" * 64], algorithm="HS256", issuer=services.settings.token_issuer, ttl_s=900)
    return [
        Caller("key", services, key.value),
        *[
            Caller(f"token, {algorithm}", each, (await each.sessions.start(user)).access_token)
            for algorithm, each in made.items()
        ],
        Caller("anonymous", services, None),
        Caller("a made-up key", services, ApiKey.mint(b"another secret").value, refused=True),
        Caller("a made-up token, HS256", services, foreign.issue(user.id, "sess_1"), refused=True),
    ]


def _services(uri: str, folder: Path, algorithm: Algorithm) -> Services:
    settings = Settings(
        state_dir=folder,
        secret_key=SecretStr(SECRET),
        jwt_algorithm=algorithm,
        mongodb_database=DATABASE,
        mongodb_timeout_s=10,
        anonymous_inference=True,
    )
    return build_services(with_secrets(settings), uri, StaticCatalog(Catalog.of([])), InProcessBackend({}))


async def _round(caller: Caller, warm: int, cold: int) -> Found:
    authenticator = caller.services.authenticator
    scope = _scope(caller)

    async def ask() -> object:
        return await authenticator.principal(caller.credential or "")

    async def resolve() -> object:
        # A request of its own each time, as each has one: nothing of it is kept from the last.
        return await REQUIREMENT(Request({**scope, "state": {}}))

    async def resolve_cold() -> object:
        authenticator.forget()
        return await resolve()

    us: dict[str, float] = {}
    calls: dict[str, float] = {}
    us["cold"], calls["cold"] = await _cost(resolve_cold, cold, refused=caller.refused)
    # Trusted from here on for ten seconds, which the warm ones do not take.
    await _cost(resolve, 1, refused=caller.refused)
    if caller.credential is not None:
        us["authenticator"], calls["authenticator"] = await _cost(ask, warm, refused=caller.refused)
        await _cost(resolve, 1, refused=caller.refused)
    us["dependency"], calls["dependency"] = await _cost(resolve, warm, refused=caller.refused)
    return Found(caller.name, us, calls)


async def _cost(act: Callable[[], Awaitable[object]], times: int, *, refused: bool) -> tuple[float, float]:
    """Processor microseconds and database calls of one, over so many."""
    counter = listen()
    before, began = counter.of(DATABASE), time.process_time()
    if refused:
        for _ in range(times):
            try:
                await act()
            except ApiError:
                continue
            raise AssertionError("what was made up was taken")
    else:
        for _ in range(times):
            await act()
    return (time.process_time() - began) / times * US, (counter.of(DATABASE) - before).total() / times


def _scope(caller: Caller) -> dict[str, Any]:
    shown = {} if caller.credential is None else {"authorization": f"Bearer {caller.credential}"}
    return {
        "type": "http",
        "method": "POST",
        "path": "/v1/chat/completions",
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in {**HEADERS, **shown}.items()],
        "client": ("127.0.0.1", 50_000),
        "app": SimpleNamespace(state=SimpleNamespace(services=caller.services)),
    }


def misses(found: Sequence[Found], target: float) -> list[str]:
    """What is not as it should be with warm callers, in words."""
    missed: list[str] = []
    for caller in dict.fromkeys(each.caller for each in found):
        rounds = [each for each in found if each.caller == caller]
        us = Spread.of([each.us["dependency"] for each in rounds]).median
        if us > target and not caller.startswith("a made-up"):
            missed.append(f"{caller}: {us:.1f} us a warm request, over the target of {target:g}")
        if any(each.calls.get(name) for each in rounds for name in ("authenticator", "dependency")):
            missed.append(f"{caller}: a warm request asked the database")
    return missed


def markdown(found: Sequence[Found], chosen: argparse.Namespace, about: Mapping[str, str]) -> str:
    """For people."""
    setting = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["scripts/bench/auth", *sys.argv[1:]]),
        "rounds": str(chosen.rounds),
        "requests of each caller a round": f"{chosen.requests} warm, {chosen.cold} cold",
        "target": f"{chosen.target:g} us for a warm request",
    }
    head = ["caller"]
    for name in ("authenticator, warm", "whole dependency, warm", "whole dependency, cold"):
        head += [f"{name}: us", "ratio"]
    head += ["database calls, warm", "cold"]
    by_caller = {name: [each for each in found if each.caller == name] for name in (each.caller for each in found)}
    first = next(iter(by_caller.values()))
    lines = [[name, *_cells(rounds, first), *_calls(rounds)] for name, rounds in by_caller.items()]
    parts = [
        "# Who is calling",
        tables.pairs({**setting, **about, **versions()}),
        "Processor microseconds a request in the gateway's process, the driver's threads included: medians of rounds "
        "(in brackets, the lowest and the highest round); ratios, of those medians to the first caller's (in brackets, "
        "within a round). What was made up is never warm: it is told by its seal or signature each time.",
        tables.table(head, lines),
    ]
    return "\n\n".join(parts)


def _cells(rounds: Sequence[Found], first: Sequence[Found]) -> list[str]:
    cells: list[str] = []
    for name in MEASURES:
        values = [each.us[name] for each in rounds if name in each.us]
        if not values:
            cells += ["-", ""]
            continue
        against = ratio(values, [each.us[name] for each in first])
        cells += [_told(Spread.of(values), 1), _told(against, 2)]
    return cells


def _calls(rounds: Sequence[Found]) -> list[str]:
    warm = max(each.calls[name] for each in rounds for name in each.calls if name != "cold")
    return [f"{warm:g}", f"{Spread.of([each.calls['cold'] for each in rounds]).median:.2f}"]


def _told(spread: Spread, digits: int) -> str:
    return f"{spread.median:.{digits}f} ({spread.low:.{digits}f}..{spread.high:.{digits}f})"


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="scripts/bench/auth", description=__doc__)
    add = parser.add_argument
    add("--rounds", type=count, default=5)
    add("--requests", type=count, default=20_000, help="warm ones of each caller a round")
    add("--cold", type=count, default=300, help="cold ones of each caller a round")
    add("--target", type=float, default=TARGET_US, help="microseconds that a warm request may cost; default: 40")
    add("--mongodb", help="connection string of a database to use; default: the embedded one, in a folder of its own")
    add("--output", type=Path, default=ROOT / ".manta" / "bench" / "auth.md")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
