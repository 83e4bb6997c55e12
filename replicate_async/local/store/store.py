"""What an embedded server knows: accounts, models and their versions, files, deployments, runs."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from replicate_async.local import ids
from replicate_async.local.clock import Clock
from replicate_async.local.http.errors import not_found
from replicate_async.local.models.function import ModelFunction

if TYPE_CHECKING:
    from replicate_async.local.store.files import FileStore
    from replicate_async.local.store.records import Run
    from replicate_async.local.store.run_archive import ExpiredRun

NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,126}[a-z0-9_-])?")

# hardware.list, in the service's order, then what its price list names.
HARDWARE: Mapping[str, str] = {
    "cpu": "CPU",
    "gpu-t4": "Nvidia T4 GPU",
    "gpu-a40-small": "Nvidia A40 GPU",
    "gpu-a40-large": "Nvidia A40 (Large) GPU",
    "gpu-l40s": "Nvidia L40S GPU",
    "gpu-a100-large": "Nvidia A100 (80GB) GPU",
    "gpu-h100": "Nvidia H100 GPU",
}


@dataclass
class Account:
    """A user or an organization, with the one token that speaks for it."""

    username: str
    name: str
    type: str = "user"
    organizations: set[str] = field(default_factory=set[str])
    webhook_key: str = field(default_factory=ids.webhook_secret, repr=False)

    def owns(self, owner: str) -> bool:
        """Return whether things of *owner* are this account's to change."""
        return owner == self.username or owner in self.organizations


@dataclass
class Version:
    """A version of a model: a function, under an id made from what it is."""

    id: str
    function: ModelFunction
    created: float
    warm: bool = False
    run_by: set[str] = field(default_factory=set[str])
    """Accounts that have run it."""
    trained: bool = False
    """Whether a training started from it."""


@dataclass
class Model:
    """A model and its versions, oldest first."""

    owner: str
    name: str
    created: float
    description: str | None = None
    visibility: str = "public"
    hardware: str = "cpu"
    official: bool = False
    hidden: bool = False
    """Whether predictions show `hidden` for the version, as those of official models may."""
    links: dict[str, str | None] = field(default_factory=dict[str, "str | None"])
    """What github_url, paper_url, license_url, weights_url and cover_image_url hold."""
    readme: str | None = None
    run_count: int = 0
    versions: dict[str, Version] = field(default_factory=dict[str, Version])
    example_inputs: Sequence[Mapping[str, Any]] = ()
    examples: list[Run] = field(default_factory=list["Run"])

    @property
    def ref(self) -> str:
        """The model as clients name it, "owner/name"."""
        return f"{self.owner}/{self.name}"

    @property
    def latest(self) -> Version | None:
        """The newest version."""
        return next(reversed(self.versions.values()), None)

    @property
    def updated(self) -> float:
        """When the newest version was made, or the model where there is none."""
        return self.latest.created if self.latest else self.created


@dataclass(frozen=True)
class Release:
    """What a deployment runs, and on what."""

    number: int
    model: Model
    version: Version
    created: float
    created_by: Account
    hardware: str
    min_instances: int
    max_instances: int


@dataclass
class Deployment:
    """A version that runs under a name of its own; each change is a release."""

    owner: str
    name: str
    created: float
    releases: list[Release]
    used: float | None = None
    """When it last ran."""

    @property
    def ref(self) -> str:
        """The deployment as clients name it, "owner/name"."""
        return f"{self.owner}/{self.name}"

    @property
    def release(self) -> Release:
        """The release that is in force."""
        return self.releases[-1]


@dataclass
class Collection:
    """Models that belong together."""

    slug: str
    name: str
    description: str
    models: list[Model]
    full_description: str | None = None


@dataclass
class State:
    """Everything; lives as long as the server."""

    clock: Clock
    files: FileStore
    accounts: dict[bytes, Account] = field(default_factory=dict[bytes, Account])
    """Accounts by the digest of their token, so that no lookup compares tokens."""
    models: dict[str, Model] = field(default_factory=dict[str, Model])
    deployments: dict[str, Deployment] = field(default_factory=dict[str, Deployment])
    collections: dict[str, Collection] = field(default_factory=dict[str, Collection])
    runs: dict[str, Run | ExpiredRun] = field(default_factory=dict[str, "Run | ExpiredRun"])
    """Predictions and trainings by id, oldest first."""

    def add_account(self, account: Account, token: str) -> None:
        """Let *token* speak for *account*."""
        self.accounts[_digest(token)] = account

    def account_of(self, token: str) -> Account | None:
        """Return whose *token* this is."""
        return self.accounts.get(_digest(token))

    def add_version(self, model: Model, function: ModelFunction) -> Version:
        """Make *function* the newest version of *model*."""
        version = Version(function.version_id, function, self.clock.stamp())
        # The same function again is the same version, but the newest.
        model.versions.pop(version.id, None)
        model.versions[version.id] = version
        return version

    def model(self, ref: str, account: Account | None) -> Model:
        """Return the model *ref* if *account* may see it; raises the 404 `Problem`."""
        model = self.models.get(ref)
        if model is None or not visible(model, account):
            raise not_found()
        return model

    def version(self, id: str, account: Account) -> tuple[Model, Version] | None:
        """Return the version *id* of whichever model, if *account* may run it."""
        for model in self.models.values():
            version = model.versions.get(id)
            if version is not None and visible(model, account):
                return model, version
        return None

    def public_models(self) -> Iterator[Model]:
        """Iterate over the models that anyone may see."""
        return (model for model in self.models.values() if model.visibility == "public")

    def runs_of(self, account: Account, kind: str) -> list[tuple[str, Run | ExpiredRun]]:
        """Return the predictions or the trainings of *account* with their ids, oldest first."""
        return [
            (id, run)
            for id, run in self.runs.items()
            if run.account is account and run.kind == kind
        ]


def visible(model: Model, account: Account | None) -> bool:
    """Return whether *account* may see and run *model*."""
    return model.visibility == "public" or (account is not None and account.owns(model.owner))


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
