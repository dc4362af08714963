"""Embeddings are OpenAI's; rerank and score are vLLM's."""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import AsyncIterator
from typing import Any

import pytest

from app.domain.model_spec import ModelSpec
from app.services.asgi_call import ASGIApp
from deployments.engines.scripted import ScriptedEngine
from tests.contract.calls import MODEL, assert_error, post
from tests.support.openai_schema import validate

DIMENSIONS = 64
CAPABILITIES: Any = ["embeddings", "rerank", "score"]


@pytest.fixture(scope="module", params=["scripted"])
async def pooling_app(request: pytest.FixtureRequest) -> AsyncIterator[ASGIApp]:
    """An engine that embeds."""
    args = {"embedding_dimensions": DIMENSIONS, "max_model_len": 512}
    spec = ModelSpec(id="pooling", engine=request.param, engine_args=args, capabilities=CAPABILITIES)
    engine = ScriptedEngine(spec)
    await engine.start(lambda *_: None)
    yield engine.app()
    await engine.stop()


async def embed(app: ASGIApp, input_: Any, **fields: Any) -> dict[str, Any]:
    reply = await post(app, "/v1/embeddings", {"input": input_, **fields})
    assert reply.status == 200, reply.body
    return reply.json


async def test_embeddings_are_openais(pooling_app: ASGIApp) -> None:
    body = await embed(pooling_app, ["one fish", "two fish"])
    validate("CreateEmbeddingResponse", body)
    assert body["model"] == MODEL
    assert [item["index"] for item in body["data"]] == [0, 1]
    for item in body["data"]:
        assert len(item["embedding"]) == DIMENSIONS
        assert math.isclose(math.hypot(*item["embedding"]), 1, rel_tol=1e-3)
    assert body["usage"]["prompt_tokens"] == body["usage"]["total_tokens"] > 0


async def test_the_same_text_has_the_same_vector(pooling_app: ASGIApp) -> None:
    first, second = await embed(pooling_app, "a fish"), await embed(pooling_app, ["a bird", "a fish"])
    assert first["data"][0]["embedding"] == pytest.approx(second["data"][1]["embedding"])


async def test_base64_holds_the_same_floats(pooling_app: ASGIApp) -> None:
    plain = (await embed(pooling_app, "a fish"))["data"][0]["embedding"]
    packed = (await embed(pooling_app, "a fish", encoding_format="base64"))["data"][0]["embedding"]
    raw = base64.b64decode(packed)
    assert list(struct.unpack(f"<{len(raw) // 4}f", raw)) == pytest.approx(plain, rel=1e-5)


async def test_token_ids_embed_as_their_text_does(pooling_app: ASGIApp) -> None:
    ids = (await post(pooling_app, "/tokenize", {"prompt": "a fish"})).json["tokens"]
    by_text = await embed(pooling_app, "a fish")
    assert (await embed(pooling_app, ids))["data"][0]["embedding"] == by_text["data"][0]["embedding"]
    assert (await embed(pooling_app, [ids]))["data"][0]["embedding"] == by_text["data"][0]["embedding"]


async def test_rerank_puts_the_nearest_first(pooling_app: ASGIApp) -> None:
    documents = ["the sky is blue", "a red fish swims", "a red fish"]
    reply = await post(pooling_app, "/rerank", {"query": "a red fish", "documents": documents})
    body = reply.json
    assert set(body) == {"id", "model", "usage", "results"}
    assert [result["index"] for result in body["results"]] == [2, 1, 0]
    assert body["results"][0]["document"] == {"text": "a red fish"}
    scores = [result["relevance_score"] for result in body["results"]]
    assert scores == sorted(scores, reverse=True)
    top = await post(pooling_app, "/rerank", {"query": "a red fish", "documents": documents, "top_n": 1})
    assert top.json["results"] == body["results"][:1]


@pytest.mark.parametrize("names", [("text_1", "text_2"), ("queries", "documents")])
async def test_score_pairs_one_with_many_or_each_with_each(pooling_app: ASGIApp, names: tuple[str, str]) -> None:
    first, second = names
    one = (await post(pooling_app, "/score", {first: "a fish", second: ["a fish", "the sky"]})).json
    assert [item["index"] for item in one["data"]] == [0, 1]
    assert all(item["object"] == "score" for item in one["data"])
    assert one["data"][0]["score"] > one["data"][1]["score"]
    each = (await post(pooling_app, "/score", {first: ["a fish", "the sky"], second: ["a fish", "the sky"]})).json
    assert [item["score"] for item in each["data"]] == pytest.approx([1, 1], abs=1e-3)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/embeddings", {}),
        ("/v1/embeddings", {"input": []}),
        ("/v1/embeddings", {"input": "x", "dimensions": DIMENSIONS + 1}),
        ("/v1/embeddings", {"input": "x", "encoding_format": "hex"}),
        ("/v1/embeddings", {"input": "fish " * 2000}),
        ("/rerank", {"query": "x"}),
        ("/score", {"text_1": ["a", "b"], "text_2": ["a", "b", "c"]}),
    ],
)
async def test_what_cannot_be_embedded_is_refused(pooling_app: ASGIApp, path: str, body: Any) -> None:
    assert_error(await post(pooling_app, path, body), 400, "invalid_request_error")
