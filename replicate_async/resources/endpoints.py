"""The operations of the API: one `Endpoint` for each operationId, and the table of all."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from msgspec import Raw
from msgspec.structs import replace

from replicate_async.core.endpoint import Endpoint
from replicate_async.schemas import (
    Account,
    Collection,
    CollectionItem,
    CreateDeployment,
    CreateFile,
    CreateModel,
    CreatePrediction,
    CreatePredictionHeaders,
    CreateTraining,
    CreateVersionPrediction,
    Deployment,
    DownloadFile,
    File,
    Hardware,
    ListModels,
    ListPredictions,
    Model,
    Page,
    Prediction,
    SearchQuery,
    SearchResults,
    Training,
    UpdateDeployment,
    UpdateModel,
    Version,
    WebhookSecret,
)

ACCOUNT_GET: Final = Endpoint("GET", "/account", returns=Account)

COLLECTIONS_LIST: Final = Endpoint("GET", "/collections", returns=Page[CollectionItem])
COLLECTIONS_GET: Final = Endpoint("GET", "/collections/{collection_slug}", returns=Collection)

DEPLOYMENTS_LIST: Final = Endpoint("GET", "/deployments", returns=Page[Deployment])
DEPLOYMENTS_CREATE: Final = Endpoint(
    "POST", "/deployments", takes=CreateDeployment, returns=Deployment
)
DEPLOYMENTS_GET: Final = Endpoint(
    "GET", "/deployments/{deployment_owner}/{deployment_name}", returns=Deployment
)
# Not idempotent: every update makes a new release.
DEPLOYMENTS_UPDATE: Final = Endpoint(
    "PATCH",
    "/deployments/{deployment_owner}/{deployment_name}",
    takes=UpdateDeployment,
    returns=Deployment,
)
DEPLOYMENTS_DELETE: Final = Endpoint(
    "DELETE",
    "/deployments/{deployment_owner}/{deployment_name}",
    returns=type(None),
    status=(204,),
)
DEPLOYMENTS_PREDICTIONS_CREATE: Final = Endpoint(
    "POST",
    "/deployments/{deployment_owner}/{deployment_name}/predictions",
    takes=CreatePrediction,
    headers=CreatePredictionHeaders,
    returns=Prediction,
    status=(201, 202),
    bucket="create",
)

FILES_LIST: Final = Endpoint("GET", "/files", returns=Page[File])
FILES_CREATE: Final = Endpoint(
    "POST", "/files", takes=CreateFile, media="multipart/form-data", returns=File, status=(201,)
)
FILES_GET: Final = Endpoint("GET", "/files/{file_id}", returns=File)
FILES_DELETE: Final = Endpoint("DELETE", "/files/{file_id}", returns=type(None), status=(204,))
FILES_DOWNLOAD: Final = Endpoint(
    "GET", "/files/{file_id}/download", query=DownloadFile, returns=bytes
)

HARDWARE_LIST: Final = Endpoint("GET", "/hardware", returns=list[Hardware])

MODELS_LIST: Final = Endpoint("GET", "/models", query=ListModels, returns=Page[Model])
MODELS_CREATE: Final = Endpoint("POST", "/models", takes=CreateModel, returns=Model, status=(201,))
MODELS_SEARCH: Final = Endpoint(
    "QUERY", "/models", takes=str, media="text/plain", returns=Page[Model]
)
MODELS_GET: Final = Endpoint("GET", "/models/{model_owner}/{model_name}", returns=Model)
MODELS_UPDATE: Final = Endpoint(
    "PATCH",
    "/models/{model_owner}/{model_name}",
    takes=UpdateModel,
    returns=Model,
    idempotent=True,
)
MODELS_DELETE: Final = Endpoint(
    "DELETE", "/models/{model_owner}/{model_name}", returns=type(None), status=(204,)
)
MODELS_EXAMPLES_LIST: Final = Endpoint(
    "GET", "/models/{model_owner}/{model_name}/examples", returns=Page[Prediction]
)
MODELS_README_GET: Final = Endpoint("GET", "/models/{model_owner}/{model_name}/readme", returns=str)
MODELS_PREDICTIONS_CREATE: Final = Endpoint(
    "POST",
    "/models/{model_owner}/{model_name}/predictions",
    takes=CreatePrediction,
    headers=CreatePredictionHeaders,
    returns=Prediction,
    status=(201, 202),
    bucket="create",
)
MODELS_VERSIONS_LIST: Final = Endpoint(
    "GET", "/models/{model_owner}/{model_name}/versions", returns=Page[Version]
)
MODELS_VERSIONS_GET: Final = Endpoint(
    "GET", "/models/{model_owner}/{model_name}/versions/{version_id}", returns=Version
)
MODELS_VERSIONS_DELETE: Final = Endpoint(
    "DELETE",
    "/models/{model_owner}/{model_name}/versions/{version_id}",
    returns=type(None),
    status=(202,),
)

PREDICTIONS_CREATE: Final = Endpoint(
    "POST",
    "/predictions",
    takes=CreateVersionPrediction,
    headers=CreatePredictionHeaders,
    returns=Prediction,
    status=(201, 202),
    bucket="create",
)
PREDICTIONS_GET: Final = Endpoint(
    "GET", "/predictions/{prediction_id}", returns=Prediction, bucket="get", no_cache=True
)
PREDICTIONS_CANCEL: Final = Endpoint(
    "POST", "/predictions/{prediction_id}/cancel", returns=Prediction, idempotent=True
)
PREDICTIONS_LIST: Final = Endpoint(
    "GET", "/predictions", query=ListPredictions, returns=Page[Prediction], no_cache=True
)

SEARCH: Final = Endpoint("GET", "/search", returns=SearchResults, query=SearchQuery)

TRAININGS_CREATE: Final = Endpoint(
    "POST",
    "/models/{model_owner}/{model_name}/versions/{version_id}/trainings",
    takes=CreateTraining,
    returns=Training,
    status=(201,),
)
TRAININGS_GET: Final = Endpoint("GET", "/trainings/{training_id}", returns=Training, no_cache=True)
TRAININGS_CANCEL: Final = Endpoint(
    "POST", "/trainings/{training_id}/cancel", returns=Training, idempotent=True
)
TRAININGS_LIST: Final = Endpoint("GET", "/trainings", returns=Page[Training], no_cache=True)

WEBHOOKS_DEFAULT_SECRET_GET: Final = Endpoint(
    "GET", "/webhooks/default/secret", returns=WebhookSecret
)

# Variants of operations above, for the package's own calls.
FILES_CREATE_REPEATABLE: Final = replace(FILES_CREATE, idempotent=True)
MODELS_GET_UNCACHED: Final = replace(MODELS_GET, no_cache=True)
PREDICTIONS_LIST_RAW: Final = Endpoint(
    "GET", "/predictions", query=ListPredictions, returns=Page[Raw], no_cache=True
)
TRAININGS_LIST_RAW: Final = Endpoint("GET", "/trainings", returns=Page[Raw], no_cache=True)

ENDPOINTS: Final[Mapping[str, Endpoint[Any]]] = MappingProxyType(
    {
        "account.get": ACCOUNT_GET,
        "collections.get": COLLECTIONS_GET,
        "collections.list": COLLECTIONS_LIST,
        "deployments.create": DEPLOYMENTS_CREATE,
        "deployments.delete": DEPLOYMENTS_DELETE,
        "deployments.get": DEPLOYMENTS_GET,
        "deployments.list": DEPLOYMENTS_LIST,
        "deployments.predictions.create": DEPLOYMENTS_PREDICTIONS_CREATE,
        "deployments.update": DEPLOYMENTS_UPDATE,
        "files.create": FILES_CREATE,
        "files.delete": FILES_DELETE,
        "files.download": FILES_DOWNLOAD,
        "files.get": FILES_GET,
        "files.list": FILES_LIST,
        "hardware.list": HARDWARE_LIST,
        "models.create": MODELS_CREATE,
        "models.delete": MODELS_DELETE,
        "models.examples.list": MODELS_EXAMPLES_LIST,
        "models.get": MODELS_GET,
        "models.list": MODELS_LIST,
        "models.predictions.create": MODELS_PREDICTIONS_CREATE,
        "models.readme.get": MODELS_README_GET,
        "models.search": MODELS_SEARCH,
        "models.update": MODELS_UPDATE,
        "models.versions.delete": MODELS_VERSIONS_DELETE,
        "models.versions.get": MODELS_VERSIONS_GET,
        "models.versions.list": MODELS_VERSIONS_LIST,
        "predictions.cancel": PREDICTIONS_CANCEL,
        "predictions.create": PREDICTIONS_CREATE,
        "predictions.get": PREDICTIONS_GET,
        "predictions.list": PREDICTIONS_LIST,
        "search": SEARCH,
        "trainings.cancel": TRAININGS_CANCEL,
        "trainings.create": TRAININGS_CREATE,
        "trainings.get": TRAININGS_GET,
        "trainings.list": TRAININGS_LIST,
        "webhooks.default.secret.get": WEBHOOKS_DEFAULT_SECRET_GET,
    }
)
"""Every operation by its operationId."""
