"""An embedded server for the Replicate HTTP API, which runs Python functions as models.

    async with LocalReplicate() as server:
        client = Replicate(server.api_token, base_url=server.url)

It keeps real state, on loopback and in memory, and answers as the service does.
"""

from __future__ import annotations

from replicate_async.core.secret import Secret
from replicate_async.interface.types import (
    AsyncConcatenateIterator,
    ConcatenateIterator,
    Input,
    InputFile,
    OutputFile,
    Weights,
)
from replicate_async.local.faults import Fault, Faults
from replicate_async.local.http.gateway import LocalGateway
from replicate_async.local.models.backend import ModelBackend, OutputKind, RunHandle, Trained
from replicate_async.local.models.current_run import current_run, log
from replicate_async.local.models.function import ModelFunction
from replicate_async.local.server import LocalReplicate, serve
from replicate_async.local.settings import RateLimits, Settings

__all__ = [
    "AsyncConcatenateIterator",
    "ConcatenateIterator",
    "Fault",
    "Faults",
    "Input",
    "InputFile",
    "LocalGateway",
    "LocalReplicate",
    "ModelBackend",
    "ModelFunction",
    "OutputFile",
    "OutputKind",
    "RateLimits",
    "RunHandle",
    "Secret",
    "Settings",
    "Trained",
    "Weights",
    "current_run",
    "log",
    "serve",
]
