"""A 404 names the missing thing, for every kind of thing in a path."""

from __future__ import annotations

from typing import Final

import pytest

from replicate_async import NotFoundError
from replicate_async.resources import ENDPOINTS
from tests.faults.calls import ALL, Call, client_of
from tests.support.fault_server import FaultServer
from tests.support.replies import VERSION_ID, problem
from tests.support.wire import Answer

pytestmark = pytest.mark.anyio

SAID: Final = "The requested resource could not be found."
MISSING: Final = {
    "collections.get": "collection text",
    "deployments.get": "deployment acme/prod",
    "deployments.update": "deployment acme/prod",
    "deployments.delete": "deployment acme/prod",
    "deployments.predictions.create": "deployment acme/prod",
    "files.get": "file abc",
    "files.delete": "file abc",
    "files.download": "file abc",
    "models.get": "model acme/echo",
    "models.update": "model acme/echo",
    "models.delete": "model acme/echo",
    "models.examples.list": "model acme/echo",
    "models.versions.list": "model acme/echo that has versions",
    "models.predictions.create": "model acme/echo that runs without a version",
    "models.readme.get": "README of the model acme/echo",
    "models.versions.get": f"version {VERSION_ID} of the model acme/echo",
    "models.versions.delete": f"version {VERSION_ID} of the model acme/echo",
    "trainings.create": f"version {VERSION_ID} of the model acme/echo",
    "predictions.get": "prediction abc",
    "predictions.cancel": "prediction abc",
    "trainings.get": "training abc",
    "trainings.cancel": "training abc",
}


async def refused(call: Call, answer: Answer) -> NotFoundError:
    async with FaultServer(lambda _request: answer) as server, client_of(server) as client:
        with pytest.raises(NotFoundError) as caught:
            await call(client)
    return caught.value


def test_every_path_that_names_something_is_here() -> None:
    assert set(MISSING) == {name for name, each in ENDPOINTS.items() if "{" in each.path}


@pytest.mark.parametrize("name", MISSING)
async def test_a_404_says_what_is_missing(name: str) -> None:
    error = await refused(ALL[name], problem(404, SAID))

    assert str(error).startswith(f"There is no {MISSING[name]}, or this token may not see it")
    assert "{" not in str(error)


@pytest.mark.parametrize("name", sorted(ALL.keys() - MISSING.keys()))
async def test_a_404_to_a_path_without_a_name_suggests_a_wrong_base_url(name: str) -> None:
    error = await refused(ALL[name], problem(404, SAID))

    assert "base_url" in str(error)
    assert "{" not in str(error)


async def test_the_missing_thing_that_the_api_names_is_kept() -> None:
    said = "The specified training destination does not exist"
    error = await refused(ALL["trainings.create"], problem(404, said))

    assert said in str(error)
    assert "There is no" not in str(error)
    assert "{" not in str(error)


async def test_a_page_of_a_proxy_is_named() -> None:
    page = Answer(
        status=404,
        headers=(("Content-Type", "text/html"),),
        body=b"<html><title>Nothing here</title></html>",
    )
    error = await refused(ALL["models.get"], page)

    assert str(error).startswith("There is no model acme/echo")
    assert "an HTML page titled" in str(error)


async def test_an_odd_id_is_shown_as_it_was_given() -> None:
    error = await refused(lambda client: client.predictions.get("ünï"), problem(404, SAID))
    assert "no prediction ünï, or" in str(error)

    error = await refused(lambda client: client.predictions.get("x" * 300), problem(404, SAID))
    assert len(str(error)) < 300
