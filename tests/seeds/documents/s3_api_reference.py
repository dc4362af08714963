"""S3, "API Reference": inference, models, health and status, the reference in the browser, SDKs.

The document reached us on a single line; the line breaks after backslashes and inside the code are put back.
"""

from __future__ import annotations

from tests.seeds.documents.s1_completions import CHUNK, COMPLETION, ERROR
from tests.seeds.sample import Sample

DOCUMENT = "S3"

MODELS = {
    "object": "list",
    "data": [{"id": "jan-v1-4b", "object": "model", "created": 1234567890, "owned_by": "jan"}],
}
STATUS = {
    "api_gateway": "healthy",
    "inference_model": "healthy",
    "database": "healthy",
    "external_apis": {"serper": "healthy"},
}
TEXT = {"id": "cmpl-1", "object": "text_completion", "choices": [{"index": 0, "text": "text", "finish_reason": None}]}

PROFILE = {"id": "user_1", "object": "user", "name": "Ada", "role": "user", "is_guest": False, "created_at": 1234567890}
TOKENS = {"access_token": "...", "refresh_token": "..."}
NEW_KEY = {"id": "key_1", "object": "api_key", "key": "sk-...", "redacted_value": "sk-...", "created_at": 1234567890}
CONVERSATION = {"id": "conv_1", "created_at": 1234567890, "updated_at": 1234567890, "metadata": {}}

