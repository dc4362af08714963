"""Turns a GGUF file into weights that vLLM takes: bfloat16 safetensors, tokenizer, chat template.

    python -m deployments.weights.convert <file.gguf> <folder>

A process of its own: PyTorch and transformers take seconds and hundreds of megabytes, which go when it ends. Every
line on standard output is a JSON object ``{"progress": 0..1, "detail": "..."}``.
"""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any


def say(progress: float, detail: str) -> None:
    """Tell the parent how far we are."""
    sys.stdout.write(json.dumps({"progress": progress, "detail": detail}) + "\n")
    sys.stdout.flush()


def convert(source: Path, target: Path) -> None:
    """Write ``source``'s model to the folder ``target``."""
    say(0.0, "loading PyTorch and transformers")
    # seconds and hundreds of megabytes, which only this function needs
    torch: Any = import_module("torch")
    library: Any = import_module("transformers")
    where = {"pretrained_model_name_or_path": str(source.parent), "gguf_file": source.name}
    say(0.45, "reading quantized tensors")
    model = library.AutoModelForCausalLM.from_pretrained(
        **where, dtype=torch.float32, quantization_config=library.GgufConfig(dequantize=True)
    )
    say(0.7, "reading the tokenizer")
    tokenizer = library.AutoTokenizer.from_pretrained(**where)
    say(0.9, "writing safetensors")
    model.to(torch.bfloat16).save_pretrained(str(target))
    tokenizer.save_pretrained(str(target))
    say(1.0, "written")


def main() -> None:
    """Read the two arguments and convert, without ever asking the network."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    source, target = sys.argv[1:3]
    convert(Path(source), Path(target))


if __name__ == "__main__":
    main()
