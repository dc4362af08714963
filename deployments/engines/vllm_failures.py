"""Why an engine did not start, in words for the one who has to mend it."""

from __future__ import annotations

import re

from app.domain.model_spec import ModelSpec
from deployments.engines.conform import clean

_MEMORY = "Give the replica more memory, or lower kv_cache_memory_bytes, max_model_len or max_num_seqs in engine_args."

_RAISED = re.compile(r"\A(?:[A-Z]\w*(?:Error|Exception)|Error): ")
_RELAYED = re.compile(r"Worker failed with error '(.*)', please check the stack trace", re.DOTALL)

_KNOWN: tuple[tuple[str, str], ...] = (
    (r"'EngineCore\w*': -9\b", f"its process was killed, most likely for lack of memory. {_MEMORY}"),
    (r"'EngineCore\w*': -\d+", "its process crashed (see the replica's log)."),
    (
        r"(?i)out of memory|cannot allocate|can't allocate|bad_alloc|MemoryError|not enough memory"
        r"|less than requested memory|less than desired CPU memory",
        f"there is not enough memory ({{message}}). {_MEMORY}",
    ),
    (
        r"(?i)(No available memory for the cache|KV cache is needed|larger than the available KV cache"
        r"|larger than the maximum number of tokens)",
        "the KV cache is too small for one sequence of max_model_len. Raise kv_cache_memory_bytes or lower "
        "max_model_len in engine_args.",
    ),
    (
        r"(?i)head[_ ]?(size|dim)\D{0,20}\d+|unsupported head|head_size not supported",
        "the model's attention heads have a size that attention on this hardware does not support ({message}).",
    ),
    (
        r"No common block size",
        "block_size in engine_args does not fit this hardware ({message}).",
    ),
    (
        r"greater than the derived max_model_len",
        "max_model_len in engine_args is more than the model was made for.",
    ),
    (
        r"(?i)gated repo|401 Client Error|403 Client Error|RepositoryNotFound",
        "the hub does not hand the weights out: the name is wrong, or HF_TOKEN is missing in resources.env.",
    ),
    (
        r"(?i)LocalEntryNotFound|offline mode|couldn't connect|Max retries exceeded|Repo id must be",
        "the weights are neither a local path nor to be had from the hub.",
    ),
    (r"(?i)safetensors|Cannot find any model weights|Invalid header", "the weight files cannot be read ({message})."),
    (r"No module named '([\w.]+)'", "a Python package is missing here ({message})."),
)


def explain(spec: ModelSpec, error: BaseException, root: str | None) -> str:
    """A sentence on why the engine of ``spec`` did not start.

    Args:
        spec: The model.
        error: What vLLM raised in this process.
        root: What its child process raised first, if it could tell: then ``error`` only points there.
    """
    text = f"{root or ''}\n{type(error).__name__}: {error}"
    return f"The engine of {spec.id} could not start: {_reason(text, root or str(error) or type(error).__name__)}."


def explain_death(spec: ModelSpec, words: str | None) -> str:
    """A sentence on why the engine of ``spec`` is gone.

    Args:
        spec: The model.
        words: What its process raised, if it could tell.
    """
    return f"The engine of {spec.id} died: {_reason(words, words) if words else 'its process ended unexpectedly'}."


def _reason(text: str, words: str) -> str:
    message = _first_words(words)
    for pattern, sentence in _KNOWN:
        if re.search(pattern, text):
            return sentence.format(message=message).rstrip(".")
    return message


def _first_words(text: str, limit: int = 300) -> str:
    text = _RAISED.sub("", text.strip())
    if relayed := _RELAYED.search(text):
        text = relayed[1]
    # Pydantic puts the field and its complaint on lines of their own, after a headline.
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    headline = lines[0] if lines else "it gave no reason"
    if "validation error" in headline and len(lines) > 1:
        headline = ": ".join(lines[1:3]).split(" [type=")[0]
    flags = re.sub(r"--([a-z][a-z-]+)", lambda match: match[1].replace("-", "_"), headline)
    return clean(flags.replace("Value error, ", ""))[:limit].rstrip(". ")