SAMPLES = (
    Sample(
        DOCUMENT,
        "Chat Completions",
        "bash",
        r"""curl -X POST http://localhost:8080/api/v1/chat/completions \
  -H "Content-Type: application/json" \
  -H "Authorization: Bearer " \
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
        "Model Information",
        "bash",
        "curl http://localhost:8080/api/v1/models",
        shows=MODELS,
        says={"object": "list"},
    ),
    Sample(
        DOCUMENT,
        "Completions (Text Generation)",
        "bash",
        r"""curl -X POST http://localhost:8080/api/v1/completions \
  -H "Content-Type: application/json" \
  -H "Authorization: Bearer " \
  -d '{
    "model": "jan-v1-4b",
    "prompt": "The meaning of life is",
    "max_tokens": 50
  }'""",
        shows=TEXT,
        says={"object": "text_completion"},
        model="jan-v1-4b",
    ),
    Sample(
        DOCUMENT,
        "Health Check",
        "bash",
        "curl http://localhost:8080/health",
        shows={"status": "ok", "timestamp": "2024-01-01T12:00:00Z"},
        says={"status": "ok"},
    ),
    Sample(
        DOCUMENT,
        "System Status",
        "bash",
        r"""curl -H "Authorization: Bearer " \
  http://localhost:8080/api/v1/status""",
        shows=STATUS,
        says={
            "api_gateway": "healthy",
            "inference_model": "healthy",
            "database": "healthy",
            "external_apis": {"serper": "not_configured"},
        },
    ),
    Sample(
        DOCUMENT,
        "Error Responses",
        "body",
        "{Invalid request format",
        path="/api/v1/chat/completions",
        status=400,
        shows=ERROR,
    ),
    Sample(DOCUMENT, "Interactive Documentation", "url", "http://localhost:8080/api/swagger/index.html#/"),
    Sample(
        DOCUMENT,
        "JavaScript/Node.js",
        "javascript",
        """import OpenAI from 'openai';

const openai = new OpenAI({
  baseURL: 'http://localhost:8080/api/v1',
  apiKey: 'your-jwt-token'
});

const completion = await openai.chat.completions.create({
  model: 'jan-v1-4b',
  messages: [
    { role: 'user', content: 'Hello!' }
  ]
});
""",
        shows=COMPLETION,
        says={"object": "chat.completion"},
        model="jan-v1-4b",
    ),
    Sample(
        DOCUMENT,
        "Python",
        "python",
        """import openai

openai.api_base = "http://localhost:8080/api/v1"
openai.api_key = "your-jwt-token"

response = openai.ChatCompletion.create(
    model="jan-v1-4b",
    messages=[
        {"role": "user", "content": "Hello!"}
    ]
)
""",
        shows=COMPLETION,
        says={"object": "chat.completion"},
        model="jan-v1-4b",
    ),
    Sample(
        DOCUMENT,
        "cURL Examples: Get models",
        "bash",
        """# Get models
curl http://localhost:8080/api/v1/models""",
        shows=MODELS,
        says={"object": "list"},
    ),
    Sample(
        DOCUMENT,
        "cURL Examples: Chat completion",
        "bash",
        r"""# Chat completion
curl -X POST http://localhost:8080/api/v1/chat/completions \
  -H "Content-Type: application/json" \
  -d '{
    "model": "jan-v1-4b",
    "messages": [{"role": "user", "content": "Hello"}]
  }'""",
        shows=COMPLETION,
        says={"object": "chat.completion"},
        model="jan-v1-4b",
    ),
    Sample(
        DOCUMENT,
        "cURL Examples: Streaming chat completion",
        "bash",
        r"""# Streaming chat completion
curl -X POST http://localhost:8080/api/v1/chat/completions \
  -H "Content-Type: application/json" \
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
        "JWT Token Authentication",
        "bash",
        r"""curl -H "Authorization: Bearer " \
  http://localhost:8080/api/v1/protected-endpoint""",
        shows=PROFILE,
        credential="access token",
    ),
    Sample(
        DOCUMENT,
        "API Key Authentication",
        "bash",
        r"""curl -H "Authorization: Bearer " \
  http://localhost:8080/api/v1/protected-endpoint""",
        shows=PROFILE,
        credential="api key",
    ),
    Sample(DOCUMENT, "OAuth2 Google Login", "sign-in", "curl http://localhost:8080/auth/google", status=302),
    Sample(
        DOCUMENT,
        "OAuth2 Callback",
        "sign-in",
        "http://localhost:8080/auth/google/callback?code=&state=",
        shows=TOKENS,
        says={"object": "access.token", "token_type": "Bearer", "expires_in": 900},
    ),
    Sample(
        DOCUMENT,
        "Token Refresh",
        "bash",
        r"""curl -X POST http://localhost:8080/api/v1/auth/refresh \
  -H "Authorization: Bearer " """,
        shows=TOKENS,
        says={"object": "access.token", "token_type": "Bearer", "expires_in": 900},
        credential="refresh token",
    ),
    Sample(
        DOCUMENT,
        "User Profile",
        "bash",
        r"""curl -H "Authorization: Bearer " \
  http://localhost:8080/api/v1/user/profile""",
        shows=PROFILE,
        credential="access token",
    ),
    Sample(
        DOCUMENT,
        "API Keys",
        "bash",
        r"""curl -X POST http://localhost:8080/api/v1/user/api-keys \
  -H "Authorization: Bearer " \
  -H "Content-Type: application/json" \
  -d '{
    "name": "Development Key",
    "permissions": ["read", "write"]
  }'""",
        shows=NEW_KEY,
        says={"name": "Development Key", "permissions": ["read", "write"]},
        credential="api key",
    ),
    Sample(
        DOCUMENT,
        "Rate Limiting",
        "headers",
        """X-RateLimit-Limit: 1000
X-RateLimit-Remaining: 999
X-RateLimit-Reset: 1609459200""",
        path="/api/v1/user/profile",
    ),
    Sample(
        DOCUMENT,
        "Create Conversation",
        "bash",
        r"""curl -X POST http://localhost:8080/api/v1/conversations \
  -H "Authorization: Bearer " \
  -H "Content-Type: application/json" \
  -d '{
    "title": "My Conversation",
    "model": "jan-v1-4b"
  }'""",
        shows=CONVERSATION,
        says={"object": "conversation", "title": "My Conversation"},
        model="jan-v1-4b",
        credential="access token",
    ),
    Sample(
        DOCUMENT,
        "List Conversations",
        "bash",
        r"""curl -H "Authorization: Bearer " \
  http://localhost:8080/api/v1/conversations""",
        shows={"object": "", "has_more": False},
        says={"object": "list"},
        credential="api key",
    ),
    Sample(
        DOCUMENT,
        "Get Conversation",
        "bash",
        r"""curl -H "Authorization: Bearer " \
  http://localhost:8080/api/v1/conversations/123""",
        # Nobody has a conversation of this id, and nobody is told that they had.
        shows={"error": {"message": "", "type": "", "param": None, "code": ""}},
        status=404,
        credential="api key",
    ),
)

LATER = ()
