"""What programs do with `replicate` 2.0.0b4: keyword arguments, pages that turn, polled streams."""

from __future__ import annotations

import asyncio
import io
import tempfile
import urllib.request
from importlib import import_module
from pathlib import Path
from typing import Any

from tests.peers.harness import Flows, Server, raises, receiver

replicate: Any = import_module("replicate")
exceptions: Any = import_module("replicate.exceptions")

HELLO = "replicate/hello-world"
_SLOW = 1000
"""Milliseconds between tokens, for a client that has to look before the first one is there."""
flow = Flows()


def connect(server: Server) -> Any:
    return replicate.Replicate(bearer_token=server.token, base_url=server.url)


def connect_async(server: Server) -> Any:
    return replicate.AsyncReplicate(bearer_token=server.token, base_url=server.url)


def version_of(client: Any, model: str) -> str:
    owner, name = model.split("/")
    return str(client.models.get(model_owner=owner, model_name=name).latest_version.id)


def model(ref: str) -> dict[str, str]:
    owner, name = ref.split("/")
    return {"model_owner": owner, "model_name": name}


def fetch(url: str) -> bytes:
    with urllib.request.urlopen(url) as answer:
        return bytes(answer.read())


@flow("account.get")
def _(server: Server) -> None:
    assert connect(server).account.get().username == "dev"


@flow("a wrong token is an AuthenticationError")
def _(server: Server) -> None:
    with raises(replicate.AuthenticationError) as caught:
        replicate.Replicate(bearer_token="r8_wrong", base_url=server.url).account.get()
    assert caught.error.status_code == 401


@flow("hardware.list")
def _(server: Server) -> None:
    assert {"cpu", "gpu-t4"} <= {item.sku for item in connect(server).hardware.list()}


@flow("search")
def _(server: Server) -> None:
    found = connect(server).search(query="mandelbrot", limit=3)
    assert found.models[0].model.name == "mandelbrot"


@flow("collections.list and get")
def _(server: Server) -> None:
    client = connect(server)
    assert {"built-in", "sums"} <= {item.slug for item in client.collections.list()}
    collection = client.collections.get(collection_slug="sums")
    assert [item.name for item in collection.models] == ["count", "area"]


@flow("models.get, list, search, examples, readme and versions")
def _(server: Server) -> None:
    client = connect(server)
    assert client.models.get(**model(HELLO)).run_count >= 0
    oldest_first = client.models.list(sort_by="model_created_at", sort_direction="asc")
    names = [f"{item.owner}/{item.name}" for item in oldest_first]
    assert names[0] == HELLO
    assert "acme/area" in names
    assert client.models.search(body="mandelbrot").results[0].name == "mandelbrot"
    assert [item.output for item in client.models.examples.list(**model("acme/numbers"))] == [
        [1, 2]
    ]
    assert client.models.readme.get(**model("acme/count")) == "# Counts\n"
    versions = list(client.models.versions.list(**model(HELLO)))
    assert client.models.versions.get(**model(HELLO), version_id=versions[0].id).cog_version


@flow("models.create, update and delete, and versions.delete")
def _(server: Server) -> None:
    client = connect(server)
    made = client.models.create(owner="dev", name="made", visibility="private", hardware="cpu")
    assert made.latest_version is None
    changed = client.models.update(**model("dev/made"), description="Mine", readme="# Mine")
    assert changed.description == "Mine"
    assert client.models.readme.get(**model("dev/made")) == "# Mine"
    training = client.trainings.create(
        **model("local/storyteller"),
        version_id=version_of(client, "local/storyteller"),
        destination="dev/made",
        input={"text": "one two three four"},
    )
    while training.status not in {"succeeded", "failed"}:
        training = client.trainings.get(training_id=training.id)
    version = version_of(client, "dev/made")
    client.models.versions.delete(**model("dev/made"), version_id=version)
    client.models.delete(**model("dev/made"))
    with raises(replicate.NotFoundError) as caught:
        client.models.get(**model("dev/made"))
    assert caught.error.status_code == 404


@flow("predictions.create, wait and get")
def _(server: Server) -> None:
    client = connect(server)
    made = client.predictions.create(version=version_of(client, HELLO), input={"text": "Alice"})
    done = client.predictions.wait(made.id)
    assert (done.status, done.output) == ("succeeded", "hello Alice")
    found = client.predictions.get(prediction_id=made.id)
    assert found.created_at.year >= 2024
    assert found.urls.get.startswith(server.origin)


