"""POST /tokenize and /detokenize, vLLM's."""

from __future__ import annotations

from app.errors import InvalidRequest
from deployments.engines.scripted import prompt, tokens
from deployments.engines.scripted.requests import DetokenizeRequest, Json, TokenizeRequest, parse
from deployments.engines.scripted.script import Script
from deployments.engines.scripted.wire import Caller, Job


def tokenize(body: bytes, caller: Caller, script: Script) -> Job:
    """The token ids of a prompt, or of the prompt that a chat becomes.

    Raises:
        ApiError: The request has neither.
    """
    request = parse(body, TokenizeRequest)
    if request.messages is not None:
        text = prompt.of_chat(request.messages, request.tools)
    elif request.prompt is not None:
        text = request.prompt
    else:
        raise InvalidRequest("Send a prompt or messages.", param="prompt")

    def answer() -> Json:
        ids = tokens.encode(text)
        shown = {"token_strs": tokens.pieces(text)} if request.return_token_strs else {}
        return {"count": len(ids), "max_model_len": script.args.max_model_len, "tokens": ids, **shown}

    return Job(answer)


def detokenize(body: bytes, caller: Caller, script: Script) -> Job:
    """The text of token ids.

    Raises:
        ApiError: The ids cannot be.
    """
    request = parse(body, DetokenizeRequest)
    text = tokens.decode(request.tokens)
    return Job(lambda: {"prompt": text})
