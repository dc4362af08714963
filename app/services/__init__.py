"""What the gateway does, one service a file; ``Services`` holds the ones a process has."""

from __future__ import annotations

from dataclasses import dataclass

from app.services.authenticator import Authenticator
from app.services.backend import ModelBackend
from app.services.catalog import CatalogSource
from app.services.model_admin import FixedModels, ModelAdmin
from app.settings import Settings
from app.storage.credentials import Credentials
from app.storage.database import Database

__all__ = ["Services", "build_services"]


@dataclass(frozen=True, slots=True)
class Services:
    """Everything a request may need, built once per process and handed to ``create_app``."""

    settings: Settings
    catalog: CatalogSource
    backend: ModelBackend
    models: ModelAdmin
    database: Database
    credentials: Credentials
    authenticator: Authenticator
    request_extras: frozenset[str]


def build_services(
    settings: Settings,
    mongodb_uri: str,
    catalog: CatalogSource,
    backend: ModelBackend,
    models: ModelAdmin | None = None,
) -> Services:
    """Wire the services of one process; opens nothing until the first use.

    Args:
        models: Changes which models there are; None where nobody can.

    Raises:
        SettingsError: ``secret_key`` is missing or ``mongodb_uri`` is not a connection string.
    """
    database = Database(
        mongodb_uri,
        settings.mongodb_database,
        timeout_s=settings.mongodb_timeout_s,
        pool_size=settings.mongodb_pool_size,
    )
    credentials = Credentials(database)
    return Services(
        settings=settings,
        catalog=catalog,
        backend=backend,
        models=models or FixedModels(),
        database=database,
        credentials=credentials,
        authenticator=Authenticator(
            credentials,
            secret=settings.secret(),
            cache_s=settings.principal_cache_s,
            anonymous_inference=settings.admits_anonymous,
        ),
        request_extras=frozenset(settings.request_extras),
    )