@flow("predictions.create with prefer and cancel_after")
def _(server: Server) -> None:
    client = connect(server)
    done = client.predictions.create(
        version=version_of(client, HELLO), input={"text": "Bob"}, prefer="wait=10"
    )
    assert done.output == "hello Bob"
    made = client.models.predictions.create(
        **model("acme/count"), input={"to": 1}, cancel_after="5m"
    )
    assert made.id


@flow("predictions.create with an input that the schema forbids")
def _(server: Server) -> None:
    client = connect(server)
    with raises(replicate.UnprocessableEntityError) as caught:
        client.predictions.create(version=version_of(client, HELLO), input={"text": 1})
    assert caught.error.status_code == 422
    assert caught.error.body["invalid_fields"][0]["field"] == "input.text"


@flow("predictions.cancel")
def _(server: Server) -> None:
    client = connect(server)
    made = client.models.predictions.create(**model("local/slow"), input={"seconds": 60})
    client.predictions.cancel(prediction_id=made.id)
    assert client.predictions.wait(made.id).status == "canceled"


@flow("predictions.list over several pages")
def _(server: Server) -> None:
    client = connect(server)
    version = version_of(client, HELLO)
    made = [
        client.predictions.create(version=version, input={"text": str(n)}).id for n in range(12)
    ]
    items = list(client.predictions.list())
    created = {item.id: item.created_at for item in items}
    listed = [item.id for item in items]
    assert listed[:12] == made[::-1]
    assert len(listed) == len(created)
    page = client.predictions.list()
    assert page.has_next_page()
    assert [item.id for item in page.get_next_page().results] == listed[5:10]
    # Times are shown in milliseconds, and a quick machine makes two runs in one.
    since = client.predictions.get(prediction_id=made[6]).created_at
    recent = [item.id for item in client.predictions.list(created_after=since)]
    assert recent == [id for id in listed if created[id] >= since]
    assert made[0] not in recent


@flow("run: a string, an object, a list, a file")
def _(server: Server) -> None:
    client = connect(server)
    hello = f"{HELLO}:{version_of(client, HELLO)}"
    assert client.run(hello, input={"text": "Carol"}) == "hello Carol"
    area = f"acme/area:{version_of(client, 'acme/area')}"
    assert client.run(area, input={"width": 3}) == {"area": 6}
    assert client.run("acme/count", input={"to": 2}) == ["1 ", "2 "]
    picture = client.run("local/mandelbrot", input={"width": 16, "height": 16})
    # Not wrapped as a file by this method, whose outputs are known by their https.
    assert fetch(str(picture)).startswith(b"\x89PNG")


@flow("run: a model that fails")
def _(server: Server) -> None:
    with raises(exceptions.ModelError) as caught:
        connect(server).run("local/fail", input={"message": "as asked"})
    assert caught.error.prediction.status == "failed"
    assert "as asked" in caught.error.prediction.error


@flow("run: a file input, uploaded and as a data URL")
def _(server: Server) -> None:
    client = connect(server)
    for strategy in ("url", "base64"):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "words.txt"
            path.write_text("some words")
            output = client.run("acme/upper", input={"file": path}, file_encoding_strategy=strategy)
        assert fetch(str(output)) == b"SOME WORDS"


@flow("use: text, a file, logs")
def _(_server: Server) -> None:
    count = replicate.use("acme/count")
    assert count(to=3) == "1 2 3 "
    assert count.openapi_schema()["components"]["schemas"]["Output"]["type"] == "array"
    picture = replicate.use("local/mandelbrot")(width=16, height=16)
    assert Path(picture).read_bytes().startswith(b"\x89PNG")
    run = replicate.use("local/slow").create(seconds=0.1, steps=2)
    assert run.output() == "waited 0.1 seconds in 2 steps"
    assert "100%" in run.logs()


@flow("use: a stream, which polls")
def _(_server: Server) -> None:
    count = replicate.use("acme/count", streaming=True)
    # It skips the output that is there at its first poll, however busy the machine is.
    assert list(count(to=3, delay_ms=_SLOW)) == ["1 ", "2 ", "3 "]
    assert str(count(to=2, delay_ms=_SLOW)) == "1 2 "


@flow("use: the output of one model as the input of another")
def _(_server: Server) -> None:
    upper = replicate.use("acme/upper")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "words.txt"
        path.write_text("words")
        first = upper(file=path.open("rb"))
    again = upper(file=first)
    assert Path(again).read_text() == "WORDS"


