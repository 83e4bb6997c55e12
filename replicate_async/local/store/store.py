"""The store of one server, in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from replicate_async.local.clock import Clock
from replicate_async.local.models.backend import ModelBackend
from replicate_async.local.settings import Settings
from replicate_async.local.store.events import Streams
from replicate_async.local.store.files import FileStore
from replicate_async.local.store.records import (
    Account,
    Collection,
    Deployment,
    Kind,
    Model,
    RunRecord,
    Version,
    visible,
)
from replicate_async.local.store.run_archive import ExpiredRun, RunArchive


class Store:
    """Accounts, models, deployments, collections, runs, files and event streams."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._clock = clock
        self.files: FileStore = FileStore(clock, settings.file_expiry, settings.stored_files)
        self.streams: Streams = Streams(clock)
        self.models: dict[str, Model] = {}
        self.deployments: dict[str, Deployment] = {}
        self.collections: dict[str, Collection] = {}
        self.runs: dict[str, RunRecord | ExpiredRun] = {}
        """Predictions and trainings by id, oldest first."""
        self._accounts: dict[bytes, Account] = {}
        """Accounts by the digest of their token, so that no lookup compares tokens."""
        self._archive = RunArchive(self.streams.token)

    def add_account(self, account: Account, token: str) -> None:
        """Let *token* authenticate *account*."""
        self._accounts[_digest(token)] = account

    def account_of(self, token: str) -> Account | None:
        """Return the account of a *token*."""
        return self._accounts.get(_digest(token))

    def add_version(self, model: Model, backend: ModelBackend) -> Version:
        """Make *backend* the newest version of *model*."""
        version = Version(backend.version_id, backend, self._clock.stamp())
        # The same code again is the same version, but the newest.
        model.versions.pop(version.id, None)
        model.versions[version.id] = version
        return version

    def model(self, ref: str, account: Account) -> Model | None:
        """Return the model *ref* if *account* may see it."""
        model = self.models.get(ref)
        return model if model is not None and visible(model, account) else None

    def version(self, id: str, account: Account) -> tuple[Model, Version] | None:
        """Return the version *id* and its model, if *account* may run it."""
        for model in self.models.values():
            version = model.versions.get(id)
            if version is not None and visible(model, account):
                return model, version
        return None

    def public_models(self) -> Iterator[Model]:
        """Iterate over the models that every account may see."""
        return (model for model in self.models.values() if model.visibility == "public")

    def add_run(self, run: RunRecord) -> None:
        """Keep *run*, and count it for its model and version."""
        self.runs[run.id] = run
        if run.kind == "training":
            run.version.trained = True
        else:
            run.model.run_count += 1
            run.version.run_by.add(run.account.username)

    def run(self, id: str, account: Account) -> RunRecord | None:
        """Return the run *id* of *account*."""
        run = self.runs.get(id)
        return None if run is None or run.account is not account else self.restore(id, run)

    def runs_of(self, account: Account, kind: Kind) -> list[tuple[str, RunRecord | ExpiredRun]]:
        """Return the predictions or the trainings of *account* with their ids, oldest first."""
        return [
            (id, run)
            for id, run in self.runs.items()
            if run.account is account and run.kind == kind
        ]

    def restore(self, id: str, run: RunRecord | ExpiredRun) -> RunRecord:
        """Return the run *id*, which is packed once it has expired."""
        return self._archive.restore(id, run) if isinstance(run, ExpiredRun) else run

    def expire(self, run: RunRecord) -> None:
        """Remove the data of *run*, and pack the rest, which the API still shows."""
        run.remove_data()
        for path in run.files:
            self.files.delete_output(path)
        self.streams.forget(run.stream_path)
        if run.id in self.runs:
            self.runs[run.id] = self._archive.pack(run)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
