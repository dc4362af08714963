"""S0, "Using the JAN Server and API Endpoints": everything that it shows."""

from __future__ import annotations

from tests.seeds.sample import Sample

DOCUMENT = "S0"

SAMPLES = (
    Sample(
        DOCUMENT,
        "What is an example Curl to this endpoint",
        "bash",
        r"""curl -X POST \
  -H "Content-Type: application/json" \
  -d '{"model": "text-bison-001", "prompt": "Hello, world!", "max_tokens": 10}' \
  http://localhost:1337/chat/completions""",
        shows={"choices": [{"message": {"content": "text"}}], "usage": {"completion_tokens": 10}},
        model="text-bison-001",
    ),
    Sample(
        DOCUMENT,
        "What is the query or body params required",
        "body",
        '{"model": "text-bison-001", "prompt": "Hello, world!", "max_tokens": 10}',
        path="/chat/completions",
        shows={"choices": [{"message": {"content": "text"}}], "usage": {"completion_tokens": 10}},
        model="text-bison-001",
    ),
    Sample(
        DOCUMENT,
        "What is the query or body params required: in the query",
        "bash",
        'curl -X POST "http://localhost:1337/chat/completions?model=text-bison-001&prompt=Hello&max_tokens=10"',
        shows={"choices": [{"message": {"content": "text"}}], "usage": {"completion_tokens": 10}},
        model="text-bison-001",
    ),
)
"""The last one is the document's sentence ("query or body parameters") put as a command."""

LATER = ()