@flow("async: create, wait, cancel, list, run")
async def _(server: Server) -> None:
    async with connect_async(server) as client:
        found = await client.models.get(**model(HELLO))
        made = await client.predictions.create(
            version=found.latest_version.id, input={"text": "Dan"}
        )
        assert (await client.predictions.wait(made.id)).output == "hello Dan"
        slow = await client.models.predictions.create(**model("local/slow"), input={"seconds": 60})
        await client.predictions.cancel(prediction_id=slow.id)
        assert (await client.predictions.wait(slow.id)).status == "canceled"
        listed = [item.id async for item in client.predictions.list()]
        assert listed[:2] == [slow.id, made.id]
        assert len(listed) > 5
        assert await client.run("acme/count", input={"to": 2}) == ["1 ", "2 "]
        outputs = await asyncio.gather(
            *(client.run("acme/count", input={"to": n}) for n in range(1, 9))
        )
        assert [len(output) for output in outputs] == list(range(1, 9))


@flow("async: use, whole and streaming")
async def _(_server: Server) -> None:
    assert await replicate.use("acme/count", use_async=True)(to=2) == "1 2 "
    count = replicate.use("acme/count", use_async=True, streaming=True)
    chunks = [chunk async for chunk in await count(to=2, delay_ms=_SLOW)]
    assert chunks == ["1 ", "2 "]


@flow("deployments: create, get, run, update, list, delete")
def _(server: Server) -> None:
    client = connect(server)
    name = {"deployment_owner": "dev", "deployment_name": "counter"}
    made = client.deployments.create(
        name="counter",
        model="acme/count",
        version=version_of(client, "acme/count"),
        hardware="cpu",
        min_instances=0,
        max_instances=1,
    )
    assert made.current_release.number == 1
    assert client.deployments.get(**name).current_release.created_by.username == "dev"
    updated = client.deployments.update(**name, max_instances=2)
    assert updated.current_release.configuration.max_instances == 2
    run = client.deployments.predictions.create(**name, input={"to": 2}, prefer="wait")
    assert run.output == ["1 ", "2 "]
    assert "counter" in {item.name for item in client.deployments.list()}
    client.deployments.create(
        name="idle",
        model="acme/count",
        version=version_of(client, "acme/count"),
        hardware="cpu",
        min_instances=0,
        max_instances=1,
    )
    with raises(replicate.BadRequestError) as caught:
        client.deployments.delete(**name)
    assert caught.error.status_code == 400


@flow("trainings: create, get, list, run what was made, cancel")
def _(server: Server) -> None:
    client = connect(server)
    client.models.create(owner="dev", name="trained", visibility="private", hardware="cpu")
    base = version_of(client, "local/storyteller")
    training = client.trainings.create(
        **model("local/storyteller"),
        version_id=base,
        destination="dev/trained",
        input={"text": "the cat sat. the cat ran. the cat sat down."},
    )
    while training.status not in {"succeeded", "failed", "canceled"}:
        training = client.trainings.get(training_id=training.id)
    assert training.output.version.startswith("dev/trained:")
    words = client.run(training.output.version, input={"prompt": "the", "max_tokens": 5})
    assert "cat" in "".join(words)
    assert training.id in {item.id for item in client.trainings.list()}
    again = client.trainings.create(
        **model("local/storyteller"),
        version_id=base,
        destination="dev/trained",
        input={"text": "one two three four"},
    )
    canceled = client.trainings.cancel(training_id=again.id)
    assert canceled.status in {"canceled", "succeeded", "processing"}


@flow("files: create, get, list, download, delete")
def _(server: Server) -> None:
    client = connect(server)
    content = ("table.csv", io.BytesIO(b"a,b\n"), "text/csv")
    made = client.files.create(content=content)
    assert (made.content_type, made.size) == ("text/csv", 4)
    assert client.files.get(file_id=made.id).checksums.sha256
    assert made.id in {item.id for item in client.files.list()}
    query = server.sign(made.id)
    downloaded = client.files.download(
        file_id=made.id,
        owner=query["owner"],
        expiry=int(query["expiry"]),
        signature=query["signature"],
    )
    assert downloaded.read() == b"a,b\n"
    client.files.delete(file_id=made.id)
    with raises(replicate.NotFoundError) as caught:
        client.files.get(file_id=made.id)
    assert caught.error.status_code == 404


@flow("webhooks.default.secret.get, and a delivery")
def _(server: Server) -> None:
    client = connect(server)
    assert client.webhooks.default.secret.get().key.startswith("whsec_")
    with receiver() as (url, arrived):
        made = client.models.predictions.create(
            **model("acme/count"), input={"to": 1}, webhook=url, webhook_events_filter=["completed"]
        )
        delivery = arrived.get(timeout=10)
    assert made.id.encode() in delivery.body


@flow("with_raw_response")
def _(server: Server) -> None:
    answer = connect(server).models.with_raw_response.get(**model(HELLO))
    assert answer.headers["ratelimit-remaining"].isdigit()
    assert answer.parse().name == "hello-world"
