"""``serve run deployments.main:build``: the whole service on a running Ray cluster.

No ``from __future__ import annotations`` here: Serve reads the builder's annotation to validate its arguments, and an
annotation that is a string is silently not validated. Importing this module does nothing; building reads the settings
and the model files.
"""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from ray.serve import Application

from app.services.bootstrap import with_secrets
from app.services.limit_files import load_limits
from app.services.model_files import load_models
from app.settings import Settings
from deployments.database import EmbeddedDatabase
from deployments.gateway import Gateway
from deployments.manager import ModelManager


class AppArgs(BaseModel):
    """What ``serve run`` takes as ``key=value``; what is left out comes from the environment (see app.settings)."""

    model_config = ConfigDict(extra="forbid")

    models: str | None = Field(default=None, description="Folder of model YAML files, or files split by commas.")
    state_dir: Path | None = Field(default=None, description="Database files, weights, the first API key.")
    limits: str | None = Field(default=None, description="File of the limits.")
    gateway_replicas: int | None = Field(default=None, ge=1, description="Gateway processes.")
    profile: Literal["development", "production"] | None = Field(default=None, description="Defaults for whom.")
    anonymous_inference: bool | None = Field(default=None, description="Whether callers need no key.")


def build(args: AppArgs) -> Application:
    """The gateway application: the gateway, the manager that brings up the models, and the embedded database.

    Raises:
        SettingsError: A setting is unknown or wrong.
        LimitFileError: The file of the limits is wrong; the message names line and field.
        ModelFileError: A model file is wrong; the message names file, line and field.
    """
    settings = with_secrets(Settings.load(**args.model_dump()))
    specs = load_models(settings.models)
    database = EmbeddedDatabase.bind(str(settings.state_dir.resolve())) if settings.mongodb_uri is None else None
    files = [spec.model_dump(mode="json", exclude_unset=True) for spec in specs]
    manager = ModelManager.bind(settings, files, database)
    gateway = Gateway.options(
        num_replicas=settings.gateway_replicas, max_ongoing_requests=settings.gateway_max_ongoing_requests
    )
    return gateway.bind(settings, load_limits(settings.limits), manager, database)
