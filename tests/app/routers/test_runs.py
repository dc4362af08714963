"""Runs by OpenAI's SDK, over scripted engines."""

from __future__ import annotations

from collections.abc import AsyncIterator

import openai
import pytest
import pytest_asyncio

from tests.support.gateway import CHAT, Gateway

pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def client(gateway: Gateway) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.key, max_retries=0) as client:
        yield client


async def test_a_run_answers_what_was_asked(client: openai.AsyncOpenAI):
    assistant = await client.beta.assistants.create(model=CHAT, name="Tutor", instructions="Be brief.")
    thread = await client.beta.threads.create(messages=[{"role": "user", "content": "Hello"}])
    run = await client.beta.threads.runs.create_and_poll(
        thread_id=thread.id, assistant_id=assistant.id, poll_interval_ms=20
    )

    async for m in client.beta.threads.messages.list(thread.id):
        pass
    async for m in client.beta.threads.runs.steps.list(run.id, thread_id=thread.id):
        pass
    async with client.beta.threads.runs.stream(thread_id=thread.id, assistant_id=assistant.id) as stream:
        async for e in stream:
            print(e.event)
    assert 0
