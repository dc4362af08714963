"""S2, "Using Jan's Built-in API Server": a request, its answer, and a reference in the browser (``tests/browser``)."""

from __future__ import annotations

from tests.seeds.sample import Sample

DOCUMENT = "S2"

REQUEST = """{
  "messages": [
    {
      "content": "You are a helpful assistant.",
      "role": "system"
    },
    {
      "content": "Hello!",
      "role": "user"
    }
  ],
  "model": "tinyllama-1.1b",
  "stream": true,
  "max_tokens": 2048,
  "stop": [
    "hello"
  ],
  "frequency_penalty": 0,
  "presence_penalty": 0,
  "temperature": 0.7,
  "top_p": 0.95
}
"""
ANSWER = {
    "choices": [
        {
            "finish_reason": None,
            "index": 0,
            "message": {"content": "Hello user. What can I help you with?", "role": "assistant"},
        }
    ],
    "created": 1700193928,
    "id": "ebwd2niJvJB1Q2Whyvkz",
    "model": "_",
    "object": "chat.completion",
    "system_fingerprint": "_",
    "usage": {"completion_tokens": 500, "prompt_tokens": 33, "total_tokens": 533},
}

SAMPLES = (
    Sample(
        DOCUMENT,
        "cURL Request Example",
        "body",
        REQUEST,
        path="/v1/chat/completions",
        streams=True,
        shows={"choices": [{"index": 0, "delta": {}}], "created": 0, "id": "_", "model": "_"},
        says={"object": "chat.completion.chunk"},
        model="tinyllama-1.1b",
    ),
    Sample(
        DOCUMENT,
        "Response Body Example",
        "body",
        # the document shows the answer to the request above as a whole one
        REQUEST.replace('"stream": true', '"stream": false'),
        path="/v1/chat/completions",
        shows=ANSWER,
        says={"object": "chat.completion"},
        model="tinyllama-1.1b",
    ),
)

LATER = ()
