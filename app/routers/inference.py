"""Everything that a model answers."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from app.domain.principal import Principal
from app.openapi import request_body
from app.routers.dependencies import IdentifiedInferrer, Inferrer, JsonBody, check_identified, services_of
from app.routers.kept_chat import answer_and_keep
from app.schemas import anthropic, chat, completions, embeddings, rerank, score, tokenize
from app.schemas.query import merge_query
from app.schemas.request import ParsedRequest
from app.services.inference import CHAT, Route, infer

COMPLETIONS = Route("/v1/completions", "completions")
EMBEDDINGS = Route("/v1/embeddings", "embeddings")
MESSAGES = Route("/v1/messages", "chat")
COUNT_TOKENS = Route("/v1/messages/count_tokens", "chat")
TOKENIZE = Route("/tokenize", None)
DETOKENIZE = Route("/detokenize", None)
RERANK = Route("/rerank", "rerank")
SCORE = Route("/score", "score")

BODIES = (
    chat.ChatRequest,
    completions.CompletionRequest,
    embeddings.EmbeddingRequest,
    anthropic.MessagesRequest,
    anthropic.CountTokensRequest,
    tokenize.TokenizeRequest,
    tokenize.DetokenizeRequest,
    rerank.RerankRequest,
    score.ScoreRequest,
)
"""What the endpoints below take, for the API's description."""

router = APIRouter()


@router.post("/chat/completions", tags=["Chat"], openapi_extra=request_body(chat.ChatRequest))
async def create_chat_completion(request: Request, caller: Inferrer, body: JsonBody) -> Response:
    """Answer a conversation; with `stream`, as server-sent events."""
    merged = merge_query(body, request.query_params)
    parsed = chat.parse(merged, extras=services_of(request).request_extras)
    if parsed.keep is not None:
        check_identified(caller)
        return await answer_and_keep(request, caller, parsed, merged)
    return await _answer(request, caller, CHAT, parsed)


@router.post("/conv/chat/completions", tags=["Chat"], openapi_extra=request_body(chat.ChatRequest))
async def create_conversation_turn(request: Request, caller: IdentifiedInferrer, body: JsonBody) -> Response:
    """Answer in a conversation: the one that is named, or one that begins with this."""
    merged = merge_query(body, request.query_params)
    parsed = chat.parse(merged, extras=services_of(request).request_extras, converses=True)
    return await answer_and_keep(request, caller, parsed, merged)


@router.post("/completions", tags=["Chat"], openapi_extra=request_body(completions.CompletionRequest))
async def create_completion(request: Request, caller: Inferrer, body: JsonBody) -> Response:
    """Continue a text."""
    return await _answer(
        request, caller, COMPLETIONS, completions.parse(body, extras=services_of(request).request_extras)
    )


@router.post("/embeddings", tags=["Embeddings"], openapi_extra=request_body(embeddings.EmbeddingRequest))
async def create_embeddings(request: Request, caller: Inferrer, body: JsonBody) -> Response:
    """Turn texts into vectors."""
    return await _answer(request, caller, EMBEDDINGS, embeddings.parse(body))


@router.post("/messages", tags=["Anthropic"], openapi_extra=request_body(anthropic.MessagesRequest))
async def create_message(request: Request, caller: Inferrer, body: JsonBody) -> Response:
    """Answer a conversation in Anthropic's form."""
    return await _answer(request, caller, MESSAGES, anthropic.parse(body))


@router.post("/messages/count_tokens", tags=["Anthropic"], openapi_extra=request_body(anthropic.CountTokensRequest))
async def count_tokens(request: Request, caller: Inferrer, body: JsonBody) -> Response:
    """Count the tokens of a conversation in Anthropic's form."""
    return await _answer(request, caller, COUNT_TOKENS, anthropic.parse_count_tokens(body))


@router.post("/tokenize", tags=["Tokens"], openapi_extra=request_body(tokenize.TokenizeRequest))
async def create_tokens(request: Request, caller: Inferrer, body: JsonBody) -> Response:
    """Turn a text or a conversation into the model's tokens."""
    return await _answer(request, caller, TOKENIZE, tokenize.parse(body))


@router.post("/detokenize", tags=["Tokens"], openapi_extra=request_body(tokenize.DetokenizeRequest))
async def create_text(request: Request, caller: Inferrer, body: JsonBody) -> Response:
    """Turn tokens into text."""
    return await _answer(request, caller, DETOKENIZE, tokenize.parse_detokenize(body))


@router.post("/rerank", tags=["Embeddings"], openapi_extra=request_body(rerank.RerankRequest))
async def create_ranking(request: Request, caller: Inferrer, body: JsonBody) -> Response:
    """Order documents by how well they answer a query."""
    return await _answer(request, caller, RERANK, rerank.parse(body))


@router.post("/score", tags=["Embeddings"], openapi_extra=request_body(score.ScoreRequest))
async def create_scores(request: Request, caller: Inferrer, body: JsonBody) -> Response:
    """Say how alike pairs of texts are."""
    return await _answer(request, caller, SCORE, score.parse(body))


async def _answer(request: Request, caller: Principal, route: Route, parsed: ParsedRequest) -> Response:
    # FastAPI hands whatever is callable as an ASGI response to the server as it stands.
    return await infer(services_of(request), caller, route, parsed, request.scope["state"])
