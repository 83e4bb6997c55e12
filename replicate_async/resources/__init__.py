"""The operations of the API: tables of endpoints, and the methods that call them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from replicate_async.core.endpoint import Endpoint
from replicate_async.resources import (
    account,
    collections,
    deployments,
    files,
    hardware,
    models,
    predictions,
    search,
    trainings,
    webhooks,
)

__all__ = ["ENDPOINTS"]

ENDPOINTS: Final[Mapping[str, Endpoint[Any]]] = MappingProxyType(
    {
        "account.get": account.GET,
        "collections.get": collections.GET,
        "collections.list": collections.LIST,
        "deployments.create": deployments.CREATE,
        "deployments.delete": deployments.DELETE,
        "deployments.get": deployments.GET,
        "deployments.list": deployments.LIST,
        "deployments.predictions.create": deployments.CREATE_PREDICTION,
        "deployments.update": deployments.UPDATE,
        "files.create": files.CREATE,
        "files.delete": files.DELETE,
        "files.download": files.DOWNLOAD,
        "files.get": files.GET,
        "files.list": files.LIST,
        "hardware.list": hardware.LIST,
        "models.create": models.CREATE,
        "models.delete": models.DELETE,
        "models.examples.list": models.LIST_EXAMPLES,
        "models.get": models.GET,
        "models.list": models.LIST,
        "models.predictions.create": models.CREATE_PREDICTION,
        "models.readme.get": models.GET_README,
        "models.search": models.SEARCH,
        "models.update": models.UPDATE,
        "models.versions.delete": models.DELETE_VERSION,
        "models.versions.get": models.GET_VERSION,
        "models.versions.list": models.LIST_VERSIONS,
        "predictions.cancel": predictions.CANCEL,
        "predictions.create": predictions.CREATE,
        "predictions.get": predictions.GET,
        "predictions.list": predictions.LIST,
        "search": search.SEARCH,
        "trainings.cancel": trainings.CANCEL,
        "trainings.create": trainings.CREATE,
        "trainings.get": trainings.GET,
        "trainings.list": trainings.LIST,
        "webhooks.default.secret.get": webhooks.GET_SECRET,
    }
)
"""Every operation by its operationId."""
