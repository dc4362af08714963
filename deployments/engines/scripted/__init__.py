"""A deterministic engine in pure Python: the HTTP API of a model without the model.

    engine: scripted
    engine_args: {ttft_s: 0.2, tokens_per_s: 50, default_tokens: 200}

It serves to load-test a cluster without a GPU, to measure what the path to an engine costs, and to rehearse failures.
"""

from deployments.engines.scripted.args import ScriptedArgs
from deployments.engines.scripted.engine import ScriptedEngine

__all__ = ["ScriptedArgs", "ScriptedEngine"]
