"""POST /v1/embeddings, /rerank and /score.

A text's vector counts its words, each hashed to a few places, so that texts which share words are near each other and
rankings make sense. Scores are cosines, as vLLM's are for embedding models.
"""

from __future__ import annotations

import base64
import math
import struct
from hashlib import blake2b
from typing import cast

from app.errors import InvalidRequest
from deployments.engines.scripted import prompt
from deployments.engines.scripted.requests import EmbeddingRequest, Json, RerankRequest, ScoreRequest, Stops, parse
from deployments.engines.scripted.script import Script
from deployments.engines.scripted.wire import Caller, Job

PLACES = 8
"""Entries of the vector that one word changes."""
PAIR_NAMES = (("text_1", "text_2"), ("queries", "documents"), ("queries", "items"), ("data_1", "data_2"))


def embeddings(body: bytes, caller: Caller, script: Script) -> Job:
    """A vector of length 1 for each text.

    Raises:
        ApiError: The request cannot be answered as it stands.
    """
    request = parse(body, EmbeddingRequest)
    texts = prompt.several(request.input, "input")
    largest = script.args.embedding_dimensions
    dimensions = request.dimensions or largest
    if dimensions > largest:
        raise InvalidRequest(f"dimensions is at most {largest} with this model.", param="dimensions")
    usage = _usage(script, texts)

    def answer() -> Json:
        vectors = [vector(text, dimensions) for text in texts]
        shown = [_packed(one) for one in vectors] if request.encoding_format == "base64" else vectors
        data = [{"object": "embedding", "index": index, "embedding": one} for index, one in enumerate(shown)]
        return {"object": "list", "data": data, "model": caller.model, "usage": usage}

    return Job(answer, [0] * len(texts), "\n".join(texts), texts_tokens=usage["prompt_tokens"])


def rerank(body: bytes, caller: Caller, script: Script) -> Job:
    """Documents by how near they are to a query, the nearest first.

    Raises:
        ApiError: The request cannot be answered as it stands.
    """
    request = parse(body, RerankRequest)
    documents = _texts(request.documents, "documents")
    usage = _usage(script, [f"{request.query}{document}" for document in documents])

    def answer() -> Json:
        scores = _scores([request.query], documents, script.args.embedding_dimensions)
        order = sorted(range(len(documents)), key=lambda index: -scores[index])
        results = [
            {
                "index": index,
                "document": {"text": documents[index]},
                "relevance_score": scores[index],
            }
            for index in order[: request.top_n or len(order)]
        ]
        return {"id": f"score-{caller.request_id}", "model": caller.model, "usage": usage, "results": results}

    return Job(
        answer, [0] * len(documents), "\n".join([request.query, *documents]), texts_tokens=usage["prompt_tokens"]
    )


def score(body: bytes, caller: Caller, script: Script) -> Job:
    """How near texts are to each other: one to many, or pair by pair.

    Raises:
        ApiError: The request cannot be answered as it stands.
    """
    first, second = _pair(parse(body, ScoreRequest))
    if len(first) not in (1, len(second)):
        raise InvalidRequest(f"{len(first)} texts cannot be paired with {len(second)}: send one, or as many.")
    lefts = first * len(second) if len(first) == 1 else first
    usage = _usage(script, [f"{one}{other}" for one, other in zip(lefts, second, strict=True)])

    def answer() -> Json:
        scores = _scores(first, second, script.args.embedding_dimensions)
        data = [{"index": index, "object": "score", "score": value} for index, value in enumerate(scores)]
        return {
            "id": f"score-{caller.request_id}",
            "object": "list",
            "created": caller.created,
            "model": caller.model,
            "data": data,
            "usage": usage,
        }

    return Job(answer, [0] * len(second), "\n".join([*first, *second]), texts_tokens=usage["prompt_tokens"])


def vector(text: str, dimensions: int) -> list[float]:
    """The text's embedding: deterministic, of length 1."""
    sums = [0.0] * dimensions
    for word in text.lower().split():
        for place in struct.unpack(f"<{PLACES}I", blake2b(word.encode(), digest_size=4 * PLACES).digest()):
            sums[(place >> 1) % dimensions] += 1 if place & 1 else -1
    length = math.sqrt(sum(value * value for value in sums))
    if not length:
        return [1.0] + [0.0] * (dimensions - 1)
    return [value / length for value in sums]


def _scores(first: list[str], second: list[str], dimensions: int) -> list[float]:
    lefts = [vector(text, dimensions) for text in first]
    rights = [vector(text, dimensions) for text in second]
    if len(lefts) == 1:
        lefts *= len(rights)
    return [sum(a * b for a, b in zip(one, other, strict=True)) for one, other in zip(lefts, rights, strict=True)]


def _packed(values: list[float]) -> str:
    """Little-endian 32 bit floats, as OpenAI's SDKs unpack them."""
    floats = struct.pack(f"<{len(values)}f", *values)
    return base64.b64encode(floats).decode()


def _pair(request: ScoreRequest) -> tuple[list[str], list[str]]:
    for first, second in PAIR_NAMES:
        one, other = cast("Stops", getattr(request, first)), cast("Stops", getattr(request, second))
        if one is not None and other is not None:
            return _texts(one, first), _texts(other, second)
    raise InvalidRequest("Send text_1 and text_2 (or queries and documents).", param="text_1")


def _texts(given: str | list[str], param: str) -> list[str]:
    texts = [given] if isinstance(given, str) else given
    if not texts:
        raise InvalidRequest(f"{param} is empty.", param=param)
    return texts


def _usage(script: Script, texts: list[str]) -> Json:
    """Tokens of all texts, each of which has to fit into the context."""
    total = sum(script.fitting(text) for text in texts)
    return {"prompt_tokens": total, "total_tokens": total}
