"""A gateway in the place of the API: its base URL, its headers, and links that it leaves alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import pytest

from replicate_async import (
    FileOutput,
    InvalidArgumentError,
    Limits,
    NotFoundError,
    Replicate,
    ReplicateError,
    Retry,
)
from replicate_async.local import Faults, LocalGateway, LocalReplicate, Settings
from tests.faults.calls import ALL, AT_ONCE, CREATES, ONCE
from tests.support.fault_server import FaultServer, Stranger, script
from tests.support.replies import json_answer, page, prediction, problem, service
from tests.support.sentinel import TOKEN, assert_opaque, caught
from tests.support.wire import Answer, Ending

pytestmark = pytest.mark.anyio

SECRET_HEADER: Final = {"cf-aig-authorization": f"Bearer {TOKEN}"}
GATEWAY: Final = "/v1/account/gateway/replicate"


def client_at(
    url: str, headers: Mapping[str, str] = SECRET_HEADER, *, retry: Retry = ONCE
) -> Replicate:
    return Replicate(
        auth="headers", headers=headers, base_url=url, retry=retry, limits=Limits(enabled=False)
    )


class TestHeaders:
    @pytest.mark.parametrize("name", ALL)
    async def test_go_with_every_operation(self, name: str) -> None:
        async with FaultServer(lambda request: service(server.url, request)) as server:
            async with client_at(server.url) as client:
                await ALL[name](client)

            for request in server.requests:
                assert request.header("cf-aig-authorization") == f"Bearer {TOKEN}"
                assert request.header("authorization") is None

    async def test_go_beside_the_token(self) -> None:
        async with (
            FaultServer(script(problem(404))) as server,
            Replicate("r8_x", headers={"X-Team": "a"}, base_url=server.url) as client,
        ):
            with pytest.raises(NotFoundError):
                await client.account.get()
            with pytest.raises(NotFoundError):
                await client.with_options(api_token="r8_other").account.get()

        seen = [(r.header("x-team"), r.header("authorization")) for r in server.requests]
        assert seen == [("a", "Bearer r8_x"), ("a", "Bearer r8_other")]

    async def test_go_to_no_other_origin(self) -> None:
        async with (
            Stranger(Answer(body=b"picture")) as stranger,
            FaultServer(script(Answer())) as server,
            client_at(server.url) as client,
        ):
            file = FileOutput(f"{stranger.origin}/out.png").with_client(client)
            assert await file.read() == b"picture"

            stranger.assert_never_saw([TOKEN])
            assert stranger.requests[0].header("cf-aig-authorization") is None

    async def test_are_shown_nowhere(self) -> None:
        async with client_at("http://127.0.0.1:9") as client:
            assert_opaque(client, "client")
            for name, part in vars(client).items():
                assert_opaque(part, name)

    @pytest.mark.parametrize(
        "answer",
        [
            problem(401, f"no such key: {TOKEN}"),
            Answer(status=500, body=TOKEN.encode()),
            Answer(body=f"{{{TOKEN}".encode()),
            Answer(status=302, headers=(("Location", f"https://a.example/{TOKEN}"),), acts=False),
            Answer(cut=0, ending=Ending.RESET),
        ],
        ids=["401", "500", "no JSON", "redirect", "reset"],
    )
    @pytest.mark.parametrize("name", ["predictions.create", "predictions.get"])
    async def test_are_in_no_error(self, name: str, answer: Answer) -> None:
        async with FaultServer(script(answer)) as server, client_at(server.url) as client:
            with caught(ReplicateError):
                await ALL[name](client)

    @pytest.mark.parametrize(
        ("headers", "says"),
        [
            ({"Host": TOKEN}, "Host cannot be set"),
            ({"Content-Type": TOKEN}, "Content-Type cannot be set"),
            ({"content-length": TOKEN}, "content-length cannot be set"),
            ({"Prefer": TOKEN}, "pass wait="),
            ({"Connection": TOKEN}, "for one connection"),
            ({"Transfer-Encoding": TOKEN}, "for one connection"),
            ({"Proxy-Authorization": TOKEN}, "cannot be set"),
            ({"User-Agent": TOKEN}, "user_agent="),
            ({"cf-aig-max-attempts": "5"}, "pay for it twice"),
            ({"X-A": f"{TOKEN}\r\nX-B: 1"}, "line break"),
            ({"X-A": f"{TOKEN}é"}, "not ASCII"),
            ({"X-A": ""}, "empty"),
            ({"X A": TOKEN}, "name 1 is empty or has a character"),
            ({"X-A": TOKEN, "": TOKEN}, "name 2 is empty"),
            ({f"X-A: {TOKEN}": "a name and its value"}, "name 1 is empty or has a character"),
            ({"X-A": TOKEN, "x-a": TOKEN}, "given twice"),
        ],
    )
    def test_that_the_client_sets_are_refused(self, headers: dict[str, str], says: str) -> None:
        with caught(InvalidArgumentError) as found:
            Replicate(auth="headers", headers=headers)

        assert says in str(found.error)

    def test_may_stand_in_for_a_token_only_when_that_is_said(self) -> None:
        with caught(InvalidArgumentError):
            Replicate(headers=SECRET_HEADER)
        with caught(InvalidArgumentError) as both:
            Replicate(TOKEN, auth="headers", headers=SECRET_HEADER)
        with caught(InvalidArgumentError) as neither:
            Replicate(auth="headers")
        with caught(InvalidArgumentError) as clash:
            Replicate("r8_x", headers={"Authorization": f"Basic {TOKEN}"})
        own = Replicate(auth="headers", headers={"authorization": f"Basic {TOKEN}"})
        with caught(InvalidArgumentError) as later:
            own.with_options(api_token="r8_x")

        assert "exclude each other" in str(both.error)
        assert "needs headers=" in str(neither.error)
        assert 'auth="headers"' in str(clash.error)
        assert str(later.error) == str(clash.error)


class TestLinks:
    async def test_of_the_service_lead_through_the_gateway(self) -> None:
        service_url = "https://api.replicate.com/v1"
        pages = [
            page(prediction(service_url), next=f"{service_url}/predictions?cursor=a"),
            page(prediction(service_url), next="http://api.replicate.com/v1/predictions?cursor=b"),
            page(prediction(service_url), next=None),
        ]
        answers = [json_answer(each) for each in pages]
        async with (
            FaultServer(script(*answers)) as server,
            client_at(server.origin + GATEWAY) as client,
        ):
            assert len([each async for each in client.predictions.list()]) == 3

        assert [request.target for request in server.requests] == [
            f"{GATEWAY}/predictions{query}" for query in ("", "?cursor=a", "?cursor=b")
        ]

    async def test_of_a_run_do_too(self) -> None:
        found = prediction("https://api.replicate.com/v1", status="starting")
        async with (
            FaultServer(lambda _: json_answer(found)) as server,
            client_at(server.origin + GATEWAY) as client,
        ):
            run = await client.predictions.get("abc")
            await client.predictions.cancel(run)

        assert server.requests[-1].target == f"{GATEWAY}/predictions/{run.id}/cancel"

    async def test_of_a_file_do_too_with_the_headers(self) -> None:
        async with (
            FaultServer(script(Answer(body=b"picture"))) as server,
            client_at(server.origin + GATEWAY) as client,
        ):
            link = "https://api.replicate.com/v1/files/abc/download?expiry=1"
            assert await FileOutput(link).with_client(client).read() == b"picture"

        request = server.requests[0]
        assert request.target == f"{GATEWAY}/files/abc/download?expiry=1"
        assert request.header("cf-aig-authorization") == f"Bearer {TOKEN}"

    async def test_in_inputs_stay_as_they_are(self) -> None:
        url = "https://api.replicate.com/v1/files/abc"
        async with (
            FaultServer(lambda request: service(server.url, request)) as server,
            client_at(server.url) as client,
        ):
            await client.predictions.create("acme/echo", {"image": url})

        assert url.encode() in server.requests[-1].body


class TestCloudflare:
    @pytest.mark.parametrize("name", CREATES)
    async def test_is_told_to_send_a_create_once(self, name: str) -> None:
        async with (
            FaultServer(lambda request: service(server.url, request)) as server,
            client_at(server.url) as client,
        ):
            await CREATES[name](client)

        creates = [request for request in server.requests if request.method == "POST"]
        assert [request.header("cf-aig-max-attempts") for request in creates] == ["1"]

    async def test_is_told_to_cache_no_poll(self) -> None:
        async with (
            FaultServer(lambda request: service(server.url, request)) as server,
            client_at(server.url) as client,
        ):
            await client.predictions.get("abc")
            await client.hardware.list()

        seen = [request.header("cf-aig-skip-cache") for request in server.requests]
        assert seen == ["true", None]

    async def test_is_known_by_its_path(self) -> None:
        async with FaultServer(script(json_answer(prediction("http://x/v1")))) as server:
            url = f"{server.origin}{GATEWAY}"
            async with Replicate("r8_x", base_url=url, retry=ONCE) as client:
                await client.predictions.create("acme/echo", {})

        assert server.requests[0].header("cf-aig-max-attempts") == "1"

    async def test_nothing_of_it_goes_to_the_service(self) -> None:
        async with (
            FaultServer(lambda request: service(server.url, request)) as server,
            Replicate("r8_x", base_url=server.url) as client,
        ):
            await client.predictions.create("acme/echo", {})

        assert server.requests[0].header("cf-aig-max-attempts") is None


async def test_a_path_without_a_version_is_kept_and_a_404_there_says_so() -> None:
    async with FaultServer(script(problem(404))) as server:
        async with Replicate("r8_x", base_url=f"{server.origin}/replicate") as client:
            with pytest.raises(NotFoundError, match="add /v1 to base_url"):
                await client.account.get()
        assert server.requests[0].target == "/replicate/account"

        async with Replicate("r8_x", base_url=f"{server.origin}/replicate/v1") as client:
            with pytest.raises(NotFoundError) as found:
                await client.account.get()
        assert "add /v1" not in str(found.value)


class TestThroughTheGateway:
    async def test_a_run_a_stream_files_and_listings(self) -> None:
        async with (
            LocalReplicate(settings=Settings(page_size=2)) as server,
            LocalGateway(server) as gateway,
            Replicate(server.api_token, base_url=gateway.url, headers=gateway.headers) as client,
        ):
            text = await client.run("local/storyteller", {"prompt": "A fox", "words": 20}, type=str)
            async with client.stream(
                "local/storyteller", {"prompt": "A fox", "words": 20}
            ) as stream:
                streamed = "".join([str(piece) async for piece in stream])
            picture = await (await client.run("local/mandelbrot", {"width": 64})).read()
            uploaded = await client.files.create(picture, filename="a.png")
            shrunk = await client.run("local/thumbnail", {"image": uploaded.urls.get, "width": 8})
            listed = [each.id async for each in client.predictions.list()]

            assert text
            assert streamed
            assert picture.startswith(b"\x89PNG")
            assert (await shrunk.read()).startswith(b"\x89PNG")
            assert len(listed) == len(set(listed)) == 4
            assert gateway.repeated == 0

    async def test_no_create_is_repeated(self) -> None:
        faults = Faults()
        async with (
            LocalReplicate(faults=faults) as server,
            LocalGateway(server) as gateway,
            Replicate(
                server.api_token, base_url=gateway.url, headers=gateway.headers, retry=AT_ONCE
            ) as client,
        ):
            faults.add("models.predictions.create", status=500, perform=True)
            with pytest.raises(ReplicateError):
                await client.predictions.create("local/storyteller", {"prompt": "x"})
            faults.add("account.get", status=500)
            await client.account.get()

            assert len([each async for each in client.predictions.list()]) == 1
            assert gateway.repeated == 1  # the account

    async def test_a_wrong_header_is_refused(self) -> None:
        async with (
            LocalReplicate() as server,
            LocalGateway(server) as gateway,
            Replicate(server.api_token, base_url=gateway.url, headers={"X-A": "b"}) as client,
        ):
            with pytest.raises(ReplicateError, match="401"):
                await client.account.get()

    async def test_a_stored_token_takes_the_place_of_the_clients(self) -> None:
        async with (
            LocalReplicate() as server,
            LocalGateway(server, stored_token=True) as gateway,
            client_at(gateway.url, gateway.headers) as client,
        ):
            assert (await client.account.get()).username == "dev"
