"""The requests and responses of the API as msgspec structs.

Responses require only the fields that a client needs, ignore unknown fields, and leave enums open:
the API's answers about old objects differ. A field that is absent or null is None. Requests are
strict, and a server can validate with them.

Structs are pure data: they hold no client, do not change, and can be compared, copied and pickled.
"""

from __future__ import annotations

from replicate_async.core.problem import InvalidField
from replicate_async.schemas.account import Account
from replicate_async.schemas.collections import Collection, CollectionItem
from replicate_async.schemas.deployments import (
    CreateDeployment,
    Deployment,
    Release,
    ReleaseConfiguration,
    UpdateDeployment,
)
from replicate_async.schemas.files import Checksums, CreateFile, DownloadFile, File, FileURLs
from replicate_async.schemas.hardware import Hardware
from replicate_async.schemas.lenient import decode_leniently, without_surrogates
from replicate_async.schemas.models import (
    CreateModel,
    ExamplePrediction,
    ListModels,
    Model,
    UpdateModel,
)
from replicate_async.schemas.output import Progress, decode_output
from replicate_async.schemas.page import Page
from replicate_async.schemas.predictions import (
    CreatePrediction,
    CreatePredictionHeaders,
    CreateVersionPrediction,
    ListPredictions,
    Prediction,
    PredictionURLs,
    Run,
)
from replicate_async.schemas.problem import Problem
from replicate_async.schemas.search import (
    SearchCollection,
    SearchModel,
    SearchModelMetadata,
    SearchPage,
    SearchQuery,
    SearchResults,
)
from replicate_async.schemas.trainings import CreateTraining, Training, TrainingOutput
from replicate_async.schemas.values import (
    URL,
    AccountType,
    ModelVisibility,
    SortBy,
    SortDirection,
    Source,
    Status,
    Timestamp,
    Visibility,
    WebhookEvent,
)
from replicate_async.schemas.versions import Version
from replicate_async.schemas.webhooks import WebhookSecret

__all__ = [
    "URL",
    "Account",
    "AccountType",
    "Checksums",
    "Collection",
    "CollectionItem",
    "CreateDeployment",
    "CreateFile",
    "CreateModel",
    "CreatePrediction",
    "CreatePredictionHeaders",
    "CreateTraining",
    "CreateVersionPrediction",
    "Deployment",
    "DownloadFile",
    "ExamplePrediction",
    "File",
    "FileURLs",
    "Hardware",
    "InvalidField",
    "ListModels",
    "ListPredictions",
    "Model",
    "ModelVisibility",
    "Page",
    "Prediction",
    "PredictionURLs",
    "Problem",
    "Progress",
    "Release",
    "ReleaseConfiguration",
    "Run",
    "SearchCollection",
    "SearchModel",
    "SearchModelMetadata",
    "SearchPage",
    "SearchQuery",
    "SearchResults",
    "SortBy",
    "SortDirection",
    "Source",
    "Status",
    "Timestamp",
    "Training",
    "TrainingOutput",
    "UpdateDeployment",
    "UpdateModel",
    "Version",
    "Visibility",
    "WebhookEvent",
    "WebhookSecret",
    "decode_leniently",
    "decode_output",
    "without_surrogates",
]
