"""S1, "Completions API": chat completions, models, errors; MCP and the limits come later."""

from __future__ import annotations

from tests.seeds.sample import Later, Sample

DOCUMENT = "S1"

COMPLETION = {
    "id": "chatcmpl-123",
    "object": "chat.completion",
    "created": 1677652288,
    "model": "jan-v1-4b",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Hello! I'm doing well, thank you for asking."},
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21},
}
CHUNK = {
    "id": "chatcmpl-123",
    "object": "chat.completion.chunk",
    "created": 1677652288,
    "model": "jan-v1-4b",
    "choices": [{"index": 0, "delta": {}, "finish_reason": None}],
}
MODELS = {
    "object": "list",
    "data": [{"id": "jan-v1-4b", "object": "model", "created": 1677652288, "owned_by": "jan"}],
}
ERROR = {
    "error": {"message": "Invalid request format", "type": "invalid_request_error", "code": "invalid_json"},
}

SAMPLES = (
    Sample(
        DOCUMENT,
        "Create Chat Completion: Request Body",
        "body",
        # "model": "string" in the document, where the name of a model goes
        """{
"model": "jan-v1-4b",
"messages": [
{
"role": "user",
"content": "Hello, how are you?"
}
],
"max_tokens": 100,
"temperature": 0.7,
"stream": false
}""",
        path="/v1/chat/completions",
        shows=COMPLETION,
        says={"object": "chat.completion"},
        model="jan-v1-4b",
    ),
    Sample(
        DOCUMENT,
        "Create Chat Completion: Example",
        "bash",
        r"""curl -X POST http://localhost:8080/v1/chat/completions \
-H "Content-Type: application/json" \
-H "Authorization: Bearer <token>" \
-d '{
"model": "jan-v1-4b",
"messages": [
{"role": "user", "content": "Hello, how are you?"}
],
"max_tokens": 100,
"temperature": 0.7
}'""",
        shows=COMPLETION,
        says={"object": "chat.completion"},
        model="jan-v1-4b",
    ),
    Sample(
        DOCUMENT,
        "Streaming Chat Completion: Request Body",
        "body",
        """{
"model": "jan-v1-4b",
"messages": [
{"role": "user", "content": "Tell me a story"}
],
"stream": true
}""",
        path="/v1/chat/completions",
        shows=CHUNK,
        streams=True,
        says={"object": "chat.completion.chunk"},
        model="jan-v1-4b",
    ),
    Sample(
        DOCUMENT,
        "Streaming Chat Completion: Example",
        "bash",
        r"""curl -X POST http://localhost:8080/v1/chat/completions \
-H "Content-Type: application/json" \
-H "Authorization: Bearer <token>" \
-d '{
"model": "jan-v1-4b",
"messages": [{"role": "user", "content": "Tell me a story"}],
"stream": true
}' \
--no-buffer""",
        shows=CHUNK,
        streams=True,
        says={"object": "chat.completion.chunk"},
        model="jan-v1-4b",
    ),
    Sample(
        DOCUMENT,
        "List Available Models",
        "bash",
        "curl http://localhost:8080/v1/models",
        shows=MODELS,
        says={"object": "list"},
    ),
    Sample(
        DOCUMENT,
        "Supported Roles",
        "body",
        """{
"model": "jan-v1-4b",
"messages": [
{"role": "system", "content": "The message content"},
{"role": "user", "content": "The message content"},
{"role": "assistant", "content": "The message content"},
{"role": "user", "content": "The message content"}
],
"max_tokens": 100
}""",
        path="/v1/chat/completions",
        shows=COMPLETION,
        model="jan-v1-4b",
    ),
    Sample(
        DOCUMENT,
        "Error Response Format",
        "body",
        '{"model": "jan-v1-4b", "messages": [',
        path="/v1/chat/completions",
        status=400,
        shows=ERROR,
    ),
    Sample(
        DOCUMENT,
        "Rate Limiting",
        "headers",
        """X-RateLimit-Limit: 60
X-RateLimit-Remaining: 59
X-RateLimit-Reset: 1609459200""",
        path="/v1/chat/completions",
    ),
)

LATER = (
    Later(
        DOCUMENT,
        "MCP Streamable Endpoint: Request Body",
        """{
"model": "string",
"messages": [
{
"role": "user",
"content": "What's the weather like today?"
}
],
"tools": [
{
"type": "function",
"function": {
"name": "get_weather",
"description": "Get current weather information",
"parameters": {
"type": "object",
"properties": {
"location": {
"type": "string",
"description": "The city and state"
}
},
"required": ["location"]
}
}
}
]
}""",
        "mcp",
    ),
    Later(
        DOCUMENT,
        "MCP Streamable Endpoint: Example",
        r"""curl -X POST http://localhost:8080/v1/mcp \
-H "Content-Type: application/json" \
-H "Authorization: Bearer <token>" \
-d '{
"model": "jan-v1-4b",
"messages": [
{"role": "user", "content": "What'\''s the weather like today?"}
],
"tools": [
{
"type": "function",
"function": {
"name": "get_weather",
"description": "Get current weather information"
}
}
]
}'""",
        "mcp",
    ),
)
