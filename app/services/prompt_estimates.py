"""How many tokens a prompt will have, before anybody has counted them."""

from __future__ import annotations

FIRST_TOKENS_PER_BYTE = 1 / 3
"""Until a model's tokenizer is known a little: more than English takes, less than the densest scripts do."""

OVERHEAD_BYTES = 128
"""What a chat template adds to a prompt, about."""

FADING = 0.99
"""How fast a prompt that had more tokens than usual is forgotten."""


class PromptEstimates:
    """Learns from every answer, model by model, and errs on the high side."""

    def __init__(self) -> None:
        self._tokens_per_byte: dict[str, float] = {}

    def of(self, model: str, size: int) -> int:
        """Tokens of a prompt of so many bytes."""
        ratio = self._tokens_per_byte.get(model, FIRST_TOKENS_PER_BYTE)
        return int((size + OVERHEAD_BYTES) * ratio) + 1

    def learn(self, model: str, size: int, tokens: int) -> None:
        """So many it had."""
        if tokens:
            ratio = self._tokens_per_byte.get(model, FIRST_TOKENS_PER_BYTE)
            self._tokens_per_byte[model] = max(ratio * FADING, tokens / (size + OVERHEAD_BYTES))
