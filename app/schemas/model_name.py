"""A request that names a model and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.schemas.body import parse as body_as
from app.schemas.common import ModelName, Strict, example


class ModelNameRequest(Strict):
    """Which model is meant."""

    model_config = example({"model": "smollm2-135m-instruct"})

    model: ModelName


def parse(body: Mapping[str, Any]) -> str:
    """The name.

    Raises:
        InvalidRequest: There is none, or more than it.
    """
    return body_as(ModelNameRequest, body).model
