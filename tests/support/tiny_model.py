"""A real model of a megabyte, made in a second from random numbers: a Llama that vLLM serves, and that knows nothing.

Its tokenizer is byte-level BPE over printable text, in the manner of SmolLM2's (ChatML tokens and template, tools in
the system turn). Nothing is downloaded.
"""

from __future__ import annotations

import json
from pathlib import Path

MAX_MODEL_LEN = 4096
MIN_HEAD_DIM = 32

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<tool_call>", "</tool_call>")
WORDS = (
    "the quick brown fox jumps over the lazy dog and the capital of France is Paris and weather in a city name "
    'is {"name": "get_weather", "arguments": {"city": "Paris"}} true false null 0 1 2 3 4 5 6 7 8 9 [ ] , : . ! ?'
)
CHAT_TEMPLATE = """\
{%- if tools %}{{ '<|im_start|>system\\nTools: ' + (tools | tojson) + '<|im_end|>\\n' }}{%- endif %}
{%- for message in messages %}
{{- '<|im_start|>' + message['role'] + '\\n' }}
{%- if message['content'] is string %}{{ message['content'] }}{% endif %}
{%- if message.get('tool_calls') %}{{ message['tool_calls'] | tojson }}{% endif %}
{{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""


def make_tiny_model(folder: Path, *, head_dim: int = 64, seed: int = 0) -> Path:
    """Write configuration, weights, tokenizer and chat template of a random Llama to ``folder`` and return it.

    Args:
        folder: Where to; it is created.
        head_dim: vLLM's attention on a CPU refuses less than 32.
        seed: The same seed makes the same model.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = _write_tokenizer(folder)
    end = vocabulary["<|im_end|>"]
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=head_dim,
        max_position_embeddings=MAX_MODEL_LEN,
        tie_word_embeddings=True,
        bos_token_id=vocabulary["<|im_start|>"],
        eos_token_id=end,
        pad_token_id=end,
    )
    generator = torch.random.get_rng_state()
    torch.manual_seed(seed)
    model = LlamaForCausalLM(config)
    torch.random.set_rng_state(generator)
    model.save_pretrained(folder)
    return folder


def _write_tokenizer(folder: Path) -> dict[str, int]:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=512,
        show_progress=False,
        special_tokens=[AddedToken(token, special=index < 3) for index, token in enumerate(SPECIAL)],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator([WORDS] * 4, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<|im_start|>",
        "eos_token": "<|im_end|>",
        "pad_token": "<|im_end|>",
        "unk_token": "<|endoftext|>",
        "model_max_length": MAX_MODEL_LEN,
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE, encoding="utf-8")
    return tokenizer.get_vocab()
