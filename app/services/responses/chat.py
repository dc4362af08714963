"""A response's request as the chat completion that answers it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from app.errors import InvalidRequest, UnsupportedParameter
from app.schemas import chat
from app.schemas.json_body import is_array, is_object
from app.schemas.request import NO_EXTRAS, ParsedRequest
from app.schemas.responses import ParsedResponse

Json = dict[str, Any]

_INSTRUCTING = ("system", "developer")
_IMAGE = "input_image"


def chat_request(
    request: ParsedResponse, messages: Sequence[Json], *, extras: frozenset[str] = NO_EXTRAS
) -> ParsedRequest:
    """What the engine is asked: always for a stream that ends with its usage.

    Args:
        request: What the caller wants.
        messages: The chat that is to be continued: what came before, and the input.
        extras: The vendor extras that this installation allows.

    Raises:
        InvalidRequest: There is nothing to answer, or more than a chat may hold.
    """
    told = with_instructions(request.instructions, messages)
    if not told:
        raise InvalidRequest("There is nothing to answer: give some `input`.", param="input")
    stream: Json = {"stream": True, "stream_options": {"include_usage": True}}
    body = {"model": request.model, "messages": told, **request.fields, **stream}
    try:
        return chat.parse(body, extras=extras)
    except InvalidRequest as error:
        if error.param is None or not error.param.startswith("messages"):
            raise
        # The caller sent no messages: what became them came as input, or before it.
        raise InvalidRequest(error.message, param="input", code=error.code) from None


def with_instructions(instructions: str | None, messages: Sequence[Json]) -> list[Json]:
    """The chat with its instructions ahead.

    They are one system message together with those that the chat begins with: many templates know no second.
    """
    count = next((at for at, each in enumerate(messages) if each.get("role") not in _INSTRUCTING), len(messages))
    texts = [] if instructions is None else [instructions]
    texts += [_text(message.get("content")) for message in messages[:count]]
    said = "\n\n".join(text for text in texts if text)
    rest = list(messages[count:])
    return [{"role": "system", "content": said}, *rest] if said else rest


def check_text_only(items: Sequence[Mapping[str, Any]], param: str = "input") -> None:
    """Refuse pictures in what goes to a model: models here read text.

    Args:
        items: As ``shown_items`` gives them.
        param: The field that they came in.

    Raises:
        UnsupportedParameter: There is one; ``param`` says where.
    """
    for index, item in enumerate(items):
        for name in ("content", "output"):
            parts: Any = item.get(name)
            for at, part in enumerate(parts if is_array(parts) else ()):
                if is_object(part) and part.get("type") == _IMAGE:
                    place = f"{param}[{index}].{name}[{at}]"
                    raise UnsupportedParameter(
                        f"`{place}` is a picture: models here read text only. Remove it.", param=place
                    )


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(part.get("text") or "" for part in (content if is_array(content) else ()))
