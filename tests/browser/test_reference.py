"""The API reference, used as a person uses it: open, authorize, execute, read. Nothing of it comes from elsewhere."""

from __future__ import annotations

import json

import pytest
from playwright.async_api import Locator, Page, expect

from tests.browser.conftest import Visit
from tests.support.live import CHAT, SCRIPTED, Live

pytestmark = [pytest.mark.browser, pytest.mark.live]

PATIENCE_MS = 60_000
SHOWN = ("/v1/responses", "/v1/conversations", "/v1/threads", "/v1/embeddings", "/v1/messages", "/v1/models", "/health")
ADDRESSES = ("/", "/docs", "/api/swagger/index.html", "/api/swagger/index.html#/")


@pytest.mark.parametrize("address", ADDRESSES)
async def test_the_reference_shows_every_operation(visit: Visit, live: Live, address: str) -> None:
    await visit.page.goto(live.url + address)
    chats = visit.page.get_by_text("/v1/chat/completions", exact=True)
    await expect(chats.first).to_be_visible(timeout=PATIENCE_MS)
    for path in SHOWN:
        await expect(visit.page.locator(f'.opblock [data-path="{path}"]').first).to_be_visible()
    check_quiet(visit, live)


async def test_a_chat_completion_is_executed_with_the_key_and_answered(visit: Visit, live: Live) -> None:
    page = visit.page
    await page.goto(f"{live.url}/docs")
    await authorize(page, live.api_key)
    operation = await opened(page, "/v1/chat/completions")
    await expect(operation.locator("textarea.body-param__text")).to_be_editable(timeout=PATIENCE_MS)
    # The example that stands there is sent as it stands.
    example = json.loads(await operation.locator("textarea.body-param__text").input_value())
    assert example["model"] == CHAT
    answer = await executed(operation)
    assert answer["object"] == "chat.completion"
    assert "Paris" in answer["choices"][0]["message"]["content"]
    await expect(operation.locator(".curl-command .curl")).to_contain_text(live.api_key)
    check_quiet(visit, live)


async def test_the_request_can_be_changed_before_it_is_sent(visit: Visit, live: Live) -> None:
    page = visit.page
    await page.goto(f"{live.url}/docs")
    operation = await opened(page, "/v1/chat/completions")
    body = {"model": SCRIPTED, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 3}
    await operation.locator("textarea.body-param__text").fill(json.dumps(body))
    answer = await executed(operation)
    assert answer["model"] == SCRIPTED
    assert answer["usage"]["completion_tokens"] == 3
    check_quiet(visit, live)


async def test_the_models_are_listed_without_a_key(visit: Visit, live: Live) -> None:
    await visit.page.goto(f"{live.url}/docs")
    operation = await opened(visit.page, "/v1/models", "get")
    answer = await executed(operation)
    assert CHAT in {model["id"] for model in answer["data"]}
    check_quiet(visit, live)


async def authorize(page: Page, key: str) -> None:
    """Give the key to the page, as its button asks for it."""
    await page.locator(".auth-wrapper > .authorize").click(timeout=PATIENCE_MS)
    dialog = page.locator(".modal-ux")
    bearer = dialog.locator(".auth-container").filter(has_text="Bearer")
    await bearer.locator("input").first.fill(key)
    await bearer.get_by_role("button", name="Apply credentials").click()
    await expect(bearer.get_by_role("button", name="Remove authorization")).to_be_visible()
    await dialog.locator(".close-modal").click()


async def opened(page: Page, path: str, method: str = "post") -> Locator:
    """The operation with this path, unfolded."""
    operation = page.locator(f".opblock-{method}").filter(has=page.locator(f'[data-path="{path}"]'))
    await operation.locator(".opblock-summary-control").first.click(timeout=PATIENCE_MS)
    return operation


async def executed(operation: Locator) -> dict[str, object]:
    """Press Execute, and read what the page then shows: status 200 and a JSON body."""
    await operation.get_by_role("button", name="Execute").click()
    live_response = operation.locator(".live-responses-table")
    await expect(live_response.locator(".response-col_status").last).to_contain_text("200", timeout=PATIENCE_MS)
    return json.loads(await live_response.locator(".highlight-code code").first.inner_text())


def check_quiet(visit: Visit, live: Live) -> None:
    """The page asked nobody else for anything, and nothing went wrong on it."""
    assert visit.requested
    assert not visit.strangers(live.url)
    assert not visit.complaints
