"""Deployments, versions that run on machines of their own."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from msgspec import Meta, Struct

from replicate_async.schemas.account import Account
from replicate_async.schemas.values import Timestamp

MinInstances: TypeAlias = Annotated[int, Meta(ge=0, le=5)]
MaxInstances: TypeAlias = Annotated[int, Meta(ge=0, le=20)]


class ReleaseConfiguration(Struct, frozen=True, kw_only=True):
    """The machines of a release."""

    hardware: str | None = None
    """A hardware ``sku``."""
    min_instances: int | None = None
    max_instances: int | None = None


class Release(Struct, frozen=True, kw_only=True):
    """The version and hardware of a deployment; each update makes a new release."""

    number: int | None = None
    """The number of the release, from 1."""
    model: str | None = None
    """The model as "owner/name"."""
    version: str | None = None
    created_at: Timestamp | None = None
    created_by: Account | None = None
    configuration: ReleaseConfiguration | None = None


class Deployment(Struct, frozen=True, kw_only=True):
    """A version of a model on machines of its own."""

    owner: str
    name: str
    current_release: Release | None = None


class CreateDeployment(
    Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """The body of deployments.create."""

    name: str
    model: str
    """The model as "owner/name"."""
    version: str
    """A version id, 64 hexadecimal digits."""
    hardware: str
    """A hardware ``sku``."""
    min_instances: MinInstances
    max_instances: MaxInstances


class UpdateDeployment(
    Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """The body of deployments.update; fields that are left out stay."""

    version: str | None = None
    hardware: str | None = None
    min_instances: MinInstances | None = None
    max_instances: MaxInstances | None = None
