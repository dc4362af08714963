"""A gateway and a replica in one process, so that both die in the same instant when it is killed.

Run with the database's address and name and a folder. It sends requests of all kinds, writes a byte to its standard
output whenever something of an answer comes, and goes on until it is killed. The engine keeps books.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

from app.domain.usage import Usage
from app.services.backend import EngineRequest
from app.services.metering import MeteredRequest
from app.services.prompt_estimates import PromptEstimates
from app.services.usage.ledger import UsageLedger
from app.storage.database import Database
from app.storage.usage_events import UsageEvents
from deployments.link.link import Link
from deployments.link.listener import Listener
from deployments.slate.slate import Slate
from tests.deployments.engines.scripted_support import scripted
from tests.support.usage import draft

BRIEF, LONG = 3, 4000
WANTED = [(BRIEF, True), (BRIEF, False), *[(LONG, True)] * 6, (LONG, False)]
"""How many tokens, and whether as a stream."""

PROMPT = "what is lost"


async def ask(link: Link, ledger: UsageLedger, number: int, tokens: int, *, stream: bool) -> None:
    """One request, as the gateway works on it."""
    body = json.dumps({"prompt": PROMPT, "max_tokens": tokens, "ignore_eos": True, "stream": stream}).encode()
    account = draft(f"req_{number}", stream=stream)
    meter = MeteredRequest(account, (), ledger, PromptEstimates(), size=len(body), expected=Usage(9, tokens))
    answer = link.send(EngineRequest("/v1/completions", body, account.request_id, "m", meter.account), meter)
    await answer.begun()
    meter.answered(answer.status)
    async for _ in answer:
        os.write(1, b".")
    meter.over("completed", answer.status)


async def main(uri: str, name: str, folder: str) -> None:
    """Be killed."""
    root = Path(folder)
    ledger = UsageLedger(UsageEvents(Database(uri, name, timeout_s=2, pool_size=4)), root / "usage")
    await ledger.start()
    engine = scripted(tokens_per_s=50, max_num_seqs=64, books=str(root / "books"))
    await engine.start(lambda *_: None)
    listener = Listener(engine.app(), "a" * 32, "127.0.0.1", 64, slate=Slate.make(root / "slates", 64))
    await listener.start()
    link = await Link.connect(listener.grant()[0])
    await asyncio.gather(*(ask(link, ledger, at, tokens, stream=how) for at, (tokens, how) in enumerate(WANTED)))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
