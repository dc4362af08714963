"""A look at local weights before vLLM is imported, which would take long to fail on them."""

from __future__ import annotations

import json
from pathlib import Path

from app.domain.model_spec import ModelSpec
from deployments.engines.base import EngineDead

LENGTH_BYTES = 8
"""A safetensors file starts with the length of its JSON header, as a little-endian number of so many bytes."""

WEIGHTS = frozenset((".safetensors", ".bin", ".pt", ".pth", ".gguf", ".tensors"))


def check_weights(spec: ModelSpec, weights: str) -> None:
    """Return if ``weights`` is a hub id, which is vLLM's to resolve, or looks like a whole model.

    Raises:
        EngineDead: There is no model, or a part of it is missing.
    """
    path = Path(weights)
    if not path.exists():
        if path.is_absolute() or weights.startswith("."):
            raise EngineDead(f"The weights of {spec.id} are gone: nothing is where {spec.source} was put.")
        return
    if not path.is_dir():
        return
    if not (path / "config.json").exists() and not (path / "params.json").exists():
        raise EngineDead(f"The weights of {spec.id} are not a model: {spec.source} has no config.json.")
    kinds = {file.suffix for file in path.iterdir()}
    if not kinds & WEIGHTS and spec.engine_args.get("load_format") != "dummy":
        raise EngineDead(
            f"The weights of {spec.id} are missing: {spec.source} has no file of weights beside config.json."
        )
    for file in sorted(path.glob("*.safetensors")):
        if not _is_whole(file):
            raise EngineDead(
                f"The weights of {spec.id} are damaged: {file.name} is cut off or overwritten. Fetch it anew."
            )


def _is_whole(file: Path) -> bool:
    size = file.stat().st_size
    try:
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(LENGTH_BYTES), "little")
            if not 0 < length <= size - LENGTH_BYTES:
                return False
            header = json.loads(stream.read(length))
            ends = [tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__"]
    except (ValueError, LookupError, TypeError, AttributeError):
        return False
    return LENGTH_BYTES + length + max(ends, default=0) == size
