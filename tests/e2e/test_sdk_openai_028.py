"""``openai==0.28.1``, from before the SDK's present form: still what many programs and tutorials use."""

from __future__ import annotations

import json

import pytest

from tests.seeds.programs import python_028
from tests.support.live import CHAT, EMBEDDINGS, SCRIPTED, Live

pytestmark = pytest.mark.live

SETUP = """
import json
import openai
openai.api_base = "{url}"
openai.api_key = "{key}"
hello = [{{"role": "user", "content": "What is the capital of France?"}}]
"""


def run(live: Live, program: str) -> object:
    """What the program printed last, parsed."""
    return json.loads(python_028(SETUP.format(url=live.openai_url, key=live.api_key) + program).splitlines()[-1])


def test_it_chats_and_streams(live: Live) -> None:
    program = f"""
whole = openai.ChatCompletion.create(model="{CHAT}", messages=hello, temperature=0, max_tokens=24)
stream = openai.ChatCompletion.create(model="{CHAT}", messages=hello, temperature=0, max_tokens=24, stream=True)
told = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in stream)
print(json.dumps([whole["choices"][0]["message"]["content"], told]))
"""
    whole, told = run(live, program)
    assert "Paris" in whole
    assert told == whole


def test_it_completes_embeds_and_lists(live: Live) -> None:
    program = f"""
text = openai.Completion.create(model="{CHAT}", prompt="The capital of France is", temperature=0, max_tokens=8)
vector = openai.Embedding.create(model="{EMBEDDINGS}", input="Hello")
models = openai.Model.list()
model = openai.Model.retrieve("{CHAT}")
print(json.dumps([
    text["choices"][0]["text"], len(vector["data"][0]["embedding"]), [each["id"] for each in models["data"]],
    model["id"],
]))
"""
    text, length, models, model = run(live, program)
    assert "Paris" in text
    assert length == 384
    assert {CHAT, EMBEDDINGS} <= set(models)
    assert model == CHAT


@pytest.mark.parametrize(
    ("call", "error", "code"),
    [
        (f'openai.ChatCompletion.create(model="{SCRIPTED}", messages=[])', "InvalidRequestError", None),
        ('openai.ChatCompletion.create(model="none", messages=hello)', "InvalidRequestError", "model_not_found"),
        (
            f'openai.ChatCompletion.create(model="{SCRIPTED}", messages=hello, api_key="sk-wrong")',
            "AuthenticationError",
            None,
        ),
    ],
)
def test_its_errors_are_its_own(live: Live, call: str, error: str, code: str | None) -> None:
    program = f"""
try:
    {call}
except openai.error.OpenAIError as failure:
    print(json.dumps([type(failure).__name__, failure.code, failure.user_message]))
"""
    name, found, message = run(live, program)
    assert name == error
    assert code is None or found == code
    assert message
