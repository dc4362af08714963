"""What an engine keeps of the prompts that it has read: whole blocks, the ones not used for longest forgotten first."""

from __future__ import annotations

from collections import OrderedDict

from deployments.engines.scripted import tokens
from deployments.engines.scripted.args import ScriptedArgs


class PrefixCache:
    """Blocks of tokens, each known by itself and all before it, as vLLM's prefix cache has them."""

    def __init__(self, args: ScriptedArgs) -> None:
        self._capacity = args.kv_blocks
        self._size = args.block_tokens
        self._blocks: OrderedDict[int, None] = OrderedDict()

    def read(self, prompt: str) -> int:
        """Read a prompt and keep it; how many of its tokens were there already."""
        pieces = tokens.pieces(prompt)
        chain = self._chain(pieces)
        cached = 0
        # The last token is always read: the answer's first one comes of it.
        for block in chain[: (len(pieces) - 1) // self._size]:
            if block not in self._blocks:
                break
            cached += self._size
        # The first block last: what is forgotten first are ends.
        for block in reversed(chain):
            self._blocks[block] = None
            self._blocks.move_to_end(block)
        while len(self._blocks) > self._capacity:
            self._blocks.popitem(last=False)
        return cached

    def _chain(self, pieces: list[str]) -> list[int]:
        chain: list[int] = []
        before = 0
        for start in range(0, len(pieces) - self._size + 1, self._size):
            before = hash((before, *pieces[start : start + self._size]))
            chain.append(before)
        return chain
