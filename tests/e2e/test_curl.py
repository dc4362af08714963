"""What curl sees: the line that a start ends with, keys, prefixes, large and chunked bodies, a stream as it comes."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.seeds.programs import bash
from tests.support.live import CHAT, ROOT, SCRIPTED, SLOW, Live
from tests.support.openai_schema import data_events

pytestmark = pytest.mark.live

JSON = "-H 'Content-Type: application/json'"
PREFIXES = pytest.mark.parametrize("prefix", ["", "/v1", "/api/v1"])


def hello(**members: object) -> str:
    """A small request for the scripted model, quoted for the shell."""
    messages = [{"role": "user", "content": "Hello"}]
    return f"'{json.dumps({'model': SCRIPTED, 'messages': messages} | members)}'"


def test_the_line_that_a_start_ends_with_works_when_pasted(live: Live, tmp_path: Path) -> None:
    [line] = [line for line in live.announced().splitlines() if line.startswith("curl ")]
    answer = bash(f"cd {ROOT} && {line}", tmp_path)
    assert answer.status == 200, answer.body
    *chunks, done = data_events(answer.body)
    assert done == "[DONE]"
    assert json.loads(chunks[0])["model"] == CHAT


def test_a_stream_comes_token_by_token(live: Live) -> None:
    """The first chunk is here while the rest of a long answer is still to be made."""
    body = hello(model=SLOW, stream=True)
    with subprocess.Popen(
        ["bash", "-c", f"exec curl -sN {live.openai_url}/chat/completions {JSON} -d {body}"], stdout=subprocess.PIPE
    ) as curl:
        assert curl.stdout is not None
        lines = [curl.stdout.readline() for _ in range(5)]
        assert curl.poll() is None
        curl.terminate()
    assert lines[0].startswith(b"data: {")
    assert lines[1] == b"\n"


@PREFIXES
def test_every_prefix_leads_to_the_same(live: Live, tmp_path: Path, prefix: str) -> None:
    answer = bash(f"curl {live.url}{prefix}/chat/completions {JSON} -d {hello(seed=1)}", tmp_path)
    assert json.loads(answer.body)["choices"][0]["message"]["content"]
    for path in ("models", "status", "version", "health"):
        assert bash(f"curl {live.url}{prefix}/{path}", tmp_path).status == 200


@PREFIXES
def test_a_trailing_slash_changes_nothing(live: Live, tmp_path: Path, prefix: str) -> None:
    answer = bash(f"curl {live.url}{prefix}/chat/completions/ {JSON} -d {hello()}", tmp_path)
    assert answer.status == 200


@pytest.mark.parametrize("path", ["health", "healthz", "healthcheck", "readyz"])
def test_probes_answer(live: Live, tmp_path: Path, path: str) -> None:
    assert bash(f"curl {live.url}/{path}", tmp_path).status == 200


@pytest.mark.parametrize("header", ["Authorization: Bearer {key}", "X-API-Key: {key}"])
def test_a_key_may_stand_in_either_header(live: Live, tmp_path: Path, header: str) -> None:
    url = f"{live.openai_url}/chat/completions"
    right = bash(f"curl {url} {JSON} -H '{header.format(key=live.api_key)}' -d {hello()}", tmp_path)
    assert right.status == 200
    wrong = bash(f"curl {url} {JSON} -H '{header.format(key='sk-wrong')}' -d {hello()}", tmp_path)
    assert wrong.status == 401
    assert wrong.header("www-authenticate")
    assert json.loads(wrong.body)["error"]["code"] == "invalid_api_key"


def test_a_large_body_is_taken_and_one_over_the_cap_is_refused(live: Live, tmp_path: Path) -> None:
    """curl asks ``Expect: 100-continue`` first for bodies of this size."""
    path = tmp_path / "body.json"
    command = f"curl {live.openai_url}/chat/completions {JSON} --data-binary @{path}"
    for size, status in ((3_500_000, 400), (4_500_000, 413)):
        path.write_text(json.dumps({"model": SCRIPTED, "messages": [{"role": "user", "content": "a" * size}]}))
        answer = bash(command, tmp_path)
        assert answer.status == status, answer.body[:500]
        assert set(json.loads(answer.body)["error"]) == {"message", "type", "param", "code"}


def test_a_chunked_body_is_taken(live: Live, tmp_path: Path) -> None:
    chunked = f"{JSON} -H 'Transfer-Encoding: chunked'"
    answer = bash(f"curl {live.openai_url}/chat/completions {chunked} -d {hello()}", tmp_path)
    assert answer.status == 200


def test_a_browser_may_call_from_elsewhere(live: Live, tmp_path: Path) -> None:
    asked = "authorization, content-type, x-api-key, x-stainless-os"
    preflight = bash(
        f"curl -X OPTIONS {live.openai_url}/chat/completions -H 'Origin: https://app.example' "
        f"-H 'Access-Control-Request-Method: POST' -H 'Access-Control-Request-Headers: {asked}'",
        tmp_path,
    )
    assert preflight.status in (200, 204)
    assert preflight.header("access-control-allow-origin") in ("*", "https://app.example")
    answer = bash(
        f"curl {live.openai_url}/chat/completions {JSON} -H 'Origin: https://app.example' -d {hello()}", tmp_path
    )
    assert answer.header("access-control-allow-origin") in ("*", "https://app.example")


def test_nothing_of_the_engine_s_own_is_reachable(live: Live, tmp_path: Path) -> None:
    """vLLM has routes that stop, sleep, profile and reload it; the allow-list has none of them."""
    for path in (
        "server_info",
        "pause",
        "sleep",
        "reset_prefix_cache",
        "metrics/engine",
        "v1/load_lora_adapter",
        "load",
    ):
        answer = bash(f"curl -X POST {live.url}/{path}", tmp_path)
        assert answer.status == 404, path
        assert json.loads(answer.body)["error"]["code"] == "not_found"
